"""Compares face detection in whole frames: ours with facenet-pytorch."""

from __future__ import annotations

from typing import Any, Iterator

import work
from setting import Setting
from work import Failure, Worker

HEIGHTS = [480, 720, 1080]
FACES = [1, 5]
PIXELS, CONFIDENCE = 0.5, 1e-3


def measure(setting: Setting) -> Iterator[dict[str, Any]]:
    setting.folder.mkdir(parents=True, exist_ok=True)
    for height in HEIGHTS:
        for faces in FACES:
            print(f"detector: {height} rows, {faces} faces", flush=True)
            yield _case(setting, height, faces)


def _case(setting: Setting, height: int, faces: int) -> dict[str, Any]:
    path = str(setting.folder / f"picture_{height}_{faces}.rgb")
    with work.workers() as workers:
        workers["facenet"] = Worker("facenet-pytorch", setting.peer("facenet"), setting.cpus)
        workers["ours"] = painter = Worker("ours", setting.measure(), setting.cpus)
        sides = painter.ask({"do": "picture", "height": height, "faces": faces, "path": path})
        # Drawing the pictures needs more memory than detection.
        painter.close()
        workers["ours"] = Worker("ours", setting.measure(), setting.cpus)

        request = {"do": "detect", "images": [{"path": path, **sides}]}
        theirs = workers["facenet"].ask(request)["output"][0]
        ours = workers["ours"].ask(request)["output"][0]
        apart = differences(ours, theirs)
        entries = {
            name: {"seconds": rounds, "peak_mib": workers[name].peak_mib()}
            for name, rounds in work.take_turns(workers, setting.rounds, setting.seconds).items()
        }
    return {"height": height, "faces": faces, "found": len(theirs), "differences": apart, "entries": entries}


def differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, float]:
    """Returns the largest differences in pixels and in confidence. Raises an error if other faces were found."""
    if len(ours) != len(theirs):
        raise Failure(f"detector: ours finds {len(ours)} faces, facenet-pytorch {len(theirs)}")
    worst = {"pixels": 0.0, "confidence": 0.0}
    for face in theirs:
        twin = min(ours, key=lambda other: _distance(other["box"], face["box"]))
        points = [value for point in face["landmarks"] for value in point]
        twin_points = [value for point in twin["landmarks"] for value in point]
        pixels = max(_distance(twin["box"], face["box"]), _distance(twin_points, points))
        worst["pixels"] = max(worst["pixels"], pixels)
        worst["confidence"] = max(worst["confidence"], abs(twin["confidence"] - face["confidence"]))
    if not (worst["pixels"] <= PIXELS and worst["confidence"] <= CONFIDENCE):
        raise Failure(f"detector: faces differ from facenet-pytorch's by {worst}")
    return worst


def _distance(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))
