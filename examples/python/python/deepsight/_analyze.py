"""Whole clips: from a file to a report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

from . import _deepsight, _report
from ._errors import DeepSightError, SettingError
from ._paths import PathLike, is_path, text
from ._pixels import ImageLike, pixels
from ._report import Face, Reason, Report, Segment, Track
from ._sampling import SamplingLike, choice, real, whole

ModelLike: TypeAlias = "PathLike | Sequence[PathLike] | None"


class Progress(NamedTuple):
    """The progress of an analysis."""

    #: Frames that were searched for faces.
    frames: int
    #: Number of all frames, if it is known.
    expected: int | None
    #: Faces that were scored.
    faces: int
    #: Errors of single frames and faces.
    errors: int


ProgressCallback: TypeAlias = Callable[[Progress], object]


def analyze(
    path: PathLike,
    *,
    frames: SamplingLike = "auto",
    model: ModelLike = None,
    device: str = "cpu",
    progress: ProgressCallback | None = None,
) -> Report:
    """Analyze a video or a picture, and return a report.

    Other Python threads run meanwhile, and Ctrl-C ends the analysis. To analyze many files, use :func:`analyze_many`
    or an :class:`Analyzer`, which load a model once.

    Parameters
    ----------
    path
        A video, or a picture (JPEG, PNG, WebP). ffmpeg must be installed.
    frames
        How many frames are looked at, or a :class:`Sampling`. ``"auto"`` looks at as many as the length asks for, and
        at more around suspicious seconds.
    model
        A model file, an ensemble file, or several model files; the bundled model by default. The bundled model is for
        research use only.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"wgpu"``. GPUs need a build with them.
    progress
        Is called with a :class:`Progress` after every frame and every batch of faces, on this thread. An exception of
        it ends the analysis and is raised here.

    Raises
    ------
    VideoError
        If the file cannot be opened or decoded.
    ModelError
        If the model cannot be used.
    DeepSightError
        Its other subclasses say what else is wrong.

    Examples
    --------
    >>> report = deepsight.analyze("clip.mp4")
    >>> report.verdict, report.fake_probability
    ('REAL', 0.0731)
    """
    analyzer = _bundled(device) if model is None else Analyzer(model, device=device)
    return analyzer.analyze(path, frames=frames, progress=progress)


def analyze_many(
    paths: Iterable[PathLike],
    *,
    jobs: int = 2,
    frames: SamplingLike = "auto",
    model: ModelLike = None,
    device: str = "cpu",
) -> Generator[tuple[str, Report | DeepSightError], None, None]:
    """Analyze files, `jobs` at a time, and yield each with its report as it is ready.

    A file that cannot be analyzed comes with its exception instead of a report, so the others go on. Ending the
    iteration early, or ``close()``, cancels the rest. The analyses share the threads of :func:`set_threads`.

    Parameters
    ----------
    paths
        The files. They are read before the first analysis begins.
    jobs
        Number of files that are analyzed at the same time, at least 1.
    frames, model, device
        As for :func:`analyze`.

    Yields
    ------
    tuple of str and Report or DeepSightError
        The path as it was given, and the report or the exception.

    Examples
    --------
    >>> for path, result in deepsight.analyze_many(glob("*.mp4"), jobs=4):
    ...     print(path, result.verdict if isinstance(result, deepsight.Report) else result)
    """
    analyzer = _bundled(device) if model is None else Analyzer(model, device=device)
    return analyzer.analyze_many(paths, jobs=jobs, frames=frames)


class Analyzer:
    """The networks on a device, to analyze many files with them.

    An analyzer may be used on several threads at the same time. It can be pickled for another process, which then
    loads the networks again.

    Parameters
    ----------
    model, device
        As for :func:`analyze`.
    min_face_size
        Side in pixels of the smallest face that is looked for, 4 to 16384. Larger is faster.
    threshold
        Probability from which a clip counts as forged, 0 to 1; that of the model by default.
    max_duration
        Longest video in seconds that is accepted; one hour by default.

    Raises
    ------
    ModelError
        If the model cannot be used.
    DeviceError
        If the device cannot be used.
    SettingError
        If a setting is outside its range.
    """

    def __init__(
        self,
        model: ModelLike = None,
        *,
        device: str = "cpu",
        min_face_size: int = 20,
        threshold: float | None = None,
        max_duration: int | None = None,
    ) -> None:
        self._settings = {
            "model": model,
            "device": str(device),
            "min_face_size": min_face_size,
            "threshold": threshold,
            "max_duration": max_duration,
        }
        self._max_duration = None if max_duration is None else whole("max_duration", max_duration)
        size = whole("min_face_size", min_face_size, most=2**32 - 1)
        share = None if threshold is None else real("threshold", threshold)
        self._detector = _deepsight.Detector(_models(model), str(device), size, share)

    @property
    def device(self) -> str:
        """The name of the device."""
        return self._detector.device()

    @property
    def model(self) -> dict[str, Any]:
        """The description of the model: ``name``, ``architecture``, ``threshold``, ``crop``, ``terms`` and others."""
        description: dict[str, Any] = json.loads(self._detector.model())
        return description

    def analyze(
        self, path: PathLike, *, frames: SamplingLike = "auto", progress: ProgressCallback | None = None
    ) -> Report:
        """Analyze a video or a picture: see :func:`analyze`."""
        if not (progress is None or callable(progress)):
            raise SettingError(f"progress is {progress!r}: it must be a function, which gets a Progress")
        called = None if progress is None else _with_progress(progress)
        report = self._detector.analyze(text(path, "path"), choice(frames, "frames"), self._max_duration, called)
        return Report(report)

    def analyze_many(
        self, paths: Iterable[PathLike], *, jobs: int = 2, frames: SamplingLike = "auto"
    ) -> Generator[tuple[str, Report | DeepSightError], None, None]:
        """Analyze files, `jobs` at a time: see :func:`analyze_many`."""
        if is_path(paths):
            raise SettingError(f"paths is {paths!r}: it must be a list of paths; for one file use analyze")
        jobs = whole("jobs", jobs, most=1024)
        names = [text(path, f"paths[{index}]") for index, path in enumerate(paths)]
        analyses = self._detector.analyze_many(names, jobs, choice(frames, "frames"), self._max_duration)
        return _results(analyses)

    def analyze_image(self, image: ImageLike) -> Report:
        """Analyze one picture in memory, in which every face is judged.

        Parameters
        ----------
        image
            A PIL image, or an array ``[height, width, 3]`` of uint8, RGB.
        """
        return Report(self._detector.analyze_image(pixels(image, "image")))

    def faces(self, image: ImageLike) -> list[Face]:
        """Return the faces of a picture, largest first, without scores."""
        return [_report.face(face) for face in json.loads(self._detector.faces(pixels(image, "image")))]

    def session(self, *, source: str = "", deadline: float | None = None) -> Session:
        """Start a session for frames of your own: see :class:`Session`."""
        return Session(self, source=source, deadline=deadline)

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Analyzer], tuple[dict[str, Any]]]:
        return _analyzer, (self._settings,)

    def __repr__(self) -> str:
        return f"<Analyzer model={self.model['name']!r} device={self.device!r}>"


@dataclass(frozen=True)
class Update:
    """The answer of a session after a frame."""

    #: Index and time in seconds of the frame.
    index: int
    time: float
    #: The faces of the frame.
    faces: tuple[Face, ...]
    #: Faces of the frame that were not scored, because the deadline had passed.
    unscored: int
    #: The error of the frame; the session goes on.
    error: str | None
    #: The verdict on everything so far: ``"REAL"``, ``"FAKE"`` or ``"UNCERTAIN"``.
    verdict: str
    #: Probability that a forged face has been in view; ``None`` if no face was scored.
    fake_probability: float | None
    #: The reasons for the verdict, doubts first.
    reasons: tuple[Reason, ...]
    #: The people, in order of appearance.
    tracks: tuple[Track, ...]
    #: The most suspicious seconds of people who are long in view.
    segments: tuple[Segment, ...]
    #: Whether the answer is another than after the frame before.
    changed: bool


class Session:
    """Frames of your own as they come, such as those of a camera, with an answer after each.

    Its memory is bounded, however long it runs. As a context manager it ends at the end of the block; :attr:`report`
    has the report then. A session belongs to the process that started it.

    Parameters
    ----------
    analyzer
        The networks; the bundled model on the CPU by default.
    source
        Name of the source, for the report.
    deadline
        Seconds that a frame may take. Faces for which they do not suffice are left without a score.

    Examples
    --------
    >>> session = deepsight.Session()
    >>> for time, image in camera:
    ...     update = session.push(image, time)
    ...     if update.changed:
    ...         print(update.time, update.verdict)
    >>> report = session.finish()
    """

    def __init__(self, analyzer: Analyzer | None = None, *, source: str = "", deadline: float | None = None) -> None:
        analyzer = analyzer or _bundled("cpu")
        limit = None if deadline is None else real("deadline", deadline)
        self._session = analyzer._detector.session(str(source), limit)
        self._next = 0
        self._report: Report | None = None

    def push(self, image: ImageLike, time: float, *, index: int | None = None) -> Update:
        """Analyze a frame, and return the answer so far.

        Parameters
        ----------
        image
            A PIL image, or an array ``[height, width, 3]`` of uint8, RGB.
        time
            Time of the frame in seconds. Times must not fall.
        index
            Position of the frame in its source; one after that of the frame before by default.
        """
        index = self._next if index is None else whole("index", index, least=0)
        self._next = index + 1
        data = json.loads(self._session.push(pixels(image, "image"), index, real("time", time)))
        return Update(
            index=data["index"],
            time=data["time"],
            faces=tuple(map(_report.face, data["faces"])),
            unscored=data["unscored"],
            error=data["error"],
            verdict=data["verdict"],
            fake_probability=data["fake_probability"],
            reasons=tuple(map(_report.reason, data["reasons"])),
            tracks=tuple(map(_report.track, data["tracks"])),
            segments=tuple(map(_report.segment, data["segments"])),
            changed=data["changed"],
        )

    def fail(self, reason: str) -> None:
        """Count a frame that the source could not give, so that the report says so."""
        self._session.fail(str(reason))

    def finish(self) -> Report:
        """End the session, and return the report.

        Raises
        ------
        DeepSightError
            If there were no frames, or none could be analyzed.
        """
        self._report = Report(self._session.finish())
        return self._report

    @property
    def report(self) -> Report | None:
        """The report of a finished session; ``None`` before."""
        return self._report

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._report is None:
            self.finish()

    def __repr__(self) -> str:
        state = "open" if self._report is None else self._report.verdict
        return f"<Session {state} frames={self._next}>"


def devices() -> list[str]:
    """Return the devices that this build has and that work on this machine, the processor first."""
    return _deepsight.devices()


@lru_cache(maxsize=4)
def _bundled(device: str) -> Analyzer:
    return Analyzer(device=device)


def _analyzer(settings: dict[str, Any]) -> Analyzer:
    return Analyzer(settings["model"], **{name: value for name, value in settings.items() if name != "model"})


def _models(model: ModelLike) -> list[str]:
    if model is None:
        return []
    if isinstance(model, (str, bytes, os.PathLike)):
        return [text(model, "model")]
    try:
        paths = [text(path, f"model[{index}]") for index, path in enumerate(model)]
    except TypeError:
        raise SettingError(f"model is {model!r}: it must be a path, or a list of paths") from None
    if not paths:
        rule = "it must name at least one model file, or be None for the bundled model"
        raise SettingError(f"model is an empty list: {rule}")
    return paths


def _with_progress(progress: ProgressCallback) -> Callable[[int, int | None, int, int], object]:
    return lambda frames, expected, faces, errors: progress(Progress(frames, expected, faces, errors))


def _results(analyses: _deepsight.Analyses) -> Generator[tuple[str, Report | DeepSightError], None, None]:
    try:
        for path, result in analyses:
            yield str(path), Report(result) if isinstance(result, _deepsight.Report) else result
    finally:
        analyses.close()
