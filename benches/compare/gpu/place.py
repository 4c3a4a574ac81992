"""The settings of all parts: paths, the commands of our side and of the peers, and the number of measurements."""

from __future__ import annotations

import os
import pathlib
import sys
from dataclasses import dataclass, field
from typing import Any

from turns import Engine

HERE = pathlib.Path(__file__).resolve().parent
# The Lite networks pad as TensorFlow does; in timm, the plain name is another network.
TIMM_NAMES = {f"efficientnet_lite{n}": f"tf_efficientnet_lite{n}" for n in range(5)}
# From timm's default_cfg of these networks; the model files state it too.
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass
class Size:
    """The number of measurements. `smoke()` runs every part in a minute on a CPU, as a test."""

    networks: list[tuple[str, int]] = field(
        default_factory=lambda: [("efficientnet_b3", 300), ("efficientnet_b0", 224), ("efficientnet_lite0", 224)]
    )
    # The most important cases come first, because the time may run out. All engines are measured at the first batch.
    batches: list[int] = field(default_factory=lambda: [128, 32, 1, 256])
    heights: list[int] = field(default_factory=lambda: [720, 1080])
    frames: list[int] = field(default_factory=lambda: [32, 8, 1])
    # Number of clips at the same time, and their height.
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
        """Returns our name of the device; without a GPU, that of the first backend on the CPU."""
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
