"""Faces found and cut as DeepSight finds and cuts them: MTCNN's five landmarks, then `FaceCrop`."""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from facenet_pytorch import MTCNN
from PIL import Image

# Left eye, right eye, nose, mouth left, mouth right in the 112-pixel picture ArcFace was trained on
# (Deng et al. 2019, insightface `arcface_dst`).
TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
# A tight crop shows MTCNN no surroundings; half its side is added all around before the search.
PADDING = 0.5
# Root mean square distance of landmarks from the fitted template, in template pixels, beyond which they are no face's.
# Profiles reach 8.
WORST_FIT = 10.0


class FaceFinder:
    """MTCNN as the analysis runs it, with second tries for tight crops."""

    def __init__(self):
        self.usual = MTCNN(keep_all=True, post_process=False, device="cpu")
        # The face fills a tight crop, so the search for small ones, most of the work, is left out.
        self.large = MTCNN(keep_all=True, post_process=False, device="cpu", min_face_size=40)
        self.lenient = MTCNN(keep_all=True, post_process=False, device="cpu", thresholds=[0.5, 0.6, 0.6])

    def in_frame(self, frame):
        """All faces of an RGB frame: (box, confidence, landmarks)."""
        boxes, scores, points = self.usual.detect(Image.fromarray(frame), landmarks=True)
        return [] if boxes is None else [tuple(np.asarray(v, float) for v in face) for face in zip(boxes, scores, points)]

    def in_tight_crops(self, crops):
        """The one face that fills each RGB crop: (box, landmarks) in the crop's own pixels, None where there is none."""
        found = [None] * len(crops)
        tries = [(self.large, cv2.BORDER_REPLICATE), (self.large, cv2.BORDER_REFLECT_101), (self.lenient, cv2.BORDER_REPLICATE)]
        for detector, border in tries:
            by_size = {}
            for i, crop in enumerate(crops):
                if found[i] is None:
                    by_size.setdefault(crop.shape, []).append(i)
            for same in by_size.values():
                for start in range(0, len(same), 32):
                    some = same[start : start + 32]
                    for i, face in zip(some, self._batch(detector, [crops[i] for i in some], border)):
                        found[i] = face
        return found

    def _batch(self, detector, crops, border):
        height, width = crops[0].shape[:2]
        pad = round(PADDING * max(height, width))
        padded = np.stack([cv2.copyMakeBorder(c, pad, pad, pad, pad, border) for c in crops])
        boxes, _, points = detector.detect(padded, landmarks=True)
        for b, p in zip(boxes, points):
            best = None
            for box, landmarks in zip(b if b is not None else [], p if p is not None else []):
                box, landmarks = np.asarray(box, float) - pad, np.asarray(landmarks, float) - pad
                overlap = iou(box, (0, 0, width, height))
                # A reflected border shows pieces of the face again: only the one in the middle counts.
                if overlap > 0.3 and fit_error(landmarks) < WORST_FIT and (best is None or overlap > best[0]):
                    best = (overlap, box, landmarks)
            yield None if best is None else best[1:]


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def similarity(source, target):
    """The 2 × 3 least-squares similarity transform without reflection from `source` to `target` points (Umeyama 1991)."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    s, t = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(t.T @ s / len(s))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / s.var(0).sum()
    return np.hstack([scale * rotation, (mean_t - scale * rotation @ mean_s)[:, None]])


def fit_error(landmarks):
    """How far landmarks are from the template after the best similarity transform, in template pixels."""
    m = similarity(landmarks, TEMPLATE)
    return float(np.sqrt(((landmarks @ m[:, :2].T + m[:, 2] - TEMPLATE) ** 2).sum(1).mean()))


def cut_aligned(image, landmarks, size, scale, outside="zeros"):
    """`FaceCrop::Aligned { size, scale }` of an RGB image.

    Pixels outside the image are black; "reflection" mirrors the image instead, for tight crops only.
    """
    target = size / 2 + (TEMPLATE - 56) / 112 * size / scale
    forward = similarity(landmarks, target)
    inverse = np.linalg.inv(forward[:, :2])
    per_pixel = math.sqrt(abs(np.linalg.det(inverse)))
    n = min(math.ceil(per_pixel), 8) if per_pixel > 1 else 1
    offsets = (np.arange(size * n) + 0.5) / n - 0.5
    x, y = np.meshgrid(offsets, offsets)
    points = (np.stack([x, y], -1) - forward[:, 2]) @ inverse.T
    height, width = image.shape[:2]
    # grid_sample's corners are pixel centres at -1 and 1, as in cv2.warpAffine.
    grid = points / np.array([max(width - 1, 1), max(height - 1, 1)]) * 2 - 1
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].double()
    out = F.grid_sample(pixels, torch.from_numpy(grid)[None], mode="bilinear", padding_mode=outside, align_corners=True)
    out = F.avg_pool2d(out, n) if n > 1 else out
    return out[0].permute(1, 2, 0).add(0.5).floor().clamp(0, 255).byte().numpy()


def cut_box(image, box, margin=0.0, outside="zeros"):
    """`FaceCrop::Box`, or `FaceCrop::Margin` with a margin, of an RGB image; `outside` as in `cut_aligned`."""
    x1, y1, x2, y2 = box
    dx, dy = margin * (x2 - x1), margin * (y2 - y1)
    x1, y1, x2, y2 = (round(float(v)) for v in (x1 - dx, y1 - dy, x2 + dx, y2 + dy))
    height, width = image.shape[:2]
    pads = [max(-y1, 0), max(y2 - height, 0), max(-x1, 0), max(x2 - width, 0)]
    border = cv2.BORDER_CONSTANT if outside == "zeros" else cv2.BORDER_REFLECT_101
    padded = cv2.copyMakeBorder(image, *pads, border)
    return padded[y1 + pads[0] : y2 + pads[0], x1 + pads[2] : x2 + pads[2]]
