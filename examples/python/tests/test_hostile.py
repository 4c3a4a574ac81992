"""Calls that cannot work: each raises an exception of the package, on one line that names the argument."""

from __future__ import annotations

import copy
import os
import pickle
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

import deepsight
from conftest import CLIP, MODEL, PHOTOS, photo
from deepsight import MTCNN, Analyzer, Classifier, Report, Sampling, Session, SettingError, analyze, read_frames

NAN = float("nan")
PIXELS = np.asarray(photo("one"))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        # Paths.
        (lambda: analyze(""), deepsight.MissingFileError, "No such file"),
        (lambda: analyze(7), SettingError, "path is 7: it must be a path"),
        (lambda: analyze(None), SettingError, "path is None"),
        (lambda: analyze("a\0b.mp4"), deepsight.VideoFileError, "NUL"),
        (lambda: analyze("line\nbreak.mp4"), deepsight.MissingFileError, "break.mp4"),
        (lambda: analyze("clip-ä-名前-🎬.mp4"), deepsight.MissingFileError, "clip-ä-名前-🎬.mp4"),
        (lambda: analyze("https://example.org/clip.mp4"), deepsight.VideoFileError, "example.org"),
        (lambda: analyze(os.devnull), deepsight.VideoFileError, "null"),
        (lambda: analyze(PHOTOS), deepsight.VideoFileError, "photos"),
        (lambda: analyze(MODEL), deepsight.VideoError, "not a video"),
        (lambda: read_frames(3.5), SettingError, "path is 3.5"),
        (lambda: deepsight.analyze_many("clip.mp4"), SettingError, "paths is 'clip.mp4': it must be a list"),
        (lambda: deepsight.analyze_many(b"clip.mp4"), SettingError, "paths is b'clip.mp4': it must be a list"),
        (lambda: deepsight.analyze_many([CLIP, None]), SettingError, r"paths\[1\] is None"),
        (lambda: Classifier(7), SettingError, "model is 7: it must be a path"),
        (lambda: Classifier([MODEL, 7]), SettingError, r"model\[1\] is 7"),
        (lambda: Classifier([]), SettingError, "model is an empty list"),
        (lambda: Classifier(PHOTOS), deepsight.ModelError, "photos"),
        # Numbers.
        (lambda: deepsight.analyze_many([CLIP], jobs=10**30), SettingError, "jobs is 1000.*: it must be at most 1024"),
        (lambda: deepsight.analyze_many([CLIP], jobs="2"), SettingError, "jobs is '2': it must be a whole number"),
        (lambda: analyze(CLIP, frames=2**70), SettingError, "frames is 1180591620717411303424"),
        (lambda: analyze(CLIP, frames=Sampling.fps(NAN)), SettingError, "(?i)nan"),
        (lambda: analyze(CLIP, frames=Sampling.fps(float("inf"))), SettingError, "inf"),
        (lambda: analyze(CLIP, frames=Sampling.times([0.5, NAN])), SettingError, "(?i)nan"),
        (lambda: Sampling.fps("2 a second"), SettingError, "rate is '2 a second': it must be a number"),
        (lambda: Sampling.times(["now"]), SettingError, "seconds is 'now'"),
        (lambda: Sampling.every(0.5), SettingError, "step is 0.5"),
        (lambda: Analyzer(threshold=NAN), SettingError, "threshold is NaN"),
        (lambda: Analyzer(threshold="half"), SettingError, "threshold is 'half': it must be a number"),
        (lambda: Analyzer(max_duration=1.5), SettingError, "max_duration is 1.5"),
        (lambda: Session(deadline=-1), SettingError, "deadline is -1"),
        (lambda: Session(deadline=NAN), SettingError, "deadline is NaN"),
        (lambda: Session().push(PIXELS, "now"), SettingError, "time is 'now'"),
        (lambda: Session().push(PIXELS, 0.0, index=-1), SettingError, "index is -1"),
        (lambda: Session().finish(), deepsight.DeepSightError, "no frames"),
        (lambda: deepsight.set_threads(2**70), SettingError, "threads is 1180591620717411303424"),
        (lambda: deepsight.set_threads("two"), SettingError, "threads is two"),
        (lambda: analyze(CLIP, progress=7), SettingError, "progress is 7: it must be a function"),
        (lambda: analyze(CLIP, device=None), deepsight.DeviceError, "None"),
        # Pictures.
        (lambda: Analyzer().faces(None), deepsight.ArrayError, "image is a NoneType"),
        (lambda: Analyzer().faces(PIXELS / 255), deepsight.ArrayError, "image has dtype float64.*of 0 to 1 by"),
        (
            lambda: Analyzer().faces(np.broadcast_to(np.uint8(0), (200_000, 200_000, 3))),
            deepsight.ArrayError,
            "image has 200000 x 200000 pixels: at most",
        ),
        (lambda: Analyzer().analyze_image(np.zeros((0, 9, 3), np.uint8)), deepsight.DeepSightError, "."),
        (lambda: Classifier().score([[1, 2], [3, 4]]), deepsight.ArrayError, r"faces\[0\] is a list"),
        (lambda: Classifier().score("face.png"), deepsight.ArrayError, "faces is a str"),
        (lambda: Classifier().crop(PIXELS, [1, 2, 3]), deepsight.FaceError, r"face has shape \[3\]"),
        (lambda: Classifier().crop(PIXELS, [NAN] * 4, np.zeros((5, 2))), deepsight.FaceError, "."),
        (lambda: Classifier().crop(PIXELS, [1, 2, 9, 9], [1, 2]), deepsight.FaceError, r"landmarks has shape \[2\]"),
        (lambda: MTCNN(thresholds=None), SettingError, "thresholds is None"),
        (lambda: MTCNN(thresholds="abc"), SettingError, "thresholds is 'abc'"),
        (lambda: MTCNN(min_face_size="small"), SettingError, "min_face_size is 'small'"),
        (lambda: MTCNN(min_face_size=NAN), SettingError, "min_face_size"),
        (lambda: MTCNN(factor=NAN), SettingError, "factor"),
        (lambda: MTCNN(margin="wide"), SettingError, "margin is 'wide'"),
        (lambda: MTCNN()([PIXELS, PIXELS], save_path=["a.png"]), SettingError, "save_path has 1 elements"),
        (lambda: MTCNN().detect(np.zeros((2, 2, 9, 9, 3), np.uint8)), deepsight.ArrayError, "img has shape"),
        (lambda: deepsight.extract_face(PIXELS, [1, 2, 3, 4], 160, 160), SettingError, "margin is 160"),
        (lambda: deepsight.extract_face(PIXELS, [1, NAN, 3, 4]), deepsight.FaceError, "box is"),
        (lambda: deepsight.extract_face("face.png", [1, 2, 3, 4]), deepsight.ArrayError, "img is a str"),
        (lambda: deepsight.extract_face(PIXELS[..., 0], [1, 2, 3, 4]), deepsight.ArrayError, "img has shape"),
        # Reports.
        (lambda: Report.from_json(""), deepsight.ReportError, "not a report"),
        (lambda: Report.from_json("[" * 100_000), deepsight.ReportError, "not a report"),
        (lambda: Report.from_json(b"{}"), deepsight.ReportError, "it is a bytes"),
    ],
)
def test_a_call_that_cannot_work_says_why(
    call: Callable[[], object], error: type[Exception], message: str, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, deepsight.DeepSightError)
    assert str(caught.value).isprintable()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))
    assert not list(tmp_path.iterdir())


def test_paths_may_be_objects_text_or_bytes_in_any_script(analyzer: Analyzer, tmp_path) -> None:
    target = tmp_path / "Bild ä 名前 🎬.png"
    target.write_bytes((PHOTOS / "one.png").read_bytes())
    expected = analyzer.analyze(PHOTOS / "one.png").frames
    for path in (target, str(target), os.fsencode(target)):
        report = analyzer.analyze(path)
        assert (report.frames, report.path) == (expected, str(target))
        assert next(read_frames(path)).index == 0
    results = dict(analyzer.analyze_many([os.fsencode(target), target.with_name("missing")]))
    assert results[str(target)].frames == expected
    assert isinstance(results[str(target.with_name("missing"))], deepsight.MissingFileError)
    page = tmp_path / "Seite ß.html"
    report.to_html(os.fsencode(page))
    assert "名前" in page.read_text(encoding="utf-8")
    if sys.platform == "linux":
        # A name that is no text.
        raw = os.fsencode(tmp_path) + b"/\xff\xfe.png"
        os.rename(target, raw)
        assert analyzer.analyze(raw).frames == expected


def test_nothing_to_do_is_done(analyzer: Analyzer) -> None:
    assert list(analyzer.analyze_many([])) == []
    assert list(analyzer.analyze_many(iter(()), jobs=1024)) == []
    assert Classifier().score([]).shape == (0,)
    assert MTCNN()([]) == []


def test_more_jobs_than_files_are_as_many_as_files(analyzer: Analyzer) -> None:
    results = list(analyzer.analyze_many([PHOTOS / "one.png"] * 3, jobs=1024))
    assert [result.verdict for _, result in results] == [results[0][1].verdict] * 3


def test_iterators_may_be_left_at_any_time(analyzer: Analyzer, clip: str) -> None:
    never_begun = analyzer.analyze_many([clip] * 50, jobs=2)
    del never_begun
    begun = analyzer.analyze_many([clip] * 50, jobs=2)
    next(begun)
    del begun
    with pytest.raises(ZeroDivisionError):
        for frame in read_frames(clip, "all"):
            _ = 1 / frame.index
    frames = read_frames(clip, 3)
    frames.close()
    frames.close()
    assert list(frames) == []


def test_one_reader_of_frames_serves_many_threads(clip: str) -> None:
    frames, found = read_frames(clip, 20), []
    threads = [threading.Thread(target=lambda: found.extend(frame.index for frame in frames)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [frame.index for frame in read_frames(clip, 20)]


def test_copies_work_and_what_runs_cannot_be_copied(analyzer: Analyzer, report: Report, clip: str) -> None:
    assert copy.deepcopy(analyzer).analyze(clip, frames=2).frames == analyzer.analyze(clip, frames=2).frames
    assert copy.copy(report).to_dict() == report.to_dict()
    classifier = pickle.loads(pickle.dumps(Classifier(MODEL)))
    assert classifier.name == Classifier(MODEL).name
    for running in (analyzer.session(), read_frames(clip, 2), analyzer.analyze_many([clip])):
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(running)


def test_everything_shows_itself_on_one_line(analyzer: Analyzer, report: Report, clip: str) -> None:
    frames = read_frames(clip, 2)
    frame = next(frames)
    session = analyzer.session()
    things = [analyzer, report, frames, frame, session, Classifier(), MTCNN(), report.evidence[0], Sampling.fps(2)]
    for thing in things:
        assert repr(thing).isprintable() and len(repr(thing)) < 200 and " object at " not in repr(thing)
    assert repr(frame) == f"<VideoFrame index=0 time=0.000 image={frame.image.shape[1]}x{frame.image.shape[0]}>"
    assert repr(session) == "<Session open frames=0>"


def test_a_report_that_cannot_be_written_is_an_error_of_the_system(report: Report, tmp_path) -> None:
    for path in (tmp_path, tmp_path / "no" / "folder.html"):
        with pytest.raises(deepsight.WriteError) as caught:
            report.to_html(path)
        assert isinstance(caught.value, OSError)
    with pytest.raises(SettingError, match="path is 7"):
        report.to_html(7)
