"""Compares EfficientNets: ours with PyTorch by default, in bf16, compiled, and as one CUDA graph."""

from __future__ import annotations

import math
from typing import Any, Iterator

from place import Place
from turns import Budget, Engine, measured

PEERS = ["f32", "tf32", "bf16", "compile", "graph"]
OURS = ["ours-f32", "ours-bf16", "ours-crops-bf16"]
ONCE = ["tf32", "ours-crops-bf16"]
# The faces' margins lie about this far apart (weights.py): the scale of logits where a single face has small ones.
SPREAD = 4.0


def measure(place: Place, inputs: dict[str, Any], budget: Budget) -> Iterator[dict[str, Any]]:
    engines = {name: place.peer(name) for name in PEERS}
    engines |= {name: place.ours(name, "--precision", name.rsplit("-", 1)[1]) for name in OURS}
    try:
        for engine in engines.values():
            engine.start()
        for batch in place.size.batches:
            for name, size in place.size.networks:
                print(f"classifier: {name} at {size}, batch {batch}, {budget.left():.0f} s left", flush=True)
                yield _case(place, inputs, engines, budget, (name, size, batch))
    finally:
        for engine in engines.values():
            engine.close()


def _case(
    place: Place,
    inputs: dict[str, Any],
    engines: dict[str, Engine],
    budget: Budget,
    case: tuple[str, int, int],
) -> dict[str, Any]:
    name, size, batch = case
    theirs = place.network_request(name, size, batch)
    model = place.model_file(name, size)
    ours = {"do": "network", "model": model, "tensor": theirs["tensor"], "shape": theirs["shape"]}
    faces = inputs["faces"][str(size)]
    crops = {"do": "classify", "model": model, "images": [faces[number % len(faces)] for number in range(batch)]}
    requests = {peer: theirs for peer in PEERS}
    requests |= {engine: crops if "crops" in engine else ours for engine in OURS}
    if batch != place.size.batches[0]:
        # These give similar ratios at every batch size, and the time is limited.
        requests = {engine: request for engine, request in requests.items() if engine not in ONCE}
    size_of = place.size
    entries = measured(engines, requests, budget, size_of.rounds, size_of.turn_seconds, size_of.patience)
    reference = entries["f32"].get("output")
    for entry in entries.values():
        output = entry.pop("output", None)
        if reference and output:
            entry["difference"] = difference(output, reference)
    return {"network": name, "size": size, "batch": batch, "entries": entries}


def difference(output: list[Any], reference: list[list[float]]) -> float:
    """Returns the difference from PyTorch's f32: of logits relative to the largest, of scores in fake probability.
    Returns infinity for NaN."""
    if len(output) != len(reference):
        return math.inf
    if isinstance(output[0], dict):
        pairs = [(face["fake_probability"], _probability(logits)) for face, logits in zip(output, reference)]
        largest = 1.0
    else:
        pairs = [pair for found, logits in zip(output, reference) for pair in zip(found, logits)]
        largest = max(SPREAD, *(abs(logit) for logits in reference for logit in logits))
    worst = max(abs(found - expected) for found, expected in pairs) / largest
    return worst if math.isfinite(worst) else math.inf


def _probability(logits: list[float]) -> float:
    return 1 / (1 + math.exp(logits[0] - logits[1]))
