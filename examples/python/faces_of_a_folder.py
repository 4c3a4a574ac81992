"""Writes the faces of all photographs of a folder to a table: python faces_of_a_folder.py photographs faces.csv

It was written for facenet-pytorch: only the import of MTCNN was another.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

from PIL import Image

from deepsight import MTCNN

COLUMNS = ["file", "x1", "y1", "x2", "y2", "probability", "left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--min-face-size", type=int, default=20)
    a = parser.parse_args()
    photographs = sorted(path for path in a.folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    mtcnn = MTCNN(keep_all=True, min_face_size=a.min_face_size)
    started, faces = time.perf_counter(), 0
    with a.table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for path in photographs:
            image = Image.open(path).convert("RGB")
            boxes, probabilities, points = mtcnn.detect(image, landmarks=True)
            if boxes is None:
                continue
            for box, probability, eyes in zip(boxes, probabilities, points):
                numbers = [*box, probability, *eyes[0], *eyes[1]]
                writer.writerow([path.name, *(f"{float(number):.2f}" for number in numbers)])
                faces += 1
    print(f"{faces} faces in {len(photographs)} photographs, {time.perf_counter() - started:.2f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
