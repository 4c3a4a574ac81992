use std::fmt;
use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage};

use crate::Error;

/// A loss of quality, as caused by transmission over a network or recording with a phone.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Degradation {
    /// Compressed as JPEG of this quality, `1..=100`.
    Jpeg(u8),
    /// Shrunk by this factor in each direction, with a triangle filter.
    Smaller(u32),
    /// Blurred by a Gaussian whose standard deviation is this share of the shorter side.
    Blur(f32),
    /// Shrunk until the shorter side has this many pixels, then enlarged to the old size. A picture whose shorter side
    /// is not longer stays unchanged.
    Side(u32),
    /// Underexposed by this many stops. Each stop halves the light.
    Darker(f32),
}

impl Degradation {
    /// The degradations of a robustness table.
    pub const ALL: [Self; 7] = [
        Self::Jpeg(70),
        Self::Jpeg(50),
        Self::Jpeg(30),
        Self::Smaller(2),
        Self::Smaller(4),
        Self::Smaller(8),
        Self::Blur(0.01),
    ];

    /// The degradations by which the limits of quality are fitted.
    pub const LEVELS: [Self; 19] = [
        Self::Side(128),
        Self::Side(96),
        Self::Side(80),
        Self::Side(64),
        Self::Side(48),
        Self::Side(40),
        Self::Side(32),
        Self::Side(24),
        Self::Blur(0.005),
        Self::Blur(0.01),
        Self::Blur(0.015),
        Self::Blur(0.02),
        Self::Blur(0.03),
        Self::Blur(0.04),
        Self::Darker(1.0),
        Self::Darker(2.0),
        Self::Darker(3.0),
        Self::Darker(4.0),
        Self::Darker(5.0),
    ];

    /// Returns the degraded picture.
    ///
    /// # Errors
    /// [`Error::Picture`] when the picture cannot be encoded as JPEG or decoded again.
    pub fn apply(self, picture: &RgbImage) -> Result<RgbImage, Error> {
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 {
            return Ok(picture.clone());
        }
        match self {
            Self::Jpeg(quality) => {
                let mut bytes = Vec::new();
                JpegEncoder::new_with_quality(&mut bytes, quality)
                    .encode_image(picture)
                    .and_then(|()| image::load(Cursor::new(&bytes), ImageFormat::Jpeg))
                    .map(image::DynamicImage::into_rgb8)
                    .map_err(Error::picture(self.to_string()))
            }
            Self::Smaller(factor) => {
                let side = |pixels: u32| (pixels / factor.max(1)).max(1);
                Ok(imageops::resize(picture, side(width), side(height), FilterType::Triangle))
            }
            Self::Side(side) => {
                let shorter = width.min(height);
                if side >= shorter {
                    return Ok(picture.clone());
                }
                let shrunk = |pixels: u32| (u64::from(pixels) * u64::from(side) / u64::from(shorter)).max(1) as u32;
                let small = imageops::resize(picture, shrunk(width), shrunk(height), FilterType::Triangle);
                Ok(imageops::resize(&small, width, height, FilterType::CatmullRom))
            }
            Self::Darker(stops) => {
                // Pixel values are approximately the light to the power of 1 / 2.2.
                let factor = (-stops / 2.2).exp2();
                let mut darker = picture.clone();
                darker.iter_mut().for_each(|value| *value = (f32::from(*value) * factor).round() as u8);
                Ok(darker)
            }
            Self::Blur(share) => Ok(imageops::blur(picture, (share * width.min(height) as f32).max(0.1))),
        }
    }
}

impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jpeg(quality) => write!(f, "JPEG {quality}"),
            Self::Smaller(2) => f.write_str("half resolution"),
            Self::Smaller(4) => f.write_str("quarter resolution"),
            Self::Smaller(factor) => write!(f, "resolution 1/{factor}"),
            Self::Side(side) => write!(f, "{side} pixels a side"),
            Self::Darker(stops) => write!(f, "{stops} stops darker"),
            Self::Blur(share) => write!(f, "blur, {} % of the side", 100.0 * share),
        }
    }
}
