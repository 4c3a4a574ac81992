//! Dithering: a picture with few colors.

use super::picture::{FloatPicture, Pixel};

impl FloatPicture {
    /// Rounds each channel to one of `levels` evenly spaced values, from 2, and distributes the rounding error to the
    /// pixels that follow (Floyd and Steinberg, "An adaptive algorithm for spatial greyscale", 1976).
    pub(super) fn dither(&mut self, levels: f32) {
        let width = self.width;
        let step = 255.0 / (levels - 1.0);
        // Errors passed on to the row below, one pixel wider on both sides than the row itself.
        let mut below = vec![Pixel::default(); width + 2];
        for row in self.pixels.chunks_exact_mut(width.max(1)) {
            let above = std::mem::replace(&mut below, vec![Pixel::default(); width + 2]);
            let mut ahead = Pixel::default();
            for (x, pixel) in row.iter_mut().enumerate() {
                let wanted: Pixel = std::array::from_fn(|c| pixel[c] + above[x + 1][c] + ahead[c]);
                *pixel = wanted.map(|value| ((value / step).round() * step).clamp(0.0, 255.0));
                for c in 0..4 {
                    let lost = (wanted[c] - pixel[c]) / 16.0;
                    ahead[c] = 7.0 * lost;
                    below[x][c] += 3.0 * lost;
                    below[x + 1][c] += 5.0 * lost;
                    below[x + 2][c] += lost;
                }
            }
        }
    }
}
