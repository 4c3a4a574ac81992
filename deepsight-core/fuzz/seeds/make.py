"""Writes the seeds of the fuzz targets beside this file, out of files that the tests have. Needs Python alone.

    python deepsight-core/fuzz/seeds/make.py
"""

import json
import pathlib
import struct
import zipfile

HERE = pathlib.Path(__file__).parent
CORE = HERE.parent.parent


def write(target, name, content):
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)


def pickles():
    """The pickle of each checkpoint, and one with the instructions that PyTorch's do not have."""
    for path in sorted((CORE / "tests/checkpoints").glob("*.pth")):
        if zipfile.is_zipfile(path):
            archive = zipfile.ZipFile(path)
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            write("pickle", f"{path.stem}.pkl", archive.read(name))
    every = [
        b"\x80\x04\x95" + bytes(8), b"(I7\nL8L\nJ\1\0\0\0K\2M\3\0\x8a\1\4\x8b\2\0\0\0\5\0NG", struct.pack(">d", 0.5),
        b"F1.5\nS'a'\nVb\nU\1cX\1\0\0\0d\x8c\1eC\1fT\1\0\0\0gB\1\0\0\0h\x8d\1\0\0\0\0\0\0\0i\x88\x89l", b"q\0", b"0h\0",
        b"(K\1K\2tr\1\0\0\0K\1K\2\x86K\1\x85)0000", b"](K\1K\2ep2\ng2\n0K\3a", b"}(S'k'\nK\1uS'm'\nK\2s0",
        b"ccollections\nOrderedDict\n)R0", b"\x8c\1m\x8c\1n\x930", b"\x8f(K\1\x90(K\1\x910", b"(idog\ncat\n0",
        b"(ccat\ndog\no0",
        b"cm\nn\n)\x810", b"cm\nn\n)}\x920", b"2\x9400.",
    ]
    write("pickle", "every_instruction.pkl", b"".join(every))


def model(name, card, tensors):
    header, data = {"__metadata__": {"deepsight": json.dumps(card)}}, b""
    for tensor, (dtype, shape, content) in tensors.items():
        header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write("model_file", name, struct.pack("<Q", len(text)) + text + data)


def models():
    """The bundled model's card with tensors of each type, few and small."""
    bundled = (CORE / "weights/efficientnet_lite0.safetensors").read_bytes()
    length = struct.unpack("<Q", bundled[:8])[0]
    card = json.loads(json.loads(bundled[8 : 8 + length])["__metadata__"]["deepsight"])
    face = ("U8", [2, 2, 3], bytes(range(12)))
    halves = ("F16", [2, 3], struct.pack("<6e", *(n / 8 for n in range(6))))
    full = ("F32", [2], struct.pack("<2f", 0.25, -1e30))
    integers = ("I8", [2, 2, 1, 1], bytes([1, 127, 129, 255]))
    scales = ("F32", [2], struct.pack("<2f", 0.01, 0.02))
    model("halves.safetensors", card, {"conv_stem.weight": halves, "golden.input": face})
    model("full.safetensors", card, {"classifier.bias": full, "golden.input": face})
    model("integers.safetensors", card, {"a.weight": integers, "a.weight.scale": scales, "golden.input": face})
    without = {key: value for key, value in card.items() if key not in ("golden", "reliability")}
    model("without_golden.safetensors", without, {"empty": ("F32", [0], b"")})


def ensembles():
    """An ensemble file of each kind of combination."""
    member = lambda file, digit: {"file": file, "sha256": 64 * digit}
    two = [member("a.safetensors", "a"), member("b.safetensors", "b")]
    mean = {"deepsight_ensemble": 1, "models": two, "combination": {"kind": "mean"},
            "threshold": 0.5, "max_disagreement": 0.5}
    write("ensemble", "mean.json", json.dumps(mean).encode())
    quality = {"min_detail": 20.0, "full_detail": 40.0, "min_light": 0.3, "max_turn": 80.0}
    alarms = [{"probability": 0.5, "rate": 0.1}, {"probability": 0.9, "rate": 0.01}]
    stacking = {**mean, "models": [*two, member("/models/c.safetensors", "0")], "name": "three",
                "combination": {"kind": "stacking", "weights": [0.5, 1.25, -0.25], "intercept": -0.1},
                "reliability": {"uncertain_band": 0.1, "quality": quality, "false_alarms": alarms,
                                "missed_fakes": {"own": 0.1}}}
    write("ensemble", "stacking.json", json.dumps(stacking).encode())


def reports():
    """The report of the snapshot test, and the same with every kind of reason."""
    snapshot = next((CORE / "tests/suite/analysis/snapshots").glob("*.snap")).read_text().split("---\n", 2)[2]
    report = json.loads(snapshot)
    write("report", "snapshot.json", snapshot.encode())
    numbers = {"frames": 9, "faces": 8, "needed": 3, "longest": 2, "track": 0, "failed": 1, "people": 2, "tracks": 4}
    shares = {"confidence": 0.5, "limit": 0.75, "median": 0.25, "fake_probability": 0.5, "threshold": 0.5}
    names = """
        no_faces too_few_faces no_steady_track doubtful_faces faces_too_small faces_too_blurred faces_too_dark
        faces_turned many_people near_threshold frame_errors face_errors decided_by_track decided_by_faces
        small_tracks_ignored blurred_tracks_ignored dark_tracks_ignored turned_tracks_ignored missed_fakes
        short_tracks_ignored doubtful_tracks_ignored
    """.split()
    shares |= {"corrected": 0.625, "band": 0.125}
    others = {"aggregation": "worst-track", "shares": {"Face2Face": 0.75}}
    report["reasons"] = [{"kind": name, "message": name, **numbers, **shares, **others} for name in names]
    write("report", "reasons.json", json.dumps(report, separators=(",", ":")).encode())


pickles()
models()
reports()
ensembles()
