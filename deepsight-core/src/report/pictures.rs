use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{ExtendedColorType, ImageEncoder, ImageError, RgbImage};

use super::Evidence;
use super::text::escape_html;
use super::words::clock;
use crate::reason::percent;

/// Maximum length in pixels of the longer side of a picture on the page.
const THUMBNAIL: u32 = 176;

impl Evidence {
    /// Draws the activation map over the face; `None` if there is no map.
    pub fn overlay(&self) -> Option<RgbImage> {
        self.activation.as_ref().map(|activation| activation.overlay(&self.image))
    }
}

/// Writes a figure of a face and, beside it, the face with its activation map.
pub(super) fn figure(evidence: &Evidence) -> String {
    let time = clock(evidence.time, true);
    let mut pictures = picture(&evidence.image, &format!("Face at {time}"));
    if let Some(overlay) = evidence.overlay() {
        pictures += &picture(&overlay, &format!("The same face with the regions that speak for a forgery at {time}"));
    }
    format!(
        "<figure><div class=\"pair\">{pictures}</div><figcaption>{} at {time}</figcaption></figure>",
        percent(evidence.fake_probability)
    )
}

fn picture(image: &RgbImage, description: &str) -> String {
    match small_jpeg(image, THUMBNAIL, 82) {
        Ok((jpeg, width, height)) => format!(
            "<img src=\"data:image/jpeg;base64,{}\" width=\"{width}\" height=\"{height}\" alt=\"{}\">",
            STANDARD.encode(&jpeg),
            escape_html(description)
        ),
        // If a picture cannot be encoded, the page says so in its place.
        Err(error) => format!("<span class=\"note\">no picture: {}</span>", escape_html(&error.to_string())),
    }
}

/// Encodes a picture as JPEG, with at most `side` pixels on its longer side. Returns its bytes, width and height.
pub(super) fn small_jpeg(image: &RgbImage, side: u32, quality: u8) -> Result<(Vec<u8>, u32, u32), ImageError> {
    let (width, height) = image.dimensions();
    let scale = (f64::from(side) / f64::from(width.max(height).max(1))).min(1.0);
    let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    let small = match scale < 1.0 {
        true => Cow::Owned(resize(image, scaled(width), scaled(height), FilterType::Triangle)),
        false => Cow::Borrowed(image),
    };
    let (width, height) = small.dimensions();
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, quality);
    encoder.write_image(&small, width, height, ExtendedColorType::Rgb8)?;
    Ok((jpeg, width, height))
}
