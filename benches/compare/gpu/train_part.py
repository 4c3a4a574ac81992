"""Compares a training step from 8-bit pictures in the host's memory: ours with PyTorch's mixed precision."""

from __future__ import annotations

from typing import Any, Iterator

from place import Place
from turns import Budget, measured

PEERS = ["train", "train-compile"]
OURS = ["ours-f32", "ours-bf16"]


def measure(place: Place, inputs: dict[str, Any], budget: Budget) -> Iterator[dict[str, Any]]:
    engines = {name: place.peer(name) for name in PEERS}
    engines |= {name: place.ours(name, "--precision", name.removeprefix("ours-")) for name in OURS}
    try:
        for engine in engines.values():
            engine.start()
        for name, size, batch in place.size.trained:
            print(f"training step: {name} at {size}, batch {batch}, {budget.left():.0f} s left", flush=True)
            requests = {engine: request(inputs, name, size, batch) for engine in engines}
            of = place.size
            entries = measured(engines, requests, budget, of.rounds, of.turn_seconds, of.patience)
            for entry in entries.values():
                # Networks start from different random weights, so the check of a loss is only that it is a number.
                entry["loss"] = entry.pop("output", None)
            yield {"network": name, "size": size, "batch": batch, "entries": entries}
    finally:
        for engine in engines.values():
            engine.close()


def request(inputs: dict[str, Any], name: str, size: int, batch: int) -> dict[str, Any]:
    faces = inputs["faces"][str(size)]
    return {"do": "train_step", "network": name, "images": [faces[number % len(faces)] for number in range(batch)]}
