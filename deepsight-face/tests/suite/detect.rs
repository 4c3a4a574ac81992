//! Properties of every detection, and the handling of bad images and settings.

use burn::backend::Flex;
use deepsight_core::{BoundingBox, Engine, Face, FaceDetector, Threads};
use deepsight_face::{Mtcnn, MtcnnConfig};
use image::{Rgb, RgbImage, imageops};

use crate::photo;

fn detector(config: MtcnnConfig) -> Mtcnn<Flex> {
    config.init(&Default::default()).unwrap()
}

/// Creates the detector on each engine.
fn engines(config: MtcnnConfig) -> [Mtcnn<Flex>; 2] {
    [Engine::Fused, Engine::Burn].map(|engine| detector(config.clone().with_engine(engine)))
}

fn overlap(a: &Face, b: &Face) -> f32 {
    a.bounding_box.iou(&b.bounding_box)
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
fn the_faces_of_an_image_do_not_depend_on_the_other_images() {
    for detector in engines(MtcnnConfig::new()) {
        let (many, one, none) = (photo("many"), photo("one"), photo("none"));
        let mirrored = imageops::flip_horizontal(&many);
        let images = [&many, &none, &mirrored, &one, &many, &many, &mirrored, &many];
        for (image, faces) in images.into_iter().zip(&detector.detect(&images).unwrap()) {
            assert_same(faces, &detector.detect(&[image]).unwrap()[0]);
        }
    }
}

#[test]
fn the_engines_find_the_same_faces() {
    let [fused, burn] = engines(MtcnnConfig::new().with_thresholds([0.5, 0.5, 0.5]));
    let many = photo("many");
    // These sizes fill tiles, and the bands of rows in them, to different degrees.
    for (width, height) in [(400, 259), (531, 301), (243, 420)] {
        let image = imageops::resize(&many, width, height, imageops::FilterType::Triangle);
        let (ours, theirs) = (fused.detect(&[&image]).unwrap(), burn.detect(&[&image]).unwrap());
        assert!(!ours[0].is_empty());
        assert_same(&ours[0], &theirs[0]);
    }
}

#[test]
fn detections_do_not_depend_on_the_number_of_threads() {
    let detector = detector(MtcnnConfig::new());
    let photo = photo("many");
    let on = |threads| Threads::new(threads).unwrap().install(|| detector.detect(&[&photo]).unwrap());
    assert_eq!(on(1), on(3));
}

#[test]
fn a_face_that_moved_a_little_is_found_again_where_detection_finds_it() {
    let photo = imageops::resize(&photo("many"), 1080, 700, imageops::FilterType::Triangle);
    for detector in engines(MtcnnConfig::new().with_min_face_size(30.0)) {
        let earlier = &detector.detect(&[&photo]).unwrap()[0];
        assert!(earlier.len() >= 4, "{earlier:?}");
        // Shifted and slightly enlarged, as may happen from one frame to the next.
        for (x, y, width, height) in [(0, 0, 1080, 700), (9, 5, 1060, 690), (24, 12, 1000, 650)] {
            let moved = imageops::crop_imm(&photo, x, y, width, height).to_image();
            let moved = imageops::resize(&moved, 1080, 700, imageops::FilterType::Triangle);
            let detected = &detector.detect(&[&moved]).unwrap()[0];
            let again = detector.find_again(&moved, earlier).unwrap();
            let in_view = detected.iter().filter(|face| earlier.iter().any(|e| overlap(e, face) > 0.5));
            for face in in_view {
                let close = |other: &&Face| overlap(face, other) > 0.75;
                let found = again.iter().find(close).unwrap_or_else(|| panic!("{face:?} not in {again:?}"));
                let (a, b) = (<[f32; 4]>::from(face.bounding_box), <[f32; 4]>::from(found.bounding_box));
                let tolerance = 0.12 * face.size() + 1.0;
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < tolerance), "{a:?} {b:?}");
            }
            assert!(again.len() <= earlier.len());
        }
    }
}

#[test]
fn a_face_that_is_gone_is_not_found_again() {
    let (many, none) = (photo("many"), photo("none"));
    for detector in engines(MtcnnConfig::new()) {
        let earlier = &detector.detect(&[&many]).unwrap()[0];
        let empty = imageops::resize(&none, many.width(), many.height(), imageops::FilterType::Triangle);
        assert_eq!(detector.find_again(&empty, earlier).unwrap(), []);
        assert_eq!(detector.find_again(&RgbImage::new(0, 0), earlier).unwrap(), []);
        assert_eq!(detector.find_again(&many, &[]).unwrap(), []);

        // One face is painted over. The others are still found.
        let mut covered = many.clone();
        let b = earlier[0].bounding_box;
        for y in b.y1.max(0.0) as u32..(b.y2 as u32).min(many.height()) {
            for x in b.x1.max(0.0) as u32..(b.x2 as u32).min(many.width()) {
                covered.put_pixel(x, y, Rgb([90, 120, 90]));
            }
        }
        let left = detector.find_again(&covered, earlier).unwrap();
        assert_eq!(left.len(), earlier.len() - 1);
        assert!(left.iter().all(|face| overlap(face, &earlier[0]) < 0.3));
    }
}

#[test]
fn earlier_boxes_that_are_not_finite_or_outside_the_image_give_no_faces() {
    let at = |x1, y1, x2, y2| Face::new(BoundingBox::new(x1, y1, x2, y2), None, 1.0);
    let wild = [
        at(f32::NAN, 0.0, 1.0, 1.0),
        at(f32::NEG_INFINITY, 0.0, f32::INFINITY, 9.0),
        at(-1e30, -1e30, 1e30, 1e30),
        at(9.0, 9.0, 3.0, 3.0),
        at(1e9, 1e9, 2e9, 2e9),
    ];
    assert_eq!(detector(MtcnnConfig::new()).find_again(&photo("none"), &wild).unwrap(), []);
}

#[test]
fn no_images_give_no_results() {
    assert!(detector(MtcnnConfig::new()).detect(&[]).unwrap().is_empty());
}

#[test]
fn images_too_small_for_a_face_have_no_faces() {
    let images = [(0, 0), (0, 5), (1, 1), (10_000, 1), (1, 10_000), (19, 19)].map(|(w, h)| RgbImage::new(w, h));
    for detector in engines(MtcnnConfig::new().with_max_side(8000)) {
        assert!(detector.detect(&images.each_ref()).unwrap().iter().all(Vec::is_empty));
    }
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
    for lenient in engines(MtcnnConfig::new().with_thresholds([0.1, 0.0, 0.0])) {
        for faces in lenient.detect(&images.each_ref()).unwrap() {
            assert!(faces.iter().all(|face| face.bounding_box.x1.is_finite() && face.confidence <= 1.0));
        }
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
fn settings_out_of_range_are_rejected_with_name_value_and_range() {
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
fn the_detector_info_lists_every_setting() {
    let info = detector(MtcnnConfig::new().with_max_faces(3)).info();
    assert_eq!(info.name, "mtcnn");
    assert_eq!(info.settings["min_face_size"], 20.0);
    assert_eq!(info.settings["max_faces"], 3);
    assert_eq!(info.settings["engine"], "fused");
    assert_eq!(info.settings.len(), 6);
    let [fused, burn] = engines(MtcnnConfig::new());
    assert_eq!((&fused.info().settings["engine"], &burn.info().settings["engine"]), (&"fused".into(), &"burn".into()));
}
