"""Prints the face-shape model of deepsight-train/src/blend/outline.rs from photographs of faces.

    pip install 'mediapipe<0.10.15' opencv-python-headless numpy
    python scripts/face-shape.py manifest.csv

The manifest comes from `preprocess`: `file`, and five landmarks in pixels of that file. A crop must show the whole
face. The table in the code was made from 250 photographs of Labeled Faces in the Wild and 150 frames of Celeb-DF, of
which 393 gave a mesh; other faces give numbers that differ by a unit or two.
"""

import csv
import pathlib
import sys

import cv2
import mediapipe
import numpy as np

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
COLUMNS = [f"{point}_{axis}" for point in POINTS for axis in "xy"]
# Numbers of MediaPipe's face mesh: right half, top to bottom or from the nose outwards, and their mirror images.
GROUPS = {
    "OUTLINE": [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152],
    "BROWS": [336, 296, 334, 293, 300],
    "NOSE": [6, 358],
    "CHEEKS": [346, 280, 425],
    "MOUTH": [291, 200],
}
MIRRORED = {
    "OUTLINE": [10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152],
    "BROWS": [107, 66, 105, 63, 70],
    "NOSE": [6, 129],
    "CHEEKS": [117, 50, 205],
    "MOUTH": [61, 200],
}


def similarity(source: np.ndarray, target: np.ndarray):
    """Least squares (Umeyama, 1991), as a function of points."""
    from_mean, to_mean = source.mean(0), target.mean(0)
    a, b = source - from_mean, target - to_mean
    scale = (a * a).sum()
    x, y = (a * b).sum() / scale, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / scale
    matrix = np.array([[x, -y], [y, x]])
    return lambda points: (points - from_mean) @ matrix.T + to_mean


def pose(five: np.ndarray) -> list:
    """Yaw, pitch and length, in units of the template's distance between the eyes."""
    eyes, mouth = five[:2].mean(0), five[3:].mean(0)
    middle = (eyes + mouth) / 2
    length = np.linalg.norm(mouth - eyes) - np.linalg.norm(five[1] - five[0])
    return [(five[2, 0] - middle[0]) / 35, (five[2, 1] - middle[1]) / 35, length / 35]


def main() -> None:
    manifest = pathlib.Path(sys.argv[1])
    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1, min_detection_confidence=0.4)
    right, left = sum(GROUPS.values(), []), sum(MIRRORED.values(), [])
    poses, points = [], []
    for row in csv.DictReader(open(manifest)):
        image = cv2.imread(str(manifest.parent / row["file"]))
        five = np.array([float(row[column]) for column in COLUMNS]).reshape(5, 2)
        # The mesh's own detector wants to see around a face.
        pad = image.shape[0] // 2
        image = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
        found = mesh.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).multi_face_landmarks
        if not found:
            continue
        all_points = np.array([[p.x * image.shape[1] - pad, p.y * image.shape[0] - pad] for p in found[0].landmark])
        to_template = similarity(five, TEMPLATE)
        all_points, five = to_template(all_points), to_template(five)
        # Another face in the picture.
        if np.abs(all_points[:468].mean(0) - [56, 72]).max() > 12:
            continue
        yaw, pitch, length = pose(five)
        mirror = np.array([-1, 1])
        poses += [[yaw, pitch, length], [-yaw, pitch, length]]
        points += [all_points[right], all_points[left] * mirror + [112, 0]]

    poses, points = np.array(poses), np.array(points)
    inputs = np.c_[np.ones(len(poses)), poses - poses.mean(0)]
    outputs = points.reshape(len(points), -1)
    weights = np.ones(len(points))
    # Least squares again and again, with less weight on faces whose mesh went astray.
    for _ in range(5):
        model = np.linalg.lstsq(inputs * weights[:, None], outputs * weights[:, None], rcond=None)[0]
        residual = np.sqrt(((outputs - inputs @ model) ** 2).mean(1))
        weights = 1 / np.sqrt(1 + (residual / np.median(residual)) ** 2)
    pose = poses.mean(0).round(3).tolist()
    print(f"// {len(points) // 2} faces; mean pose {pose}, median residual {np.median(residual):.1f}")
    table = model.reshape(4, len(right), 2).round(1)
    names = [name for name, numbers in GROUPS.items() for _ in numbers]
    for index, name in enumerate(names):
        print(f"{name}: " + ", ".join(str(part[index].tolist()) for part in table))


if __name__ == "__main__":
    main()
