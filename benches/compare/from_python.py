"""Compares the Python package `deepsight` with facenet-pytorch and timm, in turns, and prints a table in Markdown.

    examples/python/scripts/test-peers.sh                        # once: the peers and the package, a few gigabytes
    ~/.cache/deepsight-python/bin/python benches/compare/from_python.py --write docs/benchmarks.md

Both sides are Python programs that get the same arrays and return arrays, so the cost of crossing from Python to
Rust counts. Each is a separate process, confined to the same cores, stopped while the other has its turn. No time
counts before the results agree. Linux only. Keep the machine idle.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from typing import Any, Callable, Iterator

import numpy as np

Work = Callable[[], Any]

CLIP = pathlib.Path(__file__).resolve().parents[2] / "examples" / "clips" / "portraits.mp4"
#: timm's name of the network, and the side of its input.
NETWORK, SIDE = "efficientnet_b0", 224
FRAMES, FACES = 30, 8
PIXELS, CONFIDENCE, PROBABILITY = 0.5, 1e-3, 0.01
CASES = {
    "detect 480": "`MTCNN.detect`, 480p",
    "detect 720": "`MTCNN.detect`, 720p",
    "detect 1080": "`MTCNN.detect`, 1080p",
    "score 1": "`Classifier.score`, one face",
    f"score {FACES}": f"`Classifier.score`, {FACES} faces",
    "analyze": f"`Analyzer.analyze`, {FRAMES} frames of the bundled clip",
}


def picture(height: int) -> np.ndarray:
    """Returns a frame of the clip, scaled to `height` rows of 16:9."""
    import cv2

    video = cv2.VideoCapture(str(CLIP))
    video.set(cv2.CAP_PROP_POS_FRAMES, 30)
    frame = cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB)
    return cv2.resize(frame, (height * 16 // 9, height), interpolation=cv2.INTER_CUBIC)


def faces(count: int) -> np.ndarray:
    """Returns faces of 180 pixels, cut out of frames of the clip."""
    import cv2

    frame = picture(720)
    shifts = np.linspace(0, frame.shape[1] - 400, count, dtype=int)
    return np.stack([cv2.resize(frame[100:500, shift : shift + 400], (180, 180)) for shift in shifts])


def network(folder: pathlib.Path) -> Any:
    """Returns the same untrained network in every process."""
    import timm
    import torch

    path = folder / f"{NETWORK}.pth"
    if not path.exists():
        from weights import settled

        batch = torch.from_numpy(prepared(faces(24)))
        torch.save(settled(NETWORK, batch).state_dict(), path)
    model = timm.create_model(NETWORK, pretrained=False, num_classes=2)
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval().to(memory_format=torch.channels_last)


def prepared(crops: Any) -> np.ndarray:
    from PIL import Image
    from pipeline import preprocess

    return np.stack([preprocess(Image.fromarray(crop), SIDE) for crop in crops])


def theirs(case: str, threads: int, folder: pathlib.Path) -> Work:
    import cv2
    import torch
    from facenet_pytorch import MTCNN

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    kind, _, number = case.partition(" ")
    mtcnn = MTCNN(keep_all=True)

    def score(crops: Any) -> list[float]:
        batch = torch.from_numpy(prepared(crops)).to(memory_format=torch.channels_last)
        return model(batch).softmax(1)[:, 1].tolist()

    def analyze() -> list[float]:
        import pipeline

        found: list[float] = []
        crops = [
            np.asarray(crop)
            for _, frame in pipeline.sampled_frames(str(CLIP), FRAMES)
            for crop in pipeline.find_faces(mtcnn, frame, 0.9)[1]
        ]
        for start in range(0, len(crops), 32):
            found += score(crops[start : start + 32])
        return found

    if kind == "detect":
        frame = picture(int(number))
        work: Work = lambda: detected(mtcnn.detect(frame, landmarks=True))
    else:
        model = network(folder)
        work = analyze
        if kind == "score":
            batch = faces(int(number))
            work = lambda: score(batch)

    def run() -> Any:
        with torch.inference_mode():
            return work()

    return run


def ours(case: str, threads: int, folder: pathlib.Path) -> Work:
    import deepsight

    deepsight.set_threads(threads)
    kind, _, number = case.partition(" ")
    if kind == "detect":
        frame, mtcnn = picture(int(number)), deepsight.MTCNN(keep_all=True)
        return lambda: detected(mtcnn.detect(frame, landmarks=True))
    path = folder / f"{NETWORK}.safetensors"
    # Read from the file that the other side has written, because torch would take memory here.
    deepsight.convert(folder / f"{NETWORK}.pth", path, model_name=NETWORK, variant="pytorch", input_size=SIDE)
    if kind == "score":
        batch, classifier = faces(int(number)), deepsight.Classifier(path)
        return lambda: classifier.score(batch).tolist()
    analyzer = deepsight.Analyzer(path)

    def analyze() -> list[float]:
        report = analyzer.analyze(CLIP, frames=FRAMES)
        scores = [face.fake_probability for frame in report.frames for face in frame.faces]
        return [score for score in scores if score is not None]

    return analyze


def detected(found: tuple[Any, ...]) -> list[list[Any]]:
    return [np.asarray(part, np.float64).tolist() for part in found]


def measure(a: argparse.Namespace, folder: pathlib.Path, cpus: list[int]) -> Iterator[dict[str, Any]]:
    import work

    for case in a.only:
        print(case, flush=True)
        with work.workers() as workers:
            outputs = {}
            for side in ("theirs", "ours"):
                place = ["--threads", str(len(cpus)), "--work", str(folder)]
                command = [sys.executable, __file__, "--serve", side, *place]
                workers[side] = work.Worker(side, command, cpus)
                outputs[side] = workers[side].ask({"do": "prepare", "case": case})["output"]
            check(case, **outputs)
            times = work.take_turns(workers, a.rounds, a.seconds)
            yield {"case": case, "seconds": times, "peak_mib": {side: workers[side].peak_mib() for side in workers}}


def check(case: str, ours: list[Any], theirs: list[Any]) -> None:
    from work import Failure

    if len(ours) != len(theirs):
        raise Failure(f"{case}: ours gives {len(ours)} results, theirs {len(theirs)}")
    if case == "analyze":
        apart, limits = [abs(np.mean(ours) - np.mean(theirs))], [PROBABILITY]
    elif case.startswith("score"):
        apart, limits = [np.abs(np.subtract(ours, theirs)).max()], [PROBABILITY]
    else:
        apart = [np.abs(np.subtract(one, other)).max() for one, other in zip(ours, theirs)]
        limits = [PIXELS, CONFIDENCE, PIXELS]
    if any(distance > limit for distance, limit in zip(apart, limits)):
        raise Failure(f"{case}: the results differ by {apart}")


def rendered(cases: list[dict[str, Any]], said: str) -> str:
    import report

    rows = []
    for case in cases:
        seconds, peak = case["seconds"], case["peak_mib"]
        rows.append([
            CASES[case["case"]],
            f"{1e3 * report._median(seconds['theirs']):.1f}",
            f"{1e3 * report._median(seconds['ours']):.1f}",
            report._ratio(seconds["ours"], seconds["theirs"]),
            f"{peak['theirs']:.0f}",
            f"{peak['ours']:.0f}",
        ])
    head = ["call", "Python stack, ms", "`deepsight`, ms", "ratio", "Python stack, MiB", "`deepsight`, MiB"]
    return f"{said}\n\n{report.table(head, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--threads", type=int, default=2, metavar="N", help="threads and cores for each (default 2)")
    add("--rounds", type=int, default=9, metavar="N", help="turns that each gets (default 9)")
    add("--seconds", type=float, default=0.3, metavar="S", help="length of a turn (default 0.3)")
    cases = "default all: " + ", ".join(CASES)
    add("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=cases)
    add("--work", type=pathlib.Path, metavar="DIR", help="for the weights; default target/compare")
    add("--write", type=pathlib.Path, metavar="PAGE", help="put the table into this page: docs/benchmarks.md")
    add("--serve", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.serve:
        import peer

        prepare = ours if a.serve == "ours" else theirs
        peer.serve(lambda request: prepare(request["case"], a.threads, a.work))
        return

    import report
    import work
    from setting import Noise, _cpu_info, _output, target_folder

    work.end_all_on_exit()
    if a.write:
        report._page_with_places(a.write, ["python"])
    folder = (a.work or target_folder() / "compare").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    noise = Noise()
    cases: list[dict[str, Any]] = []
    for case in measure(a, folder, work.chosen_cpus(a.threads)):
        cases.append(case)
        # Writes after each case, so that an interruption does not lose the earlier ones.
        (folder / "from_python.json").write_text(json.dumps(cases, indent=1) + "\n")
    commit = _output("git", "rev-parse", "--short", "HEAD").strip()
    others = noise.others()
    flags = f"--threads {a.threads} --rounds {a.rounds}"
    said = (
        f"`from_python.py {flags}`, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, commit {commit}: {a.threads} "
        f"threads of {_cpu_info().get('model name', 'this processor')}, {a.rounds} rounds. "
        f"Other processes took {100 * others:.0f} % of the machine's CPU time meanwhile."
        + (" **Too much to trust the ratios: who waits by spinning suffers most.**" if others > report.QUIET else "")
    )
    text = rendered(cases, said)
    print(f"\n{text}")
    if a.write:
        report.write(a.write, {"python": text})


if __name__ == "__main__":
    import work as _work

    try:
        main()
    except _work.Failure as failure:
        raise SystemExit(f"from_python.py: {failure}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
