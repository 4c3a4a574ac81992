//! Random numbers that are a function of what they are for, so that nothing depends on which thread drew before.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::Error;

/// What random numbers are for. Two purposes never share a stream, even under one seed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// Which faces an epoch shows.
    Epoch = 1,
    /// One step of an augmentation.
    Augment = 2,
    /// One step within another.
    AugmentWithin = 3,
    /// How a face is blended into itself.
    Blend = 4,
    /// Whether and how a face's track is compressed.
    Clip = 5,
    /// The table that noise is read from.
    Noise = 6,
    /// Whose face is blended into another.
    Donor = 9,
    /// Which features and blocks a pass leaves out.
    #[cfg(feature = "model")]
    Drop = 7,
    /// Weights that a network starts from.
    #[cfg(feature = "model")]
    Weights = 8,
}

/// A generator that nothing else uses: its key is the four numbers themselves.
pub(crate) fn generator(purpose: Purpose, [seed, major, minor]: [u64; 3]) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, number) in key.chunks_exact_mut(8).zip([purpose as u64, seed, major, minor]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The two ends, included, that a value is drawn between, all alike. In a file `[low, high]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Between(pub f32, pub f32);

impl Between {
    pub(crate) fn draw(self, random: &mut ChaCha8Rng) -> f32 {
        self.0 + (self.1 - self.0) * random.random::<f32>()
    }

    /// As likely between 20 and 40 as between 40 and 80, for values above 0 whose ratios matter.
    pub(crate) fn draw_ratio(self, random: &mut ChaCha8Rng) -> f32 {
        self.0 * (self.1 / self.0).powf(random.random::<f32>())
    }

    /// Checks that both ends lie in `low..=high` and are in order.
    pub(crate) fn check(self, name: &'static str, low: f32, high: f32, rule: &'static str) -> Result<(), Error> {
        // Not a number fails here too.
        if low <= self.0 && self.0 <= self.1 && self.1 <= high {
            return Ok(());
        }
        Err(Error::Setting { name, value: format!("{}..={}", self.0, self.1), rule })
    }
}

/// Checks a share of something.
pub(crate) fn check_share(name: &'static str, share: f32) -> Result<(), Error> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(Error::Setting { name, value: share.to_string(), rule: "must be within 0..=1" })
}
