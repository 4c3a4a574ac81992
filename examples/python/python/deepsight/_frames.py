"""The frames of a video as arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _deepsight
from ._paths import PathLike, text
from ._pixels import UInt8Array, shape
from ._sampling import SamplingLike, choice, whole


@dataclass(frozen=True, eq=False, repr=False)
class VideoFrame:
    """A frame of a video. It can be unpacked: ``index, time, image = frame``."""

    #: Position in the video, from 0.
    index: int
    #: Time in seconds.
    time: float
    #: Upright pixels ``[height, width, 3]``, RGB.
    image: UInt8Array

    def __iter__(self) -> Iterator[Any]:
        return iter((self.index, self.time, self.image))

    def __repr__(self) -> str:
        return f"<VideoFrame index={self.index} time={self.time:.3f} image={shape(self.image)}>"


class FrameStack(NamedTuple):
    """Frames as one array."""

    #: Pixels ``[frames, height, width, 3]``, RGB.
    images: UInt8Array
    #: Times in seconds, ``[frames]``.
    times: npt.NDArray[np.float64]
    #: Positions in the video, ``[frames]``.
    indices: npt.NDArray[np.int64]


class Frames(Iterator[VideoFrame]):
    """The frames that :func:`read_frames` selects, decoded as they are read, once."""

    def __init__(self, reader: _deepsight.FrameReader) -> None:
        self._reader = reader

    @property
    def expected(self) -> int:
        """Number of frames that will come, for a progress bar."""
        return self._reader.expected

    @property
    def frame_count(self) -> int:
        """Number of frames in the file."""
        return self._reader.frame_count

    @property
    def duration(self) -> float:
        """Length of the file in seconds; 0 for a picture."""
        return self._reader.duration

    @property
    def input(self) -> dict[str, Any]:
        """What the file says about itself: ``container``, ``codec``, ``width``, ``height``, ``frame_rate``, ..."""
        description: dict[str, Any] = json.loads(self._reader.input)
        return description

    def __next__(self) -> VideoFrame:
        return VideoFrame(*next(self._reader))

    def stack(self) -> FrameStack:
        """Read the frames that are left into one array."""
        images = np.empty((0, 0, 0, 3), np.uint8)
        places: list[tuple[int, float]] = []
        for index, time, image in self:
            if not places:
                images = np.empty((max(self.expected, 1), *image.shape), np.uint8)
            elif len(places) == len(images):
                images = np.concatenate([images, np.empty_like(images)])
            images[len(places)] = image
            places.append((index, time))
        return FrameStack(
            images[: len(places)],
            np.array([time for _, time in places], np.float64),
            np.array([index for index, _ in places], np.int64),
        )

    def __repr__(self) -> str:
        return f"<Frames {self.expected} of {self.frame_count}, {self.duration:.3f} s>"

    def close(self) -> None:
        """End the decoding. The end of the iteration does it, too."""
        self._reader.close()

    def __enter__(self) -> Frames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_frames(
    path: PathLike,
    sampling: SamplingLike = "auto",
    *,
    max_side: int | None = None,
    max_duration: int | None = None,
) -> Frames:
    """Decode frames of a video, or a picture.

    The frames are upright, deinterlaced, and have square pixels; high dynamic range is mapped to BT.709.

    Parameters
    ----------
    path
        A video, or a picture (JPEG, PNG, WebP). ffmpeg must be installed.
    sampling
        A number of frames that are spread evenly, ``"auto"``, ``"all"`` or a :class:`Sampling`.
    max_side
        Longest side in pixels; larger frames are scaled down.
    max_duration
        Longest video in seconds that is accepted; one hour by default.

    Returns
    -------
    Frames
        An iterator of :class:`VideoFrame`. ``stack()`` reads all into one array.

    Raises
    ------
    VideoError
        If the file cannot be opened. A file that is cut short or damaged raises it after the last frame.
    SettingError
        If the sampling selects nothing.

    Examples
    --------
    >>> images, times, _ = deepsight.read_frames("clip.mp4", 30).stack()
    >>> for index, time, image in deepsight.read_frames("clip.mp4", deepsight.Sampling.fps(2)):
    ...     print(time, image.shape)
    """
    side = None if max_side is None else whole("max_side", max_side, most=2**32 - 1)
    duration = None if max_duration is None else whole("max_duration", max_duration)
    return Frames(_deepsight.FrameReader(text(path, "path"), choice(sampling, "sampling"), side, duration))
