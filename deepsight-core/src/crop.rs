use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::{Error, Face};

/// How a face is cut out of its frame before it is classified.
///
/// The choice belongs to the model: it travels in the weights file, so that a face is cut in analysis as in training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaceCrop {
    /// The detector's box, rounded to whole pixels; black outside the image. What PIL's `Image.crop` does.
    Box,
    /// The box widened on each side by `fraction` of its width and height; black outside the image.
    Margin {
        /// Share of the box's side added on each side; 0.3 makes the crop 1.6 times as wide.
        fraction: f32,
    },
    /// A square of `size` pixels in which eyes, nose and mouth lie where the ArcFace template has them
    /// (a similarity transform: rotation, scale, shift).
    Aligned {
        /// Side of the square in pixels; 112 and 224 are usual.
        size: u32,
        /// How much more than the 112-pixel ArcFace template is shown: 1 is the template's own framing, 1.5 half as much again.
        scale: f32,
    },
}

impl FaceCrop {
    /// Cuts one face out of its image.
    ///
    /// # Errors
    /// [`Error::Crop`] when the box is empty, not finite or unreasonably large, or when alignment is asked for and
    /// the face has no landmarks or degenerate ones.
    pub fn cut(&self, image: &RgbImage, face: &Face) -> Result<RgbImage, Error> {
        let _ = (image, face);
        Err(Error::Crop { reason: "not built yet".into() })
    }
}
