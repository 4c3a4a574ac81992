"""The module of Rust. Import `deepsight` instead."""

import os
from collections.abc import Callable
from typing import Any, final

import numpy as np
import numpy.typing as npt

from deepsight._errors import DeepSightError

__all__ = [
    "convert",
    "Analyses",
    "Detector",
    "devices",
    "FrameReader",
    "Mtcnn",
    "get_threads",
    "set_threads",
    "Report",
    "Session",
]

_Path = str | os.PathLike[str]
_Sampling = tuple[str, float | tuple[float, ...] | None]
_Progress = Callable[[int, int | None, int, int], object]
_Points = list[list[float]]
_Face = tuple[tuple[float, float, float, float], tuple[tuple[float, float], ...] | None, float]
_Evidence = tuple[int, int, float, int, float, npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]
_Floats = npt.NDArray[np.float32]

@final
class Detector:
    def __new__(
        cls, models: list[str], device: str, min_face_size: int, threshold: float | None
    ) -> Detector: ...
    def analyze(
        self, path: _Path, sampling: _Sampling, max_duration: int | None, progress: _Progress | None
    ) -> Report: ...
    def analyze_many(
        self, paths: list[str], jobs: int, sampling: _Sampling, max_duration: int | None
    ) -> Analyses: ...
    def analyze_image(self, image: npt.NDArray[Any]) -> Report: ...
    def session(self, source: str, deadline: float | None) -> Session: ...
    def faces(self, image: npt.NDArray[Any]) -> list[_Face]: ...
    def crop(
        self, image: npt.NDArray[Any], bounds: list[float], landmarks: _Points | None
    ) -> npt.NDArray[np.uint8]: ...
    def score(self, faces: list[npt.NDArray[Any]]) -> _Floats: ...
    def explain(self, face: npt.NDArray[Any]) -> _Floats: ...
    def model(self) -> str: ...
    def device(self) -> str: ...

@final
class Analyses:
    def __iter__(self) -> Analyses: ...
    def __next__(self) -> tuple[str, Report | DeepSightError]: ...
    def close(self) -> None: ...

@final
class Report:
    @staticmethod
    def from_json(text: str) -> Report: ...
    def to_json(self, pretty: bool) -> str: ...
    def to_html(self) -> str: ...
    def write_html(self, path: _Path) -> None: ...
    def evidence(self) -> list[_Evidence]: ...

@final
class Session:
    def push(self, image: npt.NDArray[Any], index: int, time: float) -> str: ...
    def fail(self, reason: str) -> None: ...
    def finish(self) -> Report: ...

@final
class FrameReader:
    def __new__(
        cls, path: _Path, sampling: _Sampling, max_side: int | None, max_duration: int | None
    ) -> FrameReader: ...
    @property
    def expected(self) -> int: ...
    @property
    def frame_count(self) -> int: ...
    @property
    def duration(self) -> float: ...
    @property
    def input(self) -> str: ...
    def __iter__(self) -> FrameReader: ...
    def __next__(self) -> tuple[int, float, npt.NDArray[np.uint8]]: ...
    def close(self) -> None: ...

@final
class Mtcnn:
    def __new__(cls, min_face_size: float, thresholds: list[float], factor: float) -> Mtcnn: ...
    def detect(self, images: list[npt.NDArray[Any]]) -> list[tuple[_Floats, _Floats, _Floats]]: ...

def convert(
    content: bytes | None,
    path: _Path | None,
    output: _Path,
    name: str,
    names: dict[str, str],
    card: str,
    references: list[tuple[npt.NDArray[Any], float]],
    tolerance: float,
) -> None: ...
def devices() -> list[str]: ...
def set_threads(count: int) -> None:
    """Set the number of threads on which all objects of the package compute together, 1 to 1024.

    One thread for each core is the default. Calls that run finish on the threads that they have.

    Raises
    ------
    SettingError
        If the number is outside its range.
    """

def get_threads() -> int:
    """Return the number of threads on which all objects of the package compute together."""
