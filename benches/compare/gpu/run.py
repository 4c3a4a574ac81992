"""Compares this project on a GPU with its alternatives, and writes results.json; `run.sh` starts it.

Every part has a deadline, even if something hangs; the next part gets the time that it leaves. A case that failed, was
cut short or was left out is an entry with its reason. Linux only.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import tempfile
import threading
import time
from typing import Any, Sequence

import train_part
import work
from place import MEAN, STD, TIMM_NAMES, Place, Size
from turns import Budget
from work import Failure

# Before the parts: weights, faces and frames, our selftest, and beside it PyTorch's compiler, whose results the parts
# reuse.
BEFORE = 0.2
# Share of the remaining time for each part, if all are measured.
SHARES = {"classifier": 165, "detector": 35, "train": 55, "clips": 105}
PARTS = {"classifier": "network_part", "detector": "detector_part", "train": "train_part", "clips": "clips_part"}
# Peers that compile, with their part.
AHEAD = {"compile": "classifier", "train-compile": "train"}
PACKAGES = ["torch", "torchvision", "triton", "numpy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packed", type=pathlib.Path, required=True, help="the folder that was packed")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="for weights and pictures")
    parser.add_argument("--json", type=pathlib.Path, required=True, help="where the results go")
    parser.add_argument(
        "--device", choices=["cuda", "cpu"], default="cuda", help="cpu: everything once, tiny, to see that it runs"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default all")
    parser.add_argument("--seconds", type=float, default=445, help="for all of it (default 445)")
    a = parser.parse_args()
    moments = moments_of(a.parts, a.seconds)
    work.end_all_on_exit()
    began = time.monotonic()
    size = Size() if a.device == "cuda" else Size.smoke()
    place = Place(packed=a.packed.resolve(), folder=a.work.resolve(), device=a.device, size=size)
    place.folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine(place), "asked": a.parts, "parts": {}}
    steps: list[dict[str, Any]] = []
    results["steps"] = steps

    def budget(part: str) -> Budget:
        return Budget(moments[part] - (time.monotonic() - began))

    def save() -> None:
        results["seconds"] = time.monotonic() - began
        whole = a.json.with_suffix(".part")
        whole.write_text(json.dumps(results, indent=1) + "\n")
        whole.replace(a.json)

    save()
    # Half of the time: without weights and pictures only clips can be measured.
    ready = step(steps, "prepare", lambda: ready_inputs(place, Budget(a.seconds / 2)))
    save()
    ahead = [what for what, part in AHEAD.items() if ready and part in a.parts]
    warming = [
        # A daemon thread, so that the program does not wait for it after the deadline.
        threading.Thread(target=compiled, args=(place, budget("selftest"), steps, what), daemon=True)
        for what in ahead
    ]
    for thread in warming:
        thread.start()
    step(steps, "selftest", lambda: selftest(place, max(20.0, budget("selftest").left())))
    for thread in warming:
        thread.join()
    save()
    inputs = json.loads((place.folder / "inputs.json").read_text()) if ready else {}
    for name in a.parts if ready else [name for name in a.parts if name == "clips"]:
        cases: list[dict[str, Any]] = []
        results["parts"][name] = cases
        try:
            for case in importlib.import_module(PARTS[name]).measure(place, inputs, budget(name)):
                cases.append(case)
                # Writes after each case, so that a later error does not lose the results.
                save()
        except Exception as error:  # whatever one part dies of, the next one is measured
            steps.append({"name": name, "failed": f"{type(error).__name__}: {error}"})
    save()


def moments_of(parts: Sequence[str], seconds: float) -> dict[str, float]:
    """Returns the deadline of each part, in seconds from the start."""
    moments = {"selftest": BEFORE * seconds}
    whole, spent = sum(SHARES[part] for part in parts), 0.0
    for part in parts:
        spent += SHARES[part] / whole
        moments[part] = seconds * (BEFORE + (1 - BEFORE) * spent)
    return moments


def step(steps: list[dict[str, Any]], name: str, action: Any) -> bool:
    """Runs a step, and records its outcome and time. Returns whether it succeeded."""
    print(f"{name} ...", flush=True)
    start = time.monotonic()
    entry: dict[str, Any] = {"name": name}
    steps.append(entry)
    try:
        entry |= action() or {}
    except Exception as error:  # named in the report, whatever it is
        entry["failed"] = str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
    entry["seconds"] = round(time.monotonic() - start, 1)
    return "failed" not in entry


def ready_inputs(place: Place, budget: Budget) -> dict[str, Any]:
    size = place.size
    command = [*place.script("prepare.py"), "--clips", str(place.packed / "clips"), "--out", str(place.folder)]
    command += [
        "--device",
        place.device,
        "--networks",
        *(f"{TIMM_NAMES.get(name, name)}:{side}" for name, side in size.networks),
    ]
    command += [
        "--batches",
        *map(str, size.batches),
        "--heights",
        *map(str, size.heights),
        "--frames",
        str(max(size.frames)),
    ]
    finished("prepare.py", command, place, budget.left())
    triples = {"--mean": MEAN, "--std": STD}
    told = [word for flag, values in triples.items() for word in (flag, ",".join(map(str, values)))]
    for name, side in size.networks:
        command = [
            place.program("convert"),
            "--timm",
            str(place.folder / f"{TIMM_NAMES.get(name, name)}.pth"),
            "--model-name",
            name,
        ]
        command += ["--input-size", str(side), "--output", place.model_file(name, side), *told]
        finished("convert", command, place, budget.left())
    return {}


def selftest(place: Place, seconds: float) -> dict[str, Any]:
    """Runs the selftest. Its exit code is a result; a code other than 0 stops nothing."""
    command = [place.program("selftest"), "--device", place.ours_device]
    try:
        code, said = ended(command, place, seconds)
    except subprocess.TimeoutExpired:
        raise Failure(f"did not end in {seconds:.0f} s") from None
    result = {"code": code, "said": said[-4000:]}
    return result | ({"failed": f"exit code {code}"} if code else {})


def compiled(place: Place, budget: Budget, steps: list[dict[str, Any]], engine_name: str) -> None:
    """Lets PyTorch compile for each shape until the deadline. Its cache on the disk keeps the code for the parts."""
    inputs = json.loads((place.folder / "inputs.json").read_text())
    size = place.size
    if engine_name == "compile":
        cases = [(name, side, batch) for batch in size.batches for name, side in size.networks]
        requests = [place.network_request(*case) for case in cases]
    else:
        cases = size.trained
        requests = [train_part.request(inputs, *case) for case in cases]
    engine = place.peer(engine_name)
    entry: dict[str, Any] = {"name": f"{engine_name} ahead of its turn", "shapes": 0, "of": len(cases)}
    steps.append(entry)
    start = time.monotonic()
    try:
        for request in requests:
            if budget.left() < 1:
                break
            engine.ask(request, budget.left())
            entry["shapes"] += 1
    except Failure as failure:
        entry["failed"] = str(failure)
    finally:
        engine.close()
    entry["seconds"] = round(time.monotonic() - start, 1)


def finished(name: str, command: Sequence[str], place: Place, seconds: float) -> None:
    try:
        code, said = ended(command, place, seconds)
    except subprocess.TimeoutExpired:
        raise Failure(f"{name} did not end in {seconds:.0f} s") from None
    if code != 0:
        lines = said.strip().splitlines() or ["it said nothing"]
        named = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        raise Failure(f"{name} failed: {(named or lines)[-1]}")


def ended(command: Sequence[str], place: Place, seconds: float) -> tuple[int, str]:
    """Returns the exit code and the output."""
    with tempfile.TemporaryFile() as said:
        process = work.start(command, place.cpus, said, stdin=subprocess.DEVNULL, stdout=said)
        try:
            code = process.wait(seconds)
        finally:
            work.end(process)
        said.seek(0)
        return code, said.read().decode(errors="replace")


def machine(place: Place) -> dict[str, Any]:
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    versions = {name: _version(name) for name in PACKAGES}
    versions |= {
        "Python": platform.python_version(),
        "timm": _carried("timm"),
        "facenet-pytorch": _carried("facenet_pytorch"),
    }
    try:
        import torch

        versions["CUDA of PyTorch"] = str(torch.version.cuda)
        versions["cuDNN"] = str(torch.backends.cudnn.version())
    except ImportError as error:
        versions["torch"] = f"cannot be imported: {error}"
    ffmpeg = _said([os.environ["DEEPSIGHT_FFMPEG"], "-version"])
    versions["ffmpeg"] = ffmpeg.split(" ")[2] if ffmpeg.startswith("ffmpeg version ") else ffmpeg
    fields = "name,driver_version,memory.total,clocks.sm,clocks.max.sm,clocks.mem,power.limit,mig.mode.current"
    gpu = _said(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", "--id=0"])
    commit = place.packed / "commit"
    return {
        "gpu": dict(zip(fields.split(","), gpu.split(", ")))
        if gpu.count(",") == fields.count(",")
        else {"missing": gpu},
        "processor": next(names, platform.machine()),
        "cpus": len(place.cpus),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "device": place.device,
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit.read_text().strip(),
        "rounds": place.size.rounds,
        "versions": versions,
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _carried(module: str) -> str:
    found = [
        path.name
        for folder in os.environ["PYTHONPATH"].split(":")
        for path in pathlib.Path(folder).glob(f"{module}-*.dist-info")
    ]
    return found[0].removeprefix(f"{module}-").removesuffix(".dist-info") if found else "of this machine"


def _said(command: Sequence[str]) -> str:
    """Returns the first line of the output, or the reason why there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {getattr(error, 'strerror', None) or 'did not answer'}"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else f"{command[0]} said nothing"


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        raise SystemExit(f"run.py: {failure}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
