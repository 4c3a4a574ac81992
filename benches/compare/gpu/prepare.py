"""Writes the inputs of both sides: weights, faces and frames, from the packed clips.

Into the folder go NAME.pth for each network, faces_SIZExBATCH.f32 (normalised, [batch, 3, size, size]), the same faces
as 8-bit pictures of that size, frames of each clip, and inputs.json, which lists the pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
from typing import Any

import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image

from place import MEAN, STD
from weights import settled


def frames_of(clip: pathlib.Path, width: int, height: int, count: int) -> np.ndarray:
    """Returns `count` frames, spread as far apart as ffmpeg's filter can."""
    probe = [os.environ["DEEPSIGHT_FFPROBE"], "-v", "error", "-select_streams", "v:0", "-count_packets"]
    probe += ["-show_entries", "stream=nb_read_packets", "-of", "default=nw=1:nk=1", str(clip)]
    total = int(subprocess.run(probe, capture_output=True, text=True, check=True).stdout)
    # Commas are part of the expression, so they are escaped.
    pick = f"select=not(mod(n\\,{max(1, total // count)})),scale={width}:{height}:flags=bicubic,format=rgb24"
    command = [os.environ["DEEPSIGHT_FFMPEG"], "-v", "error", "-nostdin", "-i", str(clip), "-vf", pick]
    command += ["-fps_mode", "passthrough", "-frames:v", str(count), "-f", "rawvideo", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def faces_in(frames: np.ndarray, device: str) -> list[Image.Image]:
    detector = MTCNN(keep_all=True, post_process=False, device=device)
    with torch.inference_mode():
        found = zip(frames, *detector.detect(frames))
        return [
            Image.fromarray(frame).crop(tuple(box))
            for frame, boxes, scores in found
            for box, score in (zip(boxes, scores) if boxes is not None else [])
            if score >= 0.9
        ]


def written(pictures: list[np.ndarray], folder: pathlib.Path, name: str) -> list[dict[str, Any]]:
    listed = []
    for number, picture in enumerate(pictures):
        path = folder / f"{name}_{number}.rgb"
        path.write_bytes(picture.tobytes())
        listed.append({"path": str(path), "width": picture.shape[1], "height": picture.shape[0]})
    return listed


def normalised(pictures: list[np.ndarray]) -> np.ndarray:
    values = (np.stack(pictures).astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=pathlib.Path, required=True, help="folder with portraits.mp4 and HEIGHT.mp4")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
    parser.add_argument("--device", default="cuda", help="where facenet-pytorch looks for the faces")
    parser.add_argument("--networks", nargs="+", required=True, metavar="NAME:SIZE", help="timm's names")
    parser.add_argument("--batches", nargs="+", type=int, required=True)
    parser.add_argument("--heights", nargs="+", type=int, required=True)
    parser.add_argument("--frames", type=int, required=True, help="of each clip")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    faces = faces_in(frames_of(a.clips / "portraits.mp4", 640, 360, 30), a.device)
    if len(faces) < 8:
        raise SystemExit(f"error: {len(faces)} faces were found in portraits.mp4, 8 are needed")
    inputs: dict[str, dict[str, Any]] = {"faces": {}, "frames": {}}
    pairs = [network.split(":") for network in a.networks]
    for size in sorted({int(size) for _, size in pairs}):
        pictures = [np.asarray(face.resize((size, size), Image.Resampling.BILINEAR)) for face in faces]
        inputs["faces"][size] = written(pictures, a.out, f"face_{size}")
        for batch in a.batches:
            # Repeats faces if there are fewer than the batch size.
            chosen = [pictures[number % len(pictures)] for number in range(batch)]
            normalised(chosen).tofile(a.out / f"faces_{size}x{batch}.f32")
    ready = torch.from_numpy(normalised([np.asarray(face.resize((224, 224))) for face in faces]))
    for name in sorted({name for name, _ in pairs}):
        torch.save(settled(name, ready).state_dict(), a.out / f"{name}.pth")
    for height in a.heights:
        frames = frames_of(a.clips / f"{height}.mp4", (height * 16 // 9 + 1) // 2 * 2, height, a.frames)
        inputs["frames"][height] = written(list(frames), a.out, f"frame_{height}")
    (a.out / "inputs.json").write_text(json.dumps(inputs))


if __name__ == "__main__":
    main()
