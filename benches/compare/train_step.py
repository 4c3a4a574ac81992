"""Measures a training step in PyTorch: EfficientNet-Lite0 of timm, 224 pixels, batch 32, AdamW, channels last.

    python train_step.py --crops CROPS [--threads 2] [--steps 20] [--model tf_efficientnet_lite2 --size 260]

CROPS is a folder of face crops. Prints milliseconds per picture, the median over the steps: of the pass and the
optimizer alone, and with a usual augmentation (flip, crop, scale, JPEG, blur, light) on the same thread. Ours is what
`train` prints for the same crops, whose augmentation does more.
"""

import argparse
import json
import pathlib
import random
import statistics
import time

import cv2
import numpy as np
import timm
import torch


def sample(path: pathlib.Path, size: int) -> np.ndarray:
    image = cv2.imread(str(path))[:, :, ::-1]
    if random.random() < 0.5:
        image = image[:, ::-1]
    height, width = image.shape[:2]
    share = random.uniform(0.8, 1.0)
    rows, columns = int(height * share), int(width * share)
    y, x = random.randint(0, height - rows), random.randint(0, width - columns)
    image = image[y : y + rows, x : x + columns]
    if random.random() < 0.5:
        scale = random.uniform(0.5, 1.0)
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = cv2.resize(image, (size, size))
    if random.random() < 0.5:
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, random.randint(40, 95)])[1], 1)
    if random.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 1.5))
    image = np.clip(image.astype(np.float32) * random.uniform(0.8, 1.2) + random.uniform(-20, 20), 0, 255)
    return (image / 127.5 - 1).astype(np.float32).transpose(2, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--model", default="tf_efficientnet_lite0", help="timm's name of the network")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures in pixels")
    a = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(a.threads)
    random.seed(0), torch.manual_seed(0)
    files = sorted(p for p in a.crops.rglob("*") if p.suffix in (".png", ".jpg"))
    model = timm.create_model(a.model, num_classes=2, drop_rate=0.2)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-4, weight_decay=1e-2)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.05)
    labels = torch.arange(a.batch) % 2
    alone, whole = [], []
    for step in range(a.steps + 2):
        began = time.perf_counter()
        pictures = torch.from_numpy(np.stack([sample(random.choice(files), a.size) for _ in range(a.batch)]))
        ready = time.perf_counter()
        optimizer.zero_grad()
        loss_of(model(pictures.to(memory_format=torch.channels_last)), labels).backward()
        optimizer.step()
        end = time.perf_counter()
        if step >= 2:
            alone.append(1e3 * (end - ready) / a.batch)
            whole.append(1e3 * (end - began) / a.batch)
    print(json.dumps({"step_ms": statistics.median(alone), "with_augmentation_ms": statistics.median(whole)}))


if __name__ == "__main__":
    main()
