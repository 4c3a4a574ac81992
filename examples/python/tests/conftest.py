"""What the tests share: the photographs of the detector's tests, the bundled clip, and the bundled model."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import deepsight

REPOSITORY = Path(__file__).resolve().parents[3]
PHOTOS = REPOSITORY / "deepsight-face" / "tests" / "photos"
CLIP = REPOSITORY / "examples" / "clips" / "portraits.mp4"
MODEL = REPOSITORY / "deepsight-core" / "weights" / "efficientnet_lite0.safetensors"
#: Largest differences from facenet-pytorch, as in `deepsight-face/tests/suite/parity.rs`.
PIXELS, CONFIDENCE = 0.5, 1e-3


def photo(name: str) -> Image.Image:
    """Return a photograph in RGB."""
    with Image.open(PHOTOS / f"{name}.png") as image:
        return image.convert("RGB")


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the model card and the tensors of a model file in half precision."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    card = json.loads(header.pop("__metadata__")["deepsight"])
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] == "F16":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(content[start:end], np.float16).reshape(entry["shape"])
    return card, tensors


@pytest.fixture(scope="session")
def clip() -> str:
    return str(CLIP)


@pytest.fixture(scope="session")
def analyzer() -> deepsight.Analyzer:
    return deepsight.Analyzer(min_face_size=40)


@pytest.fixture(scope="session")
def report(analyzer: deepsight.Analyzer, clip: str) -> deepsight.Report:
    return analyzer.analyze(clip, frames=8)


@pytest.fixture(scope="session")
def face(analyzer: deepsight.Analyzer) -> np.ndarray:
    """A face as the bundled model expects it."""
    image = photo("one")
    return deepsight.Classifier().crop(image, analyzer.faces(image)[0])
