//! The single things that can happen to a picture.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::color::ColorMatrix;
use super::geometry::Transform;
use super::jpeg::Jpeg;
use super::picture::Picture;
use super::resample::Filter;
use super::{AugmentStep, erase};
use crate::Error;
use crate::random::{Between, Purpose, generator};

/// One thing that can happen to a face's picture. Sizes are in pixels of what the network is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Operation {
    /// Left and right change places.
    Flip,
    /// The face is turned clockwise by this many degrees, `-180..=180`.
    Rotate {
        /// The angle.
        degrees: Between,
    },
    /// The face becomes larger by this factor, `0.25..=4`; below 1 more is seen around it.
    Zoom {
        /// The factor of both sides.
        factor: Between,
    },
    /// The face becomes wider by this factor and less high by it, `0.5..=2`.
    Stretch {
        /// The factor of the width.
        factor: Between,
    },
    /// The face moves right and down, each on its own, by this share of the side, `-0.5..=0.5`.
    Shift {
        /// The share.
        share: Between,
    },
    /// Light and colour change.
    Color {
        /// Added to all channels, as a share of white, `-1..=1`.
        brightness: Between,
        /// How far from middle grey values are, `0..=4`; 1 changes nothing.
        contrast: Between,
        /// How far from grey colours are, `0..=4`; 0 leaves none, 1 changes nothing.
        saturation: Between,
        /// How far hues turn, in degrees, `-180..=180`.
        hue: Between,
        /// Added to each channel on its own, as a share of white, `-1..=1`: a white balance that is off.
        cast: Between,
    },
    /// Values, as shares of white, are raised to this power, `0.2..=5`.
    Gamma {
        /// The exponent; above 1 darkens.
        exponent: Between,
    },
    /// A lens out of focus: a Gaussian of this standard deviation in pixels, `0..=10`.
    Blur {
        /// The standard deviation.
        sigma: Between,
    },
    /// Edges are made stronger, as cameras and platforms do (unsharp masking), `0..=5`.
    Sharpen {
        /// How much of what a blur of one pixel takes away is added.
        amount: Between,
    },
    /// A sensor at high gain: noise whose variance grows with the light.
    IsoNoise {
        /// Standard deviation of white in levels of `0..=255`.
        deviation: Between,
        /// How much of it differs between the channels, `0..=1`.
        color: Between,
    },
    /// Noise that is the same in all tones.
    GaussianNoise {
        /// Standard deviation in levels of `0..=255`.
        deviation: Between,
    },
    /// The picture is made smaller, passes through `then`, and is brought back to its size; both ways with a random filter.
    Rescale {
        /// The smaller side in pixels, `8..=4096`, as likely below the geometric mean of the ends as above; a picture that is
        /// smaller already stays as it is.
        side: Between,
        /// What happens while it is small. No geometry and no other `rescale`.
        #[serde(default)]
        then: Vec<AugmentStep>,
    },
    /// The picture is compressed as JPEG, its blocks beginning anywhere, colour at half the resolution three times of four.
    Jpeg {
        /// libjpeg's quality, `1..=100`.
        quality: Between,
    },
    /// The picture has few colours, and patterns that pass for those between, as in a GIF (Floyd and Steinberg, 1976).
    Dither {
        /// Levels of each channel, `2..=256`.
        levels: Between,
    },
    /// A rectangle is filled with its own mean colour, with grey, or with noise (Zhong et al., "Random Erasing", AAAI 2020).
    Erase {
        /// Share of the picture that is covered, `0..=1`.
        area: Between,
        /// Width over height, `0.1..=10`.
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

    /// The name in a file.
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

    /// What it does to places, if that is all it does.
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

    /// What it does to pixels. `stream`, the picture's seed and the step's place, is for steps within.
    pub(super) fn apply(&self, picture: &mut Picture, stream: [u64; 2], random: &mut ChaCha8Rng) {
        match self {
            // Gathered by whoever runs the steps.
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

fn rescale(picture: &mut Picture, side: f32, then: &[AugmentStep], stream: [u64; 2], random: &mut ChaCha8Rng) {
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
