"""Cuts the test photographs beside this file out of their public-domain originals (see README.md).

    pip download --no-deps scikit-image && unzip -j scikit_image*.whl skimage/data/astronaut.png
    pip download --no-deps --no-binary :all: face_recognition==1.3.0 && tar xzf face_recognition-1.3.0.tar.gz
    pip install pillow && python make.py astronaut.png face_recognition-1.3.0/tests/test_images
"""

import sys
from pathlib import Path

from PIL import Image, ImageOps

HERE = Path(__file__).parent
astronaut = Image.open(sys.argv[1]).convert("RGB")
obama = Image.open(Path(sys.argv[2]) / "obama.jpg").convert("RGB")
biden = Image.open(Path(sys.argv[2]) / "biden.jpg").convert("RGB")


def save(name, image):
    # Six bits a channel: half the file size, and both sides decode the very same pixels.
    image.point(lambda value: value & 0xFC).save(HERE / f"{name}.png", optimize=True)


def many():
    """Five faces of three people, of different sizes, in one frame."""
    frame = Image.new("RGB", (360, 200))
    people = [
        (astronaut.crop((140, 0, 340, 240)), (100, 120), (0, 0)),
        (obama.crop((280, 20, 680, 500)), (100, 120), (100, 20)),
        (biden.crop((380, 60, 780, 540)), (75, 90), (200, 0)),
        (ImageOps.mirror(obama.crop((180, 0, 760, 700))), (58, 70), (285, 10)),
        (astronaut.crop((40, 0, 440, 300)), (100, 75), (215, 110)),
    ]
    for picture, size, place in people:
        frame.paste(picture.resize(size, Image.LANCZOS), place)
    return frame


save("one", astronaut.crop((120, 0, 340, 240)))
save("many", many())
save("border", obama.crop((440, 160, 800, 560)).resize((180, 200), Image.LANCZOS))
save("grey", biden.crop((380, 60, 780, 540)).resize((150, 180), Image.LANCZOS).convert("L"))
save("none", astronaut.crop((340, 0, 512, 200)))
save("small", obama.crop((330, 80, 640, 400)).resize((30, 31), Image.LANCZOS))
save("too_small", obama.crop((330, 80, 640, 400)).resize((16, 16), Image.LANCZOS))
