"""Weights of PyTorch to model files."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from . import _deepsight
from ._errors import SettingError
from ._pixels import ImageLike, pixels


@runtime_checkable
class SupportsStateDict(Protocol):
    """A network of PyTorch."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return its tensors by name."""


_DTYPES = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64", "int32": "I32", "uint8": "U8"}


def convert(
    weights: Mapping[str, Any] | SupportsStateDict | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model_name: str | None = None,
    name: str | None = None,
    origin: str | None = None,
    variant: str | None = None,
    which: str | None = None,
    input_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: str | None = None,
    crop: str | None = None,
    fake_first: bool = False,
    threshold: float | None = None,
    temperature: float | None = None,
    mirrored: bool | None = None,
    padding: str | None = None,
    batch_norm_epsilon: float | None = None,
    trained_on: str = "",
    terms: str = "",
    format: str = "f32",
    references: Iterable[tuple[ImageLike, float]] = (),
    tolerance: float = 0.01,
) -> Path:
    """Write a model file with the weights of a network that was trained with PyTorch.

    The networks are the EfficientNets of timm and of ``efficientnet_pytorch``, with two classes or one logit. torch
    is not needed, and no code in a file is run.

    Parameters
    ----------
    weights
        A ``state_dict()`` as it is in memory, a model of timm, which also says its name, or the path of a checkpoint
        (``.pth`` or ``.safetensors``).
    output
        The model file to write. :class:`Analyzer`, :class:`Classifier` and ``deepsight analyze --model`` take it.
    model_name
        The name of the network in timm, such as ``"tf_efficientnet_b4"``. It is needed unless the model, the
        checkpoint or `origin` says it. Names without ``tf_`` are used loosely, so they need `variant`, too.
    name
        The name of the model; the name of the file by default.
    origin
        The project that trained it, which sets network, crop, input size, mean and deviation: ``"timm"``, ``"sbi"``,
        ``"deepfakebench"``, ``"selimsef"`` or ``"polimi"``.
    variant
        ``"pytorch"`` or ``"tensorflow"``, where neither the name nor the checkpoint says it.
    which
        The weights of a checkpoint that has both: ``"ema"``, the default, or ``"plain"``.
    input_size
        Side of the network's input in pixels; timm's by default.
    mean, std
        Mean and standard deviation of pixels in 0..1, RGB; timm's by default.
    resize
        The filter that resizes faces: ``"opencv_bilinear"``, the default, or ``"pil_bilinear"``.
    crop
        How a face is cut out: ``"box"``, the default, ``"margin:FRACTION"``, ``"aligned:SIZE:SCALE"`` or
        ``"aligned:SIZE:SCALE:DOWN"``.
    fake_first
        Whether the first class is the forged one, as in folders sorted by name.
    threshold
        Probability from which a face is forged; 0.5 by default.
    temperature
        The logits are divided by it before the softmax; 1 by default.
    mirrored
        Whether to average each face and its mirror image, in twice the time.
    padding, batch_norm_epsilon
        Padding and epsilon of the network, if they are not those of the variant.
    trained_on, terms
        The training data, and the terms of use, for the file.
    format
        How weights are stored: ``"f32"``, ``"f16"`` or ``"i8"``.
    references
        Faces, cut out as `crop` says, each with the probability that the original network gives it. The model file is
        compared with them, and has them.
    tolerance
        Largest difference from the probability of a reference.

    Returns
    -------
    pathlib.Path
        The file that was written.

    Raises
    ------
    ModelError
        If the weights are not those of the network, or a reference does not get its probability.
    SettingError
        If a setting is missing or outside its range.

    Examples
    --------
    >>> model = timm.create_model("tf_efficientnet_b0", num_classes=2)
    >>> deepsight.convert(model, "mine.safetensors")
    >>> deepsight.Classifier("mine.safetensors").score(faces)
    """
    if isinstance(weights, SupportsStateDict):
        # A model of timm has timm's own name, so the prefix is missing only in the variant of PyTorch.
        own = _architecture(weights) if model_name is None and origin is None else None
        if own is not None:
            model_name, variant = own, variant or ("tensorflow" if own.startswith("tf_") else "pytorch")
        weights = weights.state_dict()
    card = {
        "input_size": input_size,
        "mean": None if mean is None else [float(value) for value in mean],
        "std": None if std is None else [float(value) for value in std],
        "resize": resize,
        "crop": None if crop is None else _crop(crop),
        "labels": ["fake", "real"] if fake_first else None,
        "threshold": threshold,
        "temperature": temperature,
        "mirrored": mirrored,
        "padding": None if padding is None else _padding(padding),
        "batch_norm_epsilon": batch_norm_epsilon,
        "trained_on": trained_on,
        "terms": terms,
    }
    names = {"network": model_name, "origin": origin, "variant": variant, "weights": which, "format": format}
    content, path = None, None
    if isinstance(weights, (str, os.PathLike)):
        path = weights
    elif isinstance(weights, Mapping):
        content = _safetensors(dict(_tensors(weights)))
    else:
        raise SettingError(
            f"weights is a {type(weights).__name__}: a state dict, a model of timm or the path of a file is needed"
        )
    target = Path(output)
    _deepsight.convert(
        content,
        path,
        target,
        target.stem if name is None else name,
        {key: value for key, value in names.items() if value is not None},
        json.dumps({field: value for field, value in card.items() if value is not None}),
        [(pixels(face, "references"), float(score)) for face, score in references],
        tolerance,
    )
    return target


def _architecture(model: Any) -> str | None:
    """Return the name that timm wrote into a model."""
    settings = getattr(model, "pretrained_cfg", None)
    name = settings.get("architecture") if isinstance(settings, Mapping) else None
    return name if isinstance(name, str) and name else None


def _tensors(weights: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, npt.NDArray[Any]]]:
    """Yield the tensors of a state dict, and of the dictionaries in it, by their names with a prefix."""
    for key, value in weights.items():
        if isinstance(value, Mapping):
            yield from _tensors(value, f"{prefix}{key}.")
        elif hasattr(value, "shape"):
            yield f"{prefix}{key}", _array(value)


def _array(tensor: Any) -> npt.NDArray[Any]:
    if isinstance(tensor, np.ndarray):
        return tensor
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        # NumPy has no bfloat16.
        tensor = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
    return np.asarray(tensor)


def _safetensors(tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return the content of a safetensors file."""
    header: dict[str, Any] = {}
    blocks: list[bytes] = []
    offset = 0
    for name, array in tensors.items():
        kind = _DTYPES.get(array.dtype.name)
        if kind is None:
            raise SettingError(f"tensor {name!r} has dtype {array.dtype}: {', '.join(_DTYPES)} can be read")
        block = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, offset + len(block)]}
        offset += len(block)
        blocks.append(block)
    if not header:
        raise SettingError("weights has no tensors: pass model.state_dict()")
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(blocks)


def _crop(text: str) -> dict[str, Any]:
    kind, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
        if kind == "box" and not values:
            return {"kind": "box"}
        if kind == "margin" and len(values) == 1:
            return {"kind": "margin", "fraction": values[0]}
        if kind == "aligned" and len(values) in (2, 3):
            return {"kind": "aligned", "size": int(numbers[0]), "scale": values[1], "down": (*values, 0.0)[2]}
    except ValueError:
        pass
    rule = "it must be box, margin:FRACTION, aligned:SIZE:SCALE or aligned:SIZE:SCALE:DOWN"
    raise SettingError(f"crop is {text!r}: {rule}")


def _padding(text: str) -> str | dict[str, int]:
    kind, _, side = text.partition(":")
    if kind in ("same-for", "same-for-each") and side.isdecimal():
        return {kind.replace("-", "_"): int(side)}
    if text in ("symmetric", "same"):
        return text
    raise SettingError(f"padding is {text!r}: it must be symmetric, same, same-for:SIDE or same-for-each:SIDE")
