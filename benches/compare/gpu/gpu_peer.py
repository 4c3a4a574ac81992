"""The peers' side on a GPU: PyTorch in its several ways, and facenet-pytorch; requests and answers as for `peer.py`.

{"do": "network", ...} and {"do": "detect", ...} are that file's; {"do": "train_step", "network": "efficientnet_b3",
"images": [...]} is a step from 8-bit pictures in the host's memory. Every run ends with its result on the host, which
waits for the GPU.
"""

from __future__ import annotations

import argparse
import pathlib
from typing import Any, Callable

import numpy as np
import timm
import torch

import peer

Work = Callable[[], Any]

# facenet-pytorch and the f32 network run with PyTorch's defaults. `f32` alone keeps all digits, so outputs are compared
# with it.
NETWORKS = ["f32", "tf32", "bf16", "compile", "graph"]
TRAINERS = ["train", "train-compile"]


def network(engine: str, request: dict[str, Any], device: str) -> Work:
    """Prepares a forward pass on a tensor in the GPU's memory, to logits on the host."""
    torch.backends.cudnn.allow_tf32 = engine != "f32"
    weights = pathlib.Path(request["folder"]) / f"{request['name']}.pth"
    model = timm.create_model(request["name"], pretrained=False, num_classes=2)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    model = model.eval().to(device)
    images = torch.from_numpy(np.fromfile(request["tensor"], np.float32).reshape(request["shape"])).to(device)
    if engine in ("bf16", "compile", "graph"):
        model, images = (thing.to(memory_format=torch.channels_last) for thing in (model, images))
    if engine in ("compile", "graph"):
        # The weights are bf16 too: without casts, this is faster than autocast.
        model, images = model.to(torch.bfloat16), images.to(torch.bfloat16)
    if engine == "compile":
        model = compiled(model, device)
    if engine == "graph":
        return captured(model, images)
    autocast = engine == "bf16"

    def forward() -> np.ndarray:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=autocast):
            return model(images).float().cpu().numpy()

    return forward


def compiled(model: torch.nn.Module, device: str) -> torch.nn.Module:
    """Compiles the network for this batch alone. Drops earlier networks first: after eight of them, PyTorch would
    silently continue without compiling."""
    torch._dynamo.reset()
    return torch.compile(model, dynamic=False, backend="inductor" if device == "cuda" else "eager")


def captured(model: torch.nn.Module, images: torch.Tensor) -> Work:
    """Returns the pass as one CUDA graph, recorded once."""
    with torch.inference_mode():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                model(images)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = model(images)

    def replay() -> np.ndarray:
        graph.replay()
        return logits.float().cpu().numpy()

    return replay


def train_step(engine: str, request: dict[str, Any], device: str) -> Work:
    """Prepares a training step in mixed precision and `channels_last` with AdamW."""
    pictures = torch.from_numpy(np.stack([peer.pixels(image) for image in request["images"]]))
    pictures = pictures.pin_memory() if device == "cuda" else pictures
    labels = (torch.arange(len(pictures)) % 2).to(device)
    model = timm.create_model(request["network"], pretrained=False, num_classes=2)
    model = model.train().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=device == "cuda")
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.05)
    if engine == "train-compile":
        model = compiled(model, device)

    def step() -> float:
        # From `[n, h, w, 3]`: a permuted view of it is `channels_last`.
        images = pictures.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
        with torch.autocast(device, torch.bfloat16):
            loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        if device == "cuda":
            # The loss is ready before the optimizer ends.
            torch.cuda.synchronize()
        return value

    return step


def prepared(engine: str, request: dict[str, Any], device: str, threads: int) -> Work:
    if device == "cuda":
        # Frees the memory of the previous work for other processes.
        torch.cuda.empty_cache()
    if request["do"] == "detect":
        frames = np.stack([peer.pixels(image) for image in request["images"]])
        return peer.facenet_detection(frames, threads, device)
    if request["do"] == "train_step":
        return train_step(engine, request, device)
    return network(engine, request, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=[*NETWORKS, *TRAINERS, "facenet"])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    # Selects the fastest convolutions for each shape in the first run.
    torch.backends.cudnn.benchmark = a.engine != "facenet"
    peer.serve(lambda request: prepared(a.engine, request, a.device, a.threads))


if __name__ == "__main__":
    main()
