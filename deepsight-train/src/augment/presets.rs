//! The presets: augmentations with a name.

use super::{AugmentStep, Augmentation, Operation};
use crate::Error;
use crate::random::Between;

impl Augmentation {
    /// The names of the presets, for [`Augmentation::named`].
    pub const NAMES: [&str; 3] = ["robust", "seed", "none"];

    /// Returns the preset of this name: `robust`, `seed` or `none`.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no preset of this name.
    pub fn named(name: &str) -> Result<Self, Error> {
        match name {
            "robust" => Ok(Self::robust()),
            "seed" => Ok(Self::seed()),
            "none" => Ok(Self::none()),
            _ => Err(Error::Setting {
                name: "augmentation",
                value: name.to_owned(),
                rule: "must be robust, seed or none",
            }),
        }
    }

    /// Returns the default preset. It keeps a detector from relying on anything other than the forgery.
    ///
    /// The steps are in the order in which they happen to a picture: framing, lens, light, sensor, the camera's
    /// processing, the platform's smaller copy and its compression, and a last compression when the picture is passed
    /// on. Framing varies because detectors frame faces differently. Size, blur and compression vary most, because in
    /// collections they differ between real and fake, and a network would learn them. They go down to faces so small
    /// that nobody can judge them, so that a network learns to be undecided about those, and not that blurred faces are
    /// fake. The second, rarer blur is that of a lens out of focus: with 10 of 256 pixels, no trace of a forgery
    /// remains.
    pub fn robust() -> Self {
        let step = |probability, operation| AugmentStep { probability, operation };
        Self::none()
            .with(0.5, Operation::Flip)
            .with(0.5, Operation::Rotate { degrees: Between(-8.0, 8.0) })
            .with(0.3, Operation::Stretch { factor: Between(0.92, 1.09) })
            .with(0.9, Operation::Zoom { factor: Between(0.8, 1.15) })
            .with(0.9, Operation::Shift { share: Between(-0.05, 0.05) })
            .with(0.2, Operation::Blur { sigma: Between(0.4, 3.0) })
            .with(0.06, Operation::Blur { sigma: Between(3.0, 10.0) })
            .with(
                0.7,
                Operation::Color {
                    brightness: Between(-0.12, 0.12),
                    contrast: Between(0.75, 1.25),
                    saturation: Between(0.6, 1.4),
                    hue: Between(-10.0, 10.0),
                    cast: Between(-0.05, 0.05),
                },
            )
            .with(0.2, Operation::Gamma { exponent: Between(0.75, 1.35) })
            .with(0.2, Operation::IsoNoise { deviation: Between(2.0, 14.0), color: Between(0.2, 0.8) })
            .with(0.2, Operation::Sharpen { amount: Between(0.2, 1.5) })
            .with(
                0.6,
                Operation::Rescale {
                    side: Between(32.0, 200.0),
                    then: vec![
                        step(0.08, Operation::Dither { levels: Between(5.0, 20.0) }),
                        step(0.5, Operation::Jpeg { quality: Between(40.0, 100.0) }),
                    ],
                },
            )
            .with(0.5, Operation::Jpeg { quality: Between(40.0, 100.0) })
            .with(0.1, Operation::GaussianNoise { deviation: Between(1.0, 6.0) })
            .with(0.15, Operation::Erase { area: Between(0.02, 0.12), aspect: Between(0.4, 2.5) })
    }

    /// Returns the usual augmentation of a plain Python trainer with timm or Albumentations: flip, a little crop,
    /// light, JPEG.
    pub fn seed() -> Self {
        Self::none()
            .with(0.5, Operation::Flip)
            .with(1.0, Operation::Zoom { factor: Between(1.0, 1.2) })
            .with(1.0, Operation::Shift { share: Between(-0.05, 0.05) })
            .with(
                0.5,
                Operation::Color {
                    brightness: Between(-0.2, 0.2),
                    contrast: Between(0.8, 1.2),
                    saturation: Between(1.0, 1.0),
                    hue: Between(0.0, 0.0),
                    cast: Between(0.0, 0.0),
                },
            )
            .with(0.3, Operation::Jpeg { quality: Between(60.0, 100.0) })
    }
}
