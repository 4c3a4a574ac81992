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
# The smallest vision transformer of CLIP, as Effort saves it.
width = 2
vit = {
    "embeddings.class_embedding": (width,),
    "embeddings.patch_embedding.weight": (width, 3, 1, 1),
    "embeddings.position_embedding.weight": (2, width),
    "pre_layrnorm.weight": (width,),
    "pre_layrnorm.bias": (width,),
    "encoder.layers.0.mlp.fc1.weight": (3, width),
    "encoder.layers.0.mlp.fc1.bias": (3,),
    "encoder.layers.0.mlp.fc2.weight": (width, 3),
    "encoder.layers.0.mlp.fc2.bias": (width,),
    "post_layernorm.weight": (width,),
    "post_layernorm.bias": (width,),
}
for layer in ("q_proj", "k_proj", "v_proj", "out_proj"):
    prefix = f"encoder.layers.0.self_attn.{layer}."
    vit |= {prefix + "weight_main": (width, width), prefix + "bias": (width,), prefix + "S_residual": (1,)}
    vit |= {prefix + "U_residual": (width, 1), prefix + "V_residual": (1, width)}
for norm in ("layer_norm1", "layer_norm2"):
    vit |= {f"encoder.layers.0.{norm}.weight": (width,), f"encoder.layers.0.{norm}.bias": (width,)}
vit = {f"module.backbone.{name}": shape for name, shape in vit.items()}
vit |= {"module.head.weight": (2, width), "module.head.bias": (2,)}
vit = {name: torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape) for name, shape in vit.items()}
torch.save(vit, here / "vit.pth")
# A program instead of weights, which is refused by name.
torch.jit.script(torch.nn.Linear(1, 1)).save(here / "refused" / "scripted.pt")
