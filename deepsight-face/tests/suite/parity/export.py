"""Writes expected.json beside this file: the faces facenet-pytorch 2.6.0 finds in ../../photos.

    pip install facenet-pytorch==2.6.0 --no-deps && pip install torch torchvision pillow numpy && python export.py
"""

import json
from pathlib import Path

import numpy as np
from facenet_pytorch import MTCNN
from PIL import Image

HERE = Path(__file__).parent
mtcnn = MTCNN(keep_all=True, post_process=False)


def faces(path):
    image = Image.open(path).convert("RGB")
    if min(image.size) < 20:
        return []  # The reference raises: there is no pyramid level to concatenate.
    boxes, probabilities, landmarks = mtcnn.detect(image, landmarks=True)
    if boxes is None:
        return []
    return [
        {"box": box, "confidence": probability, "landmarks": points}
        for box, probability, points in zip(
            boxes.astype(float).tolist(), probabilities.astype(float).tolist(), landmarks.astype(float).tolist()
        )
    ]


expected = {path.stem: faces(path) for path in sorted((HERE.parent.parent / "photos").glob("*.png"))}
(HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
for name, found in expected.items():
    print(name, [np.round(face["box"] + [face["confidence"]], 3).tolist() for face in found])
