//! Cropping of faces from pictures, together with their landmarks.

use deepsight_core::{BoundingBox, Face, FaceCrop, Landmarks};
use image::RgbImage;
use image::imageops::{FilterType, resize};

use super::border::{Border, Sides, widen};

/// The content of a crop outside the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    /// Black, as in an analysis: the frame has no more pixels.
    Black,
    /// The picture mirrored. The frame of a tightly cropped picture went on beyond it, and black borders would let a
    /// network tell the crops of one data set from those of another.
    Mirrored,
}

/// Returns the face as a square of `size` pixels, and its landmarks in pixels of the square.
pub(super) fn cut(
    image: &RgbImage,
    face: &Face,
    crop: FaceCrop,
    size: u32,
    outside: Outside,
) -> Result<(RgbImage, Option<Landmarks>), deepsight_core::Error> {
    let outline = crop.outline(face)?;
    let sides = beyond(image, &outline);
    let cut = if outside == Outside::Black || sides.is_empty() {
        crop.cut(image, face)?
    } else {
        let wide = widen(image, sides, Border::Mirrored);
        crop.cut(&wide, &moved(face, sides.left as f32, sides.top as f32))?
    };
    // Resizes as the classifier resizes to its input size, whatever the crop's shape.
    let cut = if cut.dimensions() == (size, size) { cut } else { resize(&cut, size, size, FilterType::Triangle) };
    let landmarks =
        face.landmarks.map(|Landmarks(points)| Landmarks(points.map(|point| seen_at(point, &outline, size))));
    Ok((cut, landmarks))
}

/// Returns whether the whole crop lies inside the picture.
pub(super) fn is_inside(image: &RgbImage, outline: &[[f64; 2]; 4]) -> bool {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    outline.iter().all(|[x, y]| (-0.5..=width).contains(x) && (-0.5..=height).contains(y))
}

/// Returns the face in a picture that is shifted by `dx` and `dy` pixels.
pub(super) fn moved(face: &Face, dx: f32, dy: f32) -> Face {
    let BoundingBox { x1, y1, x2, y2 } = face.bounding_box;
    let landmarks = face.landmarks.map(|Landmarks(points)| Landmarks(points.map(|[x, y]| [x + dx, y + dy])));
    Face::new(BoundingBox::new(x1 + dx, y1 + dy, x2 + dx, y2 + dy), landmarks, face.confidence)
}

/// Returns how far the crop extends beyond the picture's edges, at most twice the picture's longer side. Anything
/// farther away stays black: such a large crop is a mistake of the detector, and not worth its memory.
fn beyond(image: &RgbImage, outline: &[[f64; 2]; 4]) -> Sides {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let most = 2.0 * width.max(height);
    let side = |distance: f64| distance.clamp(0.0, most).ceil() as u32;
    let over = |distance: fn([f64; 2], f64, f64) -> f64| {
        outline.iter().map(|&corner| distance(corner, width, height)).fold(0.0, f64::max)
    };
    // Adds one pixel that bilinear interpolation reads.
    let spare = |distance: f64| if distance > 0.0 { side(distance + 1.0) } else { 0 };
    Sides {
        left: spare(over(|[x, _], _, _| -x)),
        top: spare(over(|[_, y], _, _| -y)),
        right: spare(over(|[x, _], width, _| x + 1.0 - width)),
        bottom: spare(over(|[_, y], _, height| y + 1.0 - height)),
    }
}

/// Maps a point of the image into the square whose corners are those of the outline.
fn seen_at([x, y]: [f32; 2], outline: &[[f64; 2]; 4], size: u32) -> [f32; 2] {
    let [[left, top], right, _, below] = *outline;
    let (ax, ay) = (right[0] - left, right[1] - top);
    let (bx, by) = (below[0] - left, below[1] - top);
    let (dx, dy) = (f64::from(x) - left, f64::from(y) - top);
    let area = ax * by - ay * bx;
    [dx * by - dy * bx, ax * dy - ay * dx].map(|part| (part / area * f64::from(size)) as f32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use image::Rgb;

    use super::*;

    /// Returns a picture with a rotated face whose landmarks are marked in white on gray.
    fn marked() -> (RgbImage, Face) {
        let points = [[80.0, 92.0], [131.0, 84.0], [110.0, 118.0], [92.0, 150.0], [134.0, 144.0]];
        let mut image = RgbImage::from_pixel(220, 240, Rgb([90; 3]));
        for [x, y] in points {
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)] {
                image.put_pixel((x as i64 + dx) as u32, (y as i64 + dy) as u32, Rgb([255; 3]));
            }
        }
        (image, Face::new(BoundingBox::new(60.0, 50.0, 160.0, 180.0), Some(Landmarks(points)), 0.99))
    }

    #[test]
    fn landmarks_match_the_pixels_of_the_crop() {
        let (image, face) = marked();
        for crop in
            [FaceCrop::Box, FaceCrop::Margin { fraction: 0.3 }, FaceCrop::Aligned { size: 160, scale: 1.1, down: 0.0 }]
        {
            let (cut, landmarks) = cut(&image, &face, crop, 160, Outside::Black).unwrap();
            assert_eq!(cut.dimensions(), (160, 160));
            for [x, y] in landmarks.unwrap().0 {
                let brightest = cut.get_pixel(x.round() as u32, y.round() as u32).0[0];
                assert!(brightest > 180, "{crop:?}: {x} {y} shows {brightest}");
            }
        }
    }

    #[test]
    fn a_mirrored_crop_has_no_black_and_the_same_inside() {
        let (image, face) = marked();
        let crop = FaceCrop::Aligned { size: 128, scale: 2.2, down: 0.0 };
        assert!(!is_inside(&image, &crop.outline(&face).unwrap()));
        let (black, points) = cut(&image, &face, crop, 128, Outside::Black).unwrap();
        let (mirrored, same_points) = cut(&image, &face, crop, 128, Outside::Mirrored).unwrap();
        assert!(black.pixels().any(|pixel| pixel.0 == [0; 3]));
        assert!(mirrored.pixels().all(|pixel| pixel.0[0] >= 89));
        assert_eq!(points, same_points);
        let [x, y] = points.unwrap().0[2].map(|p| p.round() as u32);
        assert_eq!(black.get_pixel(x, y), mirrored.get_pixel(x, y));
    }

    #[test]
    fn a_crop_inside_the_picture_is_the_same_with_black_and_mirrored_borders() {
        let (image, face) = marked();
        let crop = FaceCrop::Aligned { size: 96, scale: 0.8, down: 0.0 };
        assert!(is_inside(&image, &crop.outline(&face).unwrap()));
        let both = [Outside::Black, Outside::Mirrored].map(|outside| cut(&image, &face, crop, 96, outside).unwrap());
        assert_eq!(both[0], both[1]);
    }
}
