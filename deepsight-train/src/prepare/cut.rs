//! Faces cut out of their pictures, with their landmarks.

use deepsight_core::{BoundingBox, Face, FaceCrop, Landmarks};
use image::RgbImage;
use image::imageops::{FilterType, resize};

use super::border::{Border, Sides, widen};

/// What a cut-out shows where it leaves the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    /// Black, as in analysis: there is no more of the frame.
    Black,
    /// The picture mirrored: a tight crop's frame went on, and black would tell the crops of one data set from another's.
    Mirrored,
}

/// The face as a square of `size` pixels, and its landmarks in pixels of the square.
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
    // As the classifier brings it to its input size, whatever its shape.
    let cut = if cut.dimensions() == (size, size) { cut } else { resize(&cut, size, size, FilterType::Triangle) };
    let landmarks =
        face.landmarks.map(|Landmarks(points)| Landmarks(points.map(|point| seen_at(point, &outline, size))));
    Ok((cut, landmarks))
}

/// Whether the cut-out lies in the picture as a whole.
pub(super) fn is_inside(image: &RgbImage, outline: &[[f64; 2]; 4]) -> bool {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    outline.iter().all(|[x, y]| (-0.5..=width).contains(x) && (-0.5..=height).contains(y))
}

/// The face in a picture that is moved by so many pixels.
pub(super) fn moved(face: &Face, dx: f32, dy: f32) -> Face {
    let BoundingBox { x1, y1, x2, y2 } = face.bounding_box;
    let landmarks = face.landmarks.map(|Landmarks(points)| Landmarks(points.map(|[x, y]| [x + dx, y + dy])));
    Face::new(BoundingBox::new(x1 + dx, y1 + dy, x2 + dx, y2 + dy), landmarks, face.confidence)
}

/// How far the cut-out reaches over the picture's edges. What is further away than the picture is large stays black: the square
/// of such a face is a mistake of the detector, and not worth its memory.
fn beyond(image: &RgbImage, outline: &[[f64; 2]; 4]) -> Sides {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let most = 2.0 * width.max(height);
    let side = |distance: f64| distance.clamp(0.0, most).ceil() as u32;
    let over = |distance: fn([f64; 2], f64, f64) -> f64| {
        outline.iter().map(|&corner| distance(corner, width, height)).fold(0.0, f64::max)
    };
    // One pixel more, which bilinear sampling looks at.
    let spare = |distance: f64| if distance > 0.0 { side(distance + 1.0) } else { 0 };
    Sides {
        left: spare(over(|[x, _], _, _| -x)),
        top: spare(over(|[_, y], _, _| -y)),
        right: spare(over(|[x, _], width, _| x + 1.0 - width)),
        bottom: spare(over(|[_, y], _, height| y + 1.0 - height)),
    }
}

/// Where a point of the image is seen in a square that shows what is between the corners of the outline.
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

    /// A face turned by some degrees, its points marked in white on grey.
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
    fn landmarks_are_where_the_cut_out_shows_them() {
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
    fn a_mirrored_cut_out_has_no_black_and_shows_the_inside_as_before() {
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
    fn a_cut_out_inside_the_picture_is_the_same_either_way() {
        let (image, face) = marked();
        let crop = FaceCrop::Aligned { size: 96, scale: 0.8, down: 0.0 };
        assert!(is_inside(&image, &crop.outline(&face).unwrap()));
        let both = [Outside::Black, Outside::Mirrored].map(|outside| cut(&image, &face, crop, 96, outside).unwrap());
        assert_eq!(both[0], both[1]);
    }
}
