//! Augmentation: random changes of pictures before a network is trained on them.

mod blur;
mod clip;
mod color;
mod dither;
mod erase;
mod geometry;
mod jpeg;
mod noise;
mod operation;
mod picture;
mod presets;
mod resample;

use image::RgbImage;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use self::clip::{ClipCompression, recompress};
pub(crate) use self::color::ColorMatrix;
pub(crate) use self::geometry::Transform;
pub use self::operation::Operation;
pub(crate) use self::picture::FloatPicture;
pub(crate) use self::resample::Filter;
use crate::Error;
pub use crate::random::Between;
use crate::random::{Purpose, check_share, generator};

/// An operation with its probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentStep {
    /// Share of the pictures that the operation is applied to, `0..=1`.
    pub probability: f32,
    /// The operation.
    pub operation: Operation,
}

impl AugmentStep {
    pub(self) fn check(&self, within: bool) -> Result<(), Error> {
        check_share("probability", self.probability)?;
        self.operation.check(within)
    }

    /// Draws whether the step is applied. This is always the first number drawn, so that a step draws the same
    /// parameters whatever its probability.
    pub(self) fn happens(&self, random: &mut ChaCha8Rng) -> bool {
        random.random::<f32>() < self.probability
    }
}

/// A chain of operations, each with its probability, which imitates the changes of a picture between camera and viewer.
///
/// The result depends on the picture, its size and the seed alone. Each step has its own random numbers, so a step that
/// is added at the end, or whose probability changes, does not change the random numbers of the others. Consecutive
/// geometric steps are combined, and pixels are sampled once for all of them, directly at the final size.
///
/// ```
/// use deepsight_train::{Augmentation, image::RgbImage};
/// use deepsight_train::augment::{Between, Operation};
///
/// let chain = Augmentation::none()
///     .with(0.5, Operation::Flip)
///     .with(1.0, Operation::Jpeg { quality: Between(40.0, 100.0) });
/// let shown = chain.apply(&RgbImage::new(256, 256), 224, 7)?;
/// assert_eq!(shown.dimensions(), (224, 224));
/// assert_eq!(shown, chain.apply(&RgbImage::new(256, 256), 224, 7)?);
/// # Ok::<(), deepsight_train::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Augmentation {
    /// The steps, in the order in which they are applied.
    pub steps: Vec<AugmentStep>,
}

impl Augmentation {
    /// Returns the empty chain, which only resizes pictures.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a step at the end.
    #[must_use]
    pub fn with(mut self, probability: f32, operation: Operation) -> Self {
        self.steps.push(AugmentStep { probability, operation });
        self
    }

    /// Checks every probability and range.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first that is out of its range.
    pub fn check(&self) -> Result<(), Error> {
        self.steps.iter().try_for_each(|step| step.check(false))
    }

    /// Returns the augmented picture as a square of `size` pixels a side. `seed` is the seed of all random numbers.
    ///
    /// # Errors
    /// [`Error::Setting`] when a step is out of range, `size` is not within `1..=2048`, or the picture has no pixels.
    pub fn apply(&self, image: &RgbImage, size: u32, seed: u64) -> Result<RgbImage, Error> {
        self.check()?;
        check_size(size)?;
        if image.is_empty() {
            let (width, height) = image.dimensions();
            let value = format!("{width} × {height}");
            return Err(Error::Setting { name: "picture", value, rule: "must have pixels" });
        }
        Ok(self.run(FloatPicture::from_rgb(image), size, seed))
    }

    /// Does the same as [`Augmentation::apply`], for arguments that have been checked.
    pub(crate) fn run(&self, mut picture: FloatPicture, size: u32, seed: u64) -> RgbImage {
        let size = size as usize;
        let mut gathered = Transform::IDENTITY;
        for (index, step) in self.steps.iter().enumerate() {
            let mut random = generator(Purpose::Augment, [seed, index as u64, 0]);
            if !step.happens(&mut random) {
                continue;
            }
            if let Some(transform) = step.operation.transform(&mut random) {
                gathered = gathered.then(transform);
            } else {
                picture.warp(std::mem::replace(&mut gathered, Transform::IDENTITY), size, size);
                step.operation.apply(&mut picture, [seed, index as u64], &mut random);
            }
        }
        picture.warp(gathered, size, size);
        picture.to_rgb()
    }
}

/// Checks the side of a network's input.
pub(crate) fn check_size(size: u32) -> Result<(), Error> {
    if (1..=2048).contains(&size) {
        return Ok(());
    }
    Err(Error::Setting { name: "size", value: size.to_string(), rule: "must be within 1..=2048 pixels" })
}
