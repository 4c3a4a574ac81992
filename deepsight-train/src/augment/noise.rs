//! Sensor noise.

use std::f32::consts::TAU;
use std::sync::LazyLock;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::picture::FloatPicture;
use crate::random::{Purpose, generator};

/// A table of normally distributed numbers. Each row of a picture reads a sequence of them from a random start. Drawing
/// a hundred and fifty thousand new numbers for each picture would take longer than all other operations together, and
/// a network cannot tell the difference.
static NORMAL: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let mut random = generator(Purpose::Noise, [0; 3]);
    (0..1 << 15)
        .flat_map(|_| {
            // Box and Muller (1958).
            let (length, angle): (f32, f32) = (1.0 - random.random::<f32>(), random.random::<f32>());
            let length = (-2.0 * length.ln()).sqrt();
            let (sin, cos) = (TAU * angle).sin_cos();
            [length * cos, length * sin]
        })
        .collect()
});

fn run(length: usize, random: &mut ChaCha8Rng) -> impl Iterator<Item = f32> + use<> {
    let start = random.random_range(0..NORMAL.len());
    NORMAL[start..].iter().chain(NORMAL.iter().cycle()).copied().take(length)
}

impl FloatPicture {
    /// Adds noise that does not depend on the brightness, drawn for each channel separately. `deviation` is its
    /// standard deviation in levels of `0..=255`.
    pub(super) fn gaussian_noise(&mut self, deviation: f32, random: &mut ChaCha8Rng) {
        let width = self.width;
        for row in self.pixels.chunks_exact_mut(width.max(1)) {
            for (value, normal) in row.as_flattened_mut().iter_mut().zip(run(4 * width, random)) {
                *value += deviation * normal;
            }
        }
        self.clamp();
    }

    /// Adds the noise of a sensor at high gain. Its variance grows with the light (Foi et al., 2008), and the share
    /// `color` of it differs between the channels. `deviation` is the standard deviation of white, in levels of
    /// `0..=255`.
    pub(super) fn iso_noise(&mut self, deviation: f32, color: f32, random: &mut ChaCha8Rng) {
        let width = self.width;
        let (common, own) = (deviation * (1.0 - color), deviation * color);
        for row in self.pixels.chunks_exact_mut(width.max(1)) {
            let (shared, apart) = (run(width, random), run(4 * width, random));
            for (pixel, shared) in row.iter_mut().zip(shared) {
                pixel.iter_mut().for_each(|value| *value += common * (*value / 255.0).max(0.0).sqrt() * shared);
            }
            for (value, apart) in row.as_flattened_mut().iter_mut().zip(apart) {
                *value += own * (*value / 255.0).max(0.0).sqrt() * apart;
            }
        }
        self.clamp();
    }
}
