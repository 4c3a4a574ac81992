//! JPEG compression of a picture (ITU-T T.81) without writing a file. Its last stage, the entropy coding, is left out
//! because it is lossless.

use std::sync::LazyLock;

use super::picture::FloatPicture;

type PixelBlock = [[f32; 8]; 8];

/// Settings of a compression as JPEG.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Jpeg {
    /// libjpeg's quality, `1..=100`.
    pub(super) quality: f32,
    /// Whether color is kept at half the resolution (4:2:0), as most encoders do.
    pub(super) halve_color: bool,
    /// Position of the picture's first pixel in a block, `0..16` in each direction. It need not be 0, because a face is
    /// cut out of a frame that was compressed as a whole.
    pub(super) offset: [usize; 2],
}

impl FloatPicture {
    pub(super) fn jpeg(&mut self, jpeg: &Jpeg) {
        if self.pixels.is_empty() {
            return;
        }
        let [luma, chroma] = quantization(jpeg.quality);
        let mut planes = self.to_planes(jpeg.offset);
        let [y, cb, cr] = &mut planes;
        y.code(&luma);
        for plane in [cb, cr] {
            if jpeg.halve_color {
                let mut half = plane.halved();
                half.code(&chroma);
                plane.fill_doubled(&half);
            } else {
                plane.code(&chroma);
            }
        }
        self.fill_from_planes(&planes, jpeg.offset);
    }

    /// Returns luminance, less 128, and the two color differences, extended to whole blocks of 16 by repeating the
    /// border.
    fn to_planes(&self, [left, top]: [usize; 2]) -> [Plane; 3] {
        let (width, height) = ((self.width + left).next_multiple_of(16), (self.height + top).next_multiple_of(16));
        let mut planes = [(); 3].map(|()| Plane { width, values: vec![0.0; width * height] });
        let [y, cb, cr] = &mut planes;
        let rows = y.values.chunks_exact_mut(width).zip(cb.values.chunks_exact_mut(width));
        for (row, ((y, cb), cr)) in rows.zip(cr.values.chunks_exact_mut(width)).enumerate() {
            let row = row.saturating_sub(top).min(self.height - 1);
            let inside = left..left + self.width;
            let pixels = &self.pixels[row * self.width..][..self.width];
            let outs = y[inside.clone()].iter_mut().zip(&mut cb[inside.clone()]).zip(&mut cr[inside.clone()]);
            for (((y, cb), cr), [r, g, b, _]) in outs.zip(pixels) {
                *y = rounded(0.299 * r + 0.587 * g + 0.114 * b) - 128.0;
                *cb = rounded(-0.168_736 * r - 0.331_264 * g + 0.5 * b);
                *cr = rounded(0.5 * r - 0.418_688 * g - 0.081_312 * b);
            }
            for line in [y, cb, cr] {
                let (first, last) = (line[inside.start], line[inside.end - 1]);
                line[..inside.start].fill(first);
                line[inside.end..].fill(last);
            }
        }
        planes
    }

    fn fill_from_planes(&mut self, [y, cb, cr]: &[Plane; 3], [left, top]: [usize; 2]) {
        for (row, pixels) in self.pixels.chunks_exact_mut(self.width).enumerate() {
            let line = |plane: &Plane| (row + top) * plane.width + left;
            let lines = y.values[line(y)..].iter().zip(&cb.values[line(cb)..]).zip(&cr.values[line(cr)..]);
            for (pixel, ((y, cb), cr)) in pixels.iter_mut().zip(lines) {
                let y = y + 128.0;
                let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb, 0.0];
                *pixel = rgb.map(|value| rounded(value.clamp(0.0, 255.0)));
            }
        }
    }
}

/// One channel. Its width and height are whole numbers of blocks.
struct Plane {
    width: usize,
    values: Vec<f32>,
}

impl Plane {
    /// Transforms, quantizes and transforms back every block.
    fn code(&mut self, table: &Quantization) {
        let dct = &*DCT;
        for band in self.values.chunks_exact_mut(8 * self.width) {
            for left in (0..self.width).step_by(8) {
                let mut block = PixelBlock::default();
                for (line, row) in block.iter_mut().zip(band.chunks_exact(self.width)) {
                    line.copy_from_slice(&row[left..left + 8]);
                }
                let mut frequencies = product(&product(&dct.forward, &block), &dct.backward);
                for ((line, steps), inverses) in frequencies.iter_mut().zip(&table.steps).zip(&table.inverses) {
                    for ((value, step), inverse) in line.iter_mut().zip(steps).zip(inverses) {
                        *value = rounded(*value * inverse) * step;
                    }
                }
                let block = product(&product(&dct.backward, &frequencies), &dct.forward);
                for (line, row) in block.iter().zip(band.chunks_exact_mut(self.width)) {
                    for (value, sum) in row[left..left + 8].iter_mut().zip(line) {
                        *value = rounded(sum.clamp(-128.0, 127.0));
                    }
                }
            }
        }
    }

    /// Returns the channel at half the resolution: the means of two by two values.
    fn halved(&self) -> Self {
        let mut values = Vec::with_capacity(self.values.len() / 4);
        for rows in self.values.chunks_exact(2 * self.width) {
            let (above, below) = rows.split_at(self.width);
            let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
            values.extend(pairs.map(|(a, b)| (a[0] + a[1] + b[0] + b[1]) / 4.0));
        }
        Self { width: self.width / 2, values }
    }

    /// Fills the channel from one at half the resolution. Each value is repeated two by two times, as fast decoders do.
    fn fill_doubled(&mut self, half: &Self) {
        for (rows, line) in self.values.chunks_exact_mut(2 * self.width).zip(half.values.chunks_exact(half.width)) {
            for row in rows.chunks_exact_mut(self.width) {
                for (pair, value) in row.as_chunks_mut::<2>().0.iter_mut().zip(line) {
                    *pair = [*value; 2];
                }
            }
        }
    }
}

/// The matrix of the discrete cosine transform, and its inverse, which is the transpose.
struct Dct {
    forward: PixelBlock,
    backward: PixelBlock,
}

static DCT: LazyLock<Dct> = LazyLock::new(|| {
    let forward: PixelBlock = std::array::from_fn(|frequency| {
        std::array::from_fn(|position| {
            let angle = (2 * position + 1) as f64 * frequency as f64 * std::f64::consts::PI / 16.0;
            let norm = if frequency == 0 { 0.125_f64.sqrt() } else { 0.5 };
            (norm * angle.cos()) as f32
        })
    });
    Dct { forward, backward: std::array::from_fn(|i| std::array::from_fn(|j| forward[j][i])) }
});

/// Returns a matrix product. The inner loop runs along rows, which fill vector registers.
fn product(a: &PixelBlock, b: &PixelBlock) -> PixelBlock {
    a.map(|weights| {
        let mut sum = [0.0; 8];
        for (weight, row) in weights.iter().zip(b) {
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
        sum
    })
}

/// Returns the nearest whole number, for values well below 2²². `f32::round` would be a function call without SSE 4.1.
fn rounded(value: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (value + SHIFT) - SHIFT
}

struct Quantization {
    steps: PixelBlock,
    inverses: PixelBlock,
}

/// Returns the quantization tables of luminance and color: those of Annex K, scaled as in libjpeg.
fn quantization(quality: f32) -> [Quantization; 2] {
    let quality = quality.clamp(1.0, 100.0);
    let percent = if quality < 50.0 { 5000.0 / quality } else { 200.0 - 2.0 * quality };
    [&LUMA, &CHROMA].map(|table| {
        let steps =
            table.map(|row| row.map(|step| ((f32::from(step) * percent + 50.0) / 100.0).floor().clamp(1.0, 255.0)));
        Quantization { steps, inverses: steps.map(|row| row.map(f32::recip)) }
    })
}

const LUMA: [[u8; 8]; 8] = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
];

const CHROMA: [[u8; 8]; 8] = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    [99; 8],
    [99; 8],
    [99; 8],
    [99; 8],
];

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{ImageFormat, Rgb, RgbImage};

    use super::*;

    fn picture() -> RgbImage {
        RgbImage::from_fn(83, 61, |x, y| {
            let (x, y) = (x as f32, y as f32);
            let edge = if x > 40.0 { 50.0 } else { 0.0 };
            let wave = 30.0 * (0.9 * x).sin() * (0.4 * y).cos();
            Rgb([90.0 + x + wave, 60.0 + 2.0 * y + edge, 100.0 + edge - wave].map(|level| level as u8))
        })
    }

    #[test]
    #[allow(clippy::unwrap_used)]
    fn a_compressed_picture_is_close_to_one_decoded_from_a_file_of_that_quality() {
        for quality in [95, 75, 50, 20] {
            let mut file = Vec::new();
            JpegEncoder::new_with_quality(&mut file, quality).encode_image(&picture()).unwrap();
            let decoded = image::load_from_memory_with_format(&file, ImageFormat::Jpeg).unwrap().into_rgb8();
            let mut ours = FloatPicture::from_rgb(&picture());
            ours.jpeg(&Jpeg { quality: quality.into(), halve_color: false, offset: [0, 0] });
            let ours = ours.to_rgb();
            let mean = |other: &RgbImage| {
                let sum: u32 = ours.iter().zip(other.iter()).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
                f64::from(sum) / ours.as_raw().len() as f64
            };
            let (to_file, to_original) = (mean(&decoded), mean(&picture()));
            // Decoders differ from each other by 0.4 levels.
            assert!(to_file < 0.6 && to_file < 0.5 * to_original, "{quality}: {to_file}, {to_original}");
        }
    }

    #[test]
    fn color_at_half_the_resolution_loses_more_and_the_offset_moves_the_blocks() {
        let loss = |halve_color, offset| {
            let (original, mut ours) = (FloatPicture::from_rgb(&picture()), FloatPicture::from_rgb(&picture()));
            ours.jpeg(&Jpeg { quality: 90.0, halve_color, offset });
            original.values().iter().zip(ours.values()).map(|(a, b)| (a - b).abs()).sum::<f32>()
        };
        let full = loss(false, [0, 0]);
        assert!(loss(true, [0, 0]) > 1.2 * full);
        let moved = loss(false, [5, 11]);
        assert!(moved != full && (0.8..1.25).contains(&(moved / full)), "{moved} instead of {full}");
    }
}
