"""Scores clips with a model file as the analysis does, in Python: frames, MTCNN, `FaceCrop`, timm, mean of the faces.

    python clips.py --model efficientnet_lite0.safetensors CLIP ...

One JSON line a clip. `tight_difference` says what the framing of the fit costs: every face is cut out of its frame tightly
first, as Celeb-DF's crops are, framed as fit.py frames those, and scored again.
"""

import argparse
import json
import pathlib

import cv2
import numpy as np
import torch

from fit import fake_probability, load
from framing import TEMPLATE, FaceFinder, cut_aligned, similarity

# Where the middle of each side of a Celeb-DF crop lies in the ArcFace template, medians: left, top, right, bottom.
TIGHT = np.array([12.0, 25.0, 97.5, 110.5])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("clips", nargs="+", type=pathlib.Path)
    p.add_argument("--model", required=True, type=pathlib.Path)
    p.add_argument("--frames", type=int, default=30)
    p.add_argument("--face-confidence", type=float, default=0.9)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    model, contract, golden = load(a.model)
    probability = fake_probability(model, [golden], contract["temperature"])[0]
    if abs(probability - contract["golden"]["fake_probability"]) > contract["golden"]["tolerance"]:
        raise SystemExit(f"{a.model}: golden input scores {probability}, file says {contract['golden']['fake_probability']}")
    finder, cut = FaceFinder(), contract["crop"]
    for clip in a.clips:
        faces, tight = [], []
        for frame in evenly(clip, a.frames):
            for _, confidence, landmarks in finder.in_frame(frame):
                if confidence < a.face_confidence:
                    continue
                faces.append(cut_aligned(frame, landmarks, cut["size"], cut["scale"]))
                tight.append(tightly(finder, frame, landmarks, cut))
        p = fake_probability(model, faces, contract["temperature"]) if faces else np.array([])
        pairs = [(x, y) for x, y in zip(p, tight) if y is not None]
        moved = fake_probability(model, [y for _, y in pairs], contract["temperature"]) - [x for x, _ in pairs] if pairs else np.array([])
        print(json.dumps({
            "clip": clip.name,
            "faces": len(p),
            "fake_probability": round(float(p.mean()), 4) if len(p) else None,
            "verdict": None if not len(p) else "FAKE" if p.mean() >= contract["threshold"] else "REAL",
            "tight_difference": {"mean": round(float(moved.mean()), 4), "mean_abs": round(float(np.abs(moved).mean()), 4)} if len(moved) else None,
        }), flush=True)


def evenly(clip, count):
    """`count` evenly spaced RGB frames."""
    capture = cv2.VideoCapture(str(clip))
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(np.linspace(0, max(total - 1, 0), min(count, max(total, 1))).astype(int).tolist())
    for index in range(total):
        if not capture.grab():
            return
        if index in wanted:
            ok, frame = capture.retrieve()
            if ok:
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def tightly(finder, frame, landmarks, cut):
    """The face cut out of its frame as Celeb-DF's crops are, then framed as fit.py frames those; None if it is not found again."""
    to_frame = similarity(TEMPLATE, landmarks)
    side = (TIGHT[2] - TIGHT[0]) * np.sqrt(np.linalg.det(to_frame[:, :2]))
    centre = to_frame[:, :2] @ (TIGHT[:2] + TIGHT[2:]) / 2 + to_frame[:, 2]
    x1, y1 = np.maximum(np.round(centre - side / 2).astype(int), 0)
    crop = np.ascontiguousarray(frame[y1 : y1 + round(side), x1 : x1 + round(side)])
    if min(crop.shape[:2]) < 20:
        return None
    found = finder.in_tight_crops([crop])[0]
    return None if found is None else cut_aligned(crop, found[1], cut["size"], cut["scale"], outside="reflection")


if __name__ == "__main__":
    main()
