"""Compares networks on faces: ours with ONNX Runtime, PyTorch and OpenVINO."""

from __future__ import annotations

import json
import math
import pathlib
from dataclasses import dataclass
from typing import Any, Iterator

import work
from setting import Setting
from work import Failure, Unavailable, Worker

BATCHES = [1, 8]


@dataclass(frozen=True)
class Grid:
    """The cases: networks with the side of their input, and the engines that compute them."""

    part: str
    cases: list[tuple[str, int]]
    peers: list[str]
    # In addition to the network alone: from crops, and the small network of the bundled model.
    is_complete: bool = True


GRID = Grid(
    "classifier",
    [("efficientnet_b0", 224), ("efficientnet_b3", 224), ("efficientnet_b3", 288), ("efficientnet_b3", 300)],
    ["onnxruntime", "torch", "openvino-f32", "openvino-bf16"],
)
# The faces' margins lie about this far apart (export.py): the scale of logits where a single face has small ones.
SPREAD = 4.0
# Relative to the largest logit. f32 sums in another order. bf16 keeps eight bits, and untrained weights are
# sensitive to that: PyTorch's own bf16 differs by 0.09. The limit only distinguishes errors from rounding.
F32_TOLERANCE, BF16_TOLERANCE = 1e-3, 0.3
# Absolute, of a fake probability, if our resizing and normalisation are included.
PROBABILITY_TOLERANCE = 0.01


def measure(setting: Setting, grid: Grid = GRID) -> Iterator[dict[str, Any]]:
    prepare(setting, grid)
    for name, size in grid.cases:
        for batch in BATCHES:
            print(f"{grid.part}: {name} at {size}, batch {batch}", flush=True)
            yield _case(setting, grid, name, size, batch)


def prepare(setting: Setting, grid: Grid = GRID) -> None:
    """Exports weights in every format, and faces. Exports them again when the exporting scripts change."""
    folder = _folder(setting, grid)
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "export.stamp"
    names = ("export.py", "weights.py", "pipeline.py", "requirements.txt")
    sources = [pathlib.Path(__file__).with_name(name) for name in names]
    state = json.dumps([grid.cases, BATCHES, *(source.read_text() for source in sources)])
    if not (stamp.exists() and stamp.read_text() == state):
        print("exporting weights and faces", flush=True)
        flags = ["--clip", str(setting.bundled_clip), "--out", str(folder)]
        flags += ["--models", *(f"{name}@{size}" for name, size in grid.cases)]
        flags += ["--batches", *map(str, BATCHES)]
        work.run_once("export.py", [*setting.script("export.py"), *flags], setting.cpus)
        stamp.write_text(state)
    for name, size in grid.cases:
        flags = ["--timm", str(folder / f"{name}.pth"), "--model-name", name, "--input-size", str(size)]
        # The weights alone fit two networks; a name with `tf_` or of a vision transformer fits one.
        flags += ["--variant", "pytorch"] if name.startswith("efficientnet_b") else []
        flags += ["--output", str(model_file(setting, name, size, grid))]
        work.run_once("convert", [setting.convert(), *flags], setting.cpus)


def _folder(setting: Setting, grid: Grid) -> pathlib.Path:
    return setting.folder / grid.part


def model_file(setting: Setting, name: str, size: int, grid: Grid = GRID) -> pathlib.Path:
    return _folder(setting, grid) / f"{name}_{size}.safetensors"


def state_dict(setting: Setting, name: str) -> pathlib.Path:
    return _folder(setting, GRID) / f"{name}.pth"


def onnx_file(setting: Setting, name: str, size: int) -> pathlib.Path:
    return _folder(setting, GRID) / f"{name}_{size}.onnx"


def _case(setting: Setting, grid: Grid, name: str, size: int, batch: int) -> dict[str, Any]:
    folder = _folder(setting, grid)
    tensor = {"tensor": str(folder / f"faces_{size}x{batch}.f32"), "shape": [batch, 3, size, size]}
    theirs = {"do": "network", "name": name, "folder": str(folder), **tensor}
    images = json.loads((folder / "export.json").read_text())[:batch]
    model = str(model_file(setting, name, size, grid))
    ours: dict[str, dict[str, Any]] = {"ours": {"do": "network", "model": model, **tensor}}
    if grid.is_complete:
        ours["ours-classify"] = {"do": "classify", "model": model, "images": images}
    if grid.is_complete and name == "efficientnet_b0":
        # The small network has no output to compare with, so its golden input is checked.
        ours["ours-lite0"] = {"do": "network", **tensor}

    entries: dict[str, dict[str, Any]] = {}
    with work.workers() as workers:
        for peer in grid.peers:
            workers[peer] = Worker(peer, setting.peer(peer), setting.cpus)
            entries[peer] = {"output": workers[peer].ask(theirs)["output"]}
        for entry, request in ours.items():
            workers[entry] = Worker(entry, setting.measure(), setting.cpus)
            try:
                entries[entry] = {"output": workers[entry].ask(request)["output"]}
            except Unavailable as reason:
                print(f"  left out: {reason}", flush=True)
                workers.pop(entry).close()
        for entry, result in entries.items():
            result["difference"] = _difference(entry, result["output"], entries["torch"]["output"])
        if not grid.is_complete:
            # PyTorch gives the reference; its time is not measured, and its memory is needed.
            workers.pop("torch").close()
            entries.pop("torch")
        for entry, rounds in work.take_turns(workers, setting.rounds, setting.seconds).items():
            entries[entry] |= {"seconds": rounds, "peak_mib": workers[entry].peak_mib()}
    weights = pathlib.Path(model).stat().st_size
    return {"network": name, "size": size, "batch": batch, "weights": weights, "entries": entries}


def _difference(entry: str, output: Any, reference: list[list[float]]) -> float | None:
    """Returns the difference from PyTorch's logits, relative to the largest. Raises an error over the limit."""
    if entry == "ours-lite0":
        return None
    if len(output) != len(reference):
        raise Failure(f"{entry} answers for {len(output)} of {len(reference)} faces")
    if entry == "ours-classify":
        pairs = [(face["fake_probability"], _probability(logits)) for face, logits in zip(output, reference)]
        largest, limit = 1.0, PROBABILITY_TOLERANCE
    else:
        pairs = [pair for found, logits in zip(output, reference) for pair in zip(found, logits, strict=True)]
        largest = max(SPREAD, *(abs(logit) for logits in reference for logit in logits))
        limit = BF16_TOLERANCE if entry.endswith("bf16") else F32_TOLERANCE
    difference = max(abs(found - expected) for found, expected in pairs) / largest
    # This form of the comparison also fails for NaN.
    if not difference <= limit:
        raise Failure(f"{entry} differs from PyTorch by {difference:.3g}, more than {limit}")
    return difference


def _probability(logits: list[float]) -> float:
    return 1 / (1 + math.exp(logits[0] - logits[1]))
