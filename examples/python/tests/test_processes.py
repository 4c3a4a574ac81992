"""Forked and spawned processes, executors, and signals."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

import deepsight
from conftest import CLIP, photo
from deepsight import MTCNN, Analyzer

MTCNN_OF_PARENT = MTCNN(min_face_size=40)
ANALYZER_OF_PARENT = Analyzer(min_face_size=40)


def boxes_of_parent(name: str) -> list:
    return MTCNN_OF_PARENT.detect(photo(name))[0].tolist()


def boxes_of(mtcnn: MTCNN) -> list:
    return mtcnn.detect(photo("one"))[0].tolist()


def verdict_of_parent(frames: int) -> tuple:
    report = ANALYZER_OF_PARENT.analyze(CLIP, frames=frames)
    return report.verdict, report.fake_probability


def analyzed(analyzer: Analyzer) -> deepsight.Report:
    return analyzer.analyze(CLIP, frames=2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_objects_of_the_parent_work_in_forked_processes() -> None:
    # The parent's threads have run, so they exist when it forks.
    expected = (boxes_of_parent("one"), verdict_of_parent(2))
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        boxes = pool.submit(boxes_of_parent, "one").result(timeout=120)
        verdict = pool.submit(verdict_of_parent, 2).result(timeout=120)
    assert (boxes, verdict) == expected
    assert boxes_of_parent("one") == expected[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_what_runs_in_the_parent_is_refused_in_a_forked_process_and_goes_on_in_the_parent() -> None:
    session = ANALYZER_OF_PARENT.session()
    session.push(photo("one"), 0.0)
    frames = deepsight.read_frames(CLIP, "all")
    next(frames)
    analyses = ANALYZER_OF_PARENT.analyze_many([CLIP] * 3, frames=2)
    next(analyses)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for use in (lambda: session.push(photo("one"), 1.0), lambda: next(frames), lambda: next(analyses)):
            try:
                use()
                os.write(writer, b"it was used\n")
            except deepsight.ProcessError as error:
                os.write(writer, f"{error}\n".encode())
        # Neither waits for threads that are not here, nor ends the parent's ffmpeg.
        del session, frames, analyses, use
        os.write(writer, b"dropped\n")
        os._exit(0)
    os.close(writer)
    with open(reader) as lines:
        told = lines.read().splitlines()
    os.waitpid(child, 0)
    assert [line.partition(" cannot be used in another process")[0] for line in told] == [
        "a session", "a reader of frames", "an iterator of analyses", "dropped",
    ]  # fmt: skip
    assert session.finish().fake_probability is not None
    assert len(list(frames)) == frames.frame_count - 1
    assert len(list(analyses)) == 2


def test_objects_are_sent_to_spawned_processes() -> None:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        boxes = pool.submit(boxes_of, MTCNN_OF_PARENT).result(timeout=120)
        report = pool.submit(analyzed, ANALYZER_OF_PARENT).result(timeout=120)
    assert boxes == boxes_of(MTCNN_OF_PARENT)
    assert report.frames == analyzed(ANALYZER_OF_PARENT).frames


def test_threads_of_an_executor_share_the_objects() -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(boxes_of_parent, ["one"] * 8))
    assert found == [boxes_of_parent("one")] * 8


# A program that runs in the background ignores Ctrl-C, so each asks for it.
INTERRUPTED = """
import os, signal, sys
import deepsight

signal.signal(signal.SIGINT, signal.default_int_handler)

analyzer = deepsight.Analyzer()

def told(state):
    # As Ctrl-C would, while the analysis runs.
    os.kill(os.getpid(), signal.SIGINT)

try:
    analyzer.analyze(sys.argv[1], frames="all", progress=told)
except KeyboardInterrupt:
    print("interrupted")
# The analyzer is still of use.
print(analyzer.analyze(sys.argv[1], frames=2).verdict)
"""

IN_A_CALL = """
import os, signal, sys, threading
import deepsight

signal.signal(signal.SIGINT, signal.default_int_handler)

paths = [sys.argv[1]] * 1000
results = deepsight.analyze_many(paths, jobs=2, frames=2)
next(results)
try:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    for _ in results:
        pass
except KeyboardInterrupt:
    print("interrupted")
"""


# Each call waits for a program or a file that never answers, and gets Ctrl-C once it does.
WAITING = """
import os, signal, sys, threading
import deepsight
from pathlib import Path

signal.signal(signal.SIGINT, signal.default_int_handler)
clip, pipe, analyzer = sys.argv[1], sys.argv[2], deepsight.Analyzer()

def press():
    # Opens the pipe as soon as the call reads from it, and never writes.
    with open(pipe, "wb"):
        os.kill(os.getpid(), signal.SIGINT)
        ended.wait()

for call in (
    lambda: analyzer.analyze(clip),
    lambda: next(analyzer.analyze_many([clip, clip], jobs=1)),
    lambda: deepsight.read_frames(clip),
    lambda: deepsight.Classifier(pipe),
    lambda: deepsight.convert(pipe, "never.safetensors", model_name="tf_efficientnet_b0"),
):
    ended = threading.Event()
    presses = threading.Thread(target=press)
    presses.start()
    try:
        call()
    except KeyboardInterrupt:
        print("interrupted")
    ended.set()
    presses.join()
del os.environ["DEEPSIGHT_FFPROBE"]
print(len(analyzer.analyze(clip, frames=2).frames))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_the_opening_of_what_never_answers(tmp_path) -> None:
    pipe, ffprobe = tmp_path / "pipe", tmp_path / "ffprobe"
    os.mkfifo(pipe)
    # It reads what is never written.
    ffprobe.write_text(f"#!/bin/sh\nexec cat '{pipe}'\n")
    ffprobe.chmod(0o755)
    environment = os.environ | {"DEEPSIGHT_FFPROBE": str(ffprobe)}
    done = subprocess.run(
        [sys.executable, "-c", WAITING, CLIP, pipe], capture_output=True, text=True, timeout=300, env=environment,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.split() == ["interrupted"] * 5 + ["2"], done.stderr
    assert not (tmp_path / "never.safetensors").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("program, expected", [(INTERRUPTED, "interrupted\nREAL"), (IN_A_CALL, "interrupted")])
def test_ctrl_c_ends_a_call_at_once(program: str, expected: str) -> None:
    done = subprocess.run([sys.executable, "-c", program, CLIP], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip().startswith(expected.split("\n")[0]), done.stderr
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(expected.split())


def test_the_handlers_of_signals_stay_those_of_the_program() -> None:
    kinds = [signal.SIGINT, signal.SIGTERM]
    before = [signal.getsignal(kind) for kind in kinds]
    verdict_of_parent(2)
    assert [signal.getsignal(kind) for kind in kinds] == before
