"""State dicts in memory as the module of Rust takes them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from ._errors import ArrayError, SettingError

#: Name, type in the words of safetensors, shape, and the values as bytes in little-endian order.
Tensor: TypeAlias = "tuple[str, str, tuple[int, ...], npt.NDArray[np.uint8]]"
#: The keys under which dictionaries lie, joined by dots, and their tensors.
Dictionaries: TypeAlias = "list[tuple[str, list[Tensor]]]"

#: The types that safetensors has, by NumPy's names. The importer refuses weights of whole numbers.
_TYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
}  # fmt: skip
#: Deepest and most dictionaries that are searched; files have the same limits.
_DEPTH, _DICTIONARIES = 3, 256


@runtime_checkable
class SupportsStateDict(Protocol):
    """A network of PyTorch."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return its tensors by name."""


def dictionaries(weights: Mapping[str, Any], name: str) -> Dictionaries:
    """Return the tensors of a state dict, or of a checkpoint that has some. `name` says in messages what it is."""
    found: Dictionaries = []
    waiting: deque[tuple[str, Mapping[Any, Any], int]] = deque([("", weights, 0)])
    searched = 0
    while waiting and searched < _DICTIONARIES:
        keys, dictionary, depth = waiting.popleft()
        searched += 1
        entries = [(key, value) for key, value in dictionary.items() if isinstance(key, str)]
        if tensors := [_tensor(key, value) for key, value in entries if _is_tensor(value)]:
            found.append((keys, tensors))
        if depth < _DEPTH:
            inner = [(key, value) for key, value in entries if isinstance(value, Mapping)]
            waiting.extend((f"{keys}.{key}" if keys else key, value, depth + 1) for key, value in inner)
    if not found:
        raise SettingError(f"{name} has no tensors: pass model.state_dict()")
    return found


def _is_tensor(value: object) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _tensor(name: str, tensor: Any) -> Tensor:
    """Return a tensor of NumPy, or of a library that NumPy reads, without a copy where its values lie in order."""
    kind = ""
    try:
        if hasattr(tensor, "detach"):
            tensor = tensor.detach().cpu()
            if str(tensor.dtype) == "torch.bfloat16":
                # NumPy has no such type, so it gets the bits. torch was imported by the one that made the tensor.
                kind, tensor = "BF16", tensor.view(sys.modules["torch"].int16)
        array = np.asarray(tensor)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ArrayError(f"tensor {name!r} cannot be read as an array: {reason}") from error
    kind = kind or _TYPES.get(array.dtype.name, "")
    if not kind:
        raise ArrayError(f"tensor {name!r} has dtype {array.dtype}: {', '.join(_TYPES)} can be read")
    shape = array.shape
    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    return name, kind, shape, flat.view(np.uint8)
