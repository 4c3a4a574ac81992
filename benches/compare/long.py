"""Compares reading a few frames of an hour of video with PyAV, and measures the analysis of the hour."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any, Iterator

import work
from setting import Setting
from work import Failure, Worker

HEIGHTS = [480, 1080]
FRAMES = [30, 300]
SECONDS, COPIES = 15, 240
# A turn takes up to some minutes.
MOST_ROUNDS = 3
# Times come from the container; pixels come from two versions of the same conversion.
TIME, LEVELS = 1e-3, 1.0


def measure(setting: Setting) -> Iterator[dict[str, Any]]:
    setting.folder.mkdir(parents=True, exist_ok=True)
    rounds = min(setting.rounds, MOST_ROUNDS)
    for height in HEIGHTS:
        print(f"long: an hour of {height} rows", flush=True)
        start, hour = clips(setting, height)
        for frames in FRAMES:
            print(f"long: {frames} frames", flush=True)
            yield {"height": height, "frames": frames, "entries": _turns(setting, hour, frames, rounds)}
        yield {"height": height, "frames": FRAMES[0], "analysis": _analysis(setting, start, hour, rounds)}


def clips(setting: Setting, height: int) -> tuple[pathlib.Path, pathlib.Path]:
    """Creates the first seconds of the clip, enlarged, and an hour of copies of them without encoding again."""
    start, hour = (setting.folder / f"{name}_{height}.mp4" for name in ("start", "hour"))
    flags = ["-t", str(SECONDS), "-an", "-vf", f"scale=-2:{height},fps=30", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
    _ffmpeg(["-stream_loop", "-1", "-i", str(setting.clip), *flags], start)
    _ffmpeg(["-stream_loop", str(COPIES - 1), "-i", str(start), "-c", "copy"], hour)
    return start, hour


def _ffmpeg(arguments: list[str], path: pathlib.Path) -> None:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"ffmpeg could not make {path.name}: {work.last_line(done.stderr)}")


def _turns(setting: Setting, hour: pathlib.Path, frames: int, rounds: int) -> dict[str, Any]:
    with work.workers() as workers:
        workers["pyav"] = Worker("PyAV", setting.peer("pyav"), setting.cpus)
        workers["ours"] = Worker("ours", setting.measure(), setting.cpus)
        request = {"do": "frames", "clip": str(hour), "count": frames}
        # The first run fills the disk's cache, and checks that both give the same frames.
        _check(*(workers[name].ask(request)["output"] for name in ("ours", "pyav")))
        times: dict[str, list[list[float]]] = {name: [] for name in workers}
        for name in work.turns(workers, rounds):
            times[name].append(workers[name].run(1))
        return {name: {"seconds": times[name]} for name in workers}


def _check(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> None:
    if len(ours) != len(theirs):
        raise Failure(f"long: ours gives {len(ours)} frames, PyAV {len(theirs)}")
    for a, b in zip(ours, theirs):
        if abs(a["time"] - b["time"]) > TIME or abs(a["mean"] - b["mean"]) > LEVELS:
            raise Failure(f"long: ours gives {a}, PyAV {b}")


def _analysis(setting: Setting, start: pathlib.Path, hour: pathlib.Path, rounds: int) -> dict[str, Any]:
    of = {"start": start, "hour": hour}
    commands = {name: setting.analyze(clip, FRAMES[0], "--max-duration", "7200") for name, clip in of.items()}
    for name, command in commands.items():
        report = json.loads(work.run_once(name, command, setting.cpus).output)
        if not any(frame["faces"] for frame in report["frames"]):
            raise Failure(f"no face is found in {command[-1]}")
    seconds: dict[str, list[list[float]]] = {name: [] for name in commands}
    for name in work.turns(commands, rounds):
        seconds[name].append([work.run_once(name, commands[name], setting.cpus).seconds])
    return {name: {"seconds": rounds_of} for name, rounds_of in seconds.items()}
