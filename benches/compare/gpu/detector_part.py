"""Compares face detection in batches of whole frames: ours with facenet-pytorch."""

from __future__ import annotations

from typing import Any, Iterator

import detector
from place import Place
from turns import Budget, measured
from work import Failure


def measure(place: Place, inputs: dict[str, Any], budget: Budget) -> Iterator[dict[str, Any]]:
    engines = {"facenet": place.peer("facenet"), "ours": place.ours("ours")}
    try:
        for engine in engines.values():
            engine.start()
        for count in place.size.frames:
            for height in place.size.heights:
                print(f"detector: {count} frames of {height} rows, {budget.left():.0f} s left", flush=True)
                frames = inputs["frames"][str(height)][:count]
                request = {"do": "detect", "images": frames}
                size = place.size
                requests = {name: request for name in engines}
                entries = measured(engines, requests, budget, size.rounds, size.turn_seconds, size.patience)
                outputs = [entries[name].pop("output", None) for name in ("ours", "facenet")]
                agreement = _agreement(*outputs) if all(outputs) else "not compared"
                yield {"height": height, "batch": len(frames), "agreement": agreement, "entries": entries}
    finally:
        for engine in engines.values():
            engine.close()


def _agreement(ours: list[Any], theirs: list[Any]) -> str:
    """Describes the differences of boxes and landmarks, frame by frame, or that other faces were found."""
    found = sum(map(len, theirs))
    try:
        worst = max(detector.differences(a, b)["pixels"] for a, b in zip(ours, theirs, strict=True))
    except Failure as failure:
        return str(failure)
    return f"yes ({found}), {worst:.2g} pixels apart at most"
