"""Imports checkpoints in the formats of nine projects, and compares the scores with those of the original code.

    benches/compare/setup.sh                                     # once: the peers, in $DEEPSIGHT_PEERS
    ~/.cache/deepsight-peers/bin/python benches/compare/published.py --write docs/benchmarks.md

Real weights are not available everywhere, so each network gets random ones, spread so that faces get different scores,
and is saved under the names and keys of its project. `deepsight convert` makes a model file of it. Then both score the
same faces of the bundled clip: the original libraries with the project's own resize, normalisation and head, and ours.
Files that cannot be imported must be refused by name. The largest files take 1.2 GB each; they are deleted at once.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import subprocess
import time
from dataclasses import dataclass
from typing import Callable

import cv2
import numpy as np
import timm
import torch
import torch.nn.functional as F
import transformers
from efficientnet_pytorch import EfficientNet
from PIL import Image

import report
import work
from export import cut_out_faces
from setting import Setting, build, target_folder
from work import Failure, Worker

FACES, ROUNDS = 20, 3
TOLERANCE = 1e-3
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5,) * 3, (0.5,) * 3)

Resize = Callable[[np.ndarray, int], np.ndarray]
Network = Callable[[torch.Tensor], torch.Tensor]


def opencv(face: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(face, (side, side), interpolation=cv2.INTER_LINEAR)


def pil(filter: Image.Resampling) -> Resize:
    return lambda face, side: np.asarray(Image.fromarray(face).resize((side, side), filter))


def padded(face: np.ndarray, side: int) -> np.ndarray:
    """Resizes as the winner of the DFDC does: keeps the aspect ratio, centered on a black square."""
    height, width = face.shape[:2]
    scale = side / max(width, height)
    size = (side, int(height * scale)) if width > height else (int(width * scale), side)
    filter = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    inner = cv2.resize(face, size, interpolation=filter) if scale != 1 else face
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - inner.shape[0]) // 2, (side - inner.shape[1]) // 2
    square[top:top + inner.shape[0], left:left + inner.shape[1]] = inner
    return square


def tensor(faces: list[np.ndarray], resize: Resize, side: int, pixels: tuple) -> torch.Tensor:
    mean, std = (np.float32(value) for value in pixels)
    normalised = [(resize(face, side).astype(np.float32) / 255 - mean) / std for face in faces]
    return torch.from_numpy(np.stack(normalised)).permute(0, 3, 1, 2).contiguous()


@dataclass
class Project:
    """A checkpoint as a project saves it, and the original code from a face to its fake probability."""

    name: str
    # The argument of torch.save, or a dict of tensors for safetensors.
    content: object
    file: str
    flags: list[str]
    inputs: torch.Tensor
    network: Network
    # The head, in a separate file.
    head: object = None


def settled(network: torch.nn.Module, head: torch.nn.Linear, forward: Network, inputs: torch.Tensor) -> None:
    """Sets random weights that give faces different scores: adapts batch norms to the inputs, and scales the head."""
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in norms:
        torch.nn.init.uniform_(layer.weight, 0.8, 1.2)
        torch.nn.init.uniform_(layer.bias, -0.1, 0.1)
        layer.momentum = None
    if norms:
        network.train()
        for layer in network.modules():
            # No random dropping while the statistics are taken.
            if not isinstance(layer, torch.nn.BatchNorm2d):
                layer.training = False
        forward(inputs)
    network.eval()
    margins = margin(forward(inputs))
    low, middle, high = margins.quantile(torch.tensor([1 / 6, 1 / 2, 5 / 6]))
    scale = 4 / (high - low)
    head.weight.data *= scale
    if head.bias is not None:
        head.bias.data *= scale
        head.bias.data[-1] -= middle * scale


def margin(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in state.items()}


def sbi(faces: list[np.ndarray]) -> Project:
    net = EfficientNet.from_name("efficientnet-b4", num_classes=2)
    x = tensor(faces, opencv, 380, ((0,) * 3, (1,) * 3))
    settled(net, net._fc, net, x)
    weights = {"model": prefixed("net.", net.state_dict())}
    return Project("SelfBlendedImages", weights, "FFraw.tar", ["--from", "sbi"], x, net)


def deepfakebench(faces: list[np.ndarray]) -> Project:
    net = EfficientNet.from_name("efficientnet-b4", num_classes=2)
    # DeepfakeBench replaces the first layer by one without padding, and the last by its own.
    net._conv_stem = torch.nn.Conv2d(3, 48, kernel_size=3, stride=2, bias=False)
    last = torch.nn.Linear(1792, 2)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return last(F.adaptive_avg_pool2d(net.extract_features(x), 1).flatten(1))

    x = tensor(faces, opencv, 256, HALF)
    settled(net, last, forward, x)
    own = {name: value for name, value in net.state_dict().items() if not name.startswith("_fc")}
    state = prefixed("backbone.efficientnet.", own) | prefixed("backbone.last_layer.", last.state_dict())
    return Project("DeepfakeBench", state, "effnb4_best.pth", ["--from", "deepfakebench"], x, forward)


def selimsef(faces: list[np.ndarray]) -> Project:
    encoder, last = timm.create_model("tf_efficientnet_b7"), torch.nn.Linear(2560, 1)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return last(F.adaptive_avg_pool2d(encoder.forward_features(x), 1).flatten(1))

    x = tensor(faces, padded, 380, IMAGENET)
    settled(encoder, last, forward, x)
    state = prefixed("module.encoder.", encoder.state_dict()) | prefixed("module.fc.", last.state_dict())
    content = {"epoch": 36, "state_dict": state, "bce_best": 0.2}
    name = "final_111_DeepFakeClassifier_tf_efficientnet_b7_ns_0_36"
    return Project("selimsef, DFDC", content, name, ["--from", "selimsef"], x, forward)


def polimi(faces: list[np.ndarray]) -> Project:
    net, last = EfficientNet.from_name("efficientnet-b4"), torch.nn.Linear(1792, 1)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return last(F.adaptive_avg_pool2d(net.extract_features(x), 1).flatten(1))

    x = tensor(faces, pil(Image.Resampling.BILINEAR), 224, IMAGENET)
    settled(net, last, forward, x)
    own = {name: value for name, value in net.state_dict().items() if not name.startswith("_fc")}
    state = prefixed("efficientnet.", own) | prefixed("classifier.", last.state_dict())
    return Project("icpr2020dfdc", state, "EfficientNetB4_DFDC_bestval.pth", ["--from", "polimi"], x, forward)


def timms(faces: list[np.ndarray]) -> Project:
    """A checkpoint of timm's training script, with a moving average and the last weights."""
    net = timm.create_model("tf_efficientnet_b5", num_classes=2)
    x = tensor(faces, opencv, 456, IMAGENET)
    settled(net, net.get_classifier(), net, x)
    average = net.state_dict()
    last = {name: value + 0.01 if value.is_floating_point() else value for name, value in average.items()}
    content = {"arch": "tf_efficientnet_b5", "state_dict": last, "state_dict_ema": average, "epoch": 3}
    return Project("timm", content, "model_best.pth.tar", ["--from", "timm"], x, net)


def lightning(faces: list[np.ndarray]) -> Project:
    """A checkpoint of Lightning with a compiled network, in half precision."""
    net = timm.create_model("efficientnet_b3", num_classes=2)
    x = tensor(faces, opencv, 300, IMAGENET)
    settled(net, net.get_classifier(), net, x)
    halves = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    net.load_state_dict(halves)
    content = {"state_dict": prefixed("model._orig_mod.backbone.", halves), "pytorch-lightning_version": "2.5.0"}
    flags = ["--model-name", "efficientnet_b3", "--variant", "pytorch", "--input-size", "300"]
    return Project("Lightning, torch.compile, f16", content, "last.ckpt", flags, x, net)


def vision_model() -> torch.nn.Module:
    config = transformers.CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=224,
        patch_size=14, hidden_act="quick_gelu",
    )
    return transformers.CLIPVisionModel(config).eval()


def effort(faces: list[np.ndarray]) -> Project:
    """A checkpoint in which each linear layer of the attention is a main part and a low-rank residual."""
    model, last, rank = vision_model(), torch.nn.Linear(1024, 2), 1
    state = {}
    for name, value in model.state_dict().items():
        if "self_attn" not in name or not name.endswith(".weight"):
            state[f"module.backbone.{name}"] = value
            continue
        layer = "module.backbone." + name.removesuffix(".weight")
        u, s, v = _few(value, rank)
        state[f"{layer}.weight_main"] = value - u @ torch.diag(s) @ v
        state |= {f"{layer}.U_residual": u, f"{layer}.S_residual": s, f"{layer}.V_residual": v}

    def forward(x: torch.Tensor) -> torch.Tensor:
        return last(model(x).pooler_output)

    x = tensor(faces, opencv, 224, CLIP)
    settled(model, last, forward, x)
    state |= prefixed("module.head.", last.state_dict())
    return Project("Effort", state, "effort_clip_L14.pth", ["--from", "effort"], x, forward)


def _few(value: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(value.shape[0], rank) / 32, torch.rand(rank), torch.randn(rank, value.shape[1]) / 32


def gend(faces: list[np.ndarray]) -> Project:
    model, last = vision_model(), torch.nn.Linear(1024, 2)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return last(F.normalize(model(x).pooler_output, p=2, dim=1))

    x = tensor(faces, pil(Image.Resampling.BICUBIC), 224, CLIP)
    settled(model, last, forward, x)
    backbone = prefixed("feature_extractor.vision_model.", model.state_dict())
    state = backbone | prefixed("model.linear.", last.state_dict())
    state["feature_extractor.visual_projection.weight"] = torch.randn(768, 1024) / 32
    return Project("GenD", state, "model.safetensors", ["--from", "gend"], x, forward)


def unifd(faces: list[np.ndarray]) -> Project:
    """The whole CLIP as transformers saves it, and a head with one logit in a separate file."""
    model, projection, last = vision_model(), torch.nn.Linear(1024, 768, bias=False), torch.nn.Linear(768, 1)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return last(projection(model(x).pooler_output))

    x = tensor(faces, pil(Image.Resampling.BICUBIC), 224, CLIP)
    settled(model, last, forward, x)
    state = prefixed("vision_model.", model.state_dict()) | prefixed("visual_projection.", projection.state_dict())
    state |= {"logit_scale": torch.tensor(4.6), "text_projection.weight": torch.zeros(768, 768)}
    flags = ["--from", "unifd"]
    return Project("UniversalFakeDetect", state, "clip.safetensors", flags, x, forward, head=last.state_dict())


PROJECTS = [sbi, deepfakebench, selimsef, polimi, timms, lightning, effort, gend, unifd]


def refused() -> dict[str, tuple[object, str]]:
    """Returns published formats that are not supported, each with a word that the error must contain."""
    attention = {"efficientnet._conv_stem.weight": torch.zeros(48, 3, 3, 3), "attconv.weight": torch.zeros(1, 56, 1, 1)}
    xception = {
        "backbone.block12.rep.1.conv1.weight": torch.zeros(8),
        "backbone.conv4.pointwise.weight": torch.zeros(8),
    }
    program = torch.jit.script(torch.nn.Linear(2, 2))
    return {
        "EfficientNetAutoAttB4 of icpr2020dfdc": (attention, "EfficientNetAutoAtt"),
        "Xception of DeepfakeBench": (xception, "Xception"),
        "TorchScript": (program, "TorchScript"),
    }


def save(content: object, path: pathlib.Path) -> None:
    if isinstance(content, torch.jit.ScriptModule):
        torch.jit.save(content, str(path))
    elif path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({name: value.contiguous() for name, value in content.items()}, str(path))
    else:
        torch.save(content, path)


def convert(setting: Setting, checkpoint: pathlib.Path, flags: list[str]) -> subprocess.CompletedProcess[str]:
    output = str(setting.folder / "converted.safetensors")
    command = [setting.convert(), "--checkpoint", str(checkpoint), *flags, "--output", output]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def compare(setting: Setting, project: Project, images: list[dict]) -> list[str]:
    checkpoint, head = setting.folder / project.file, setting.folder / "fc_weights.pth"
    flags = list(project.flags)
    try:
        save(project.content, checkpoint)
        if project.head is not None:
            save(project.head, head)
            flags += ["--head-weights", str(head)]
        project.content = project.head = None
        done = convert(setting, checkpoint, flags)
    finally:
        checkpoint.unlink(missing_ok=True)
        head.unlink(missing_ok=True)
    if done.returncode != 0:
        raise Failure(f"{project.name}: {work.last_line(done.stderr)}")
    model = setting.folder / "converted.safetensors"
    theirs = [1 / (1 + math.exp(-value)) for value in margin(project.network(project.inputs)).double().tolist()]
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        project.network(project.inputs)
        seconds.append(time.perf_counter() - start)
    with work.workers() as workers:
        ours = workers["ours"] = Worker("ours", setting.measure(), setting.cpus)
        answer = ours.ask({"do": "classify", "model": str(model), "images": images})["output"]
        times = ours.run(ROUNDS)
    model.unlink()
    found = [face["fake_probability"] for face in answer]
    difference = max(abs(a - b) for a, b in zip(found, theirs, strict=True))
    if not difference <= TOLERANCE:
        raise Failure(f"{project.name}: probabilities differ by {difference:.3g}, more than {TOLERANCE}")
    return [
        project.name,
        f"`{' '.join(project.flags[:2])}`",
        f"{min(theirs):.3f} to {max(theirs):.3f}",
        f"{difference:.1e}",
        f"{1e3 * sorted(seconds)[ROUNDS // 2] / len(images):.0f}",
        f"{1e3 * sorted(times)[ROUNDS // 2] / len(images):.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads and cores for both (default 2)")
    parser.add_argument("--binaries", type=pathlib.Path, help="folder of built programs; none is built then")
    parser.add_argument("--work", type=pathlib.Path, help="for checkpoints; default target/compare")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join(p.__name__ for p in PROJECTS)}")
    parser.add_argument("--write", type=pathlib.Path, metavar="PAGE", help="put the table into this page")
    a = parser.parse_args()
    work.end_all_on_exit()
    if a.write:
        report.check_places(a.write, ["published"])
    if not a.binaries:
        build()
    from compare import BUNDLED_CLIP

    setting = Setting(
        cpus=work.chosen_cpus(a.threads), rounds=ROUNDS, seconds=0, clip=BUNDLED_CLIP, bundled_clip=BUNDLED_CLIP,
        folder=(a.work or target_folder() / "compare").resolve(), device="flex", engine="auto",
        binaries=(a.binaries or target_folder() / "release").resolve(),
    )
    setting.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(a.threads)
    # Uses OpenCV's own code, as everywhere in the comparison; Intel's library rounds cubic weights differently.
    cv2.ipp.setUseIPP(False)
    torch.set_grad_enabled(False)
    faces = [np.asarray(face) for face in cut_out_faces(str(BUNDLED_CLIP))][:FACES]
    images = []
    for number, face in enumerate(faces):
        path = setting.folder / f"published_{number}.rgb"
        path.write_bytes(face.tobytes())
        images.append({"path": str(path), "width": face.shape[1], "height": face.shape[0]})

    rows = []
    for make in PROJECTS:
        if a.only and make.__name__ not in a.only:
            continue
        torch.manual_seed(0)
        rows.append(compare(setting, make(faces), images))
        print(" | ".join(rows[-1]), flush=True)
    said = []
    for name, (content, word) in refused().items():
        path = setting.folder / "refused.pth"
        save(content, path)
        done = convert(setting, path, ["--from", "polimi"])
        path.unlink()
        if done.returncode != 2 or word not in done.stderr:
            raise Failure(f"{name} is not refused by name: {work.last_line(done.stderr)}")
        said.append(name)
        print(f"refused: {name}: {work.last_line(done.stderr)}", flush=True)
    times = ["original, ms a face", "ours, ms a face"]
    head = ["checkpoint as of", "flags", "probabilities", "largest difference", *times]
    text = f"{report.table(head, rows)}\n\nRefused by name: {', '.join(said)}."
    print(text)
    if a.write and not a.only:
        report.write(a.write, {"published": text})


if __name__ == "__main__":
    main()
