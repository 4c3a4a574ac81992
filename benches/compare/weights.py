"""Untrained networks that give different faces different scores."""

from __future__ import annotations

import timm
import torch


def settled(name: str, faces: torch.Tensor) -> torch.nn.Module:
    """Returns an untrained network that gives faces different scores, and whose batch norms are not the identity.

    Batch norms take the faces' statistics and random affine terms, so that an error in their order or their epsilon
    shows; the classifier is scaled until the middle two thirds of the faces lie 4 apart in the margin of their logits.
    """
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=2)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.8, 1.2)
            torch.nn.init.uniform_(layer.bias, -0.1, 0.1)
            layer.momentum = None
    with torch.no_grad():
        model.train()(faces)
        logits = model.eval()(faces)
        margins = logits[:, 1] - logits[:, 0]
        low, middle, high = margins.quantile(torch.tensor([1 / 6, 1 / 2, 5 / 6]))
        scale = 4 / (high - low)
        head = model.get_classifier()
        head.weight *= scale
        head.bias *= scale
        head.bias[1] -= middle * scale
    return model
