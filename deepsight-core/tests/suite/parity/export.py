"""Writes logits.json: timm's logits for weights and images that a formula gives.

The test computes the same weights and images, so that no weights need to be shipped. Only what a formula cannot know is
in the file: for each batch norm one mean and one variance (those of its input, as if trained on these images), so that
activations stay alive through all layers, and the scale and shift of the classifier that bring logits to unit spread.

    pip install torch timm numpy && python export.py
"""

import json
import pathlib

import numpy as np
import timm
import torch

# One size for most: the networks share all of their code, and differ in widths and depths.
SIZES = {
    "efficientnet_b0": [(64, 64), (65, 97)],
    "efficientnet_b3": [(64, 64), (75, 51)],
    "tf_efficientnet_b0": [(64, 64), (65, 97)],
    "tf_efficientnet_b4": [(64, 64), (65, 97)],
    "efficientnet_lite0": [(64, 64), (63, 85)],
    "efficientnet_lite2": [(64, 64), (63, 85)],
}
# Our names, timm's names and the sizes of the images.
MODELS = {
    ours: (theirs, SIZES.get(ours, [(64, 64)]))
    for ours, theirs in [
        *((f"efficientnet_b{n}", f"efficientnet_b{n}") for n in range(8)),
        *((f"tf_efficientnet_b{n}", f"tf_efficientnet_b{n}") for n in range(8)),
        *((f"efficientnet_lite{n}", f"tf_efficientnet_lite{n}") for n in range(5)),
    ]
}


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


def images(name: str, count: int, height: int, width: int) -> np.ndarray:
    """Stripes of different slope and period with noise, `[count, 3, height, width]`, values in -2..2."""
    noise = uniform(name, count * 3 * height * width).reshape(count, 3, height, width)
    y, x = np.mgrid[0:height, 0:width]
    out = np.empty_like(noise)
    for image in range(count):
        for channel in range(3):
            period = 4 + 5 * image + 2 * channel
            stripes = ((x * (image + 1) + y * (3 - image)) % period).astype(np.float32) / np.float32(period)
            out[image, channel] = 3 * stripes - np.float32(1.5) + noise[image, channel] / 2
    return out


def fill(model: torch.nn.Module) -> None:
    """Convolutions and linear layers, and the affine terms of batch norms."""
    for name, tensor in model.state_dict().items():
        u = uniform(name, tensor.numel()).reshape(tensor.shape)
        if tensor.ndim >= 2:
            # Small enough that an epsilon of 1e-3 and one of 1e-5 give different results.
            gate = ".se." in name
            value = u * np.float32((1.0 if gate else 0.25) * (3 / np.prod(tensor.shape[1:])) ** 0.5)
        elif name.endswith("weight"):
            value = 1 + u * np.float32(0.3)
        else:
            value = u * np.float32(0.3)
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def settle(model: torch.nn.Module, x: torch.Tensor) -> dict[str, list[float]]:
    """Sets each batch norm's statistics from its input, spread by the formula, and returns the two numbers of each."""
    statistics = {}

    def before(name):
        def hook(norm, inputs):
            mean = np.float32(float(inputs[0].mean()))
            var = np.float32(float(inputs[0].var()))
            # As few digits as give the same 32 bits again.
            statistics[name] = [float(str(mean)), float(str(var))]
            count = norm.num_features
            spread = uniform(f"{name}.running_mean", count)
            norm.running_mean.copy_(torch.from_numpy(mean + np.float32(0.3) * np.sqrt(var) * spread))
            factor = 1 + np.float32(0.3) * uniform(f"{name}.running_var", count)
            norm.running_var.copy_(torch.from_numpy(var * factor))
        return hook

    norms = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    hooks = [m.register_forward_pre_hook(before(n)) for n, m in norms]
    model(x)
    for hook in hooks:
        hook.remove()
    return statistics


def prepared(ours: str) -> tuple[torch.nn.Module, list[torch.Tensor], dict[str, list[float]], np.float32]:
    """A network of `MODELS` with the formula's weights, its images, and what only the file knows of the weights."""
    theirs, sizes = MODELS[ours]
    model = timm.create_model(theirs, num_classes=2).eval()
    fill(model)
    batches = [torch.from_numpy(images(f"{ours}.{h}x{w}", 3, h, w)) for h, w in sizes]
    statistics = settle(model, batches[0])
    raw = torch.cat([model(x) for x in batches])
    scale, shift = np.float32(1 / float(raw.std(0).mean())), raw.mean(0)
    head = model.get_classifier()
    head.bias.copy_((head.bias - shift) * float(scale) + torch.tensor([0.5, -0.5]))
    head.weight *= float(scale)
    return model, batches, statistics, scale


@torch.inference_mode()
def main() -> None:
    models = {}
    for ours, (_, sizes) in MODELS.items():
        model, batches, statistics, scale = prepared(ours)
        head = model.get_classifier()
        models[ours] = {
            "batch_norms": statistics,
            "classifier_scale": float(scale),
            "classifier_bias": head.bias.tolist(),
            "cases": [{"height": h, "width": w, "logits": model(x).tolist()} for (h, w), x in zip(sizes, batches)],
            "names": sorted(n for n in model.state_dict() if not n.endswith("num_batches_tracked")),
        }
        print(ours, [case["logits"] for case in models[ours]["cases"]])
        for eps in (1e-3, 1e-5):
            for norm in model.modules():
                if isinstance(norm, torch.nn.BatchNorm2d):
                    norm.eps = eps
            print(f"  with epsilon {eps}:", model(batches[0]).tolist())
    path = pathlib.Path(__file__).parent / "logits.json"
    path.write_text(json.dumps({"timm": timm.__version__, "models": models}, indent=None) + "\n")


if __name__ == "__main__":
    main()
