"""Writes small PyTorch checkpoints in every format the importer reads: two tensors of EfficientNet-Lite0, one foreign.

    pip install torch && python export.py
"""

import argparse
import collections
import pathlib

import torch

here = pathlib.Path(__file__).parent
state = collections.OrderedDict(
    {
        "conv_stem.weight": torch.arange(32 * 3 * 3 * 3, dtype=torch.float32).reshape(32, 3, 3, 3) / 864,
        "bn1.num_batches_tracked": torch.tensor(7),
        "classifier.bias": torch.tensor([0.25, -0.5]),
        "foreign.weight": torch.ones(3, 2).half(),
    }
)
torch.save(state, here / "zip.pth")
torch.save(state, here / "legacy.pth", _use_new_zipfile_serialization=False)
# What training scripts save: prefixes, an epoch, settings and an optimizer's state around the weights.
optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
wrapped = {f"module.{name}": torch.nn.Parameter(t) if t.is_floating_point() else t for name, t in state.items()}
settings = argparse.Namespace(model="tf_efficientnet_lite0")
torch.save({"epoch": 3, "args": settings, "optimizer": optimizer, "state_dict": wrapped}, here / "nested.pth")
last = {n: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for n, t in state.items()}
torch.save(last, here / "channels_last.pth")
# A program instead of weights, which is refused by name.
torch.jit.script(torch.nn.Linear(1, 1)).save(here / "refused" / "scripted.pt")
