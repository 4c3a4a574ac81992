"""Weights of PyTorch, from files and from memory, as models. `vit.json` has the names of libraries and projects."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

import deepsight
from conftest import MODEL, REPOSITORY, read_safetensors
from deepsight import Analyzer, Classifier, convert

CASES = json.loads((REPOSITORY / "deepsight-core" / "tests" / "suite" / "parity" / "vit.json").read_text())["cases"]
SIDE, PATCH, WIDTH, DEPTH, HEADS = 64, 16, 128, 2, 2
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def bundled() -> tuple[dict, dict]:
    """Return the state dict of the bundled model, and the settings with which it becomes that model again."""
    card, tensors = read_safetensors(MODEL)
    crop = card["crop"]
    settings = {
        "model_name": f"tf_{card['architecture']}",
        "input_size": card["input_size"],
        "mean": card["mean"],
        "std": card["std"],
        "crop": f"aligned:{crop['size']}:{crop['scale']}:{crop['down']}",
        "threshold": card["threshold"],
        "temperature": card["temperature"],
        "mirrored": card["mirrored"],
    }
    return tensors, settings


def test_a_state_dict_in_memory_becomes_a_model(classifier: Classifier, face: np.ndarray, tmp_path) -> None:
    tensors, settings = bundled()
    # Weights in half precision are rounded to nothing else when they become single precision, and strides do not count.
    state_dict = {name: np.asfortranarray(tensor.astype(np.float32)) for name, tensor in tensors.items()}
    state_dict["bn1.num_batches_tracked"] = np.int64(7) + np.zeros((), np.int64)
    path = convert(state_dict, tmp_path / "mine.safetensors", **settings)
    own = Classifier(path)
    assert (own.name, own.architecture, own.threshold) == ("mine", "efficientnet_lite0", classifier.threshold)
    np.testing.assert_allclose(own.score(face), classifier.score(face), atol=1e-6)
    wrapped = convert({"state_dict": tensors}, tmp_path / "half.safetensors", format="f16", **settings)
    np.testing.assert_array_equal(Classifier(wrapped).score(face), classifier.score(face))
    again = convert(wrapped, tmp_path / "again.safetensors", **settings)
    np.testing.assert_allclose(Classifier(again).score(face), classifier.score(face), atol=1e-6)


def test_a_model_of_timm_says_its_name(classifier: Classifier, face: np.ndarray, tmp_path) -> None:
    tensors, settings = bundled()
    del settings["model_name"]

    class Model:
        """What a model of timm has."""

        pretrained_cfg = {"architecture": "tf_efficientnet_lite0"}

        def state_dict(self) -> dict:
            return tensors

    own = Classifier(convert(Model(), tmp_path / "own.safetensors", **settings))
    np.testing.assert_allclose(own.score(face), classifier.score(face), atol=1e-6)
    Model.pretrained_cfg = {"architecture": "efficientnet_lite0"}
    other = Classifier(convert(Model(), tmp_path / "other.safetensors", **settings))
    assert abs(float(other.score(face)[0] - own.score(face)[0])) > 1e-4


def test_references_are_compared_and_kept(face: np.ndarray, tmp_path) -> None:
    tensors, settings = bundled()
    settings |= {"mirrored": False, "temperature": 1.0}
    plain = convert(tensors, tmp_path / "plain.safetensors", **settings)
    score = float(Classifier(plain).score(face)[0])
    convert(tensors, tmp_path / "checked.safetensors", references=[(face, score)], **settings)
    with pytest.raises(deepsight.ModelError, match="reference 1 scores"):
        convert(tensors, tmp_path / "wrong.safetensors", references=[(face, 1 - score)], **settings)
    assert not (tmp_path / "wrong.safetensors").exists()


def test_weights_that_are_no_model_are_refused(tmp_path) -> None:
    tensors, settings = bundled()
    target = tmp_path / "none.safetensors"
    with pytest.raises(deepsight.SettingError, match="model_name"):
        convert(tensors, target)
    with pytest.raises(deepsight.ModelError, match="efficientnet"):
        convert(tensors, target, model_name="resnet50")
    with pytest.raises(deepsight.ModelError):
        convert({name: tensor for name, tensor in tensors.items() if "head" not in name}, target, **settings)
    with pytest.raises(deepsight.ModelError, match="missing"):
        convert({"conv_stem.weight": tensors["conv_stem.weight"]}, target, **settings)
    with pytest.raises(deepsight.SettingError, match="crop is 'round'"):
        convert(tensors, target, **(settings | {"crop": "round"}))
    with pytest.raises(deepsight.ModelError, match="input_size"):
        convert(tensors, target, **(settings | {"input_size": 5}))
    with pytest.raises(deepsight.SettingError, match="no tensors"):
        convert({}, target, **settings)
    with pytest.raises(deepsight.ModelError, match="variant"):
        convert(tensors, target, model_name="efficientnet_lite0")
    with pytest.raises(deepsight.SettingError, match="state dict"):
        convert(object(), target, **settings)
    with pytest.raises(deepsight.ModelError, match="missing.pth"):
        convert(tmp_path / "missing.pth", target, **settings)
    with pytest.raises(deepsight.WriteError):
        convert(tensors, tmp_path / "no" / "folder" / "model.safetensors", **settings)
    assert not target.exists()


def tensors_of(shapes: dict[str, list[int]], seed: int = 1) -> dict[str, np.ndarray]:
    """Return random weights that keep the values of a network within bounds."""
    random = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes.items():
        values = random.uniform(-1, 1, shape)
        scale = math.sqrt(3 / math.prod(shape[1:])) if len(shape) > 1 else 0.3
        tensors[name] = (values * scale + (len(shape) == 1 and "bias" not in name)).astype(np.float32)
    return tensors


def clip_shapes() -> dict[str, list[int]]:
    """Return the tensors of a small network of CLIP with two classes, by timm's names."""
    shapes = {
        "cls_token": [1, 1, WIDTH], "pos_embed": [1, 1 + (SIDE // PATCH) ** 2, WIDTH],
        "patch_embed.proj.weight": [WIDTH, 3, PATCH, PATCH], "head.weight": [2, WIDTH], "head.bias": [2],
    }  # fmt: skip
    layers = {"norm_pre": 0, "norm": 0}
    for block in (f"blocks.{index}." for index in range(DEPTH)):
        sizes = {"attn.qkv": 3 * WIDTH, "attn.proj": WIDTH, "mlp.fc1": 4 * WIDTH, "mlp.fc2": WIDTH}
        for layer, outputs in sizes.items():
            inputs = 4 * WIDTH if layer == "mlp.fc2" else WIDTH
            shapes |= {f"{block}{layer}.weight": [outputs, inputs], f"{block}{layer}.bias": [outputs]}
        layers |= {f"{block}norm1": 0, f"{block}norm2": 0}
    return shapes | {f"{layer}.{part}": [WIDTH] for layer in layers for part in ("weight", "bias")}


def forward(tensors: dict[str, np.ndarray], faces: np.ndarray, activation: str) -> np.ndarray:
    """Return the probability of the second class, computed in NumPy. Faces are ``[faces, SIDE, SIDE, 3]``."""
    weights = {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}

    def linear(x: np.ndarray, layer: str) -> np.ndarray:
        return x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]

    def norm(x: np.ndarray, layer: str) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * weights[f"{layer}.weight"] + weights[f"{layer}.bias"]

    def softmax(x: np.ndarray) -> np.ndarray:
        x = np.exp(x - x.max(-1, keepdims=True))
        return x / x.sum(-1, keepdims=True)

    def bent(x: np.ndarray) -> np.ndarray:
        if activation == "quick_gelu":
            return x / (1 + np.exp(-1.702 * x))
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    count, grid = len(faces), SIDE // PATCH
    x = (faces / 255 - CLIP_MEAN) / CLIP_STD
    x = x.reshape(count, grid, PATCH, grid, PATCH, 3).transpose(0, 1, 3, 5, 2, 4).reshape(count, grid * grid, -1)
    x = x @ weights["patch_embed.proj.weight"].reshape(WIDTH, -1).T
    x = np.concatenate([np.broadcast_to(weights["cls_token"], (count, 1, WIDTH)), x], axis=1) + weights["pos_embed"]
    x = norm(x, "norm_pre")
    for block in (f"blocks.{index}." for index in range(DEPTH)):
        qkv = linear(norm(x, f"{block}norm1"), f"{block}attn.qkv").reshape(count, -1, 3, HEADS, WIDTH // HEADS)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        mixed = softmax(q @ k.swapaxes(-1, -2) / math.sqrt(WIDTH // HEADS)) @ v
        x = x + linear(mixed.transpose(0, 2, 1, 3).reshape(x.shape), f"{block}attn.proj")
        x = x + linear(bent(linear(norm(x, f"{block}norm2"), f"{block}mlp.fc1")), f"{block}mlp.fc2")
    return softmax(linear(norm(x, "norm")[:, 0], "head"))[:, 1]


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_a_vision_transformer_in_memory_becomes_a_model(dtype, activation: str, faces: np.ndarray, tmp_path) -> None:
    tensors = {name: tensor.astype(dtype) for name, tensor in tensors_of(clip_shapes()).items()}
    own = Classifier(convert(tensors, tmp_path / "clip.safetensors", activation=activation))
    assert own.architecture == "vision_transformer, patch 16, width 128, depth 2"
    np.testing.assert_allclose(own.score(faces), forward(tensors, faces, activation), atol=1e-5)
    card, _ = read_safetensors(tmp_path / "clip.safetensors")
    assert (card["input_size"], card["resize"]) == (SIDE, "pil_bicubic")
    np.testing.assert_allclose([*card["mean"], *card["std"]], [*CLIP_MEAN, *CLIP_STD], atol=1e-7)
    with pytest.raises(deepsight.AnalysisError, match="activation maps"):
        own.explain(faces[0])


def test_a_network_says_what_its_tensors_do_not_show(faces: np.ndarray, tmp_path) -> None:
    tensors = tensors_of(clip_shapes())
    target = tmp_path / "clip.safetensors"
    with pytest.raises(deepsight.ModelError, match="choose the activation"):
        convert(tensors, target)

    class OfTransformers:
        """What a network of transformers has, or one that contains it."""

        config = SimpleNamespace(vision_config=SimpleNamespace(hidden_act="quick_gelu"))

        def state_dict(self) -> dict:
            return tensors

    own = Classifier(convert(OfTransformers(), target))
    np.testing.assert_allclose(own.score(faces), forward(tensors, faces, "quick_gelu"), atol=1e-5)
    assert np.abs(own.score(faces) - forward(tensors, faces, "gelu")).max() > 1e-4
    # What the caller says counts more.
    own = Classifier(convert(OfTransformers(), target, activation="gelu"))
    np.testing.assert_allclose(own.score(faces), forward(tensors, faces, "gelu"), atol=1e-5)
    OfTransformers.config.vision_config.hidden_act = "relu"
    with pytest.raises(deepsight.ModelError, match="choose the activation"):
        convert(OfTransformers(), target)

    class QuickGELU:
        """A module of open_clip, by its name."""

    class GELU:
        """A module of torch, by its name."""

        approximate = "none"

    class OfOpenClip(OfTransformers):
        """A network whose modules show the activation."""

        config = None
        parts = [QuickGELU()]

        def modules(self) -> list:
            return [self, *self.parts]

    own = Classifier(convert(OfOpenClip(), target))
    np.testing.assert_allclose(own.score(faces), forward(tensors, faces, "quick_gelu"), atol=1e-5)
    OfOpenClip.parts = [GELU(), GELU()]
    own = Classifier(convert(OfOpenClip(), target))
    np.testing.assert_allclose(own.score(faces), forward(tensors, faces, "gelu"), atol=1e-5)
    GELU.approximate = "tanh"
    with pytest.raises(deepsight.ModelError, match="choose the activation"):
        convert(OfOpenClip(), target)


def test_a_head_comes_from_a_mapping_a_layer_or_a_file(faces: np.ndarray, tmp_path) -> None:
    tensors = tensors_of(clip_shapes())
    body = {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}
    with pytest.raises(deepsight.ModelError, match="no head"):
        convert(body, tmp_path / "clip.safetensors", activation="gelu")
    head = {part: tensors[f"head.{part}"] for part in ("weight", "bias")}
    expected = forward(tensors, faces, "gelu")

    class Linear:
        def state_dict(self) -> dict:
            return head

    for source in (head, Linear(), {"state_dict": {"fc.weight": head["weight"], "fc.bias": head["bias"]}}):
        own = Classifier(convert(body, tmp_path / "clip.safetensors", activation="gelu", head_weights=source))
        np.testing.assert_allclose(own.score(faces), expected, atol=1e-5)
    with pytest.raises(deepsight.ModelError, match=r"shape \[2, 7\]"):
        wrong = {"weight": np.zeros((2, 7), np.float32)}
        convert(body, tmp_path / "wrong.safetensors", activation="gelu", head_weights=wrong)
    with pytest.raises(deepsight.SettingError, match="head_weights is a int"):
        convert(body, tmp_path / "wrong.safetensors", activation="gelu", head_weights=7)
    with pytest.raises(deepsight.ModelError, match="missing.pth"):
        convert(body, tmp_path / "wrong.safetensors", activation="gelu", head_weights=tmp_path / "missing.pth")


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_names_of_libraries_and_projects_are_known(case: str, tmp_path) -> None:
    origin = case.partition("_")[0].replace("timm", "")
    settings = {"activation": "gelu", "origin": "timm"} if not origin else {"origin": origin}
    target = tmp_path / "model.safetensors"
    tensors = tensors_of(CASES[case]["shapes"])
    if origin:
        with pytest.warns(deepsight.ConversionWarning, match="; references show how much that matters"):
            convert(tensors, target, input_size=32, **settings)
    else:
        convert(tensors, target, input_size=32, **settings)
    card, _ = read_safetensors(target)
    shape = card["vision_transformer"]
    assert (card["input_size"], shape["width"], shape["head"]) == (32, 128, "cosine" if origin == "gend" else "linear")
    assert shape["activation"] == ("quick_gelu" if origin and "dino" not in case else "gelu")
    assert card["crop"]["kind"] == ("aligned" if origin in ("effort", "gend") else "box")
    assert Classifier(target).score(np.zeros((32, 32, 3), np.uint8)).shape == (1,)


def test_a_whole_checkpoint_in_memory_is_read_as_its_file_would_be(
    classifier: Classifier, face: np.ndarray, tmp_path
) -> None:
    tensors, settings = bundled()
    del settings["model_name"]
    halved = {name: tensor / 2 for name, tensor in tensors.items()}
    checkpoint = {
        "arch": "tf_efficientnet_lite0", "epoch": 7, "state_dict": halved, "state_dict_ema": tensors,
        "optimizer": {"state": {0: {"exp_avg": np.zeros(3)}}, "averages": {"conv": np.zeros(3)}},
    }  # fmt: skip
    with pytest.warns(deepsight.ConversionWarning, match="weights are `state_dict_ema`.*has `state_dict`.*which"):
        average = convert(checkpoint, tmp_path / "average.safetensors", **settings)
    np.testing.assert_allclose(Classifier(average).score(face), classifier.score(face), atol=1e-6)
    with pytest.warns(deepsight.ConversionWarning):
        plain = convert(checkpoint, tmp_path / "plain.safetensors", which="plain", **settings)
    assert abs(float(Classifier(plain).score(face)[0] - classifier.score(face)[0])) > 1e-3
    checkpoint["arch"] = "efficientnet_b0"
    with pytest.raises(deepsight.ModelError, match="`arch` in the file is `efficientnet_b0`"):
        convert(checkpoint, tmp_path / "other.safetensors", model_name="tf_efficientnet_lite0", **settings)


def test_a_network_that_contains_one_of_timm_says_its_name_and_pixels(face: np.ndarray, tmp_path) -> None:
    tensors, settings = bundled()
    for name in ("model_name", "mean", "std"):
        del settings[name]
    cfg = {"architecture": "tf_efficientnet_lite0", "mean": (0.25, 0.5, 0.75), "std": (0.5, 0.25, 0.125)}

    class Detector:
        """A module around a network of timm."""

        def modules(self) -> list:
            return [self, SimpleNamespace(pretrained_cfg=cfg), SimpleNamespace(pretrained_cfg=None)]

        def state_dict(self) -> dict:
            return {f"net.{name}": tensor for name, tensor in tensors.items()}

    card, _ = read_safetensors(convert(Detector(), tmp_path / "own.safetensors", **settings))
    assert (card["architecture"], card["mean"], card["std"]) == (
        "efficientnet_lite0", [0.25, 0.5, 0.75], [0.5, 0.25, 0.125],
    )  # fmt: skip
    card, _ = read_safetensors(convert(Detector(), tmp_path / "own.safetensors", mean=[0.5] * 3, **settings))
    assert (card["mean"], card["std"]) == ([0.5] * 3, [0.5, 0.25, 0.125])


def test_a_golden_face_is_scored_and_checked_on_loading(faces: np.ndarray, tmp_path) -> None:
    tensors = tensors_of(clip_shapes())
    path = convert(tensors, tmp_path / "clip.safetensors", activation="gelu", golden=faces[0], temperature=2)
    card, _ = read_safetensors(path)
    assert card["golden"]["fake_probability"] == pytest.approx(float(Classifier(path).score(faces[0])[0]), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "relu"}, "activation is relu: it must be gelu or quick_gelu"),
        ({"activation": 7}, "activation is 7: it must be a str"),
        ({"variant": "pytorch"}, "variant is pytorch: it is for EfficientNets only"),
        ({"head": "round"}, "head is round: it must be linear or cosine"),
        ({"which": "best"}, "which is best: it must be ema or plain"),
        ({"format": "i4"}, "format is i4: it must be f32, f16 or i8"),
        ({"format": "i8"}, "it cannot be i8 for a vision transformer"),
        ({"resize": "nearest"}, "resize is nearest: it must be"),
        ({"origin": "me"}, "origin is me: it must be timm, sbi"),
        ({"padding": "valid"}, "padding is valid: it must be symmetric"),
        ({"mean": [0.5, 0.5]}, r"mean is \[0.5, 0.5\]: it must have three numbers"),
        ({"std": "abc"}, "std is 'a': it must be a number"),
        ({"input_size": 65}, "input_size is 65: it must be a multiple of the patch size"),
        ({"input_size": 0.5}, "input_size is 0.5: it must be a whole number"),
        ({"threshold": "high"}, "threshold is 'high': it must be a number"),
        ({"crop": "aligned:1.5:1"}, "crop is 'aligned:1.5:1'"),
        ({"references": [(np.zeros((5, 5, 3), np.uint8), "fake")]}, r"score of references\[0\] is 'fake'"),
    ],
)
def test_settings_are_refused_by_name(settings: dict, message: str, tmp_path) -> None:
    target = tmp_path / "none.safetensors"
    with pytest.raises(deepsight.SettingError, match=message) as caught:
        convert(tensors_of(clip_shapes()), target, **({"activation": "gelu"} | settings))
    assert "\n" not in str(caught.value) and not target.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": float("nan")}, "field `threshold` is null"),
        ({"temperature": 0}, "field `temperature` is 0"),
        ({"std": [1, 1, 0]}, "field `std`"),
        ({"crop": "aligned:5:1"}, "field `crop`"),
        ({"padding": "same"}, "field `padding`"),
        ({"references": [(np.zeros((5, 5, 3), np.uint8), 1.5)]}, "field `references`"),
        ({"references": [(np.zeros((5, 5, 3), np.uint8), 0.5)], "tolerance": -1}, "field `references`"),
        ({"origin": "sbi"}, "those of timm or effort or gend or unifd"),
        ({"model_name": "efficientnet_b4"}, "weights are those of a vision transformer"),
        ({"model_name": "vit_large_patch14_clip_224"}, "was asked for"),
    ],
)
def test_cards_that_are_not_usable_are_refused_by_field(settings: dict, message: str, tmp_path) -> None:
    target = tmp_path / "none.safetensors"
    with pytest.raises(deepsight.ModelError, match=message) as caught:
        convert(tensors_of(clip_shapes()), target, **({"activation": "gelu"} | settings))
    assert "\n" not in str(caught.value) and not target.exists()


def test_settings_of_vision_transformers_are_refused_for_efficientnets(tmp_path) -> None:
    tensors, settings = bundled()
    for name, value in [("activation", "gelu"), ("head", "cosine"), ("head_weights", {"weight": np.zeros((2, 8))})]:
        with pytest.raises(deepsight.SettingError, match=f"^{name} is .* for vision transformers only"):
            convert(tensors, tmp_path / "none.safetensors", **settings, **{name: value})


def test_tensors_that_are_no_numbers_are_refused_by_name(tmp_path) -> None:
    target = tmp_path / "none.safetensors"
    wrong = {"head.bias": np.zeros(2, complex)}
    with pytest.raises(deepsight.ArrayError, match="tensor 'head.bias' has dtype complex128"):
        convert(tensors_of(clip_shapes()) | wrong, target, activation="gelu")
    with pytest.raises(deepsight.ModelError, match="`head.bias` has type I64"):
        convert(tensors_of(clip_shapes()) | {"head.bias": np.zeros(2, np.int64)}, target, activation="gelu")

    class Meta:
        """A tensor without values."""

        shape, dtype = (2,), "torch.float32"

        def detach(self) -> Meta:
            return self

        def cpu(self) -> Meta:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")

    with pytest.raises(deepsight.ArrayError, match="tensor 'head.bias' cannot be read.*no data"):
        convert(tensors_of(clip_shapes()) | {"head.bias": Meta()}, target, activation="gelu")
    endless: dict = {}
    endless["more"] = endless
    with pytest.raises(deepsight.SettingError, match="no tensors"):
        convert(endless, target)
    assert not target.exists()
