"""Pictures of any library as arrays ``[height, width, 3]`` of uint8, RGB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ._errors import ArrayError

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
Float32Array: TypeAlias = npt.NDArray[np.float32]

#: A picture: a PIL image, an array ``[height, width, 3]`` of uint8 (RGB), or anything that NumPy reads as one, such as
#: a tensor on the CPU.
ImageLike: TypeAlias = Any


def is_pil(image: object) -> bool:
    """Return whether the object is an image of PIL, which need not be installed."""
    return any(cls.__module__.startswith("PIL.") for cls in type(image).__mro__)


def pixels(image: ImageLike, name: str) -> npt.NDArray[Any]:
    """Return a picture as an array. The module of Rust checks its dtype and shape."""
    if is_pil(image):
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    if isinstance(image, np.ndarray):
        return image
    if hasattr(image, "__array__") or hasattr(image, "__dlpack__"):
        return np.asarray(image) if hasattr(image, "__array__") else np.from_dlpack(image)
    raise ArrayError(
        f"{name} is a {type(image).__name__}: a PIL image or an array [height, width, 3] of uint8 is needed"
    )


def shape(image: npt.NDArray[Any]) -> str:
    """Return the size of an array for a person: ``640x480``, width first."""
    return "x".join(str(length) for length in image.shape[1::-1])


def levels(image: npt.NDArray[Any], name: str, *, cut: bool) -> npt.NDArray[Any]:
    """Return an array of numbers from 0 to 255 as uint8.

    Fractions are cut off, or rounded. The module of Rust refuses arrays of other types.
    """
    if image.dtype == np.uint8 or image.dtype.kind not in "fiu" or image.size == 0:
        return image
    low, high = image.min(), image.max()
    if not (low >= 0 and high <= 255):
        raise ArrayError(f"{name} has values from {low} to {high}: values from 0 to 255 are needed")
    nearest = np.rint(image)
    if high <= 1 and not np.array_equal(nearest, image):
        raise ArrayError(f"{name} has values from {low} to {high}: values from 0 to 255 are needed; multiply by 255")
    whole: UInt8Array = (np.trunc(image) if cut else nearest).astype(np.uint8)
    return whole


def is_batch(images: object) -> bool:
    """Return whether the object has several pictures: a list, a tuple, or an array of four dimensions."""
    return isinstance(images, (list, tuple)) or (not is_pil(images) and len(getattr(images, "shape", ())) == 4)


def batch(images: ImageLike | Sequence[ImageLike], name: str) -> list[npt.NDArray[Any]]:
    """Return one or several pictures as a list of arrays."""
    if not is_batch(images):
        return [pixels(images, name)]
    if not isinstance(images, (list, tuple)):
        return list(pixels(images, name))
    return [pixels(image, f"{name}[{index}]") for index, image in enumerate(images)]
