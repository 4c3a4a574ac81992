//! The operations of an augmentation.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::color::ColorMatrix;
use super::geometry::Transform;
use super::jpeg::Jpeg;
use super::picture::FloatPicture;
use super::resample::Filter;
use super::{AugmentStep, erase};
use crate::Error;
use crate::random::{Between, Purpose, generator};

/// One operation on the picture of a face. Sizes are in pixels of the network's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Operation {
    /// Swaps left and right.
    Flip,
    /// Rotates the face clockwise, by `-180..=180` degrees.
    Rotate {
        /// The angle.
        degrees: Between,
    },
    /// Enlarges the face by a factor, `0.25..=4`. Below 1, the face becomes smaller, and more is seen around it.
    Zoom {
        /// The factor of both sides.
        factor: Between,
    },
    /// Changes the face's ratio of width to height by a factor, `0.5..=2`. Its area stays the same.
    Stretch {
        /// The factor of the ratio.
        factor: Between,
    },
    /// Moves the face right and down by a share of the side, `-0.5..=0.5`, drawn separately for each direction.
    Shift {
        /// The share.
        share: Between,
    },
    /// Changes light and color.
    Color {
        /// Added to all channels, as a share of white, `-1..=1`.
        brightness: Between,
        /// Factor of the distance from middle gray, `0..=4`. 1 changes nothing.
        contrast: Between,
        /// Factor of the distance from gray of the same luminance, `0..=4`. 0 leaves no color, 1 changes nothing.
        saturation: Between,
        /// Angle that hues turn by, in degrees, `-180..=180`.
        hue: Between,
        /// Added to each channel separately, as a share of white, `-1..=1`, like a wrong white balance.
        cast: Between,
    },
    /// Raises values, as shares of white, to a power, `0.2..=5`.
    Gamma {
        /// The exponent. Above 1, it darkens.
        exponent: Between,
    },
    /// Blurs like a lens out of focus: by a Gaussian whose standard deviation is `0..=10` pixels.
    Blur {
        /// The standard deviation.
        sigma: Between,
    },
    /// Sharpens edges by unsharp masking, as cameras and platforms do.
    Sharpen {
        /// Factor of the detail that is added, `0..=5`: the detail that a blur of one pixel removes.
        amount: Between,
    },
    /// Adds the noise of a sensor at high gain, whose variance grows with the light.
    IsoNoise {
        /// Standard deviation of the noise of white, in levels of `0..=255`.
        deviation: Between,
        /// Share of the noise that differs between the channels, `0..=1`.
        color: Between,
    },
    /// Adds noise that does not depend on the brightness.
    GaussianNoise {
        /// Standard deviation of the noise, in levels of `0..=255`.
        deviation: Between,
    },
    /// Shrinks the picture, applies `then`, and enlarges it to its former size. Each resize uses a random filter.
    Rescale {
        /// Shorter side of the shrunk picture in pixels, `8..=4096`. It is as likely below the geometric mean of the
        /// ends as above. A picture that is smaller already is not resized.
        side: Between,
        /// Steps that are applied to the shrunk picture. They must not be geometry or another `rescale`.
        #[serde(default)]
        then: Vec<AugmentStep>,
    },
    /// Compresses the picture as JPEG. Its blocks begin at a random position, and color has half the resolution three
    /// times out of four.
    Jpeg {
        /// libjpeg's quality, `1..=100`.
        quality: Between,
    },
    /// Reduces the picture to a few colors, with patterns for those in between, as in a GIF (Floyd and Steinberg,
    /// 1976).
    Dither {
        /// Number of levels of each channel, `2..=256`.
        levels: Between,
    },
    /// Fills a rectangle with its own mean color, with gray, or with noise (Zhong et al., "Random Erasing", AAAI 2020).
    Erase {
        /// Share of the picture that is covered, `0..=1`.
        area: Between,
        /// Width of the rectangle divided by its height, `0.1..=10`.
        aspect: Between,
    },
}

impl Operation {
    /// Checks every range.
    pub(super) fn check(&self, within: bool) -> Result<(), Error> {
        let degrees =
            |name, range: &Between| range.check(name, -180.0, 180.0, "must be within -180..=180, low end first");
        match self {
            Self::Flip | Self::Rotate { .. } | Self::Zoom { .. } | Self::Stretch { .. } | Self::Shift { .. }
                if within =>
            {
                let value = self.name().to_owned();
                Err(Error::Setting { name: "rescale.then", value, rule: "geometry belongs before or after rescale" })
            }
            Self::Rescale { .. } if within => {
                let (name, value) = ("rescale.then", self.name().to_owned());
                Err(Error::Setting { name, value, rule: "rescale cannot hold another" })
            }
            Self::Flip => Ok(()),
            Self::Rotate { degrees: range } => degrees("rotate.degrees", range),
            Self::Zoom { factor } => factor.check("zoom.factor", 0.25, 4.0, "must be within 0.25..=4, low end first"),
            Self::Stretch { factor } => {
                factor.check("stretch.factor", 0.5, 2.0, "must be within 0.5..=2, low end first")
            }
            Self::Shift { share } => share.check("shift.share", -0.5, 0.5, "must be within -0.5..=0.5, low end first"),
            Self::Color { brightness, contrast, saturation, hue, cast } => {
                brightness.check("color.brightness", -1.0, 1.0, "must be within -1..=1, low end first")?;
                contrast.check("color.contrast", 0.0, 4.0, "must be within 0..=4, low end first")?;
                saturation.check("color.saturation", 0.0, 4.0, "must be within 0..=4, low end first")?;
                degrees("color.hue", hue)?;
                cast.check("color.cast", -1.0, 1.0, "must be within -1..=1, low end first")
            }
            Self::Gamma { exponent } => {
                exponent.check("gamma.exponent", 0.2, 5.0, "must be within 0.2..=5, low end first")
            }
            Self::Blur { sigma } => sigma.check("blur.sigma", 0.0, 10.0, "must be within 0..=10, low end first"),
            Self::Sharpen { amount } => amount.check("sharpen.amount", 0.0, 5.0, "must be within 0..=5, low end first"),
            Self::IsoNoise { deviation, color } => {
                deviation.check("iso_noise.deviation", 0.0, 255.0, "must be within 0..=255, low end first")?;
                color.check("iso_noise.color", 0.0, 1.0, "must be within 0..=1, low end first")
            }
            Self::GaussianNoise { deviation } => {
                deviation.check("gaussian_noise.deviation", 0.0, 255.0, "must be within 0..=255, low end first")
            }
            Self::Rescale { side, then } => {
                side.check("rescale.side", 8.0, 4096.0, "must be within 8..=4096, low end first")?;
                then.iter().try_for_each(|step| step.check(true))
            }
            Self::Jpeg { quality } => {
                quality.check("jpeg.quality", 1.0, 100.0, "must be within 1..=100, low end first")
            }
            Self::Dither { levels } => {
                levels.check("dither.levels", 2.0, 256.0, "must be within 2..=256, low end first")
            }
            Self::Erase { area, aspect } => {
                area.check("erase.area", 0.0, 1.0, "must be within 0..=1, low end first")?;
                aspect.check("erase.aspect", 0.1, 10.0, "must be within 0.1..=10, low end first")
            }
        }
    }

    /// Returns the name of the operation in a file.
    fn name(&self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Rotate { .. } => "rotate",
            Self::Zoom { .. } => "zoom",
            Self::Stretch { .. } => "stretch",
            Self::Shift { .. } => "shift",
            Self::Color { .. } => "color",
            Self::Gamma { .. } => "gamma",
            Self::Blur { .. } => "blur",
            Self::Sharpen { .. } => "sharpen",
            Self::IsoNoise { .. } => "iso_noise",
            Self::GaussianNoise { .. } => "gaussian_noise",
            Self::Rescale { .. } => "rescale",
            Self::Jpeg { .. } => "jpeg",
            Self::Dither { .. } => "dither",
            Self::Erase { .. } => "erase",
        }
    }

    /// Returns the transform of a geometric operation, or `None` for any other operation.
    pub(super) fn transform(&self, random: &mut ChaCha8Rng) -> Option<Transform> {
        match self {
            Self::Flip => Some(Transform::flip()),
            Self::Rotate { degrees } => Some(Transform::rotation(degrees.draw(random))),
            Self::Zoom { factor } => {
                let factor = factor.draw(random);
                Some(Transform::scale(factor, factor))
            }
            Self::Stretch { factor } => {
                let root = factor.draw(random).sqrt();
                Some(Transform::scale(root, 1.0 / root))
            }
            Self::Shift { share } => Some(Transform::shift(share.draw(random), share.draw(random))),
            _ => None,
        }
    }

    /// Applies the operation to pixels. `stream` is the picture's seed and the step's index, for the random numbers of
    /// steps within this one.
    pub(super) fn apply(&self, picture: &mut FloatPicture, stream: [u64; 2], random: &mut ChaCha8Rng) {
        match self {
            // Geometric operations are applied through `transform`.
            Self::Flip | Self::Rotate { .. } | Self::Zoom { .. } | Self::Stretch { .. } | Self::Shift { .. } => {}
            Self::Color { brightness, contrast, saturation, hue, cast } => {
                let matrix = ColorMatrix::IDENTITY
                    .hue_turned(hue.draw(random))
                    .saturated(saturation.draw(random))
                    .contrasted(contrast.draw(random))
                    .shifted([255.0 * brightness.draw(random); 3])
                    .shifted([(); 3].map(|()| 255.0 * cast.draw(random)));
                picture.recolor(&matrix);
            }
            Self::Gamma { exponent } => picture.gamma(exponent.draw(random)),
            Self::Blur { sigma } => picture.blur(sigma.draw(random)),
            Self::Sharpen { amount } => picture.sharpen(1.0, amount.draw(random)),
            Self::IsoNoise { deviation, color } => {
                let (deviation, color) = (deviation.draw(random), color.draw(random));
                picture.iso_noise(deviation, color, random);
            }
            Self::GaussianNoise { deviation } => {
                let deviation = deviation.draw(random);
                picture.gaussian_noise(deviation, random);
            }
            Self::Rescale { side, then } => rescale(picture, side.draw_ratio(random), then, stream, random),
            Self::Jpeg { quality } => picture.jpeg(&Jpeg {
                quality: quality.draw(random).round(),
                halve_color: random.random_bool(0.75),
                offset: [random.random_range(0..16), random.random_range(0..16)],
            }),
            Self::Dither { levels } => picture.dither(levels.draw_ratio(random).round()),
            Self::Erase { area, aspect } => erase::erase(picture, area.draw(random), aspect.draw(random), random),
        }
    }
}

fn rescale(picture: &mut FloatPicture, side: f32, then: &[AugmentStep], stream: [u64; 2], random: &mut ChaCha8Rng) {
    let (width, height) = (picture.width, picture.height);
    let factor = (side / width.min(height).max(1) as f32).min(1.0);
    let shrunk = |length: usize| ((length as f32 * factor).round() as usize).clamp(1, length.max(1));
    let [down, up] = Filter::pair(random);
    picture.resize(shrunk(width), shrunk(height), down);
    for (index, step) in then.iter().enumerate() {
        let mut random = generator(Purpose::AugmentWithin, [stream[0], stream[1], index as u64]);
        if step.happens(&mut random) {
            step.operation.apply(picture, stream, &mut random);
        }
    }
    picture.resize(width, height, up);
    // Bicubic and Lanczos overshoot at edges.
    picture.clamp();
}
