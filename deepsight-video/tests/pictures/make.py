"""Makes the HEIC pictures of the tests, with libheif: `pip install pillow-heif==1.8.1 pillow numpy`."""

import numpy
import pillow_heif
from PIL import Image

ORIENTATION_6 = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"

pillow_heif.register_heif_opener()
y, x = numpy.mgrid[0:120, 0:160]
ramps = numpy.stack([x * 255 // 159, y * 255 // 119, numpy.full_like(x, 128)], -1).astype(numpy.uint8)
picture = Image.fromarray(ramps)

# Also a seed of the fuzz target `picture`.
pillow_heif.options.GRID_TILE_SIZE = 64
picture.save("tiles.heic", quality=95, exif=ORIENTATION_6)

opacity = Image.new("L", picture.size, 255)
opacity.paste(0, (0, 0, 80, 120))
picture.putalpha(opacity)
pillow_heif.options.GRID_TILE_SIZE = 0
picture.save("clear.heic", quality=95)
