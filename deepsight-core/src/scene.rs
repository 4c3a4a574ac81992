use image::RgbImage;

/// Columns of the thumbnail by which two frames are compared.
const COLUMNS: usize = 16;
/// Rows of the thumbnail.
const ROWS: usize = 12;
/// Levels per channel of the color histogram.
const LEVELS: usize = 4;
/// Approximate number of pixels sampled along the shorter side. More would cost time and add no information to 16 × 12
/// cells.
const SAMPLES: u32 = 180;

/// A summary of a frame, to distinguish a cut from a movement: a small color thumbnail and a color histogram.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scene {
    /// Mean red, green and blue of each cell, `0..=1`.
    cells: Vec<[f32; 3]>,
    /// Share of the pixels in each color bin.
    histogram: Vec<f32>,
}

/// The similarity of two scenes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Likeness {
    /// Normalized cross-correlation of the thumbnails, `-1..=1`. It does not depend on brightness and contrast.
    pub(crate) correlation: f32,
    /// Half the L1 distance of the histograms, `0..=1`.
    pub(crate) color_change: f32,
}

impl Scene {
    pub(crate) fn of(image: &RgbImage) -> Self {
        let (width, height) = image.dimensions();
        let step = (width.min(height) / SAMPLES).max(1) as usize;
        let mut sums = vec![[0.0_f32; 3]; COLUMNS * ROWS];
        let mut counts = vec![0.0_f32; COLUMNS * ROWS];
        let mut histogram = vec![0.0_f32; LEVELS * LEVELS * LEVELS];
        let mut total = 0.0_f32;
        for (y, row) in image.rows().enumerate().step_by(step) {
            let cell_row = y * ROWS / height as usize;
            for (x, pixel) in row.enumerate().step_by(step) {
                let cell = cell_row * COLUMNS + x * COLUMNS / width as usize;
                let mut bin = 0;
                for (sum, &channel) in sums[cell].iter_mut().zip(&pixel.0) {
                    *sum += f32::from(channel) / 255.0;
                    bin = bin * LEVELS + usize::from(channel) * LEVELS / 256;
                }
                counts[cell] += 1.0;
                histogram[bin] += 1.0;
                total += 1.0;
            }
        }
        let cells = sums.iter().zip(&counts).map(|(sum, &count)| sum.map(|s| s / count.max(1.0))).collect();
        histogram.iter_mut().for_each(|share| *share /= total.max(1.0));
        Self { cells, histogram }
    }

    pub(crate) fn likeness(&self, other: &Self) -> Likeness {
        let color_change = self.histogram.iter().zip(&other.histogram).map(|(a, b)| (a - b).abs()).sum::<f32>() / 2.0;
        Likeness { correlation: self.correlation(other), color_change }
    }

    /// Returns whether two frames are surely of one shot: the composition hardly changes, and the colors change little.
    /// Frames of one shot may fail this test if the camera moves, but frames of different places do not pass it.
    pub(crate) fn is_same_shot(&self, other: &Self) -> bool {
        const CORRELATION: f32 = 0.8;
        const COLOR_CHANGE: f32 = 0.25;
        let Likeness { correlation, color_change } = self.likeness(other);
        correlation >= CORRELATION && color_change <= COLOR_CHANGE
    }

    fn correlation(&self, other: &Self) -> f32 {
        /// RMS variation (one gray level) below which a thumbnail is flat. A flat thumbnail has no correlation with one
        /// that is not.
        const FLAT: f32 = 1.0 / 255.0;
        let (mine, theirs) = (self.mean(), other.mean());
        let (mut product, mut own, mut foreign) = (0.0_f32, 0.0_f32, 0.0_f32);
        for (a, b) in self.cells.iter().zip(&other.cells) {
            for channel in 0..3 {
                let (a, b) = (a[channel] - mine[channel], b[channel] - theirs[channel]);
                product += a * b;
                own += a * a;
                foreign += b * b;
            }
        }
        let flat = FLAT * FLAT * (3 * COLUMNS * ROWS) as f32;
        match (own < flat, foreign < flat) {
            (false, false) => product / (own * foreign).sqrt(),
            // Two flat images are one scene if they have the same color.
            (true, true) => 1.0 - mine.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) * 4.0,
            _ => 0.0,
        }
    }

    fn mean(&self) -> [f32; 3] {
        let mut mean = [0.0; 3];
        for cell in &self.cells {
            for (sum, value) in mean.iter_mut().zip(cell) {
                *sum += value / self.cells.len() as f32;
            }
        }
        mean
    }
}

#[cfg(test)]
pub(crate) mod test_pictures {
    use image::{Rgb, RgbImage};

    /// Draws a picture of colored tiles. Each seed gives another picture, and `shift` moves it by that many pixels.
    pub(crate) fn picture(seed: u32, shift: u32) -> RgbImage {
        RgbImage::from_fn(320, 240, |x, y| {
            let mut tile = ((x + shift) / 40).wrapping_mul(73_856_093) ^ (y / 40).wrapping_mul(19_349_663);
            tile ^= seed.wrapping_mul(83_492_791);
            tile = (tile ^ (tile >> 13)).wrapping_mul(0x5bd1_e995);
            Rgb([tile as u8, (tile >> 8) as u8, (tile >> 16) as u8])
        })
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::test_pictures::picture;
    use super::*;

    #[test]
    fn a_frame_is_exactly_like_itself() {
        let scene = Scene::of(&picture(1, 0));
        let likeness = scene.likeness(&scene);
        assert!((likeness.correlation - 1.0).abs() < 1e-4 && likeness.color_change == 0.0);
    }

    #[test]
    fn a_darker_copy_still_correlates_and_another_picture_does_not() {
        let scene = Scene::of(&picture(1, 0));
        let mut darker = picture(1, 0);
        darker.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|channel| channel / 2));
        assert!(scene.likeness(&Scene::of(&darker)).correlation > 0.98);
        assert!(scene.likeness(&Scene::of(&picture(1, 8))).correlation > 0.6);
        assert!(scene.likeness(&Scene::of(&picture(77, 0))).correlation < 0.3);
    }

    #[test]
    fn plain_frames_are_distinguished_by_color_and_empty_frames_are_accepted() {
        let plain = |shade| Scene::of(&RgbImage::from_pixel(64, 48, Rgb([shade; 3])));
        assert!(plain(10).likeness(&plain(12)).correlation > 0.9);
        assert!(plain(10).likeness(&plain(200)).correlation < 0.3);
        assert!(Scene::of(&RgbImage::new(0, 0)).likeness(&plain(200)).correlation.is_finite());
        assert!(Scene::of(&RgbImage::new(0, 5)).likeness(&plain(200)).correlation.is_finite());
        assert!(Scene::of(&RgbImage::new(1, 1)).likeness(&plain(0)).correlation.is_finite());
    }
}
