"""Formats measurements as Markdown: medians, their ratios with the quartiles of the rounds' ratios, peak memory."""

from __future__ import annotations

import pathlib
import re
from statistics import median, quantiles
from typing import Any, Callable, Iterable, Sequence

from work import Failure

# Share of the machine's CPU time used by other processes above which the page warns about its numbers.
QUIET = 0.1

Rounds = Sequence[Sequence[float]]

CLASSIFIERS = {
    "onnxruntime": "ONNX Runtime",
    "torch": "PyTorch",
    "openvino-f32": "OpenVINO",
    "openvino-bf16": "OpenVINO bf16",
    "ours": "ours",
    "ours-classify": "ours, from crops",
    "ours-lite0": "ours, Lite0",
}
CLASSIFIER_RATIOS = [
    ("ours", "onnxruntime"),
    ("ours", "torch"),
    ("ours", "openvino-f32"),
    ("ours-classify", "onnxruntime"),
    ("ours", "openvino-bf16"),
    ("ours-lite0", "onnxruntime"),
]
CLIPS = {
    "torch": "OpenCV, facenet-pytorch, timm on PyTorch",
    "onnx": "OpenCV, facenet-pytorch, ONNX Runtime",
    "ours": "ours (`analyze`)",
}


def sections(results: dict[str, Any]) -> dict[str, str]:
    """Returns the text of each measured part, and of the machine."""
    renderers: dict[str, Callable[[Any], str]] = {
        "classifier": _classifier,
        "large": _large,
        "detector": _detector,
        "clip": _clip,
        "long": _long,
    }
    texts = {"machine": _machine(results["machine"])}
    for name, part in results["parts"].items():
        if not part["cases"]:
            continue
        texts[name] = f"{_occasion(name, part)}\n\n{renderers[name](part['cases'])}"
    return texts


def write(path: pathlib.Path, texts: dict[str, str]) -> None:
    """Writes each text between its markers, `<!-- compare:NAME -->` and `<!-- /compare:NAME -->`."""
    page = _page_with_places(path, texts)
    for name, text in texts.items():
        page = _place(name).sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)
    path.write_text(page)


def check_places(path: pathlib.Path, parts: Iterable[str]) -> None:
    """Raises an error if a page lacks the markers of a part. Call it before the measurements."""
    _page_with_places(path, ["machine", *parts])


def _page_with_places(path: pathlib.Path, names: Iterable[str]) -> str:
    try:
        page = path.read_text()
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    for name in names:
        if not _place(name).search(page):
            raise Failure(f"{path}: no markers <!-- compare:{name} --> and <!-- /compare:{name} -->")
    return page


def _place(name: str) -> re.Pattern[str]:
    return re.compile(f"(<!-- compare:{name} -->\n).*?(<!-- /compare:{name} -->)", re.DOTALL)


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    instructions = ", ".join(machine["instructions"]) or "no vector extensions that matter here"
    rows = [
        ["processor", f"{machine['processor']}, {machine['cpus']} CPUs, of which {len(machine['used'])} are used"],
        ["instructions", instructions],
        ["memory", f"{machine['memory_gib']} GiB"],
        ["system", machine["system"]],
        ["versions", versions],
    ]
    return table(["", ""], rows)


def _occasion(name: str, part: dict[str, Any]) -> str:
    said = part["occasion"]
    return (
        f"`{part['command']}`, {said['date']}, commit {said['commit']}: "
        f"{said['threads']} threads of {said['processor']}, {said['rounds']} rounds, "
        f"our engine `{said['engine']}` on `{said['device']}`. "
        f"Other processes took {100 * part['others']:.0f} % of the machine's CPU time meanwhile."
        + (" **Too much to trust the ratios: who waits by spinning suffers most.**" if part["others"] > QUIET else "")
    )


def _classifier(cases: list[dict[str, Any]]) -> str:
    shown = [name for name in CLASSIFIERS if any(name in case["entries"] for case in cases)]
    head = ["network", "batch", *(CLASSIFIERS[name] for name in shown)]

    def label(case: dict[str, Any]) -> list[str]:
        return [f"{case['network'].removeprefix('efficientnet_').upper()}@{case['size']}", str(case["batch"])]

    def rows(cell: Callable[[dict[str, Any], dict[str, Any]], str]) -> list[list[str]]:
        return [
            label(case) + [cell(case, case["entries"][name]) if name in case["entries"] else "–" for name in shown]
            for case in cases
        ]

    times = rows(lambda case, entry: f"{1e3 * _median(entry['seconds']) / case['batch']:.2f}")
    memory = rows(lambda _, entry: f"{entry['peak_mib']:.0f}")
    pairs = [pair for pair in CLASSIFIER_RATIOS if set(pair) <= set(shown)]
    ratios = [label(case) + [_ratio_of(case["entries"], *pair) for pair in pairs] for case in cases]
    names = [f"{CLASSIFIERS[a]} / {CLASSIFIERS[b]}" for a, b in pairs]
    differences = {
        CLASSIFIERS[name]: max(case["entries"][name]["difference"] for case in cases if name in case["entries"])
        for name in shown
        if name not in ("torch", "ours-lite0")
    }
    told = ", ".join(f"{name} {value:.1g}" for name, value in differences.items())
    return "\n\n".join([
        "Milliseconds per image:",
        table(head, times),
        "Ratios; below 1, ours is faster:",
        table(["network", "batch", *names], ratios),
        "Peak memory of the process, MiB:",
        table(head, memory),
        f"Largest difference from PyTorch's logits, in parts of the largest (from crops: of a probability): {told}.",
    ])


def _large(cases: list[dict[str, Any]]) -> str:
    rows = []
    for case in cases:
        theirs, ours = case["entries"]["onnxruntime"], case["entries"]["ours"]
        rows.append([
            f"`{case['network']}`@{case['size']}",
            f"{case['weights'] / 1e6:.0f}",
            str(case["batch"]),
            f"{1e3 * _median(theirs['seconds']) / case['batch']:.0f}",
            f"{1e3 * _median(ours['seconds']) / case['batch']:.0f}",
            _ratio(ours["seconds"], theirs["seconds"]),
            f"{theirs['peak_mib']:.0f}",
            f"{ours['peak_mib']:.0f}",
            f"{ours['peak_mib'] / theirs['peak_mib']:.2f}",
        ])
    difference = max(case["entries"]["ours"]["difference"] for case in cases)
    times = ["ONNX Runtime, ms an image", "ours, ms", "ratio"]
    head = ["network", "model file, MB", "batch", *times, "ONNX Runtime, MiB", "ours, MiB", "ratio"]
    return f"{table(head, rows)}\n\nLogits differ from PyTorch's by at most {difference:.1g} of the largest."


def _detector(cases: list[dict[str, Any]]) -> str:
    rows = []
    for case in cases:
        theirs, ours = case["entries"]["facenet"], case["entries"]["ours"]
        rows.append([
            f"{case['height']}p, {case['faces']} face{'s' * (case['faces'] > 1)} ({case['found']} found)",
            f"{1e3 * _median(theirs['seconds']):.1f}",
            f"{1e3 * _median(ours['seconds']):.1f}",
            _ratio(ours["seconds"], theirs["seconds"]),
            f"{theirs['peak_mib']:.0f}",
            f"{ours['peak_mib']:.0f}",
            f"{ours['peak_mib'] / theirs['peak_mib']:.2f}",
        ])
    pixels = max(case["differences"]["pixels"] for case in cases)
    confidence = max(case["differences"]["confidence"] for case in cases)
    head = ["frame", "facenet-pytorch, ms", "ours, ms", "ratio", "facenet-pytorch, MiB", "ours, MiB", "ratio"]
    told = f"Boxes and landmarks differ by at most {pixels:.2g} pixels, confidences by {confidence:.1g}."
    return f"{table(head, rows)}\n\n{told}"


def _clip(cases: list[dict[str, Any]]) -> str:
    (case,) = cases
    entries = case["entries"]
    analysis = {name: [[s["total"]] for s in entry["seconds"]] for name, entry in entries.items()}
    process = {name: [[s] for s in entry["process_seconds"]] for name, entry in entries.items()}
    memory = {name: [[mib] for mib in entry["peak_mib"]] for name, entry in entries.items()}
    stages = {
        name: [median(s[stage] for s in entry["seconds"]) for stage in ("decode", "detect", "classify")]
        for name, entry in entries.items()
    }
    rows = [
        [title, *(f"{value:.2f}" for value in stages[name])]
        + [f"{_median(analysis[name]):.2f}", f"{_median(process[name]):.2f}", f"{_median(memory[name]):.0f}"]
        for name, title in CLIPS.items()
    ]
    ratios = [
        [
            title,
            _ratio(analysis["ours"], analysis[name]),
            _ratio(process["ours"], analysis[name]),
            _ratio(process["ours"], process[name]),
            _ratio(memory["ours"], memory[name]),
        ]
        for name, title in CLIPS.items()
        if name != "ours"
    ]
    probabilities = ", ".join(f"{name} {value:.4f}" for name, value in case["fake_probability"].items())
    return "\n\n".join([
        f"`{case['clip']}`, {case['frames']} frames, {case['faces']} faces, {case['network']} at {case['size']}:",
        table(["", "decode, s", "detect, s", "classify, s", "analysis, s", "whole process, s", "peak MiB"], rows),
        "Ratios; below 1, ours is faster or smaller:",
        table(["ours against", "analysis", "our process, its analysis", "whole process", "peak memory"], ratios),
        f"Mean fake probability: {probabilities}.",
    ])


def _long(cases: list[dict[str, Any]]) -> str:
    frames = [
        [
            f"{case['height']}p, {case['frames']} frames",
            f"{_median(case['entries']['pyav']['seconds']):.2f}",
            f"{_median(case['entries']['ours']['seconds']):.2f}",
            _ratio(case["entries"]["ours"]["seconds"], case["entries"]["pyav"]["seconds"]),
        ]
        for case in cases
        if "entries" in case
    ]
    whole = [
        [
            f"{case['height']}p, {case['frames']} frames",
            f"{_median(case['analysis']['start']['seconds']):.2f}",
            f"{_median(case['analysis']['hour']['seconds']):.2f}",
            _ratio(case["analysis"]["hour"]["seconds"], case["analysis"]["start"]["seconds"]),
        ]
        for case in cases
        if "analysis" in case
    ]
    return "\n\n".join([
        "Frames of an hour, from opening the file; below 1, ours is faster:",
        table(["", "PyAV, s", "ours, s", "ratio"], frames),
        "Whole analysis (process) of the hour and of its first 15 seconds:",
        table(["", "15 seconds, s", "hour, s", "ratio"], whole),
    ])


def _ratio_of(entries: dict[str, Any], ours: str, theirs: str) -> str:
    if ours not in entries or theirs not in entries:
        return "–"
    return _ratio(entries[ours]["seconds"], entries[theirs]["seconds"])


def _ratio(ours: Rounds, theirs: Rounds) -> str:
    """Returns the ratio of the medians of all times; in parentheses the quartiles of the rounds' ratios."""
    whole = _median(ours) / _median(theirs)
    rounds = [median(a) / median(b) for a, b in zip(ours, theirs, strict=True)]
    if len(rounds) < 3:
        return f"{whole:.2f}"
    low, _, high = quantiles(rounds, n=4, method="inclusive")
    return f"{whole:.2f} ({low:.2f}–{high:.2f})"


def _median(rounds: Rounds) -> float:
    return median(value for values in rounds for value in values)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
