"""The resizing of OpenCV and torch in NumPy, for small pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._pixels import Float32Array, UInt8Array


def resize_area(image: npt.NDArray[Any], width: int, height: int) -> npt.NDArray[Any]:
    """Resize a picture ``[rows, columns, 3]`` as ``cv2.resize(..., interpolation=INTER_AREA)``, within one level."""
    rows, columns = image.shape[:2]
    # OpenCV averages areas only if both sides shrink, and interpolates linearly otherwise.
    shrinks = rows >= height and columns >= width
    weights = _areas if shrinks else _lines
    narrow: Float32Array = np.einsum("xc,rcd->rxd", weights(columns, width), image.astype(np.float32), optimize=True)
    small: Float32Array = np.einsum("yr,rxd->yxd", weights(rows, height), narrow, optimize=True)
    # OpenCV does not round where a picture has fractions.
    return small if image.dtype.kind == "f" else np.clip(np.rint(small), 0, 255).astype(np.uint8)


def resize_pooled(image: npt.NDArray[Any], width: int, height: int) -> UInt8Array:
    """Resize a picture ``[rows, columns, 3]`` as ``torch.nn.functional.interpolate(..., mode="area")`` does.

    The result is cut off to whole numbers, as in facenet-pytorch, and differs by at most one level.
    """
    rows, columns = image.shape[:2]
    narrow = np.einsum("xc,rcd->rxd", _pools(columns, width), image.astype(np.float64), optimize=True)
    small = np.einsum("yr,rxd->yxd", _pools(rows, height), narrow, optimize=True)
    # A mean of equal numbers is not cut off to the number below.
    cut: UInt8Array = np.floor(small + 1e-6).clip(0, 255).astype(np.uint8)
    return cut


def _areas(source: int, target: int) -> Float32Array:
    """Return the share ``[target, source]`` that each source pixel has in the mean of each target pixel."""
    edges = np.arange(target + 1) * (source / target)
    places = np.arange(source)
    right = np.minimum(edges[1:, None], places[None] + 1)
    left = np.maximum(edges[:-1, None], places[None])
    overlap = np.clip(right - left, 0, None)
    shares: Float32Array = (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _pools(source: int, target: int) -> npt.NDArray[np.float64]:
    """Return the share ``[target, source]`` of each source pixel in each target pixel, the mean of whole pixels."""
    places, steps = np.arange(source), np.arange(target)
    first, last = steps * source // target, -(-(steps + 1) * source // target)
    within = (places[None] >= first[:, None]) & (places[None] < last[:, None])
    shares: npt.NDArray[np.float64] = within / within.sum(axis=1, keepdims=True)
    return shares


def _lines(source: int, target: int) -> Float32Array:
    """Return the weights ``[target, source]`` of the two source pixels between which each target pixel lies."""
    weights = np.zeros((target, source), np.float32)
    # As OpenCV computes it: the last bit decides where a product is a whole number.
    inverse = target / source
    scale = 1.0 / inverse
    places = np.arange(target)
    first = np.floor(places * scale).astype(int)
    part = ((places + 1) - (first + 1) * inverse).astype(np.float32)
    part = np.where(part <= 0, 0, part - np.floor(part))
    np.add.at(weights, (places, np.clip(first, 0, source - 1)), 1 - part)
    np.add.at(weights, (places, np.clip(first + 1, 0, source - 1)), part)
    return weights
