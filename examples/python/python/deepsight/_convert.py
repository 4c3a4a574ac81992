"""Weights of PyTorch to model files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from . import _deepsight
from ._errors import ConversionWarning, SettingError
from ._paths import PathLike, text
from ._pixels import ImageLike, pixels
from ._sampling import real, whole
from ._tensors import Dictionaries, SupportsStateDict, dictionaries

WeightsLike: TypeAlias = "Mapping[str, Any] | SupportsStateDict | PathLike"


def convert(
    weights: WeightsLike,
    output: PathLike,
    *,
    model_name: str | None = None,
    name: str | None = None,
    origin: str | None = None,
    variant: str | None = None,
    which: str | None = None,
    activation: str | None = None,
    head: str | None = None,
    head_weights: WeightsLike | None = None,
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
    golden: ImageLike | None = None,
    references: Iterable[tuple[ImageLike, float]] = (),
    tolerance: float = 0.01,
) -> Path:
    """Write a model file with the weights of a network that was trained with PyTorch.

    The networks are EfficientNets of timm and of ``efficientnet_pytorch``, and the vision transformers of CLIP and
    DINOv2 under the names of timm, transformers, open_clip and OpenAI's CLIP, with two classes or one logit. torch is
    not needed, and no code in a file is run.

    Parameters
    ----------
    weights
        A ``state_dict()`` or a whole checkpoint as it is in memory, a network (``torch.nn.Module``), or the path of a
        checkpoint (``.pth`` or ``.safetensors``). A network that is one of timm, or contains one, also says its name,
        and the mean and deviation of its pixels; other networks of CLIP say their activation by their modules.
    output
        The model file to write. :class:`Analyzer`, :class:`Classifier` and ``deepsight analyze --model`` take it.
    model_name
        The name of the network in timm, such as ``"tf_efficientnet_b4"``. EfficientNets need it unless the network, the
        checkpoint or `origin` says it; the shape of a vision transformer is that of its tensors. Names of EfficientNets
        without ``tf_`` are used loosely, so they need `variant`, too.
    name
        The name of the model; the name of the file by default.
    origin
        The project that trained it, which decides network, crop, resize filter, input size, mean and deviation:
        ``"timm"``, ``"sbi"``, ``"deepfakebench"``, ``"selimsef"``, ``"polimi"``, ``"effort"``, ``"gend"`` or
        ``"unifd"``.
    variant
        ``"pytorch"`` or ``"tensorflow"``, where neither the name nor the checkpoint says it. For EfficientNets only.
    which
        The weights of a checkpoint that has both: ``"ema"``, the default, or ``"plain"``.
    activation
        The activation of CLIP's vision transformer, which its weights do not show: ``"gelu"`` (LAION) or
        ``"quick_gelu"`` (OpenAI).
    head
        What the last layer of a vision transformer gets: ``"linear"`` (its features), the default, or ``"cosine"``
        (features of length 1, as in GenD).
    head_weights
        The last layer of a vision transformer, if `weights` have only the network: a path, a state dict, or a
        ``torch.nn.Linear``.
    input_size
        Side of the network's input in pixels; timm's by default, and for vision transformers that of their positions.
    mean, std
        Mean and standard deviation of pixels in 0..1, RGB; timm's by default.
    resize
        The filter that resizes faces: ``"opencv_bilinear"``, ``"pil_bilinear"`` or ``"pil_bicubic"``. The first is the
        default, the last that of vision transformers.
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
        Padding and epsilon of an EfficientNet, if they are not those of the variant. Paddings are ``"symmetric"``,
        ``"same"``, ``"same-for:SIDE"`` and ``"same-for-each:SIDE"``.
    trained_on, terms
        The training data, and the terms of use, for the file.
    format
        How weights are stored: ``"f32"``, ``"f16"`` or ``"i8"``. The last is not for vision transformers.
    golden
        A face, cut out as `crop` says. The model file has it with its score, and is checked with it when it is loaded.
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
    ArrayError
        If a tensor or a face cannot be read.
    WriteError
        If the file cannot be written.

    Warns
    -----
    ConversionWarning
        If a checkpoint has weights that are left out, or if the project of `origin` prepares faces differently from
        what a model file can say.

    Examples
    --------
    >>> model = timm.create_model("tf_efficientnet_b0", num_classes=2)
    >>> deepsight.convert(model, "mine.safetensors")
    >>> deepsight.Classifier("mine.safetensors").score(faces)
    >>> deepsight.convert("effort_clip_L14.pth", "effort.safetensors", origin="effort", format="f16")
    """
    architecture: str | None = None
    own_activation: str | None = None
    if isinstance(weights, SupportsStateDict):
        architecture, (own_mean, own_std) = _of_timm(weights)
        if origin is None:
            mean, std = (own_mean if mean is None else mean), (own_std if std is None else std)
        if architecture is None and model_name is None and origin is None:
            own_activation = _activation(weights)
    elif isinstance(weights, Mapping) and isinstance(weights.get("arch"), str):
        # Timm's training script writes it.
        architecture = weights["arch"]
    target = Path(text(output, "output"))
    settings = {
        "name": target.stem if name is None else str(name),
        "architecture": architecture,
        "model_name": model_name,
        "origin": origin,
        "variant": variant,
        "which": which,
        "activation": activation,
        "clip_activation": own_activation,
        "head": head,
        "input_size": None if input_size is None else whole("input_size", input_size, most=2**32 - 1),
        "mean": None if mean is None else _three("mean", mean),
        "std": None if std is None else _three("std", std),
        "resize": resize,
        "crop": None if crop is None else _crop(crop),
        "fake_first": bool(fake_first),
        "threshold": None if threshold is None else real("threshold", threshold),
        "temperature": None if temperature is None else real("temperature", temperature),
        "mirrored": None if mirrored is None else bool(mirrored),
        "padding": padding,
        "batch_norm_epsilon": None if batch_norm_epsilon is None else real("batch_norm_epsilon", batch_norm_epsilon),
        "trained_on": trained_on,
        "terms": terms,
        "format": format,
    }
    for setting in _TEXTS:
        if not isinstance(settings[setting], (str, type(None))):
            raise SettingError(f"{setting} is {settings[setting]!r}: it must be a str")
    proofs = {
        "golden": None if golden is None else pixels(golden, "golden"),
        "references": [
            (pixels(face, f"references[{index}]"), real(f"the score of references[{index}]", score))
            for index, (face, score) in enumerate(references)
        ],
        "tolerance": real("tolerance", tolerance),
    }
    source = _source(weights, "weights")
    notes = _deepsight.convert(
        source, None if head_weights is None else _source(head_weights, "head_weights"), target, settings, proofs
    )
    for note in notes:
        warnings.warn(note, ConversionWarning, stacklevel=2)
    return target


_TEXTS = (
    "model_name", "origin", "variant", "which", "activation", "head", "resize", "padding", "trained_on", "terms",
    "format",
)  # fmt: skip


def _source(weights: WeightsLike, name: str) -> str | Dictionaries:
    """Return the path of a file, or tensors."""
    if isinstance(weights, (str, bytes, os.PathLike)):
        return text(weights, name)
    if isinstance(weights, SupportsStateDict):
        weights = weights.state_dict()
    if isinstance(weights, Mapping):
        return dictionaries(weights, name)
    raise SettingError(
        f"{name} is a {type(weights).__name__}: a state dict, a torch.nn.Module or the path of a file is needed"
    )


def _of_timm(model: Any) -> tuple[str | None, tuple[Any, Any]]:
    """Return the name, mean and deviation that timm wrote into a network, or into the only one that it contains."""
    found = [getattr(module, "pretrained_cfg", None) for module in _modules(model)]
    settings = [cfg for cfg in found if isinstance(cfg, Mapping) and isinstance(cfg.get("architecture"), str)]
    if len(settings) != 1 or not settings[0]["architecture"]:
        return None, (None, None)
    return settings[0]["architecture"], (settings[0].get("mean"), settings[0].get("std"))


def _activation(model: Any) -> str | None:
    """Return the activation of a network, if its modules or their configurations have one that CLIP may have."""
    found = set()
    for module in _modules(model):
        config = getattr(module, "config", None)
        found.add(getattr(getattr(config, "vision_config", config), "hidden_act", None))
        # That of nn.GELU is "tanh" for another function.
        is_exact = getattr(module, "approximate", "none") == "none"
        found.add(_ACTIVATIONS.get(type(module).__name__) if is_exact else "other")
    names = found - {None}
    return names.pop() if len(names) == 1 and names <= {"gelu", "quick_gelu"} else None


#: The modules of torch, timm, open_clip and transformers.
_ACTIVATIONS = {
    "GELU": "gelu", "GELUActivation": "gelu", "QuickGELU": "quick_gelu", "QuickGELUActivation": "quick_gelu",
}  # fmt: skip


def _modules(model: Any) -> list[Any]:
    return list(model.modules()) if callable(getattr(model, "modules", None)) else [model]


def _three(name: str, values: Any) -> list[float]:
    try:
        numbers = list(values)
    except TypeError:
        numbers = []
    if len(numbers) != 3:
        raise SettingError(f"{name} is {values!r}: it must have three numbers, for red, green and blue")
    return [real(name, number) for number in numbers]


def _crop(text: str) -> tuple[str, list[float]]:
    kind, *numbers = str(text).split(":")
    try:
        values = [float(number) for number in numbers]
        if (kind, len(values)) in (("box", 0), ("margin", 1)):
            return kind, values
        if kind == "aligned" and len(values) in (2, 3):
            return kind, [int(numbers[0]), values[1], (*values, 0.0)[2]]
    except ValueError:
        pass
    rule = "it must be box, margin:FRACTION, aligned:SIZE:SCALE or aligned:SIZE:SCALE:DOWN"
    raise SettingError(f"crop is {text!r}: {rule}")
