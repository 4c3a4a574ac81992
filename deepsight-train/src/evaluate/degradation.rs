use std::fmt;
use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage};

use crate::Error;

/// What the way through a network or a phone does to a picture of a face.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Degradation {
    /// Compressed as JPEG of this quality, `1..=100`.
    Jpeg(u8),
    /// One in this many pixels is left in each direction, each the mean of what it stands for.
    Smaller(u32),
    /// Blurred by a Gaussian whose deviation is this share of the shorter side.
    Blur(f32),
}

impl Degradation {
    /// What a robustness table shows.
    pub const ALL: [Self; 7] = [
        Self::Jpeg(70),
        Self::Jpeg(50),
        Self::Jpeg(30),
        Self::Smaller(2),
        Self::Smaller(4),
        Self::Smaller(8),
        Self::Blur(0.01),
    ];

    /// The picture as it arrives.
    ///
    /// # Errors
    /// [`Error::Picture`] when it cannot be encoded.
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
            Self::Blur(share) => write!(f, "blur, {} % of the side", 100.0 * share),
        }
    }
}
