"""The result of an analysis."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import _deepsight
from ._errors import ReportError
from ._paths import PathLike
from ._paths import text as path_text
from ._pixels import Float32Array, UInt8Array

if TYPE_CHECKING:
    import pandas

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Reason:
    """A reason for a verdict. ``str(reason)`` is its sentence."""

    #: Kind of the reason, such as ``near_threshold``.
    kind: str
    #: The sentence.
    message: str
    #: The numbers of the reason, by name.
    details: Data

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Quality:
    """How well a face can be judged."""

    #: Detail that the face shows, in pixels.
    detail: float
    #: Light on the face, 0 to 1.
    light: float
    #: Angle by which it is turned away from the camera, in degrees.
    turn: float


@dataclass(frozen=True)
class Face:
    """A face of a frame."""

    #: Left, top, right and bottom edge in pixels. The box may extend beyond the picture.
    box: tuple[float, float, float, float]
    #: Left eye, right eye, nose, left and right corner of the mouth, each x and y in pixels, as the viewer sees them.
    landmarks: tuple[tuple[float, float], ...] | None
    #: The detector's probability that this is a face, 0 to 1.
    confidence: float
    #: Number of the person's track; ``None`` if the detector was not sure enough.
    track: int | None = None
    #: Probability that the face is forged, 0 to 1; ``None`` if it was not scored.
    fake_probability: float | None = None
    #: How well it can be judged; ``None`` if it was not cut out.
    quality: Quality | None = None
    #: The probability that each model of an ensemble gives it; empty for a single model.
    by_model: tuple[float, ...] = ()


@dataclass(frozen=True)
class Frame:
    """A frame and the faces in it."""

    #: Position in the video, from 0.
    index: int
    #: Time in seconds.
    time: float
    #: All faces that the detector found.
    faces: tuple[Face, ...]
    #: Whether it was looked at because faces around it are suspicious.
    closer_look: bool


@dataclass(frozen=True)
class Track:
    """A person in view over time."""

    #: Number of the track, from 0; faces refer to it.
    id: int
    #: Faces in the track, and how many of them were scored.
    faces: int
    scored: int
    #: Index of the first and the last frame.
    first_frame: int
    last_frame: int
    #: Time of the first and the last frame, in seconds.
    start: float
    end: float
    #: Probability that the person's face is forged; ``None`` if no face was scored.
    fake_probability: float | None
    #: Highest probability of a face.
    max_fake_probability: float | None
    #: Median of the shorter sides of the scored faces, in pixels.
    median_face_size: float | None
    #: Median of the detector's confidence, 0 to 1.
    median_confidence: float | None
    #: Medians of the quality.
    quality: Quality | None


@dataclass(frozen=True)
class Segment:
    """The most suspicious seconds of a person who is long in view."""

    #: Number of the track.
    track: int
    #: First and last time, in seconds.
    start: float
    end: float
    #: Faces that were scored in it.
    faces: int
    #: Their mean probability.
    fake_probability: float


@dataclass(frozen=True)
class Coverage:
    """The part of a clip that was seen. What is not known is ``None``."""

    #: Seconds that were seen.
    seen: float
    #: Length of the clip in seconds.
    duration: float | None
    #: Share of the clip that was seen, 0 to 1.
    share: float | None
    #: Seconds between two frames.
    interval: float | None
    #: Frames that were searched, and how many of them because faces around them are suspicious.
    frames: int
    closer_frames: int


@dataclass(frozen=True, eq=False, repr=False)
class Evidence:
    """A high-scoring face, for a person to look at."""

    #: Number of the track.
    track: int
    #: Index and time in seconds of its frame, and its position in the frame's faces.
    index: int
    time: float
    face: int
    #: Its probability.
    fake_probability: float
    #: The crop that was scored, ``[height, width, 3]``, RGB.
    image: UInt8Array
    #: Where the evidence lies, ``[height, width]`` of 0 to 1; ``None`` if the model does not say.
    activation: Float32Array | None

    def __repr__(self) -> str:
        return f"<Evidence track={self.track} time={self.time:.3f} fake_probability={self.fake_probability:.3f}>"


class Report:
    """The result of an analysis: the verdict, its reasons, and the evidence.

    ``print(report)`` prints the verdict, the probability and the reasons. In a notebook, a report shows itself as a
    page. A report can be pickled; the copy has no :attr:`evidence`, which consists of pictures.
    """

    def __init__(self, report: _deepsight.Report) -> None:
        self._report = report

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read the JSON that :meth:`to_json` or ``deepsight analyze --json`` wrote.

        Raises
        ------
        ReportError
            If the text is not a report of this version.
        """
        if not isinstance(text, str):
            raise ReportError(f"not a report: it is a {type(text).__name__}, and text is needed")
        return cls(_deepsight.Report.from_json(text))

    @cached_property
    def _data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self._report.to_json(False))
        return data

    @property
    def verdict(self) -> str:
        """The verdict: ``"REAL"``, ``"FAKE"`` or ``"UNCERTAIN"``."""
        return str(self._data["verdict"])

    @property
    def fake_probability(self) -> float | None:
        """Probability that the clip is forged, 0 to 1; ``None`` if no face was scored."""
        probability: float | None = self._data["fake_probability"]
        return probability

    @property
    def confidence(self) -> float | None:
        """Probability of the answer that the faces lean to, forged or not; ``None`` if no face was scored.

        It is :attr:`fake_probability` from the threshold of the model on, and 1 minus it below.
        """
        probability = self.fake_probability
        if probability is None:
            return None
        return probability if probability >= self.threshold else 1.0 - probability

    @property
    def threshold(self) -> float:
        """Probability from which the clip counts as forged."""
        return float(self._data["settings"]["analyzer"]["threshold"])

    @cached_property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons for the verdict, doubts first."""
        return tuple(map(reason, self._data["reasons"]))

    @cached_property
    def tracks(self) -> tuple[Track, ...]:
        """The people in view, in order of appearance."""
        return tuple(map(track, self._data["tracks"]))

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """The frames that were searched, in order of presentation."""
        return tuple(map(frame, self._data["frames"]))

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The most suspicious seconds of people who are long in view."""
        return tuple(map(segment, self._data["segments"]))

    @cached_property
    def coverage(self) -> Coverage:
        """The part of the clip that was seen."""
        data = self._data["coverage"]
        names = ("seen", "duration", "share", "interval", "frames", "closer_frames")
        return Coverage(**{name: data.get(name) for name in names})

    @cached_property
    def evidence(self) -> tuple[Evidence, ...]:
        """The highest-scoring faces of each person, as pictures."""
        return tuple(Evidence(*fields) for fields in self._report.evidence())

    @property
    def errors(self) -> tuple[str, ...]:
        """The first errors of single frames and faces. ``to_dict()["errors"]["count"]`` is the number of all."""
        return tuple(error["message"] for error in self._data["errors"]["first"])

    @property
    def path(self) -> str:
        """The path of the file, as it was given; empty for frames of one's own."""
        return str(self._data["input"]["path"])

    def to_dict(self) -> dict[str, Any]:
        """Return the whole report as dictionaries and lists, with the keys of the JSON."""
        data: dict[str, Any] = json.loads(self._report.to_json(False))
        return data

    def to_json(self, *, indent: bool = False) -> str:
        """Return the report as JSON, on one line unless `indent` is true."""
        return self._report.to_json(indent)

    def to_html(self, path: PathLike | None = None) -> str:
        """Return the report as one HTML page without scripts, and write it to `path` if one is given.

        Raises
        ------
        WriteError
            If the file cannot be written.
        """
        if path is not None:
            self._report.write_html(path_text(path, "path"))
        return self._report.to_html()

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table of pandas with one row for each face of each frame.

        The columns are ``frame``, ``time``, ``track``, ``x1``, ``y1``, ``x2``, ``y2``, ``confidence``,
        ``fake_probability`` and ``closer_look``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas: pip install pandas") from error
        columns = ("frame", "time", "track", "x1", "y1", "x2", "y2", "confidence", "fake_probability", "closer_look")
        rows = [
            (frame.index, frame.time, face.track, *face.box, face.confidence, face.fake_probability, frame.closer_look)
            for frame in self.frames
            for face in frame.faces
        ]
        table = pandas.DataFrame.from_records(rows, columns=list(columns))
        return table.astype({"track": "Int64", "fake_probability": "float64"})

    def _repr_html_(self) -> str:
        # A frame of its own, because the page's style would change the notebook.
        page = html.escape(self._report.to_html(), quote=True)
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 640px; border: 0" title="Report"></iframe>'

    def __str__(self) -> str:
        probability = self.fake_probability
        score = "no face was scored" if probability is None else f"fake probability {probability:.1%}"
        return "\n".join([f"{self.verdict} ({score})", *(f"  {reason}" for reason in self.reasons)])

    def __repr__(self) -> str:
        return f"<Report {self.verdict} fake_probability={self.fake_probability} path={self.path!r}>"

    def __reduce__(self) -> tuple[Callable[[str], Report], tuple[str]]:
        return Report.from_json, (self.to_json(),)


def reason(data: Data) -> Reason:
    """Return a reason of a report's JSON."""
    details = {name: value for name, value in data.items() if name not in ("kind", "message")}
    return Reason(data["kind"], data["message"], details)


def quality(data: Data | None) -> Quality | None:
    """Return the quality in a report's JSON."""
    return None if data is None else Quality(data["detail"], data["light"], data["turn"])


def face(data: Data) -> Face:
    """Return a face of a report's JSON."""
    x1, y1, x2, y2 = data["box"]
    points = data["landmarks"]
    return Face(
        box=(x1, y1, x2, y2),
        landmarks=None if points is None else tuple((x, y) for x, y in points),
        confidence=data["confidence"],
        track=data.get("track"),
        fake_probability=data.get("fake_probability"),
        quality=quality(data.get("quality")),
        by_model=tuple(data.get("by_model", ())),
    )


def frame(data: Data) -> Frame:
    """Return a frame of a report's JSON."""
    faces = tuple(map(face, data["faces"]))
    return Frame(data["index"], data["time"], faces, data.get("closer_look", False))


def track(data: Data) -> Track:
    """Return a track of a report's JSON."""
    names = (
        "id", "faces", "scored", "first_frame", "last_frame", "start", "end", "fake_probability",
        "max_fake_probability", "median_face_size", "median_confidence",
    )  # fmt: skip
    values: dict[str, Any] = {name: data.get(name) for name in names}
    return Track(**values, quality=quality(data.get("quality")))


def segment(data: Data) -> Segment:
    """Return a segment of a report's JSON."""
    return Segment(data["track"], data["start"], data["end"], data["faces"], data["fake_probability"])
