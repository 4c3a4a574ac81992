"""The settings of all parts of the comparison, and the description of the machine."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from work import Failure

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
PACKAGES = ["torch", "timm", "facenet-pytorch", "onnxruntime", "openvino", "opencv-python-headless", "av", "numpy"]
# The instruction sets that decide how fast networks run on a CPU.
FLAGS = ["avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16"]


@dataclass
class Setting:
    cpus: list[int]
    rounds: int
    seconds: float
    clip: pathlib.Path
    bundled_clip: pathlib.Path
    folder: pathlib.Path
    binaries: pathlib.Path
    device: str
    engine: str

    @property
    def threads(self) -> int:
        return len(self.cpus)

    def measure(self) -> list[str]:
        """Returns the command of our `measure`, which answers requests."""
        flags = ["--device", self.device, "--engine", self.engine, "--threads", str(self.threads)]
        return [str(self.binaries / "measure"), *flags]

    def analyze(self, clip: pathlib.Path, frames: int, *flags: str) -> list[str]:
        """Returns the command of our `analyze`."""
        place = ["--device", self.device, "--engine", self.engine, "--threads", str(self.threads)]
        program = str(self.binaries / "examples" / "analyze")
        return [program, *place, "--frames", str(frames), *flags, "--json", "-", str(clip)]

    def convert(self) -> str:
        return str(self.binaries / "examples" / "convert")

    def peer(self, engine: str) -> list[str]:
        return [sys.executable, str(HERE / "peer.py"), engine, "--threads", str(self.threads)]

    def script(self, name: str) -> list[str]:
        return [sys.executable, str(HERE / name)]


def target_folder() -> pathlib.Path:
    """Returns cargo's target folder."""
    metadata = _output("cargo", "metadata", "--no-deps", "--format-version", "1")
    return pathlib.Path(json.loads(metadata)["target_directory"])


def build() -> None:
    command = ["cargo", "build", "--workspace", "--release", "--bins", "--examples"]
    try:
        code = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    except OSError as error:
        raise Failure(f"cannot start cargo: {error.strerror}; --binaries names a folder of built programs") from error
    if code != 0:
        raise Failure(f"{' '.join(command)} failed")


def machine(setting: Setting) -> dict[str, Any]:
    info = _cpu_info()
    present = info.get("flags", info.get("Features", "")).split()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    versions["Python"] = platform.python_version()
    versions["rustc"] = _output("rustc", "--version").split()[1]
    versions["ffmpeg"] = _output("ffmpeg", "-version").split()[2]
    return {
        "processor": info.get("model name", platform.machine()),
        "instructions": [flag for flag in FLAGS if flag in present],
        "cpus": os.cpu_count(),
        "used": setting.cpus,
        "memory_gib": round(pages / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "versions": versions,
    }


def occasion(setting: Setting) -> dict[str, Any]:
    """Returns the date, commit and command of a measurement."""
    commit = _output("git", "rev-parse", "--short", "HEAD").strip()
    # Ignores changes of the page that is being written.
    changed = _output("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit + (" with uncommitted changes" if changed else ""),
        "processor": _cpu_info().get("model name", platform.machine()),
        "threads": setting.threads,
        "rounds": setting.rounds,
        "device": setting.device,
        "engine": setting.engine,
    }


class Noise:
    """The CPU time of other processes during a measurement."""

    def __init__(self) -> None:
        self._start = self._now()

    def others(self) -> float:
        """Returns their share of all CPU time, `0..=1`. Valid only when our child processes have ended."""
        busy, total, own = (now - then for now, then in zip(self._now(), self._start))
        return max(0.0, busy - own) / max(total, 1e-9)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        ticks = [int(field) for field in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        second = os.sysconf("SC_CLK_TCK")
        idle = ticks[3] + ticks[4]
        own = os.times()
        children = own.children_user + own.children_system
        return (sum(ticks) - idle) / second, sum(ticks) / second, own.user + own.system + children


def _cpu_info() -> dict[str, str]:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except OSError as error:
        raise Failure(f"cannot start {command[0]}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise Failure(f"{' '.join(command)} failed: {error.stderr.strip().splitlines()[-1:]}") from error
    return done.stdout
