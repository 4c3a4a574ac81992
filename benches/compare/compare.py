"""Compares this project with its alternatives, in turns, and prints tables in Markdown.

    benches/compare/setup.sh                                     # once: the peers, in $DEEPSIGHT_PEERS
    ~/.cache/deepsight-peers/bin/python benches/compare/compare.py

Every engine is a separate process, confined to the same cores, and stopped while others have their turn. All get the
same weights, faces, frames and number of threads, and no time counts before the outputs agree. Linux only. Keep the
machine idle: the result states the CPU time of other processes.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import pathlib
import shlex
import shutil
import sys
from typing import Any

import report
import work
from setting import REPOSITORY, Noise, Setting, build, machine, occasion, target_folder
from work import Failure

BUNDLED_CLIP = REPOSITORY / "examples" / "clips" / "portraits.mp4"
MODULES = ["torch", "timm", "facenet_pytorch", "onnxruntime", "openvino", "cv2", "onnx", "av"]
PARTS = ["classifier", "large", "detector", "clip", "long"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}; default all")
    add("--threads", type=_count, default=2, metavar="N", help="threads and cores for each (default 2)")
    add("--rounds", type=_count, default=9, metavar="N", help="turns that each gets (default 9)")
    add("--seconds", type=float, default=0.3, metavar="S", help="length of a warm turn (default 0.3)")
    clip_help = "for the parts `clip` and `long`; default the bundled one"
    add("--clip", type=pathlib.Path, default=BUNDLED_CLIP, help=clip_help)
    add("--engine", choices=["auto", "burn", "fused"], default="auto", help="ours: auto, burn or fused (default auto)")
    add("--device", default="flex", help="ours: the backend's device (default flex)")
    add("--binaries", type=pathlib.Path, metavar="DIR", help="folder of built programs; none is built then")
    add("--work", type=pathlib.Path, metavar="DIR", help="for weights and pictures; default target/compare")
    add("--json", type=pathlib.Path, metavar="FILE", help="raw numbers; default results.json in --work")
    add("--write", type=pathlib.Path, metavar="PAGE", help="put the tables into this page: docs/benchmarks.md")
    add("--render", type=pathlib.Path, metavar="FILE", help="measure nothing: the tables of these raw numbers")
    a = parser.parse_args()
    if not 0.01 <= a.seconds <= 60:
        parser.error(f"argument --seconds: {a.seconds} is not in 0.01..60")
    if not a.clip.is_file():
        parser.error(f"argument --clip: {a.clip} is not a file")
    return a


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 1000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000")
    return int(text)


def main() -> None:
    a = arguments()
    work.end_all_on_exit()
    if a.render:
        results = _read(a.render)
    else:
        if a.write:
            report.check_places(a.write, a.only)
        results = measure(a)
    texts = report.sections(results)
    for name, text in texts.items():
        print(f"\n## {name}\n{text}")
    if a.write:
        report.write(a.write, texts)


def measure(a: argparse.Namespace) -> dict[str, Any]:
    _look_for_tools()
    folder = target_folder()
    if not a.binaries:
        build()
    setting = Setting(
        cpus=work.chosen_cpus(a.threads),
        rounds=a.rounds,
        seconds=a.seconds,
        clip=a.clip.resolve(),
        bundled_clip=BUNDLED_CLIP,
        folder=(a.work or folder / "compare").resolve(),
        binaries=(a.binaries or folder / "release").resolve(),
        device=a.device,
        engine=a.engine,
    )
    destination = a.json or setting.folder / "results.json"
    results: dict[str, Any] = {"machine": machine(setting), "parts": {}}
    _write(destination, results)
    for name in a.only:
        part: dict[str, Any] = {"command": _command(a, name), "occasion": occasion(setting), "cases": []}
        results["parts"][name] = part
        noise = Noise()
        for case in importlib.import_module(name).measure(setting):
            part["cases"].append(case)
            part["others"] = noise.others()
            # Writes after each case, so that a late error does not lose an hour's work.
            _write(destination, results)
    return results


def _command(a: argparse.Namespace, part: str) -> str:
    """Returns the command that measures one part again: with the flags that affect it, without this machine's paths."""
    flags = ["--only", part, "--threads", a.threads, "--rounds", a.rounds]
    flags += ["--seconds", a.seconds] if a.seconds != 0.3 else []
    flags += ["--engine", a.engine] if a.engine != "auto" else []
    flags += ["--device", a.device] if a.device != "flex" else []
    flags += ["--clip", a.clip.name] if part in ("clip", "long") and a.clip != BUNDLED_CLIP else []
    return shlex.join(["compare.py", *map(str, flags)])


def _look_for_tools() -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise Failure(f"runs on Linux only, not on {sys.platform}")
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise Failure(f"{sys.executable} lacks {', '.join(missing)}: run benches/compare/setup.sh and use its Python")
    for tool in ("cargo", "rustc", "git", "ffmpeg", "ffprobe"):
        if shutil.which(tool) is None:
            raise Failure(f"{tool} is not installed")


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Failure(f"{path}: {error}") from error


def _write(path: pathlib.Path, results: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n")
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        raise SystemExit(f"compare.py: {failure}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
