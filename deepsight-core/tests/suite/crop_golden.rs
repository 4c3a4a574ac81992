//! Tests of crops against PIL, OpenCV and Umeyama's method. `crop_golden/export.py` writes the expected images.

use deepsight_core::{
    BoundingBox, Face, FaceCrop, Landmarks,
    image::{self, Rgb, RgbImage},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    crop: FaceCrop,
    #[serde(rename = "box")]
    bounding_box: Option<[f32; 4]>,
    landmarks: Option<Landmarks>,
}

#[test]
fn crops_are_those_of_pil_and_opencv() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/crop_golden");
    let cases: Vec<Case> =
        serde_json::from_str(&std::fs::read_to_string(format!("{folder}/expected.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 8);
    let image = test_image(200, 150);
    for Case { name, crop, bounding_box, landmarks } in cases {
        let expected = image::open(format!("{folder}/{name}.png")).unwrap().into_rgb8();
        let bounding_box = BoundingBox::from(bounding_box.unwrap_or([0.0, 0.0, 1.0, 1.0]));
        let cut = crop.cut(&image, &Face::new(bounding_box, landmarks, 1.0)).unwrap();
        assert_eq!(cut.dimensions(), expected.dimensions(), "{name}");

        // OpenCV places samples on a grid of 1/32 pixel. The largest differences are at the image's edge against black,
        // which is its steepest slope.
        let differences: Vec<u8> =
            cut.as_raw().iter().zip(expected.as_raw()).map(|(ours, theirs)| ours.abs_diff(*theirs)).collect();
        let worst = differences.iter().copied().max().unwrap();
        let mean = differences.iter().map(|&d| f64::from(d)).sum::<f64>() / differences.len() as f64;
        if matches!(crop, FaceCrop::Box) {
            assert_eq!(worst, 0, "{name}");
        } else {
            assert!(worst <= 8 && mean < 0.3, "{name}: differs by up to {worst}, {mean:.3} on average");
        }
    }
}

/// Creates an image of three slow integer waves. It must equal `test_image` in `export.py`.
fn test_image(width: u32, height: u32) -> RgbImage {
    let wave = |t: u32, period: u32| {
        let phase = t % (2 * period);
        (phase.min(2 * period - phase) * 255 / period) as u8
    };
    RgbImage::from_fn(width, height, |x, y| Rgb([wave(x, 60), wave(y, 45), wave(x + 2 * y, 130)]))
}
