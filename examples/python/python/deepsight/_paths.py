"""Paths as people give them."""

from __future__ import annotations

import os
from typing import TypeAlias

from ._errors import SettingError

PathLike: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"


def is_path(value: object) -> bool:
    """Return whether the value is a path."""
    return isinstance(value, (str, bytes, os.PathLike))


def text(path: PathLike, name: str) -> str:
    """Return a path as text, or raise the error that names it."""
    if not is_path(path):
        raise SettingError(f"{name} is {path!r}: it must be a path")
    return os.fsdecode(path)
