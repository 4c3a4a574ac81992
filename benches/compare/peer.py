"""The peers' side of the comparison: one engine that prepares a piece of work and runs it on request.

Requests come on standard input and answers go to standard output, a line of JSON each, as for our own `measure`:
{"do": "network", "name": "efficientnet_b0", "folder": ..., "tensor": ..., "shape": [8, 3, 224, 224]},
{"do": "detect", "images": [{"path": ..., "width": 1280, "height": 720}]}, {"do": "frames", "clip": ..., "count": 30},
{"do": "run", "repeat": 5}.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from typing import Any, Callable

import numpy as np

Work = Callable[[], Any]


def onnx_file(model: pathlib.Path, images: np.ndarray) -> str:
    return f"{model}_{images.shape[-1]}.onnx"


def onnxruntime_network(model: pathlib.Path, images: np.ndarray, threads: int) -> Work:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_free_dimension_override_by_name("batch", images.shape[0])
    path = onnx_file(model, images)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"images": images})[0]


def torch_network(model: pathlib.Path, images: np.ndarray, threads: int) -> Work:
    import timm
    import torch

    torch.set_num_threads(threads)
    network = timm.create_model(model.name, pretrained=False, num_classes=2)
    network.load_state_dict(torch.load(f"{model}.pth", map_location="cpu", weights_only=True))
    network = network.eval().to(memory_format=torch.channels_last)
    tensor = torch.from_numpy(images).to(memory_format=torch.channels_last)

    def forward() -> np.ndarray:
        with torch.inference_mode():
            return network(tensor).numpy()

    return forward


def openvino_network(precision: str) -> Callable[[pathlib.Path, np.ndarray, int], Work]:
    def prepare(model: pathlib.Path, images: np.ndarray, threads: int) -> Work:
        import openvino

        core = openvino.Core()
        network = core.read_model(onnx_file(model, images))
        network.reshape(list(images.shape))
        hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        request = core.compile_model(network, "CPU", hints).create_infer_request()
        # `share_inputs`: uses the tensor without a copy.
        return lambda: np.array(request.infer({0: images}, share_inputs=True)[0])

    return prepare


def pixels(image: dict[str, Any]) -> np.ndarray:
    return np.fromfile(image["path"], np.uint8).reshape(image["height"], image["width"], 3)


def facenet_detection(images: np.ndarray, threads: int, device: str = "cpu") -> Work:
    """Prepares face detection on `[frames, height, width, 3]`."""
    import torch
    from facenet_pytorch import MTCNN

    torch.set_num_threads(threads)
    detector = MTCNN(keep_all=True, post_process=False, device=device)

    def detect() -> list[list[dict[str, Any]]]:
        with torch.inference_mode():
            return [_faces(*found) for found in zip(*detector.detect(images, landmarks=True))]

    return detect


def _faces(boxes: Any, scores: Any, landmarks: Any) -> list[dict[str, Any]]:
    found = zip(boxes, scores, landmarks) if boxes is not None else []
    return [{"box": b.tolist(), "confidence": float(s), "landmarks": p.tolist()} for b, s, p in found]


def pyav_frames(clip: str, count: int, threads: int) -> Work:
    """Opens the clip, seeks to the key frame before each wanted frame, and decodes up to it."""
    import av

    def frames() -> list[dict[str, float]]:
        with av.open(clip) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = threads
            stream.thread_type = "AUTO"
            step = 1 / (stream.average_rate * stream.time_base)
            first = stream.start_time or 0
            return [
                _frame(container, stream, first + round(index * step))
                for index in np.linspace(0, stream.frames - 1, min(count, stream.frames), dtype=int).tolist()
            ]

    return frames


def _frame(container: Any, stream: Any, wanted: int) -> dict[str, float]:
    container.seek(wanted, stream=stream)
    for frame in container.decode(stream):
        if frame.pts >= wanted:
            return {"time": float(frame.pts * stream.time_base), "mean": float(frame.to_ndarray(format="rgb24").mean())}
    raise ValueError(f"no frame at {wanted}")


NETWORKS = {
    "onnxruntime": onnxruntime_network,
    "torch": torch_network,
    "openvino-f32": openvino_network("f32"),
    "openvino-bf16": openvino_network("bf16"),
}


def prepared(engine: str, request: dict[str, Any], threads: int) -> Work:
    if request["do"] == "frames":
        return pyav_frames(request["clip"], request["count"], threads)
    if request["do"] == "detect":
        return facenet_detection(np.stack([pixels(image) for image in request["images"]]), threads)
    images = np.fromfile(request["tensor"], np.float32).reshape(request["shape"])
    return NETWORKS[engine](pathlib.Path(request["folder"]) / request["name"], images, threads)


def timed(work: Work, repeat: int) -> list[float]:
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def serve(prepare: Callable[[dict[str, Any]], Work]) -> None:
    """Answers requests until the input ends."""
    # Output of a library must not be read as an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    work: Work | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "run":
                assert work is not None, "nothing is prepared"
                answer: dict[str, Any] = {"seconds": timed(work, request["repeat"])}
            else:
                # Frees the memory of the previous work first.
                work = None
                work = prepare(request)
                output = work()
                answer = {"output": output.tolist() if isinstance(output, np.ndarray) else output}
        except Exception as error:  # whatever a library throws is an answer, too
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=[*NETWORKS, "facenet", "pyav"])
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    serve(lambda request: prepared(a.engine, request, a.threads))


if __name__ == "__main__":
    main()
