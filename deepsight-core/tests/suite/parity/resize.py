"""Writes resize.json: CRC-32 of images resized by OpenCV and PIL, and the first values of each to look at.

    pip install opencv-python-headless pillow numpy && python resize.py
"""

import json
import pathlib
import zlib

import cv2
import numpy as np
from PIL import Image

from export import uniform

# width x height to side: up, down, exactly half, odd, one pixel, same size, thin.
CASES = [(60, 60, 224), (187, 203, 224), (448, 448, 224), (300, 200, 224), (224, 224, 224), (1, 1, 32), (1000, 37, 64),
         (37, 501, 65), (64, 64, 32), (64, 48, 32), (224, 100, 224), (641, 479, 300),
         # Whole factors of area, with values between two levels, and the last values of a row in whole numbers.
         (96, 96, 32), (192, 192, 32), (60, 30, 10), (190, 190, 380), (33, 17, 66)]


def picture(width: int, height: int) -> np.ndarray:
    """Noise over a slope, `[height, width, 3]`, u8."""
    noise = (uniform(f"{width}x{height}", width * height * 3).astype(np.float64) + 1) * 64
    index = np.arange(width * height * 3)
    return (noise.astype(np.int64) + index // 3 % width * 127 // width).astype(np.uint8).reshape(height, width, 3)


def padded(source: np.ndarray, side: int) -> np.ndarray:
    """Resized without changing its shape, in the middle of a black square."""
    height, width = source.shape[:2]
    scale = side / max(width, height)
    if width > height:
        size = (side, int(height * scale))
    else:
        size = (int(width * scale), side)
    square = np.zeros((side, side, 3), np.uint8)
    if min(size) > 0:
        filter = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        inner = cv2.resize(source, size, interpolation=filter) if scale != 1 else source
        top, left = (side - inner.shape[0]) // 2, (side - inner.shape[1]) // 2
        square[top:top + inner.shape[0], left:left + inner.shape[1]] = inner
    return square


def main() -> None:
    # Intel's library computes cubic weights with other roundings.
    cv2.ipp.setUseIPP(False)
    cases = []
    for width, height, side in CASES:
        source = picture(width, height)
        opencv = cv2.resize(source, (side, side), interpolation=cv2.INTER_LINEAR)
        # Columns first, as Pillow up to 12 always does and 13 except where rows shrink far more than columns.
        results = {"opencv_bilinear": opencv, "opencv_padded": padded(source, side)}
        for name in ("bilinear", "bicubic"):
            filter = Image.Resampling[name.upper()]
            columns = Image.fromarray(source).resize((side, height), filter)
            results[f"pil_{name}"] = pil = np.asarray(columns.resize((side, side), filter))
            direct = np.asarray(Image.fromarray(source).resize((side, side), filter))
            # Bicubic weights beyond 0..255 are clipped in between, and noise reaches these values often.
            differs = (abs(direct.astype(int) - pil) > 1).mean()
            assert differs == 0 if name == "bilinear" else differs < 0.02, (width, height, side, differs)
        case = {"width": width, "height": height, "side": side}
        for name, result in results.items():
            case[name] = {"crc32": zlib.crc32(result.tobytes()), "first": result.reshape(-1)[:12].tolist()}
        cases.append(case)
    out = {"opencv": cv2.__version__, "pillow": Image.__version__, "cases": cases}
    pathlib.Path(__file__).with_name("resize.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
