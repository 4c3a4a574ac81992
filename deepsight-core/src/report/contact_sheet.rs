use image::RgbImage;
use image::imageops::{replace, thumbnail};

use super::Report;

/// Longest side of a frame on the sheet, in pixels.
const SIDE: u32 = 320;
/// Width of the white lines between frames, in pixels.
const GAP: u32 = 4;
/// Ratio of width to height that the sheet comes near to.
const SHAPE: f64 = 4.0 / 3.0;

/// Small copies of a clip's frames side by side, in order of time: an overview of the clip, and a picture with which
/// search engines find where its footage was published before.
///
/// ```
/// use deepsight_core::image::RgbImage;
/// use deepsight_core::report::ContactSheet;
///
/// let frame = RgbImage::new(1920, 1080);
/// let sheet = ContactSheet::new().with_frame(&frame).with_frame(&frame);
/// // Two frames of 320 × 180, one above the other, with white lines around and between them.
/// assert_eq!(sheet.to_image().unwrap().dimensions(), (4 + 320 + 4, 4 + 180 + 4 + 180 + 4));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ContactSheet {
    frames: Vec<RgbImage>,
}

impl ContactSheet {
    /// Number of frames that [`Report::contact_frames`] selects at most.
    pub const FRAMES: usize = 24;

    /// Creates a sheet without frames.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a frame after the others. It is made smaller if one of its sides has more than 320 pixels, and keeps its
    /// shape. One without pixels is left out.
    #[must_use]
    pub fn with_frame(mut self, frame: &RgbImage) -> Self {
        let (width, height) = frame.dimensions();
        if width == 0 || height == 0 {
            return self;
        }
        let longest = width.max(height);
        if longest > SIDE {
            let scaled = |side: u32| ((f64::from(side) * f64::from(SIDE) / f64::from(longest)).round() as u32).max(1);
            self.frames.push(thumbnail(frame, scaled(width), scaled(height)));
        } else {
            self.frames.push(frame.clone());
        }
        self
    }

    /// Returns the sheet, row by row in about the shape 4:3; `None` if it has no frame.
    pub fn to_image(&self) -> Option<RgbImage> {
        let cell_width = self.frames.iter().map(RgbImage::width).max()? + GAP;
        let cell_height = self.frames.iter().map(RgbImage::height).max()? + GAP;
        let count = u32::try_from(self.frames.len()).ok()?;
        let size = |columns: u32| (GAP + columns * cell_width, GAP + count.div_ceil(columns) * cell_height);
        let distance = |columns: &u32| {
            let (width, height) = size(*columns);
            (f64::from(width) / f64::from(height) / SHAPE).ln().abs()
        };
        let columns = (1..=count).min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        let (width, height) = size(columns);
        let mut sheet = RgbImage::from_pixel(width, height, image::Rgb([255; 3]));
        for (number, frame) in (0..count).zip(&self.frames) {
            let left = GAP + number % columns * cell_width + (cell_width - GAP - frame.width()) / 2;
            let top = GAP + number / columns * cell_height + (cell_height - GAP - frame.height()) / 2;
            replace(&mut sheet, frame, left.into(), top.into());
        }
        Some(sheet)
    }
}

impl Report {
    /// Returns the indices of the analyzed frames that a [`ContactSheet`] shows, in order: at most
    /// [`ContactSheet::FRAMES`], evenly spread over the time.
    pub fn contact_frames(&self) -> Vec<u64> {
        let frames = &self.frames;
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return Vec::new() };
        if frames.len() <= ContactSheet::FRAMES {
            return frames.iter().map(|frame| frame.index).collect();
        }
        let step = (last.time - first.time) / (ContactSheet::FRAMES - 1) as f64;
        let nearest = |number: usize| {
            let time = first.time + step * number as f64;
            let after = frames.partition_point(|frame| frame.time < time).min(frames.len() - 1);
            let before = after.saturating_sub(1);
            if time - frames[before].time <= frames[after].time - time {
                frames[before].index
            } else {
                frames[after].index
            }
        };
        let mut indices: Vec<u64> = (0..ContactSheet::FRAMES).map(nearest).collect();
        indices.dedup();
        indices
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use image::Rgb;

    use super::*;

    fn plain(width: u32, height: u32, gray: u8) -> RgbImage {
        RgbImage::from_pixel(width, height, Rgb([gray; 3]))
    }

    #[test]
    fn frames_lie_in_order_row_by_row_and_none_is_cut_or_stretched() {
        let frames: Vec<RgbImage> = (0..6).map(|number| plain(640, 360, 10 * number)).collect();
        let sheet = frames.iter().fold(ContactSheet::new(), |sheet, frame| sheet.with_frame(frame));
        let image = sheet.to_image().unwrap();
        assert_eq!(image.dimensions(), (4 + 2 * 324, 4 + 3 * 184));
        for number in 0..6 {
            let (left, top) = (4 + number % 2 * 324, 4 + number / 2 * 184);
            for (x, y) in [(left, top), (left + 319, top + 179)] {
                assert_eq!(image.get_pixel(x, y).0, [10 * number as u8; 3], "frame {number} at {x}, {y}");
            }
            for (x, y) in [(left - 1, top), (left + 320, top), (left, top - 1), (left, top + 180)] {
                assert_eq!(image.get_pixel(x, y).0, [255; 3], "beside frame {number} at {x}, {y}");
            }
        }
    }

    #[test]
    fn frames_of_different_sizes_are_centered_and_small_ones_stay_as_they_are() {
        let sheet = ContactSheet::new().with_frame(&plain(100, 50, 0)).with_frame(&plain(1, 4000, 9));
        let image = sheet.to_image().unwrap();
        assert_eq!(image.dimensions(), (4 + 2 * 104, 4 + 324));
        assert_eq!(image.get_pixel(4, 4 + 135).0, [0; 3]);
        assert_eq!(image.get_pixel(4, 4 + 134).0, [255; 3]);
        assert_eq!(image.get_pixel(108 + 49, 4).0, [9; 3]);
    }

    #[test]
    fn a_sheet_without_frames_is_none() {
        assert!(ContactSheet::new().to_image().is_none());
        assert!(ContactSheet::new().with_frame(&RgbImage::new(0, 7)).to_image().is_none());
    }
}
