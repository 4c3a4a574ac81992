"""What every part is given: where things lie, how our side and the peers are started, and how much is measured."""

from __future__ import annotations

import os
import pathlib
import sys
from dataclasses import dataclass, field
from typing import Any

from turns import Engine

HERE = pathlib.Path(__file__).resolve().parent
# The Lite networks pad as TensorFlow does; timm has another network by the plain name.
TIMM_NAMES = {f"efficientnet_lite{n}": f"tf_efficientnet_lite{n}" for n in range(5)}
# What timm's default_cfg says of these networks, and what the model files are told.
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass
class Size:
    """How much is measured; `smoke()` goes through all of it in a minute on a CPU, for its own sake."""

    networks: list[tuple[str, int]] = field(
        default_factory=lambda: [("efficientnet_b3", 300), ("efficientnet_b0", 224), ("efficientnet_lite0", 224)]
    )
    # What matters most comes first, because time may run out. At the first batch all engines are measured.
    batches: list[int] = field(default_factory=lambda: [128, 32, 1, 256])
    heights: list[int] = field(default_factory=lambda: [720, 1080])
    frames: list[int] = field(default_factory=lambda: [32, 8, 1])
    # Clips at once, and their rows.
    clips: list[tuple[int, int]] = field(default_factory=lambda: [(16, 720), (1, 720), (4, 720), (16, 1080)])
    trained: list[tuple[str, int, int]] = field(
        default_factory=lambda: [("efficientnet_b3", 300, 64), ("efficientnet_b0", 224, 64)]
    )
    rounds: int = 3
    turn_seconds: float = 0.15
    window_seconds: float = 3.0
    patience: float = 45.0

    @classmethod
    def smoke(cls) -> Size:
        return cls(
            networks=[("efficientnet_b0", 64), ("efficientnet_lite0", 64)],
            batches=[2, 1],
            frames=[2, 1],
            heights=[720],
            clips=[(2, 720)],
            trained=[("efficientnet_b0", 64, 4)],
            rounds=2,
            turn_seconds=0.05,
            window_seconds=2.0,
        )


@dataclass
class Place:
    packed: pathlib.Path
    folder: pathlib.Path
    device: str
    size: Size
    cpus: list[int] = field(default_factory=lambda: sorted(os.sched_getaffinity(0)))

    @property
    def ours_device(self) -> str:
        """Our name for it: without a GPU, the first backend on the CPU."""
        return "cuda" if self.device == "cuda" else "flex"

    def program(self, name: str) -> str:
        return str(self.packed / "bin" / name)

    def clip(self, height: int) -> pathlib.Path:
        return self.packed / "clips" / f"{height}.mp4"

    def ours(self, name: str, *flags: str) -> Engine:
        command = [self.program("measure"), "--device", self.ours_device, "--threads", str(len(self.cpus)), *flags]
        return Engine(name, command, self.cpus)

    def peer(self, engine: str) -> Engine:
        command = [sys.executable, str(HERE / "gpu_peer.py"), engine, "--device", self.device]
        return Engine(engine, [*command, "--threads", str(len(self.cpus))], self.cpus)

    def script(self, name: str) -> list[str]:
        return [sys.executable, str(HERE / name)]

    def network_request(self, name: str, size: int, batch: int) -> dict[str, Any]:
        tensor = {"tensor": str(self.folder / f"faces_{size}x{batch}.f32"), "shape": [batch, 3, size, size]}
        return {"do": "network", "name": TIMM_NAMES.get(name, name), "folder": str(self.folder), **tensor}

    def model_file(self, name: str, size: int) -> str:
        return str(self.folder / f"{name}_{size}.safetensors")
