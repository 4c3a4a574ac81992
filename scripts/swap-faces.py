"""Makes face swaps without a network: one photograph's face pasted into another's.

    pip install opencv-python-headless numpy
    python scripts/swap-faces.py crops/manifest.csv swapped --split test

The manifest comes from `preprocess --crop align`. Some real faces of every person are chosen. Each is written
unchanged, and again with another person's face in it: of thirty faces the one with the most similar landmarks, aligned
by them, matched to the colors that it replaces, and blended by a soft edge or by Poisson's equation (Perez et al.,
SIGGRAPH 2003), or both in turn. The new folder has a manifest of its own, for `evaluate --manifest`.
"""

import argparse
import csv
import pathlib
import shutil

import cv2
import numpy as np

POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def landmarks(row: dict) -> np.ndarray:
    return np.array([[float(row[f"{point}_{axis}"]) for axis in "xy"] for point in POINTS], np.float32)


def face_mask(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An ellipse from the brows to the chin, turned as the eyes are."""
    left, right, _, mouth_left, mouth_right = points
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    across, down = right - left, mouth - eyes
    width, height = np.linalg.norm(across), np.linalg.norm(down)
    centre = eyes + 0.55 * down
    mask = np.zeros(size, np.uint8)
    axes = (int(0.85 * width), int(1.2 * height))
    angle = np.degrees(np.arctan2(across[1], across[0]))
    cv2.ellipse(mask, tuple(int(v) for v in centre), axes, angle, 0, 360, 255, -1)
    # Poisson's equation needs the mask away from the border.
    mask[:2], mask[-2:], mask[:, :2], mask[:, -2:] = 0, 0, 0, 0
    return mask


def swap(target: np.ndarray, target_points: np.ndarray, source: np.ndarray, source_points: np.ndarray, poisson: bool):
    # The affine map that brings five points closest to five others.
    matrix = np.linalg.lstsq(np.column_stack([source_points, np.ones(5)]), target_points, rcond=None)[0].T
    height, width = target.shape[:2]
    moved = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    mask = face_mask(target_points, (height, width))
    if not mask.any():
        return None
    lab, wanted = (cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(np.float32) for image in (moved, target))
    inside = mask > 0
    mean, deviation = lab[inside].mean(0), lab[inside].std(0) + 1e-3
    lab = (lab - mean) * (wanted[inside].std(0) / deviation) + wanted[inside].mean(0)
    moved = cv2.cvtColor(lab.clip(0, 255).astype(np.uint8), cv2.COLOR_LAB2BGR)
    if poisson:
        x, y, w, h = cv2.boundingRect(mask)
        return cv2.seamlessClone(moved, target, mask, (x + w // 2, y + h // 2), cv2.NORMAL_CLONE)
    soft = cv2.GaussianBlur(cv2.erode(mask, np.ones((9, 9))), (0, 0), 0.02 * width)[..., None] / 255.0
    return (soft * moved + (1 - soft) * target).round().astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--split", help="only this part of the manifest")
    parser.add_argument("--faces", type=int, default=8, help="faces of each video at most, spread over it")
    parser.add_argument("--blending", choices=("soft", "poisson", "both"), default="both")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    with open(args.manifest, newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames
        rows = [row for row in reader if row["label"] == "real" and args.split in (None, row["split"])]
    videos: dict[str, list[dict]] = {}
    for row in rows:
        videos.setdefault(row["video"], []).append(row)
    # Whoever has no name is a person of their own.
    person = {video: rows[0].get("target_id") or video for video, rows in videos.items()}
    if len(set(person.values())) < 2:
        parser.error(f"{args.manifest} has {len(set(person.values()))} people with real faces: 2 or more are needed")

    random = np.random.default_rng(args.seed)
    names = sorted(videos)
    read = lambda row: cv2.imread(str(args.manifest.parent / row["file"]))
    written = []
    for count, name in enumerate(names):
        others = [other for other in names if person[other] != person[name]]
        faces = videos[name]
        for index in np.unique(np.linspace(0, len(faces) - 1, min(args.faces, len(faces))).round().astype(int)):
            face = faces[index]
            donors = [videos[others[random.integers(len(others))]] for _ in range(30)]
            donors = [donor[random.integers(len(donor))] for donor in donors]
            source = min(donors, key=lambda donor: np.abs(landmarks(donor) - landmarks(face)).sum())
            image = read(face)
            poisson = args.blending == "poisson" or (args.blending == "both" and count % 2 == 1)
            swapped = swap(image, landmarks(face), read(source), landmarks(source), poisson)
            if swapped is None:
                continue
            for label, picture in (("real", image), ("fake", swapped)):
                file = pathlib.Path(label) / f"{len(written):05}.png"
                (args.output / label).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(args.output / file), picture)
                written.append({**face, "file": str(file), "label": label, "source_id": "", "split": "test"})
    with open(args.output / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(written)
    shutil.copy(args.manifest.with_suffix(".json"), args.output / "manifest.json")
    print(f"{len(written) // 2} real faces and as many swapped ones of {len(names)} videos in {args.output}")


if __name__ == "__main__":
    main()
