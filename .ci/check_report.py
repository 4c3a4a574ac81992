"""Reads a JSON report from standard input and checks what every report of the bundled clip must have."""

import json
import sys

report = json.load(sys.stdin)
assert report["schema"] == 1, report["schema"]
assert report["verdict"] in ("REAL", "FAKE", "UNCERTAIN"), report["verdict"]
assert len(report["input"]["sha256"]) == 64
assert 0 <= report["fake_probability"] <= 1
assert len(report["tracks"]) >= 2, "the clip shows three people"
faces = [face for frame in report["frames"] for face in frame["faces"]]
assert faces and all(len(face["box"]) == 4 for face in faces)
assert set(report["seconds"]) >= {"decode", "detect", "classify", "total"}
print(f"report: {report['verdict']}, {len(report['tracks'])} tracks, {len(faces)} faces")
