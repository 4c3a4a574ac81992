"""Compares the large networks of published detectors: ours with ONNX Runtime."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator

import classifier
from setting import Setting

GRID = classifier.Grid(
    "large",
    [
        ("tf_efficientnet_lite1", 240),
        ("tf_efficientnet_lite2", 260),
        ("tf_efficientnet_lite3", 300),
        ("tf_efficientnet_lite4", 380),
        ("tf_efficientnet_b1", 240),
        ("tf_efficientnet_b2", 260),
        ("tf_efficientnet_b4", 380),
        ("tf_efficientnet_b5", 456),
        ("tf_efficientnet_b6", 528),
        ("tf_efficientnet_b7", 380),
        ("tf_efficientnet_b7", 600),
        ("vit_base_patch16_clip_quickgelu_224", 224),
        ("vit_base_patch14_dinov2", 518),
        ("vit_large_patch14_clip_quickgelu_224", 224),
    ],
    ["onnxruntime", "torch"],
    is_complete=False,
)
# A turn takes up to half a minute.
MOST_ROUNDS = 3


def measure(setting: Setting) -> Iterator[dict[str, Any]]:
    rounds = min(setting.rounds, MOST_ROUNDS)
    yield from classifier.measure(dataclasses.replace(setting, rounds=rounds), GRID)
