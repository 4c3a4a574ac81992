//! Random numbers that depend only on their purpose and seed, and not on what other threads have drawn.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The purpose of random numbers. Two purposes never share a stream, even with the same seed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// The faces of an epoch.
    Epoch = 1,
    /// One step of an augmentation.
    Augment = 2,
    /// One step within another.
    AugmentWithin = 3,
    /// The blending of a face into itself.
    Blend = 4,
    /// The compression of a face together with its track.
    Clip = 5,
    /// The table that noise is read from.
    Noise = 6,
    /// The person whose face is blended into another.
    Donor = 9,
    /// The features and blocks that a pass leaves out.
    #[cfg(feature = "model")]
    Drop = 7,
    /// Weights that a network starts from.
    #[cfg(feature = "model")]
    Weights = 8,
}

/// Creates a generator whose key is the purpose and the three numbers, so that nothing else draws the same stream.
pub(crate) fn generator(purpose: Purpose, [seed, major, minor]: [u64; 3]) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, number) in key.chunks_exact_mut(8).zip([purpose as u64, seed, major, minor]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A range that values are drawn from uniformly, given by its two ends, which are included. In a file, it is
/// `[low, high]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Between(pub f32, pub f32);

impl Between {
    pub(crate) fn draw(self, random: &mut ChaCha8Rng) -> f32 {
        self.0 + (self.1 - self.0) * random.random::<f32>()
    }

    /// Draws a value whose logarithm is uniform, for values above 0 whose ratios matter. For example, it is as likely
    /// between 20 and 40 as between 40 and 80.
    pub(crate) fn draw_ratio(self, random: &mut ChaCha8Rng) -> f32 {
        self.0 * (self.1 / self.0).powf(random.random::<f32>())
    }

    /// Checks that both ends lie in `low..=high` and are in order.
    pub(crate) fn check(self, name: &'static str, low: f32, high: f32, rule: &'static str) -> Result<(), Error> {
        // NaN fails here too.
        if low <= self.0 && self.0 <= self.1 && self.1 <= high {
            return Ok(());
        }
        Err(Error::Setting { name, value: format!("{}..={}", self.0, self.1), rule })
    }
}

/// Checks that a share is within `0..=1`.
pub(crate) fn check_share(name: &'static str, share: f32) -> Result<(), Error> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(Error::Setting { name, value: share.to_string(), rule: "must be within 0..=1" })
}
