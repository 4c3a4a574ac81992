"""Writes training.json: one training step of timm's tf_efficientnet_lite0, and three of PyTorch's AdamW.

A formula gives weights, pictures, noise and the optimizer's gradients, and the test computes it again. The network runs
in double precision, so that any difference comes from the tested code.

    pip install torch timm numpy && python training.py
"""

import json
import pathlib

import numpy as np
import timm
import torch

BATCH, SIDE = 4, 64
GRADIENTS = [
    "conv_stem.weight", "bn1.weight", "blocks.0.0.conv_dw.weight", "blocks.1.0.conv_pw.weight", "blocks.1.1.bn2.bias",
    "blocks.2.1.conv_dw.weight", "blocks.4.2.conv_pwl.weight", "blocks.6.0.bn3.weight", "conv_head.weight", "bn2.bias",
    "classifier.weight", "classifier.bias",
]
RUNNING = ["bn1", "blocks.0.0.bn2", "blocks.2.1.bn3", "blocks.5.2.bn2", "bn2"]
KEPT = 8


def uniform(name: str, count: int) -> np.ndarray:
    """`count` numbers in -1..1, multiples of 2^-23: SplitMix64 seeded with the FNV-1a hash of `name`."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)).astype(np.float64) / 2**23 - 1).astype(np.float32)


@torch.no_grad()
def fill(model: torch.nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        u = uniform(name, tensor.numel()).reshape(tuple(tensor.shape))
        if tensor.ndim >= 2:
            value = u * np.float32((3 / np.prod(tensor.shape[1:])) ** 0.5)
        elif name.endswith(("weight", "running_var")):
            value = 1 + u * np.float32(0.3)
        else:
            value = u * np.float32(0.3)
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def pictures() -> np.ndarray:
    """Noise over slopes that differ by picture and channel, `[batch, side, side, 3]`, u8.

    Of several draws, this is the one in which no value is within rounding of a corner of ReLU6, where a gradient may
    pass in one program and not in the other: PyTorch's single precision differs from its double precision by 0.002 of
    the largest gradient with this draw, and by 0.007 to 0.09 with others.
    """
    noise = uniform("pictures 3", BATCH * SIDE * SIDE * 3).reshape(BATCH, SIDE, SIDE, 3).astype(np.float64)
    image, y, x, channel = np.mgrid[0:BATCH, 0:SIDE, 0:SIDE, 0:3]
    return (((noise + 1) * 64).astype(np.uint8) + ((x * (image + 1) + y * (channel + 1)) % 128).astype(np.uint8))


class Factor(torch.nn.Module):
    """Stands in for DropPath, with factors given."""

    def __init__(self, factors):
        super().__init__()
        self.factors = torch.from_numpy(factors).double().view(-1, 1, 1, 1)

    def forward(self, x):
        return x * self.factors


def factors(name: str, count: int, rate: float) -> np.ndarray:
    return np.where((uniform(name, count).astype(np.float64) + 1) / 2 < rate, 0.0, 1 / (1 - rate))


def training_step() -> dict:
    model = timm.create_model("tf_efficientnet_lite0", num_classes=2)
    fill(model)
    model = model.double().train()
    residual = [block for stage in model.blocks for block in stage if block.has_skip]
    for index, block in enumerate(residual):
        block.drop_path = Factor(factors(f"drop_path.{index}", BATCH, 0.25))
    dropout = torch.from_numpy(factors("dropout", BATCH * model.num_features, 0.25)).view(BATCH, -1)

    x = torch.from_numpy(pictures()).permute(0, 3, 1, 2).double() / 255
    x = (x - 0.5) / 0.5
    labels = torch.tensor([0, 1, 1, 0])
    logits = model.classifier(model.global_pool(model.forward_features(x)) * dropout)
    weights = torch.tensor([0.7, 1.6], dtype=torch.float64)
    loss = torch.nn.CrossEntropyLoss(weights, label_smoothing=0.1)(logits, labels)
    loss.backward()
    parameters = dict(model.named_parameters())
    gradients = {name: parameters[name].grad for name in GRADIENTS}
    state = model.state_dict()
    running = [f"{norm}.{what}" for norm in RUNNING for what in ("running_mean", "running_var")]
    return {
        "loss": loss.item(),
        "fake_probabilities": torch.softmax(logits, 1)[:, 1].tolist(),
        "norm": torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item(),
        "gradients": {n: {"norm": g.norm().item(), "first": g.flatten()[:KEPT].tolist()} for n, g in gradients.items()},
        "running": {name: state[name][:KEPT].tolist() for name in running},
    }


def optimizer_steps() -> dict:
    """Norms and biases without weight decay, as timm does; gradients clipped to a length of 1."""
    model = timm.create_model("tf_efficientnet_lite0", num_classes=2)
    fill(model)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.5},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    for step in range(3):
        for name, parameter in model.named_parameters():
            gradient = uniform(f"{name}.{step}", parameter.numel()).reshape(tuple(parameter.shape))
            parameter.grad = torch.from_numpy(np.ascontiguousarray(gradient))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach().flatten()[:KEPT].tolist() for name in GRADIENTS}


def main() -> None:
    golden = {"timm": timm.__version__, "torch": torch.__version__, "step": training_step(), "adamw": optimizer_steps()}
    path = pathlib.Path(__file__).parent / "training.json"
    path.write_text(json.dumps(golden, indent=1) + "\n")
    print(golden["step"]["loss"], golden["step"]["norm"], golden["step"]["fake_probabilities"])


if __name__ == "__main__":
    main()
