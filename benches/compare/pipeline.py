"""Analyzes one clip as is usual in Python.

OpenCV decodes, facenet-pytorch finds faces, an EfficientNet of timm (or its ONNX export) scores each; the clip gets
their mean. Prints one JSON object: probabilities, boxes, seconds of each stage.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Callable

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image

# From timm's default_cfg of efficientnet_b0 and efficientnet_b3.
MEAN = np.float32([0.485, 0.456, 0.406])
STD = np.float32([0.229, 0.224, 0.225])

Score = Callable[[np.ndarray], np.ndarray]


def sampled_frames(path: str, count: int) -> list[tuple[int, np.ndarray]]:
    """Returns evenly spaced RGB frames with their indices, in one pass over the file."""
    capture = cv2.VideoCapture(path)
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if not capture.isOpened() or total < 1:
        raise SystemExit(f"pipeline.py: cannot read {path}")
    wanted = set(np.linspace(0, total - 1, min(count, total), dtype=int).tolist())
    frames = []
    for index in range(total):
        if not capture.grab():
            break
        if index in wanted:
            decoded, pixels = capture.retrieve()
            if decoded:
                frames.append((index, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))
    capture.release()
    return frames


def preprocess(face: Image.Image, size: int) -> np.ndarray:
    """Returns a cropped face as normalised numbers, channels first."""
    pixels = cv2.resize(np.asarray(face), (size, size), interpolation=cv2.INTER_LINEAR)
    return ((pixels.astype(np.float32) / 255.0 - MEAN) / STD).transpose(2, 0, 1)


def find_faces(detector: MTCNN, frame: np.ndarray, confidence: float) -> tuple[list[dict], list[Image.Image]]:
    """Returns the faces of a frame, and the crops of those with enough confidence to be scored."""
    image = Image.fromarray(frame)
    boxes, scores, landmarks = detector.detect(image, landmarks=True)
    faces, crops = [], []
    for box, score, points in zip(boxes, scores, landmarks) if boxes is not None else []:
        faces.append({"box": box.tolist(), "confidence": float(score), "landmarks": points.tolist()})
        if score >= confidence:
            crops.append(image.crop(tuple(box)))
    return faces, crops


def torch_scorer(name: str, weights: str) -> Score:
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=2)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    model = model.eval().to(memory_format=torch.channels_last)

    def score(batch: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(batch).to(memory_format=torch.channels_last)).numpy()

    return score


def onnx_scorer(path: str, threads: int) -> Score:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"images": batch})[0]


def fake_probabilities(score: Score, inputs: list[np.ndarray], batch: int) -> list[float]:
    """Returns the softmax of each input's logits, for the second class."""
    probabilities: list[float] = []
    for start in range(0, len(inputs), batch):
        logits = score(np.stack(inputs[start : start + batch])).astype(np.float64)
        probabilities += (1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))).tolist()
    return probabilities


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip")
    parser.add_argument("--engine", choices=["torch", "onnx"], default="torch", help="what runs the EfficientNet")
    parser.add_argument("--weights", required=True, help="state dict (.pth) for torch, model file (.onnx) for onnx")
    parser.add_argument("--model", default="efficientnet_b3", help="timm's name of the network")
    parser.add_argument("--size", type=int, default=288, help="side of the network's input in pixels")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--face-confidence", type=float, default=0.9)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()

    torch.set_num_threads(a.threads)
    cv2.setNumThreads(a.threads)
    started = time.perf_counter()
    detector = MTCNN(keep_all=True, post_process=False, device="cpu")
    score = torch_scorer(a.model, a.weights) if a.engine == "torch" else onnx_scorer(a.weights, a.threads)
    loaded = time.perf_counter()
    with torch.inference_mode():
        frames = sampled_frames(a.clip, a.frames)
        decoded = time.perf_counter()
        found = [find_faces(detector, frame, a.face_confidence) for _, frame in frames]
        detected = time.perf_counter()
        inputs = [preprocess(crop, a.size) for _, crops in found for crop in crops]
        fake = fake_probabilities(score, inputs, a.batch)
        scored = time.perf_counter()

    print(json.dumps({
        "fake_probability": float(np.mean(fake)) if fake else None,
        "scores": fake,
        "frames": [{"index": index, "faces": faces} for (index, _), (faces, _) in zip(frames, found)],
        "seconds": {
            "load": loaded - started,
            "decode": decoded - loaded,
            "detect": detected - decoded,
            "classify": scored - detected,
            "total": scored - loaded,
        },
    }))


if __name__ == "__main__":
    main()
