"""Writes the expected crops beside this file: what PIL, OpenCV and Umeyama's method make of a test image.

    pip install numpy pillow opencv-python-headless && python export.py

The test image is a formula, so that both sides draw it themselves.
"""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HERE = Path(__file__).parent
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def test_image(width, height):
    """Three slow integer waves; must equal `test_image` in `crop_golden.rs`."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))

    def wave(t, period):
        phase = t % (2 * period)
        return np.where(phase < period, phase, 2 * period - phase) * 255 // period

    return np.stack([wave(x, 60), wave(y, 45), wave(x + 2 * y, 130)], axis=2).astype(np.uint8)


def umeyama(source, target):
    """Equations 38 to 43 of Umeyama (1991), by singular value decomposition."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    s, t = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(t.T @ s / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / s.var(0).sum()
    return np.hstack([scale * rotation, (mean_t - scale * rotation @ mean_s)[:, None]])


def aligned(image, landmarks, size, scale):
    target = size / 2 + (TEMPLATE - 56) / 112 * size / scale
    matrix = umeyama(np.array(landmarks), target)
    n = min(int(np.ceil(1 / np.sqrt(np.linalg.det(matrix[:, :2])))), 8)
    # Output pixel i holds the samples (i + (a + 0.5) / n - 0.5): n times the size, shifted by half a fine pixel.
    fine = n * matrix
    fine[:, 2] += (n - 1) / 2
    sampled = cv2.warpAffine(image, fine, (n * size, n * size), flags=cv2.INTER_LINEAR)
    mean = sampled.reshape(size, n, size, n, 3).mean((1, 3))
    return np.rint(mean).astype(np.uint8), n


def main():
    image = test_image(200, 150)
    upright = [[70, 60], [110, 62], [91, 84], [75, 104], [106, 105]]
    turned = [[40.5, 95.25], [62.0, 40.0], [70.75, 75.5], [98.0, 105.0], [112.5, 66.0]]
    at_the_border = [[-12.0, 8.0], [20.0, 4.0], [6.0, 22.0], [-6.0, 40.0], [22.0, 38.0]]
    cases = [
        ("box_inside", {"kind": "box"}, [20.5, 21.5, 60.49, 80.51], None),
        ("box_over_the_corner", {"kind": "box"}, [-9.5, -3.2, 30.7, 25.0], None),
        ("box_over_everything", {"kind": "box"}, [-5.0, -5.0, 210.0, 160.0], None),
        ("aligned_upright", {"kind": "aligned", "size": 56, "scale": 1.0}, None, upright),
        ("aligned_enlarged", {"kind": "aligned", "size": 112, "scale": 1.0}, None, upright),
        ("aligned_wider", {"kind": "aligned", "size": 48, "scale": 1.5}, None, turned),
        ("aligned_turned", {"kind": "aligned", "size": 80, "scale": 1.0}, None, turned),
        ("aligned_at_the_border", {"kind": "aligned", "size": 64, "scale": 1.2}, None, at_the_border),
    ]
    expected = []
    for name, crop, box, landmarks in cases:
        if crop["kind"] == "box":
            pixels, samples = np.asarray(Image.fromarray(image).crop(box)), 1
        else:
            pixels, samples = aligned(image, landmarks, crop["size"], crop["scale"])
        Image.fromarray(pixels).save(HERE / f"{name}.png", optimize=True)
        expected.append({"name": name, "crop": crop, "box": box, "landmarks": landmarks, "samples": samples})
    text = "[\n" + ",\n".join("  " + json.dumps(case) for case in expected) + "\n]\n"
    (HERE / "expected.json").write_text(text)


main()
