"""Writes vit.json: the logits of small vision transformers in the libraries and projects that publish weights.

The test makes the same weights by the formula of export.py, under the names and in the shapes that are listed here, and
imports them as a file. So names, merging of layers, positions, heads and logits are compared at once.

    pip install torch timm transformers open_clip_torch numpy && python vit.py
"""

import json
import pathlib

import numpy as np
import open_clip
import timm
import torch
import torch.nn.functional as F
import transformers
from timm.layers import resample_abs_pos_embed

from export import images, uniform

SIDE, LARGER, PATCH, WIDTH, DEPTH, HEADS, EMBEDDING = 32, 48, 8, 128, 2, 2, 48


def values(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The value of a tensor by its name and shape."""
    u = uniform(name, int(np.prod(shape))).reshape(shape)
    if len(shape) >= 2:
        value = u * np.float32((3 / np.prod(shape[1:])) ** 0.5)
    elif name.endswith(("weight", "gamma", "lambda1", "S_residual")):
        value = 1 + u * np.float32(0.3)
    else:
        value = u * np.float32(0.3)
    return torch.from_numpy(np.ascontiguousarray(value.astype(np.float32)))


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {name: values(name, shape) for name, shape in shapes.items()}


def shapes_of(module: torch.nn.Module, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {prefix + name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def of_timm(name: str, x: torch.Tensor, side: int = SIDE):
    size = dict(patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, num_classes=2)
    saved = timm.create_model(name, img_size=side, **size)
    state = filled(shapes_of(saved))
    used = timm.create_model(name, img_size=SIDE, **size).eval()
    loaded = dict(state)
    if side != SIDE:
        prefixes = 0 if used.no_embed_class else 1
        size = [SIDE // PATCH] * 2
        loaded["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], size, num_prefix_tokens=prefixes)
    used.load_state_dict(loaded)
    return state, used(x)


def clip(hidden_act: str) -> torch.nn.Module:
    config = transformers.CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS,
        image_size=SIDE, patch_size=PATCH, hidden_act=hidden_act,
    )
    return transformers.CLIPVisionModel(config).eval()


def head(state: dict[str, torch.Tensor], name: str, features: torch.Tensor) -> torch.Tensor:
    return F.linear(features, state[f"{name}.weight"], state[f"{name}.bias"])


def effort(x: torch.Tensor):
    """`EffortDetector` within `DataParallel`: every linear layer of the attention is main + U diag(S) V."""
    model, rank = clip("quick_gelu"), 3
    shapes = {}
    for name, shape in shapes_of(model, "module.backbone.").items():
        if "self_attn" in name and name.endswith(".weight"):
            layer = name.removesuffix(".weight")
            shapes[f"{layer}.weight_main"] = shape
            shapes[f"{layer}.S_residual"] = (rank,)
            shapes[f"{layer}.U_residual"], shapes[f"{layer}.V_residual"] = (WIDTH, rank), (rank, WIDTH)
            # The training keeps the main part, too.
            shapes[f"{layer}.S_r"], shapes[f"{layer}.U_r"], shapes[f"{layer}.V_r"] = (5,), (WIDTH, 5), (5, WIDTH)
        else:
            shapes[name] = shape
    shapes |= {"module.head.weight": (2, WIDTH), "module.head.bias": (2,)}
    state = filled(shapes)
    merged = {}
    for name, tensor in part(state, "module.backbone.").items():
        layer = "module.backbone." + name.removesuffix(".weight_main")
        if name.endswith(".weight_main"):
            s, u, v = (state[f"{layer}.{part}_residual"] for part in "SUV")
            merged[name.removesuffix("_main")] = tensor + u @ torch.diag(s) @ v
        elif not name.endswith(("_residual", "_r")):
            merged[name] = tensor
    model.load_state_dict(merged)
    return state, head(state, "module.head", model(x).pooler_output)


def gend_clip(x: torch.Tensor):
    model = clip("quick_gelu")
    shapes = shapes_of(model, "feature_extractor.vision_model.")
    shapes["feature_extractor.visual_projection.weight"] = (EMBEDDING, WIDTH)
    shapes |= {"model.linear.weight": (2, WIDTH), "model.linear.bias": (2,)}
    state = filled(shapes)
    model.load_state_dict(part(state, "feature_extractor.vision_model."))
    return state, head(state, "model.linear", F.normalize(model(x).pooler_output, p=2, dim=1))


def gend_dino(x: torch.Tensor, registers: bool, old_names: bool):
    kind = ("Dinov2WithRegisters" if registers else "Dinov2")
    config = getattr(transformers, kind + "Config")(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, image_size=LARGER, patch_size=PATCH,
    )
    model = getattr(transformers, kind + "Model")(config).eval()
    shapes = shapes_of(model, "feature_extractor.backbone.")
    shapes |= {"model.linear.weight": (2, WIDTH), "model.linear.bias": (2,)}
    # As transformers before version 5 called them.
    older = {"attention.q_proj": "attention.attention.query", "attention.k_proj": "attention.attention.key",
             "attention.v_proj": "attention.attention.value", "attention.o_proj": "attention.output.dense"}

    def saved(name: str) -> str:
        for new, old in older.items() if old_names else ():
            name = name.replace(new, old)
        return name

    state = filled({saved(name): shape for name, shape in shapes.items()})
    loaded = {name: state[saved(name)] for name in shapes}
    model.load_state_dict(part(loaded, "feature_extractor.backbone."))
    features = model(x).last_hidden_state[:, 0]
    return state, head(state, "model.linear", F.normalize(features, p=2, dim=1))


def unifd(x: torch.Tensor):
    """OpenAI's CLIP as a whole, with one logit of its image embedding."""
    vision = open_clip.model.CLIPVisionCfg(
        layers=DEPTH, width=WIDTH, head_width=WIDTH // HEADS, patch_size=PATCH, image_size=SIDE
    )
    text = open_clip.model.CLIPTextCfg(context_length=4, vocab_size=8, width=16, heads=2, layers=1)
    model = open_clip.model.CLIP(EMBEDDING, vision, text, quick_gelu=True).eval()
    shapes = shapes_of(model, "model.") | {"fc.weight": (1, EMBEDDING), "fc.bias": (1,)}
    state = filled({name: shape for name, shape in shapes.items() if not name.endswith("attn_mask")})
    model.load_state_dict(part(state, "model."), strict=False)
    z = head(state, "fc", model.encode_image(x))
    return state, torch.cat([torch.zeros_like(z), z], dim=1)


@torch.inference_mode()
def main() -> None:
    x = torch.from_numpy(images("vit", 3, SIDE, SIDE))
    cases = {
        "timm_clip": of_timm("vit_base_patch16_clip_224", x),
        "timm_clip_quickgelu": of_timm("vit_base_patch16_clip_quickgelu_224", x),
        "timm_dinov2": of_timm("vit_base_patch14_dinov2", x),
        "timm_dinov2_larger": of_timm("vit_base_patch14_dinov2", x, LARGER),
        "timm_dinov2_registers": of_timm("vit_base_patch14_reg4_dinov2", x),
        "timm_dinov2_registers_larger": of_timm("vit_base_patch14_reg4_dinov2", x, LARGER),
        "effort": effort(x),
        "gend_clip": gend_clip(x),
        "gend_dinov2": gend_dino(x, False, False),
        "gend_dinov2_old_names": gend_dino(x, False, True),
        "gend_dinov2_registers": gend_dino(x, True, False),
        "unifd": unifd(x),
    }
    versions = {library.__name__: library.__version__ for library in (timm, transformers, open_clip)}
    out = {**versions, "cases": {}}
    for name, (state, logits) in cases.items():
        print(name, len(state), logits.tolist())
        out["cases"][name] = {
            "shapes": {tensor: list(value.shape) for tensor, value in state.items()},
            "logits": logits.tolist(),
        }
    pathlib.Path(__file__).with_name("vit.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
