"""Formats results.json as Markdown: the measurements, and the reasons for missing ones.

tables.py RESULTS.json                            # print
tables.py RESULTS.json --write docs/benchmarks.md # and put it between <!-- compare:gpu --> and <!-- /compare:gpu -->
"""

from __future__ import annotations

import argparse
import json
import pathlib
from statistics import median, quantiles
from typing import Any, Callable, Sequence

import report
from work import Failure

NETWORKS = {
    "f32": "PyTorch f32",
    "tf32": "PyTorch TF32",
    "bf16": "PyTorch bf16",
    "compile": "torch.compile bf16",
    "graph": "CUDA graph bf16",
    "ours-f32": "ours f32",
    "ours-bf16": "ours bf16",
    "ours-crops-bf16": "ours bf16, from crops",
}
TRAINERS = {
    "train": "PyTorch bf16",
    "train-compile": "torch.compile bf16",
    "ours-f32": "ours f32",
    "ours-bf16": "ours bf16",
}
DETECTORS = {"facenet": "facenet-pytorch", "ours": "ours"}

Case = dict[str, Any]


def text(results: dict[str, Any]) -> str:
    parts = results["parts"]
    sections = [_occasion(results), _machine(results["machine"]), _steps(results["steps"])]
    makers = {"classifier": _classifier, "detector": _detector, "train": _train, "clips": _clips}
    for name, make in makers.items():
        if name in results["asked"]:
            sections.append(make(parts[name]) if parts.get(name) else f"**{name}: nothing was measured.**")
    return "\n\n".join(sections)


def _occasion(results: dict[str, Any]) -> str:
    said = results["machine"]
    trial = (
        ""
        if said["device"] == "cuda"
        else " **On a CPU, with tiny sizes, only to see that it runs: no figure here says anything.**"
    )
    return (
        f"`run.sh`, {said['date']}, commit {said['commit']}, at most {said['rounds']} rounds, "
        f"{results['seconds']:.0f} s in all.{trial}"
    )


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    gpu = machine["gpu"]
    rows = (
        [["GPU", gpu["missing"]]]
        if "missing" in gpu
        else [
            ["GPU", f"{gpu['name']}, {gpu['memory.total']}, MIG {gpu['mig.mode.current']}"],
            ["driver", gpu["driver_version"]],
            [
                "clocks at the start",
                f"{gpu['clocks.sm']} of {gpu['clocks.max.sm']}, memory {gpu['clocks.mem']}; power limit "
                f"{gpu['power.limit']}",
            ],
        ]
    )
    rows += [
        ["processor", f"{machine['processor']}, {machine['cpus']} CPUs used"],
        ["memory", f"{machine['memory_gib']} GiB"],
    ]
    return report.table(["", ""], [*rows, ["versions", versions]])


def _steps(steps: list[dict[str, Any]]) -> str:
    def line(step: dict[str, Any]) -> str:
        shapes = f" ({step['shapes']} of {step['of']} shapes)" if "shapes" in step else ""
        how = f"**failed: {_one_line(step['failed'])}**" if "failed" in step else "done"
        return f"- {step['name']}{shapes}: {how}" + (f", {step['seconds']} s" if "seconds" in step else "")

    return "\n".join(["Steps:", "", *map(line, steps)])


def _classifier(cases: list[Case]) -> str:
    def label(case: Case) -> list[str]:
        return [_network(case), str(case["batch"])]

    def accuracy(case: Case, name: str) -> str:
        difference = case["entries"].get(name, {}).get("difference")
        return "–" if difference is None else f"{difference:.1g}"

    cases = sorted(cases, key=lambda case: (case["network"], case["batch"]))
    compared = [name for name in NETWORKS if name != "f32"]
    pairs = [
        ("ours-f32", "f32"),
        ("ours-f32", "tf32"),
        ("ours-bf16", "bf16"),
        ("ours-bf16", "compile"),
        ("ours-bf16", "graph"),
    ]
    return "\n\n".join(
        [
            "### Classifier",
            "Images a second, with the quartiles of all runs, logits read back. The input is in the GPU's memory "
            "already, but for *from crops*: that is `classify`, from 8-bit pictures in the host's memory to "
            "probabilities. *PyTorch bf16* is autocast in `channels_last`; compiled (in the default mode) and as a "
            "graph its weights are bf16, too. PyTorch ships with TF32 convolutions on. A dash: not asked for at that "
            "batch.",
            report.table(["network", "batch", *NETWORKS.values()], _rows(cases, label, NETWORKS, _rate)),
            "Speed of ours over theirs, medians; above 1, ours is faster:",
            report.table(
                ["network", "batch", *(f"{NETWORKS[a]} / {NETWORKS[b]}" for a, b in pairs)],
                [label(case) + [_over(case, *pair) for pair in pairs] for case in cases],
            ),
            "Largest difference from PyTorch's f32 logits, in parts of the largest (from crops: of a probability). The "
            "weights are not trained, which bf16 feels more than trained ones:",
            report.table(
                ["network", "batch", *(NETWORKS[name] for name in compared)],
                [label(case) + [accuracy(case, name) for name in compared] for case in cases],
            ),
            _warm_up(cases, NETWORKS),
            _missing(cases, label, NETWORKS),
        ]
    )


def _detector(cases: list[Case]) -> str:
    def label(case: Case) -> list[str]:
        return [f"{case['height']}p", str(case["batch"])]

    cases = sorted(cases, key=lambda case: (case["height"], case["batch"]))
    rows = [
        [*row, _over(case, "ours", "facenet"), case["agreement"]]
        for row, case in zip(_rows(cases, label, DETECTORS, _rate), cases)
    ]
    return "\n\n".join(
        [
            "### Detector",
            "Frames a second, from frames in the host's memory to boxes and landmarks:",
            report.table(["frames", "at once", *DETECTORS.values(), "ours / theirs", "the same faces"], rows),
            _warm_up(cases, DETECTORS),
            _missing(cases, label, DETECTORS),
        ]
    )


def _train(cases: list[Case]) -> str:
    def label(case: Case) -> list[str]:
        return [_network(case), str(case["batch"])]

    rows = [
        [*row, _over(case, "ours-bf16", "train"), _over(case, "ours-bf16", "train-compile")]
        for row, case in zip(_rows(cases, label, TRAINERS, _rate), cases)
    ]
    over = [f"ours bf16 / {TRAINERS[name]}" for name in ("train", "train-compile")]
    return "\n\n".join(
        [
            "### Training step",
            "Pictures a second: from 8-bit pictures in the host's memory, forward and backward pass, AdamW. PyTorch "
            "with autocast, `channels_last` and a fused optimizer.",
            report.table(["network", "batch", *TRAINERS.values(), *over], rows),
            _warm_up(cases, TRAINERS),
            _missing(cases, label, TRAINERS),
        ]
    )


def _clips(cases: list[Case]) -> str:
    def label(case: Case) -> list[str]:
        return [f"{case['height']}p", str(case["jobs"]), "GPU" if case["hwaccel"] else "CPU"]

    def cell(entry: dict[str, Any], key: str, digits: int = 0) -> str:
        return f"{entry[key]:.{digits}f}" if key in entry else "–"

    cases = sorted(cases, key=lambda case: (case["height"], case["jobs"], case["hwaccel"]))
    rows = []
    for case in cases:
        alone, whole = case["entries"]["decode"], case["entries"]["analyze"]
        both = "missing" not in alone and "missing" not in whole
        share = f"{whole['frames_per_second'] / alone['frames_per_second']:.2f}" if both else "–"
        busy = [cell(whole, key) for key in ("gpu_busy", "decoder_busy", "gpu_memory_mib", "cpu_busy")]
        rows.append(label(case) + [cell(alone, "frames_per_second"), cell(whole, "frames_per_second"), share, *busy])
    head = ["clip", "at once", "decoded by", "decoding alone", "`analyze`", "of decoding alone"]
    head += ["GPU busy, %", "its decoder, %", "its memory, MiB", "CPUs busy, %"]
    seen = [entry["gpu_missing"] for case in cases for entry in case["entries"].values() if "gpu_missing" in entry]
    return "\n\n".join(
        [
            "### Whole clips",
            "Frames decoded a second, of which 30 a clip are looked at, once kernels are compiled and clips come "
            "steadily. Near 1 *of decoding alone* means that decoding bounds the whole. Busy, by `nvidia-smi`, is the "
            "share of time in which any kernel ran.",
            report.table(head, rows),
            *([f"GPU not watched: {_one_line(seen[0])}."] if seen else []),
            _missing(cases, label, {"decode": "decoding alone", "analyze": "`analyze`"}),
        ]
    )


def _network(case: Case) -> str:
    return f"{case['network'].removeprefix('efficientnet_').capitalize()}@{case['size']}"


def _rows(cases: list[Case], label: Callable[[Case], list[str]], names: Sequence[str], cell: Any) -> list[list[str]]:
    return [label(case) + [cell(case, name) for name in names] for case in cases]


def _times(case: Case, name: str) -> list[float]:
    return [value for values in case["entries"].get(name, {}).get("seconds", []) for value in values]


def _rate(case: Case, name: str) -> str:
    if name not in case["entries"]:
        return "–"
    times = _times(case, name)
    if not times:
        return "missing"
    middle = case["batch"] / median(times)
    if len(times) < 3:
        return _number(middle)
    low, _, high = (case["batch"] / value for value in reversed(quantiles(times, n=4, method="inclusive")))
    return f"{_number(middle)} ({_number(low)}–{_number(high)})"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _over(case: Case, ours: str, theirs: str) -> str:
    mine, other = _times(case, ours), _times(case, theirs)
    return f"{median(other) / median(mine):.2f}" if mine and other else "–"


def _warm_up(cases: list[Case], names: dict[str, str]) -> str:
    """Describes the time for compiling and choosing kernels, which the tables do not include."""
    longest = {
        shown: max(
            (case["entries"][name].get("prepared", 0.0) for case in cases if name in case["entries"]), default=0.0
        )
        for name, shown in names.items()
    }
    told = ", ".join(f"{shown} {seconds:.1f} s" for shown, seconds in longest.items() if seconds)
    told = told or "no engine finished"
    return f"Longest from request to first result, compiling and choosing of kernels included: {told}."


def _missing(cases: list[Case], label: Callable[[Case], list[str]], names: dict[str, str]) -> str:
    reasons: dict[str, list[str]] = {}
    for case in cases:
        for name, entry in case["entries"].items():
            if "missing" in entry:
                how = "cut short" if entry.get("seconds") else "not measured"
                reason = f"{names[name]}, {how}: {_one_line(entry['missing'])}"
                reasons.setdefault(reason, []).append(" ".join(label(case)))
    lines = [f"- {reason} ({'; '.join(places)})" for reason, places in reasons.items()]
    return "\n".join(["Missing:", "", *lines]) if lines else "Nothing is missing."


def _one_line(words: str) -> str:
    line = " ".join(words.split())
    return line if len(line) <= 300 else f"{line[:297]}..."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--write", type=pathlib.Path, metavar="PAGE")
    a = parser.parse_args()
    try:
        shown = text(json.loads(a.results.read_text()))
    except OSError as error:
        raise Failure(f"{a.results}: {error.strerror}") from error
    except ValueError as error:
        raise Failure(f"{a.results}: {error}") from error
    print(shown)
    if a.write:
        report.write(a.write, {"gpu": shown})


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        raise SystemExit(f"tables.py: {failure}") from None
