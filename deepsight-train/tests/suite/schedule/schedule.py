"""Writes schedule.json: learning rates of PyTorch's schedulers.

    pip install torch && python schedule.py
"""

import json
import math
import pathlib

import torch
from torch.optim import lr_scheduler as schedulers

RATE, TOTAL, WARMUP, START = 0.05, 40, 6, 0.01


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


def rates(make, warm: bool) -> list[float]:
    o = optimizer()
    schedule = make(o)
    if warm:
        up = schedulers.LinearLR(o, start_factor=START, total_iters=WARMUP)
        schedule = schedulers.SequentialLR(o, [up, make(o)], milestones=[WARMUP])
    found = []
    for _ in range(TOTAL):
        found.append(o.param_groups[0]["lr"])
        o.step(), schedule.step()
    return found


def measures() -> list[float]:
    """Rises, stalls, falls, rises by less than the threshold."""
    return [round(0.7 + 0.2 * math.sin(i / 3) + (0.02 * i if i < 12 else 0.24), 6) for i in range(TOTAL)]


def plateau(**settings) -> list[float]:
    o = optimizer()
    schedule = schedulers.ReduceLROnPlateau(o, mode="max", **settings)
    found = []
    for measure in measures():
        found.append(o.param_groups[0]["lr"])
        o.step(), schedule.step(measure)
    return found


def main() -> None:
    step = lambda o: schedulers.StepLR(o, step_size=7, gamma=0.3)
    cosine = lambda total: lambda o: schedulers.CosineAnnealingLR(o, T_max=total, eta_min=0.001)
    golden = {
        "torch": torch.__version__,
        "step": rates(step, False),
        "step_warm": rates(step, True),
        "cosine": rates(cosine(TOTAL), False),
        "cosine_warm": rates(cosine(TOTAL - WARMUP), True),
        "measures": measures(),
        "plateau": plateau(factor=0.5, patience=2),
        "plateau_cooldown": plateau(factor=0.1, patience=0, cooldown=3, threshold=0.01, min_lr=0.0002),
    }
    path = pathlib.Path(__file__).parent / "schedule.json"
    path.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
