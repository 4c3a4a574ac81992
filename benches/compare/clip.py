"""Compares whole clips from file to probability, in new processes: ours with the usual Python stack."""

from __future__ import annotations

import json
import pathlib
from statistics import mean
from typing import Any, Iterator

import classifier
import work
from setting import Setting
from work import Failure, Finished

MODEL, SIZE, FRAMES = "efficientnet_b3", 288, 30
TOLERANCE = 0.01


def measure(setting: Setting) -> Iterator[dict[str, Any]]:
    classifier.prepare(setting)
    model = classifier.model_file(setting, MODEL, SIZE)
    commands = {
        "torch": _pipeline(setting, "torch", classifier.state_dict(setting, MODEL)),
        "onnx": _pipeline(setting, "onnx", classifier.onnx_file(setting, MODEL, SIZE)),
        "ours": setting.analyze(setting.clip, FRAMES, "--model", str(model), "--aggregation", "mean-of-faces"),
    }
    print(f"clip: {setting.clip.name}", flush=True)
    # The first run fills the disk's cache, and checks that all results agree.
    answers = {name: _answer(name, work.run_once(name, command, setting.cpus)) for name, command in commands.items()}
    _check(answers)
    entries: dict[str, dict[str, list[Any]]] = {
        name: {"process_seconds": [], "seconds": [], "peak_mib": []} for name in commands
    }
    for name in work.turns(commands, setting.rounds):
        finished = work.run_once(name, commands[name], setting.cpus)
        entries[name]["process_seconds"].append(finished.seconds)
        entries[name]["seconds"].append(_answer(name, finished)["seconds"])
        entries[name]["peak_mib"].append(finished.peak_mib)
    yield {
        "clip": setting.clip.name,
        "network": MODEL,
        "size": SIZE,
        "frames": FRAMES,
        "faces": len(answers["ours"]["scores"]),
        "fake_probability": {name: mean(answer["scores"]) for name, answer in answers.items()},
        "entries": entries,
    }


def _pipeline(setting: Setting, engine: str, weights: pathlib.Path) -> list[str]:
    flags = ["--engine", engine, "--weights", str(weights), "--model", MODEL, "--size", str(SIZE)]
    flags += ["--frames", str(FRAMES), "--threads", str(setting.threads)]
    return [*setting.script("pipeline.py"), str(setting.clip), *flags]


def _answer(name: str, finished: Finished) -> dict[str, Any]:
    """Returns the scores of all faces in order, and the seconds of each stage."""
    report = json.loads(finished.output)
    scores = report.get("scores")
    if scores is None:
        faces = [face for frame in report["frames"] for face in frame["faces"]]
        scores = [face["fake_probability"] for face in faces if face["fake_probability"] is not None]
    if not scores:
        raise Failure(f"{name} found no face in the clip")
    return {"scores": scores, "seconds": report["seconds"]}


def _check(answers: dict[str, dict[str, Any]]) -> None:
    expected = answers["torch"]["scores"]
    for name, answer in answers.items():
        if len(answer["scores"]) != len(expected):
            raise Failure(f"clip: {name} scores {len(answer['scores'])} faces, torch {len(expected)}")
        difference = abs(mean(answer["scores"]) - mean(expected))
        if difference > TOLERANCE:
            raise Failure(f"clip: {name} differs from torch by {difference:.3g} of probability, more than {TOLERANCE}")
