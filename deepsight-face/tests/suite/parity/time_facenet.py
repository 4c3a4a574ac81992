"""Milliseconds that facenet-pytorch 2.6.0 takes to find the faces of an image, on two threads.

    python time_facenet.py photo.png
"""

import statistics
import sys
import time

import torch
from facenet_pytorch import MTCNN
from PIL import Image

torch.set_num_threads(2)
mtcnn = MTCNN(keep_all=True, post_process=False)
image = Image.open(sys.argv[1]).convert("RGB")
milliseconds = []
for _ in range(12):
    start = time.perf_counter()
    mtcnn.detect(image, landmarks=True)
    milliseconds.append(1000 * (time.perf_counter() - start))
print(f"{statistics.median(milliseconds[2:]):.1f} ms")
