"""Writes paddings.json: the logits of efficientnet_pytorch for the weights and images of `export.py`.

It pads for the input size of the network's name (380 for B4), whatever the size of the image, and before version 0.7
for that size in every layer. DeepfakeBench replaces the first convolution by one without padding. The names of the
tensors are in the file, too, in pairs with timm's.

    pip install torch timm numpy efficientnet_pytorch==0.7.1
    pip install --no-deps --target old efficientnet_pytorch==0.6.3 && python paddings.py old
"""

import importlib
import json
import pathlib
import sys

import torch

from export import MODELS, prepared

NAME = "tf_efficientnet_b4"


def network(state: dict[str, torch.Tensor]):
    """EfficientNet-B4 with these weights, which both libraries list in the same order."""
    library = importlib.import_module("efficientnet_pytorch")
    is_old = library.__version__ < "0.7"
    classes = {"override_params": {"num_classes": 2}} if is_old else {"num_classes": 2}
    theirs = library.EfficientNet.from_name("efficientnet-b4", **classes)
    names = list(theirs.state_dict())
    assert len(names) == len(state)
    theirs.load_state_dict(dict(zip(names, state.values())))
    return theirs.eval()


@torch.inference_mode()
def main(old: str) -> None:
    timm, batches, _, _ = prepared(NAME)
    sizes = MODELS[NAME][1]
    state = timm.state_dict()

    def case(padding: str, pad_stem: bool, model) -> dict:
        logits = [{"height": h, "width": w, "logits": model(x).tolist()} for (h, w), x in zip(sizes, batches)]
        return {"padding": padding, "pad_stem": pad_stem, "cases": logits}

    model = network(state)
    pairs = [pair for pair in zip(state, model.state_dict()) if not pair[0].endswith("num_batches_tracked")]
    paddings = [case("same-for:380", True, model)]
    stem = torch.nn.Conv2d(3, 48, kernel_size=3, stride=2, bias=False)
    stem.weight.copy_(model._conv_stem.weight)
    model._conv_stem = stem
    paddings.append(case("same-for:380", False, model))
    for name in [name for name in sys.modules if name.startswith("efficientnet_pytorch")]:
        del sys.modules[name]
    sys.path.insert(0, old)
    assert importlib.import_module("efficientnet_pytorch").__version__.startswith("0.6")
    paddings.append(case("same-for-each:380", True, network(state)))
    for found in paddings:
        print(found["padding"], found["pad_stem"], found["cases"])
    path = pathlib.Path(__file__).parent / "paddings.json"
    path.write_text(json.dumps({"names": pairs, "paddings": paddings}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
