//! Resizing with the filters that players and platforms use.

use std::f32::consts::PI;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::blur::add_weighted;
use super::picture::{FloatPicture, Pixel};

/// A filter for resizing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Filter {
    /// The mean of the area that a pixel covers.
    Area,
    /// Linear interpolation between neighbors. Smooths when shrinking.
    Bilinear,
    /// Catmull-Rom. Smooths when shrinking.
    Bicubic,
    /// Lanczos with three lobes. Smooths when shrinking.
    Lanczos,
    /// Linear interpolation between neighbors, which skips pixels when shrinking. Cheap and common.
    Skipping,
}

impl Filter {
    /// Draws a filter to shrink a picture, and one to enlarge it again. `Area` is not used to enlarge, because it would
    /// repeat pixels.
    pub(crate) fn pair(random: &mut ChaCha8Rng) -> [Self; 2] {
        const DOWN: [Filter; 5] = [Filter::Area, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos, Filter::Skipping];
        const UP: [Filter; 3] = [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos];
        [DOWN[random.random_range(0..DOWN.len())], UP[random.random_range(0..UP.len())]]
    }

    fn support(self) -> f32 {
        match self {
            Self::Area => 0.5,
            Self::Bilinear | Self::Skipping => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f32) -> f32 {
        let x = x.abs();
        let sinc = |x: f32| if x < 1e-4 { 1.0 } else { (PI * x).sin() / (PI * x) };
        match self {
            Self::Area => f32::from(u8::from(x <= 0.5)),
            Self::Bilinear | Self::Skipping => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Self::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
            Self::Bicubic | Self::Lanczos => 0.0,
        }
    }
}

impl FloatPicture {
    pub(crate) fn resize(&mut self, width: usize, height: usize, filter: Filter) {
        if (width, height) == (self.width, self.height) || self.pixels.is_empty() {
            return;
        }
        let columns = windows(self.width, width, filter);
        self.spare.clear();
        for row in self.pixels.chunks_exact(self.width) {
            self.spare.extend(columns.iter().map(|window| {
                let mut sum = Pixel::default();
                for (weight, pixel) in window.weights.iter().zip(&row[window.start..]) {
                    sum = std::array::from_fn(|c| sum[c] + weight * pixel[c]);
                }
                sum
            }));
        }
        self.pixels.clear();
        self.pixels.resize(width * height, Pixel::default());
        for (out, window) in self.pixels.chunks_exact_mut(width).zip(windows(self.height, height, filter)) {
            let out = out.as_flattened_mut();
            for (weight, row) in window.weights.iter().zip(self.spare[window.start * width..].chunks_exact(width)) {
                add_weighted(out, row.as_flattened(), *weight);
            }
        }
        (self.width, self.height) = (width, height);
    }
}

/// The pixels that one pixel of the result is computed from, and their weights, which sum to 1.
struct Window {
    start: usize,
    weights: Vec<f32>,
}

fn windows(from: usize, to: usize, filter: Filter) -> Vec<Window> {
    let step = from as f32 / to as f32;
    let stretch = if filter == Filter::Skipping { 1.0 } else { step.max(1.0) };
    let reach = filter.support() * stretch;
    (0..to)
        .map(|position| {
            let center = (position as f32 + 0.5) * step - 0.5;
            let start = ((center - reach).ceil().max(0.0) as usize).min(from - 1);
            let end = ((center + reach).floor().max(0.0) as usize).clamp(start, from - 1);
            let mut weights: Vec<f32> =
                (start..=end).map(|pixel| filter.weight((pixel as f32 - center) / stretch)).collect();
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            Window { start, weights }
        })
        .collect()
}
