//! Changes of a clip that leave a forgery a forgery.

use std::fmt;

use image::imageops::{self, FilterType};
use serde::{Deserialize, Serialize};

use crate::Frame;

/// A change of a clip that leaves a forgery a forgery, and a real face real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Variation {
    /// Compressed again as H.264.
    Recompressed {
        /// The constant rate factor of x264, `0..=51`; higher is worse.
        crf: u8,
    },
    /// Shrunk to half of its width and height.
    HalfSize,
    /// Mirrored left to right.
    Mirrored,
}

impl Variation {
    /// The variations of a check of a video. A picture is not recompressed.
    pub const ALL: [Self; 4] =
        [Self::Recompressed { crf: 28 }, Self::Recompressed { crf: 36 }, Self::HalfSize, Self::Mirrored];

    /// Applies the variation to a frame. Recompression needs the whole clip, so such a frame is returned unchanged.
    ///
    /// ```
    /// use deepsight_core::image::{Rgb, RgbImage};
    /// use deepsight_core::{Frame, report::Variation};
    ///
    /// let mut image = RgbImage::new(4, 2);
    /// image.put_pixel(0, 0, Rgb([255; 3]));
    /// let mirrored = Variation::Mirrored.apply(Frame::new(0, 0.0, image.clone()));
    /// assert_eq!(mirrored.image.get_pixel(3, 0).0, [255; 3]);
    /// assert_eq!(Variation::HalfSize.apply(Frame::new(0, 0.0, image)).image.dimensions(), (2, 1));
    /// ```
    #[must_use]
    pub fn apply(self, mut frame: Frame) -> Frame {
        match self {
            Self::Recompressed { .. } => {}
            Self::HalfSize => {
                let (width, height) = (frame.image.width() / 2, frame.image.height() / 2);
                frame.image = imageops::resize(&frame.image, width.max(1), height.max(1), FilterType::Triangle);
            }
            Self::Mirrored => imageops::flip_horizontal_in_place(&mut frame.image),
        }
        frame
    }
}

impl fmt::Display for Variation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recompressed { crf } => write!(f, "H.264 of CRF {crf}"),
            Self::HalfSize => f.write_str("half size"),
            Self::Mirrored => f.write_str("mirrored"),
        }
    }
}
