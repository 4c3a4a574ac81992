//! Gaussian blur and sharpening, along rows and then along columns.

use super::picture::{FloatPicture, Pixel};

impl FloatPicture {
    /// Blurs with a Gaussian of standard deviation `sigma`, in pixels. Borders repeat the last pixel.
    pub(crate) fn blur(&mut self, sigma: f32) {
        if let Some(kernel) = gaussian(sigma) {
            self.convolve(&kernel);
        }
    }

    /// Sharpens by unsharp masking: adds the detail that a blur of `sigma` removes, multiplied by `amount`.
    pub(crate) fn sharpen(&mut self, sigma: f32, amount: f32) {
        let sharp = self.clone();
        self.blur(sigma);
        for (value, sharp) in self.values_mut().iter_mut().zip(sharp.values()) {
            *value = (sharp + amount * (sharp - *value)).clamp(0.0, 255.0);
        }
    }

    fn convolve(&mut self, kernel: &[f32]) {
        let (width, height, radius) = (self.width, self.height, kernel.len() / 2);
        if width == 0 || height == 0 {
            return;
        }
        self.spare.clear();
        self.spare.resize(width * height, Pixel::default());
        let mut padded = vec![Pixel::default(); width + 2 * radius];
        for (row, out) in self.pixels.chunks_exact(width).zip(self.spare.chunks_exact_mut(width)) {
            padded[..radius].fill(row[0]);
            padded[radius..radius + width].copy_from_slice(row);
            padded[radius + width..].fill(row[width - 1]);
            let out = out.as_flattened_mut();
            for (tap, weight) in kernel.iter().enumerate() {
                add_weighted(out, padded[tap..tap + width].as_flattened(), *weight);
            }
        }
        for (y, out) in self.pixels.chunks_exact_mut(width).enumerate() {
            let out = out.as_flattened_mut();
            out.fill(0.0);
            for (tap, weight) in kernel.iter().enumerate() {
                let from = (y + tap).saturating_sub(radius).min(height - 1);
                add_weighted(out, self.spare[from * width..][..width].as_flattened(), *weight);
            }
        }
    }
}

pub(super) fn add_weighted(out: &mut [f32], values: &[f32], weight: f32) {
    for (out, value) in out.iter_mut().zip(values) {
        *out += weight * value;
    }
}

/// Returns the weights of a Gaussian, which sum to 1 and reach to three standard deviations. Returns `None` if they
/// would change nothing.
fn gaussian(sigma: f32) -> Option<Vec<f32>> {
    if sigma < 0.1 {
        return None;
    }
    let radius = (3.0 * sigma).ceil() as i32;
    let mut kernel: Vec<f32> = (-radius..=radius).map(|x| (-0.5 * (x as f32 / sigma).powi(2)).exp()).collect();
    let sum: f32 = kernel.iter().sum();
    kernel.iter_mut().for_each(|weight| *weight /= sum);
    Some(kernel)
}
