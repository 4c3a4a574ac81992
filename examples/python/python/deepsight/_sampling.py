"""Which frames of a video are looked at."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ._errors import SettingError


@dataclass(frozen=True)
class Sampling:
    """A choice of frames. The class methods make one.

    Wherever a sampling is taken, a number means :meth:`evenly` and the word ``"auto"`` means :meth:`auto`.
    """

    kind: str
    value: float | tuple[float, ...] | None = None

    @classmethod
    def auto(cls) -> Sampling:
        """Select as many frames as the length of the video asks for.

        These are 30 frames, or one frame every 2 seconds if the video is longer than a minute, and at most 600. An
        analysis also looks at more frames around suspicious seconds.
        """
        return cls("auto")

    @classmethod
    def evenly(cls, count: int) -> Sampling:
        """Select `count` frames spread evenly over the whole video, with the first and the last."""
        return cls("evenly", whole("count", count))

    @classmethod
    def fps(cls, rate: float) -> Sampling:
        """Select the first frame of every 1 / `rate` seconds."""
        return cls("fps", real("rate", rate))

    @classmethod
    def every(cls, step: int) -> Sampling:
        """Select the frames 0, `step`, 2 `step` and so on."""
        return cls("every", whole("step", step))

    @classmethod
    def all(cls) -> Sampling:
        """Select every frame."""
        return cls("all")

    @classmethod
    def times(cls, seconds: Iterable[float]) -> Sampling:
        """Select the frame that is shown at each of these times, in seconds from the start."""
        return cls("times", tuple(real("seconds", second) for second in seconds))


SamplingLike: TypeAlias = "Sampling | int | str"


def choice(sampling: SamplingLike, name: str) -> tuple[str, float | tuple[float, ...] | None]:
    """Return a sampling as the module of Rust takes it."""
    if isinstance(sampling, str):
        if sampling not in ("auto", "all"):
            raise SettingError(f'{name} is {sampling!r}: it must be a number, "auto", "all" or a Sampling')
        return sampling, None
    if not isinstance(sampling, Sampling):
        sampling = Sampling.evenly(whole(name, sampling))
    return sampling.kind, sampling.value


def real(name: str, value: object) -> float:
    """Return a number, or raise the error that names it."""
    try:
        return float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError, OverflowError):
        raise SettingError(f"{name} is {value!r}: it must be a number") from None


def whole(name: str, value: object, least: int = 1, most: int = 2**63 - 1) -> int:
    """Return a whole number in a range, or raise the error that names it."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what has no index raises
    except TypeError:
        raise SettingError(f"{name} is {value!r}: it must be a whole number") from None
    if not least <= number <= most:
        limit = f"at least {least}" if number < least else f"at most {most}"
        raise SettingError(f"{name} is {number}: it must be {limit}")
    return number
