//! Tests of properties of every crop, and of the error for each bad face.

use deepsight_core::{
    BoundingBox, Error, Face, FaceCrop, Landmarks,
    image::{Rgb, RgbImage},
};
use proptest::prelude::*;

const TEMPLATE: [[f32; 2]; 5] =
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

fn face(bounding_box: [f32; 4], landmarks: Option<[[f32; 2]; 5]>) -> Face {
    Face::new(bounding_box.into(), landmarks.map(Landmarks), 0.99)
}

/// Creates an image in which every pixel holds its own coordinates and none is black.
fn coordinates(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 255]))
}

proptest! {
    #[test]
    fn a_box_crop_shows_each_pixel_where_it_was_and_black_elsewhere(
        x1 in -80.0..120.0f32, y1 in -80.0..120.0f32, width in 1.0..150.0f32, height in 1.0..150.0f32,
    ) {
        let image = coordinates(90, 70);
        let face_box = [x1, y1, x1 + width, y1 + height];
        let cut = FaceCrop::Box.cut(&image, &face(face_box, None)).unwrap();
        let [left, top, right, bottom] = face_box.map(|v| v.round_ties_even() as i64);
        prop_assert_eq!((i64::from(cut.width()), i64::from(cut.height())), (right - left, bottom - top));
        for (x, y, pixel) in cut.enumerate_pixels() {
            let (u, v) = (i64::from(x) + left, i64::from(y) + top);
            let inside = (0..90).contains(&u) && (0..70).contains(&v);
            prop_assert_eq!(pixel.0, if inside { [u as u8, v as u8, 255] } else { [0; 3] });
        }
    }

    #[test]
    fn a_margin_of_zero_is_the_box(
        x1 in -40.0..60.0f32, y1 in -40.0..60.0f32, width in 1.0..90.0f32, height in 1.0..90.0f32,
    ) {
        let (image, face) = (coordinates(60, 60), face([x1, y1, x1 + width, y1 + height], None));
        prop_assert_eq!(
            FaceCrop::Margin { fraction: 0.0 }.cut(&image, &face).unwrap(),
            FaceCrop::Box.cut(&image, &face).unwrap()
        );
    }

    #[test]
    fn any_face_is_cropped_or_refused_without_a_panic(
        coordinates_of_box in prop::array::uniform4(prop::num::f32::ANY),
        points in prop::array::uniform5(prop::array::uniform2(prop::num::f32::ANY)),
        fraction in prop::num::f32::ANY,
        scale in prop::num::f32::ANY,
        size in 0u32..40,
    ) {
        let (image, face) = (coordinates(7, 5), face(coordinates_of_box, Some(points)));
        for crop in [FaceCrop::Box, FaceCrop::Margin { fraction }, FaceCrop::Aligned { size, scale, down: 0.0 }] {
            if let Ok(cut) = crop.cut(&image, &face) {
                prop_assert!(cut.width() > 0 && cut.height() > 0);
            }
        }
    }

    /// Draws a spot on each landmark of a face in any pose. After alignment, the spots lie on the template.
    #[test]
    fn alignment_brings_the_landmarks_of_any_pose_onto_the_template(
        angle in -3.1..3.1f32, zoom in 0.7..1.6f32, x in 90.0..110.0f32, y in 90.0..110.0f32,
    ) {
        let (sin, cos) = angle.sin_cos();
        let points = TEMPLATE.map(|[u, v]| {
            let (u, v) = ((u - 56.0) * zoom, (v - 72.0) * zoom);
            [cos * u - sin * v + x, sin * u + cos * v + y]
        });
        for (point, target) in points.iter().zip(TEMPLATE) {
            let mut image = RgbImage::new(200, 200);
            let near = |center: f32| (center - 6.0).max(0.0) as u32..((center + 6.0).max(0.0) as u32).min(200);
            for (x, y) in near(point[0]).flat_map(|x| near(point[1]).map(move |y| (x, y))) {
                let distance = (x as f32 - point[0]).hypot(y as f32 - point[1]);
                image.put_pixel(x, y, Rgb([(255.0 * (1.0 - distance / 5.0)).max(0.0) as u8; 3]));
            }
            let crop = FaceCrop::Aligned { size: 112, scale: 1.0, down: 0.0 };
            let cut = crop.cut(&image, &face([0.0; 4], Some(points))).unwrap();
            let (cx, cy) = brightness_center(&cut);
            prop_assert!((cx - target[0]).hypot(cy - target[1]) < 0.3, "({cx}, {cy}), not {target:?}");
        }
    }
}

fn brightness_center(image: &RgbImage) -> (f32, f32) {
    let (mut x, mut y, mut weight) = (0.0, 0.0, 0.0);
    for (column, row, pixel) in image.enumerate_pixels() {
        let w = f32::from(pixel.0[0]);
        x += w * column as f32;
        y += w * row as f32;
        weight += w;
    }
    (x / weight, y / weight)
}

#[test]
fn halves_are_rounded_to_even_as_python_rounds() {
    let image = coordinates(20, 20);
    let cut = FaceCrop::Box.cut(&image, &face([2.5, 3.5, 6.5, 8.5], None)).unwrap();
    assert_eq!((cut.dimensions(), cut.get_pixel(0, 0).0), ((4, 4), [2, 4, 255]));
}

#[test]
fn a_margin_widens_every_side_by_its_share_of_the_box() {
    let cut = FaceCrop::Margin { fraction: 0.5 }.cut(&coordinates(80, 80), &face([20.0, 30.0, 40.0, 40.0], None));
    let cut = cut.unwrap();
    assert_eq!((cut.dimensions(), cut.get_pixel(0, 0).0), ((40, 20), [10, 25, 255]));
}

#[test]
fn a_shrunk_face_is_averaged_instead_of_sampled_at_single_points() {
    // The stripes are one pixel wide: single samples would give black and white, an average gives gray.
    let image = RgbImage::from_fn(1000, 1000, |x, _| Rgb([if x % 2 == 0 { 0 } else { 255 }; 3]));
    let points = TEMPLATE.map(|point| point.map(|p| 8.0 * p + 50.0));
    let cut =
        FaceCrop::Aligned { size: 112, scale: 1.0, down: 0.0 }.cut(&image, &face([0.0; 4], Some(points))).unwrap();
    assert!(cut.pixels().all(|pixel| pixel.0[0].abs_diff(128) <= 1));
}

#[test]
fn boxes_without_area_or_with_non_finite_coordinates_are_refused() {
    let image = coordinates(10, 10);
    for bad in [
        [1.0, 1.0, 1.0, 5.0],
        [5.0, 1.0, 2.0, 5.0],
        [1.1, 1.1, 1.2, 5.0],
        [f32::NAN, 0.0, 5.0, 5.0],
        [0.0, 0.0, f32::INFINITY, 5.0],
        [f32::NEG_INFINITY, 0.0, f32::INFINITY, 5.0],
    ] {
        for crop in [FaceCrop::Box, FaceCrop::Margin { fraction: 0.0 }] {
            assert!(matches!(crop.cut(&image, &face(bad, None)), Err(Error::CropBox(_))), "{bad:?}");
        }
    }
}

#[test]
fn a_box_larger_than_any_frame_is_refused_with_the_limit() {
    let image = coordinates(10, 10);
    let huge = face([0.0, 0.0, 1e6, 20.0], None);
    let message = FaceCrop::Box.cut(&image, &huge).unwrap_err().to_string();
    assert_eq!(message, "cannot cut out the face: 1000000 x 20 pixels are over the limit of 8192 a side");
    let widened = face([0.0, 0.0, 5000.0, 20.0], None);
    assert!(FaceCrop::Box.cut(&image, &widened).is_ok());
    assert!(matches!(
        FaceCrop::Margin { fraction: 0.4 }.cut(&image, &widened),
        Err(Error::CropTooLarge { limit: FaceCrop::MAX_SIDE, .. })
    ));
}

#[test]
fn alignment_without_usable_landmarks_is_refused() {
    let (image, crop) = (coordinates(10, 10), FaceCrop::Aligned { size: 112, scale: 1.0, down: 0.0 });
    assert!(matches!(crop.cut(&image, &face([0.0, 0.0, 5.0, 5.0], None)), Err(Error::NoLandmarks)));
    let mut one_not_a_number = TEMPLATE;
    one_not_a_number[3][0] = f32::NAN;
    for bad in [[[4.0, 4.0]; 5], one_not_a_number, [[f32::MAX, f32::MIN]; 5]] {
        let refused = crop.cut(&image, &face([0.0, 0.0, 5.0, 5.0], Some(bad)));
        assert!(matches!(refused, Err(Error::DegenerateLandmarks(_))), "{bad:?}");
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let (image, face) = (coordinates(10, 10), face([0.0, 0.0, 5.0, 5.0], Some(TEMPLATE)));
    for (crop, message) in [
        (FaceCrop::Margin { fraction: -0.5 }, "crop setting fraction = -0.5 is not in 0 and above"),
        (FaceCrop::Aligned { size: 0, scale: 1.0, down: 0.0 }, "crop setting size = 0 is not in 1..=2048"),
        (FaceCrop::Aligned { size: 4000, scale: 1.0, down: 0.0 }, "crop setting size = 4000 is not in 1..=2048"),
        (FaceCrop::Aligned { size: 112, scale: 0.0, down: 0.0 }, "crop setting scale = 0 is not in 0.1..=10"),
    ] {
        assert_eq!(crop.cut(&image, &face).unwrap_err().to_string(), message);
    }
    assert!(FaceCrop::Margin { fraction: f32::NAN }.cut(&image, &face).is_err());
    assert!(FaceCrop::Aligned { size: 112, scale: f32::NAN, down: 0.0 }.cut(&image, &face).is_err());
}

#[test]
fn a_face_far_outside_its_image_is_black() {
    let image = coordinates(10, 10);
    let points = TEMPLATE.map(|[x, y]| [x + 1e7, y]);
    let far = Face::new(BoundingBox::new(1e6, 0.0, 1e6 + 20.0, 20.0), Some(Landmarks(points)), 1.0);
    for crop in [FaceCrop::Box, FaceCrop::Aligned { size: 20, scale: 1.0, down: 0.0 }] {
        assert!(crop.cut(&image, &far).unwrap().as_raw().iter().all(|&p| p == 0));
    }
}

#[test]
fn an_aligned_square_moved_down_shows_the_same_face_higher_up() {
    let image = coordinates(200, 200);
    let points = [[80.0, 80.0], [120.0, 80.0], [100.0, 100.0], [84.0, 125.0], [116.0, 125.0]];
    let cut =
        |down| FaceCrop::Aligned { size: 100, scale: 1.0, down }.cut(&image, &face([0.0; 4], Some(points))).unwrap();
    let (plain, lower) = (cut(0.0), cut(0.2));
    for y in 0..80 {
        assert_eq!(lower.get_pixel(50, y), plain.get_pixel(50, y + 20), "row {y}");
    }
}

#[test]
fn misfit_depends_on_the_shape_of_the_landmarks_but_not_on_position_size_or_rotation() {
    let turned = TEMPLATE.map(|[x, y]| [300.0 - 2.0 * y, 40.0 + 2.0 * x]);
    assert!(Landmarks(turned).misfit().unwrap() < 1e-3);
    let mut profile = TEMPLATE;
    (profile[1][0], profile[4][0]) = (50.0, 50.0);
    let misfit = Landmarks(profile).misfit().unwrap();
    assert!((3.0..12.0).contains(&misfit), "{misfit}");
    let mut mixed = TEMPLATE;
    mixed.swap(0, 4);
    assert!(Landmarks(mixed).misfit().unwrap() > 15.0);
    assert_eq!(Landmarks([[5.0, 5.0]; 5]).misfit(), None);
    assert_eq!(Landmarks([[f32::NAN, 1.0]; 5]).misfit(), None);
}

proptest! {
    #[test]
    fn the_outline_of_an_aligned_crop_matches_its_pixels(
        angle in 0.0..6.2f32, scale in 0.6..1.5f32, x in 60.0..130.0f32, y in 60.0..130.0f32,
    ) {
        let (sin, cos) = angle.sin_cos();
        let points = TEMPLATE.map(|[u, v]| {
            let (u, v) = ((u - 56.0) * scale, (v - 56.0) * scale);
            [x + cos * u - sin * v, y + sin * u + cos * v]
        });
        let crop = FaceCrop::Aligned { size: 64, scale: 0.5, down: 0.1 };
        let face = face([0.0; 4], Some(points));
        let (image, cut) = (coordinates(200, 200), crop.cut(&coordinates(200, 200), &face).unwrap());
        let [from, right, _, below] = crop.outline(&face).unwrap();
        for (column, row) in [(8.0, 8.0), (50.0, 20.0), (31.0, 55.0)] {
            let at = |axis: usize| {
                from[axis] + (right[axis] - from[axis]) * column / 64.0 + (below[axis] - from[axis]) * row / 64.0
            };
            let seen = cut.get_pixel(column as u32, row as u32).0;
            let (u, v) = (at(0), at(1));
            prop_assert!((1.0..199.0).contains(&u) && (1.0..199.0).contains(&v));
            prop_assert!((f64::from(seen[0]) - u).abs() < 1.0 && (f64::from(seen[1]) - v).abs() < 1.0);
            let nearest = image.get_pixel(u.round() as u32, v.round() as u32).0;
            prop_assert!(nearest[0].abs_diff(seen[0]) <= 1);
        }
    }
}
