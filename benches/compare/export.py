"""Writes the inputs of both sides: networks with the same weights in every format, and faces.

The weights are random with a fixed seed, and settled so that different faces get different answers; speed does not
depend on them. Into the folder go NAME.pth, NAME_SIZE.onnx, faces_SIZExBATCH.f32 (normalised, [batch, 3, size, size]),
the same faces as they were cut out (face_N.rgb), and export.json, which lists them.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image

from pipeline import find_faces, preprocess, sampled_frames
from weights import settled


def cut_out_faces(clip: str) -> list[Image.Image]:
    """Returns every face of 30 frames, frame by frame."""
    detector = MTCNN(keep_all=True, post_process=False, device="cpu")
    with torch.inference_mode():
        return [crop for _, frame in sampled_frames(clip, 30) for crop in find_faces(detector, frame, 0.9)[1]]


def batch_of(faces: list[Image.Image], size: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([preprocess(face, size) for face in faces]))


def export(name: str, sizes: list[int], faces: list[Image.Image], folder: pathlib.Path) -> None:
    # Vision transformers take one size only.
    model = settled(name, batch_of(faces, sizes[0] if name.startswith("vit_") else 224))
    torch.save(model.state_dict(), folder / f"{name}.pth")
    # One file for each size: the padding of a TensorFlow variant depends on it.
    for size in sizes:
        torch.onnx.export(
            model, (batch_of(faces[:2], size),), folder / f"{name}_{size}.onnx", dynamo=False,
            input_names=["images"], output_names=["logits"],
            dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", required=True, help="clip to take the faces from")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
    names = "timm's name, side of the input"
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME@SIZE", help=names)
    parser.add_argument("--batches", nargs="+", type=int, required=True, help="faces in a batch")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    faces = cut_out_faces(a.clip)
    if len(faces) < max(a.batches):
        raise SystemExit(f"export.py: {a.clip} shows {len(faces)} faces, {max(a.batches)} are needed")
    networks: dict[str, list[int]] = {}
    for name, size in (model.rsplit("@", 1) for model in a.models):
        networks.setdefault(name, []).append(int(size))
    for name, sizes in networks.items():
        export(name, sizes, faces, a.out)
    # Spreads the faces over the clip, so that a batch shows several people.
    faces = faces[:: len(faces) // max(a.batches)]
    for size in sorted({size for sizes in networks.values() for size in sizes}):
        for batch in a.batches:
            batch_of(faces[:batch], size).numpy().tofile(a.out / f"faces_{size}x{batch}.f32")
    images = []
    for number, face in enumerate(faces[: max(a.batches)]):
        path = a.out / f"face_{number}.rgb"
        path.write_bytes(np.asarray(face).tobytes())
        images.append({"path": str(path), "width": face.width, "height": face.height})
    (a.out / "export.json").write_text(json.dumps(images))


if __name__ == "__main__":
    main()
