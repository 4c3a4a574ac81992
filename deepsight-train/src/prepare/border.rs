//! Extension of pictures beyond their edges.

use image::RgbImage;

/// The content beyond the edge of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Border {
    /// The pixel at the edge, repeated.
    Replicated,
    /// The picture mirrored at the center of the pixel at the edge, which is not repeated.
    Mirrored,
}

/// Number of pixels to add on each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) right: u32,
    pub(super) bottom: u32,
}

impl Sides {
    pub(super) fn all(pixels: u32) -> Self {
        Self { left: pixels, top: pixels, right: pixels, bottom: pixels }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::all(0)
    }
}

/// Returns the picture with borders. A picture without pixels is returned unchanged.
pub(super) fn widen(image: &RgbImage, sides: Sides, border: Border) -> RgbImage {
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        return image.clone();
    }
    let columns = sources(width, sides.left, sides.right, border);
    let rows = sources(height, sides.top, sides.bottom, border);
    let mut wide = Vec::with_capacity(3 * columns.len() * rows.len());
    for &row in &rows {
        let row = &image.as_raw()[3 * row * width as usize..][..3 * width as usize];
        wide.extend(columns.iter().flat_map(|&column| &row[3 * column..3 * column + 3]));
    }
    let (width, height) = (columns.len() as u32, rows.len() as u32);
    RgbImage::from_raw(width, height, wide).unwrap_or_else(|| image.clone())
}

/// Returns, for each position of the extended line, the index of the pixel that is seen there.
fn sources(length: u32, before: u32, after: u32, border: Border) -> Vec<usize> {
    let last = i64::from(length) - 1;
    let source = |place: i64| match border {
        Border::Replicated => place.clamp(0, last),
        Border::Mirrored if last == 0 => 0,
        Border::Mirrored => last - (place.rem_euclid(2 * last) - last).abs(),
    };
    (-i64::from(before)..i64::from(length) + i64::from(after)).map(|place| source(place) as usize).collect()
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn borders_match_opencv_at_any_width() {
        assert_eq!(sources(3, 2, 2, Border::Replicated), [0, 0, 0, 1, 2, 2, 2]);
        assert_eq!(sources(3, 2, 2, Border::Mirrored), [2, 1, 0, 1, 2, 1, 0]);
        assert_eq!(sources(3, 5, 5, Border::Mirrored), [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(sources(1, 2, 1, Border::Mirrored), [0, 0, 0, 0]);
    }

    #[test]
    fn the_picture_lies_unchanged_inside_its_borders() {
        let image = RgbImage::from_fn(4, 3, |x, y| Rgb([x as u8, y as u8, 9]));
        let wide = widen(&image, Sides { left: 2, top: 1, right: 0, bottom: 3 }, Border::Mirrored);
        assert_eq!(wide.dimensions(), (6, 7));
        assert!(image.enumerate_pixels().all(|(x, y, pixel)| wide.get_pixel(x + 2, y + 1) == pixel));
        assert_eq!(wide.get_pixel(0, 0).0, [2, 1, 9]);
        assert_eq!(widen(&RgbImage::new(0, 3), Sides::all(2), Border::Mirrored).dimensions(), (0, 3));
    }
}
