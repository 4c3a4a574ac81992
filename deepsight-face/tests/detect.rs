//! What holds of every detection, and of bad images and settings.

#![allow(clippy::unwrap_used)]
#![cfg(feature = "flex")]

use burn::backend::Flex;
use deepsight_core::{Face, FaceDetector};
use deepsight_face::{Mtcnn, MtcnnConfig};
use image::{Rgb, RgbImage, imageops};

fn detector(config: MtcnnConfig) -> Mtcnn<Flex> {
    config.init(&Default::default()).unwrap()
}

fn photo(name: &str) -> RgbImage {
    image::open(format!("{}/tests/photos/{name}.png", env!("CARGO_MANIFEST_DIR"))).unwrap().into_rgb8()
}

fn assert_same(a: &[Face], b: &[Face]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        let (x, y) = (<[f32; 4]>::from(a.bounding_box), <[f32; 4]>::from(b.bounding_box));
        assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() < 0.05), "{a:?} {b:?}");
        assert!((a.confidence - b.confidence).abs() < 1e-4, "{a:?} {b:?}");
    }
}

#[test]
fn faces_do_not_depend_on_the_images_they_come_with() {
    let detector = detector(MtcnnConfig::new());
    let (many, one, none) = (photo("many"), photo("one"), photo("none"));
    let mirrored = imageops::flip_horizontal(&many);
    let together = detector.detect(&[&many, &none, &mirrored, &one, &many, &many, &mirrored, &many]).unwrap();
    for (image, faces) in [&many, &none, &mirrored, &one, &many, &many, &mirrored, &many].into_iter().zip(&together) {
        assert_same(faces, &detector.detect(&[image]).unwrap()[0]);
    }
}

#[test]
fn no_images_give_no_answers() {
    assert!(detector(MtcnnConfig::new()).detect(&[]).unwrap().is_empty());
}

#[test]
fn images_without_room_for_a_face_have_none() {
    let detector = detector(MtcnnConfig::new().with_max_side(8000));
    let images = [(0, 0), (0, 5), (1, 1), (10_000, 1), (1, 10_000), (19, 19)].map(|(w, h)| RgbImage::new(w, h));
    assert!(detector.detect(&images.each_ref()).unwrap().iter().all(Vec::is_empty));
}

#[test]
fn long_thin_images_and_noise_are_searched_without_a_panic() {
    let mut state = 1u32;
    let mut noise = |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, r, g, b] = state.to_be_bytes();
        Rgb([r, g, b])
    };
    let images = [RgbImage::from_fn(2000, 20, &mut noise), RgbImage::from_fn(150, 130, &mut noise)];
    let lenient = detector(MtcnnConfig::new().with_thresholds([0.1, 0.0, 0.0]));
    for faces in lenient.detect(&images.each_ref()).unwrap() {
        assert!(faces.iter().all(|face| face.bounding_box.x1.is_finite() && face.confidence <= 1.0));
    }
}

#[test]
fn max_faces_keeps_the_largest() {
    let photo = photo("many");
    let all = &detector(MtcnnConfig::new()).detect(&[&photo]).unwrap()[0];
    let two = &detector(MtcnnConfig::new().with_max_faces(2)).detect(&[&photo]).unwrap()[0];
    assert!(all.windows(2).all(|pair| pair[0].bounding_box.area() >= pair[1].bounding_box.area()));
    assert_eq!(two.as_slice(), &all[..2]);
}

#[test]
fn max_side_finds_the_large_faces_where_they_are_in_the_original() {
    let photo = imageops::resize(&photo("many"), 1080, 600, imageops::FilterType::Triangle);
    let all = &detector(MtcnnConfig::new().with_min_face_size(60.0)).detect(&[&photo]).unwrap()[0];
    let fast = &detector(MtcnnConfig::new().with_max_side(360)).detect(&[&photo]).unwrap()[0];
    assert_eq!(fast.len(), all.len());
    assert!(all.iter().zip(fast).all(|(a, b)| a.bounding_box.iou(&b.bounding_box) > 0.8), "{all:?} {fast:?}");
}

#[test]
fn settings_out_of_range_are_refused_by_name_value_and_limit() {
    let new = MtcnnConfig::new;
    for (config, message) in [
        (new().with_min_face_size(0.0), "MTCNN setting min_face_size = 0 is not in 4..=16384"),
        (new().with_min_face_size(f32::NAN), "MTCNN setting min_face_size = NaN is not in 4..=16384"),
        (new().with_thresholds([0.5, 1.5, 0.5]), "MTCNN setting thresholds[1] = 1.5 is not in 0..=1"),
        (new().with_factor(1.0), "MTCNN setting factor = 1 is not in 0.1..=0.95"),
        (new().with_max_faces(0), "MTCNN setting max_faces = 0 is not in 1 and above"),
        (new().with_max_side(3), "MTCNN setting max_side = 3 is not in 12 and above"),
    ] {
        assert_eq!(config.init::<Flex>(&Default::default()).unwrap_err().to_string(), message);
    }
}

#[test]
fn the_report_gets_every_setting() {
    let info = detector(MtcnnConfig::new().with_max_faces(3)).info();
    assert_eq!(info.name, "mtcnn");
    assert_eq!(info.settings["min_face_size"], 20.0);
    assert_eq!(info.settings["max_faces"], 3);
    assert_eq!(info.settings.len(), 5);
}
