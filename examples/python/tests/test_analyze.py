"""Whole clips, sessions, and reports."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Callable

import numpy as np
import pytest

import deepsight
from conftest import CLIP, MODEL, PHOTOS, photo
from deepsight import Analyzer, Report, Sampling, Session


def test_the_bundled_clip_is_real_and_says_why(report: Report) -> None:
    assert report.verdict == "REAL"
    assert 0 < report.fake_probability < report.threshold
    assert report.confidence == 1 - report.fake_probability
    assert report.reasons and all(str(reason) == reason.message for reason in report.reasons)
    assert str(report).startswith("REAL (fake probability ")
    assert str(report.reasons[0]) in str(report)


def test_a_report_has_frames_faces_and_people(report: Report) -> None:
    assert len(report.frames) == 8
    assert [frame.time for frame in report.frames] == sorted(frame.time for frame in report.frames)
    faces = [face for frame in report.frames for face in frame.faces]
    assert {face.track for face in faces} >= {track.id for track in report.tracks}
    assert sum(track.faces for track in report.tracks) == len([face for face in faces if face.track is not None])
    x1, y1, x2, y2 = faces[0].box
    assert x1 < x2 and y1 < y2 and len(faces[0].landmarks) == 5
    assert report.coverage.frames == 8 and report.coverage.share == pytest.approx(1.0)


def test_the_evidence_is_pixels_and_maps_over_them(report: Report) -> None:
    evidence = report.evidence[0]
    assert evidence.image.dtype == np.uint8 and evidence.image.shape[2] == 3
    assert evidence.activation.shape == evidence.image.shape[:2]
    assert evidence.activation.max() in (0, pytest.approx(1.0))
    shown = next(frame for frame in report.frames if frame.index == evidence.index)
    assert shown.faces[evidence.face].fake_probability == pytest.approx(evidence.fake_probability)


def test_a_report_is_written_and_read_as_json_html_and_a_pickle(report: Report, tmp_path) -> None:
    assert json.loads(report.to_json(indent=True)) == report.to_dict()
    again = Report.from_json(report.to_json())
    assert (again.frames, again.tracks, again.verdict) == (report.frames, report.tracks, report.verdict)
    assert pickle.loads(pickle.dumps(report)).to_dict() == report.to_dict()
    page = report.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == page
    assert page.startswith("<!doctype html>") and "REAL" in page
    shown = report._repr_html_()
    assert shown.startswith("<iframe srcdoc=") and "<script" not in page
    assert shown.count('"') == 6


def test_numbers_keep_their_last_digit_when_json_is_read(report: Report) -> None:
    data = report.to_dict()
    # A parser that rounds in between gives ...824, ...893 and ...8932.
    data["input"]["duration"] = 0.38120423768821243
    data["frames"][0]["time"] = 0.1128785679392892
    data["tracks"][0]["end"] = 0.10667453135179317
    data["coverage"]["share"] = 0.37736025886085844
    again = Report.from_json(json.dumps(data))
    assert again.to_dict() == data
    assert (again.frames[0].time, again.coverage.share) == (0.1128785679392892, 0.37736025886085844)


def test_a_table_needs_pandas_and_says_so(report: Report) -> None:
    try:
        import pandas  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="pip install pandas"):
            report.to_dataframe()
        return
    table = report.to_dataframe()
    assert len(table) == sum(len(frame.faces) for frame in report.frames)
    assert table["fake_probability"].mean() == pytest.approx(report.fake_probability, abs=0.2)


def test_the_functions_give_what_an_analyzer_gives(clip: str) -> None:
    one = deepsight.analyze(clip, frames=4)
    many = dict(deepsight.analyze_many([clip, PHOTOS / "one.png"], jobs=2, frames=4))
    assert many[clip].frames == one.frames
    assert len(many[str(PHOTOS / "one.png")].frames) == 1
    from_file = deepsight.analyze(clip, frames=4, model=MODEL)
    assert from_file.frames == one.frames


def test_a_failed_file_is_an_exception_among_the_results(analyzer: Analyzer, clip: str, tmp_path) -> None:
    results = dict(analyzer.analyze_many([clip, tmp_path / "missing.mp4"], jobs=2, frames=2))
    assert isinstance(results[clip], Report)
    error = results[str(tmp_path / "missing.mp4")]
    assert isinstance(error, deepsight.MissingFileError) and isinstance(error, FileNotFoundError)


def test_ending_many_early_cancels_the_rest(analyzer: Analyzer, clip: str) -> None:
    results = analyzer.analyze_many([clip] * 1000, jobs=2, frames=2)
    next(results)
    results.close()
    assert list(results) == []


def test_progress_is_told_on_this_thread_and_its_exception_ends_the_analysis(analyzer: Analyzer, clip: str) -> None:
    told, threads = [], set()

    def progress(state: deepsight.Progress) -> None:
        told.append(state)
        threads.add(threading.get_ident())

    analyzer.analyze(clip, frames=6, progress=progress)
    assert told[-1].frames == told[-1].expected == 6
    assert told[-1].faces > 0
    assert threads == {threading.get_ident()}

    class Enough(Exception):
        pass

    def stop(state: deepsight.Progress) -> None:
        raise Enough(state.frames)

    with pytest.raises(Enough):
        analyzer.analyze(clip, frames="all", progress=stop)


def test_other_threads_run_during_an_analysis(analyzer: Analyzer, clip: str) -> None:
    # The other thread must answer before the callback returns, so it runs while the analysis does.
    asked, answered = threading.Event(), threading.Event()

    def answer() -> None:
        asked.wait()
        answered.set()

    other = threading.Thread(target=answer)
    other.start()

    def progress(state: deepsight.Progress) -> None:
        asked.set()
        assert answered.wait(timeout=60)

    analyzer.analyze(clip, frames=2, progress=progress)
    other.join()


def test_samplings_choose_the_frames(analyzer: Analyzer, clip: str) -> None:
    times = [frame.time for frame in analyzer.analyze(clip, frames=Sampling.times([0.0, 1.0])).frames]
    assert len(times) == 2 and times[0] == 0 and times[1] == pytest.approx(1.0, abs=0.05)
    assert len(analyzer.analyze(clip, frames=Sampling.fps(1)).frames) > 2


def test_an_image_and_its_file_have_the_same_answer(analyzer: Analyzer) -> None:
    image = photo("one")
    of_pixels, of_file = analyzer.analyze_image(image), analyzer.analyze(PHOTOS / "one.png")
    assert of_pixels.frames[0].faces == of_file.frames[0].faces
    assert analyzer.analyze_image(np.asarray(image)).to_dict()["frames"] == of_pixels.to_dict()["frames"]
    assert analyzer.analyze_image(photo("none")).fake_probability is None
    assert [face.box for face in analyzer.faces(image)] == [of_file.frames[0].faces[0].box]


def test_a_session_answers_after_each_frame_and_then_as_an_analysis(analyzer: Analyzer, clip: str) -> None:
    expected = analyzer.analyze(clip, frames=6)
    session = Session(analyzer, source="camera")
    updates = [session.push(frame.image, frame.time, index=frame.index) for frame in deepsight.read_frames(clip, 6)]
    assert updates[0].changed and updates[0].verdict == "UNCERTAIN"
    assert updates[-1].verdict == expected.verdict
    assert tuple(update.faces for update in updates) == tuple(frame.faces for frame in expected.frames)
    report = session.finish()
    assert (report.path, report.frames) == ("camera", expected.frames)
    with pytest.raises(deepsight.SettingError, match="finished"):
        session.push(np.zeros((48, 48, 3), np.uint8), 9.0)


def test_a_session_ends_with_its_block_and_counts_what_failed(analyzer: Analyzer) -> None:
    with analyzer.session() as session:
        session.push(photo("one"), 0.0)
        session.fail("the camera was covered")
        assert "after" in session.push(photo("one"), -1.0).error
    assert any("covered" in error for error in session.report.errors)
    assert session.report.to_dict()["errors"]["count"] == 2


def test_the_same_analyzer_works_on_several_threads(analyzer: Analyzer, clip: str) -> None:
    expected = analyzer.analyze(clip, frames=3).frames
    found = [None] * 4

    def work(place: int) -> None:
        found[place] = analyzer.analyze(clip, frames=3).frames

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_results_do_not_depend_on_the_number_of_threads(analyzer: Analyzer) -> None:
    before = deepsight.get_threads()
    expected = analyzer.analyze(CLIP, frames=3).frames
    try:
        deepsight.set_threads(1)
        assert deepsight.get_threads() == 1
        assert analyzer.analyze(CLIP, frames=3).frames == expected
        for count in (0, -1, 1025):
            with pytest.raises(deepsight.SettingError, match="threads"):
                deepsight.set_threads(count)
        assert deepsight.get_threads() == 1
    finally:
        deepsight.set_threads(before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deepsight.Analyzer(min_face_size=-1), "min_face_size is -1: it must be at least 1"),
        (lambda: deepsight.Analyzer(min_face_size=2**32), "min_face_size is 4294967296: it must be at most"),
        (lambda: deepsight.Analyzer(max_duration=-1), "max_duration is -1"),
        (lambda: deepsight.Analyzer(model=[]), "model is an empty list"),
        (lambda: deepsight.analyze_many([CLIP], jobs=0), "jobs is 0"),
        (lambda: deepsight.read_frames(CLIP, max_side=-1), "max_side is -1"),
        (lambda: deepsight.read_frames(CLIP, max_duration=0), "max_duration is 0"),
    ],
)
def test_numbers_outside_their_range_are_refused_by_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(deepsight.SettingError, match=message):
        call()
