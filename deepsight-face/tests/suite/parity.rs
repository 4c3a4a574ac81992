//! Compares detections with those of facenet-pytorch 2.6.0. `parity/export.py` writes the expected ones.

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use deepsight_core::{Engine, Face, FaceDetector};
use deepsight_face::MtcnnConfig;
use image::RgbImage;
use serde_json::Value;

use crate::photo;

#[cfg(feature = "flex")]
#[test]
fn the_fused_engine_finds_the_faces_that_facenet_pytorch_finds() {
    assert_parity::<burn::backend::Flex>(Engine::Fused);
}

#[cfg(feature = "flex")]
#[test]
fn flex_finds_the_faces_that_facenet_pytorch_finds() {
    assert_parity::<burn::backend::Flex>(Engine::Burn);
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_finds_the_faces_that_facenet_pytorch_finds() {
    assert_parity::<burn::backend::NdArray>(Engine::Burn);
}

fn assert_parity<B: Backend>(engine: Engine) {
    let detector = MtcnnConfig::new().with_engine(engine).init::<B>(&B::Device::default()).unwrap();
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/parity/expected.json")).unwrap();
    let expected: BTreeMap<String, Vec<Value>> = serde_json::from_str(&text).unwrap();
    assert_eq!(expected.len(), 7);

    let images: Vec<RgbImage> = expected.keys().map(|name| photo(name)).collect();
    let found = detector.detect(&images.iter().collect::<Vec<_>>()).unwrap();
    for ((name, expected), found) in expected.iter().zip(&found) {
        assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
        for (ours, theirs) in found.iter().zip(expected) {
            assert_same_face(name, ours, theirs);
        }
    }
}

fn assert_same_face(name: &str, ours: &Face, theirs: &Value) {
    let close = |ours: f32, theirs: &Value, tolerance: f64, what: &str| {
        let difference = (f64::from(ours) - theirs.as_f64().unwrap()).abs();
        assert!(difference < tolerance, "{name}: {what}: {ours}, not {theirs}");
    };
    let b = ours.bounding_box;
    for (edge, value) in [b.x1, b.y1, b.x2, b.y2].into_iter().enumerate() {
        close(value, &theirs["box"][edge], 0.5, "box");
    }
    for (point, xy) in ours.landmarks.unwrap().0.iter().enumerate() {
        close(xy[0], &theirs["landmarks"][point][0], 0.5, "landmark");
        close(xy[1], &theirs["landmarks"][point][1], 0.5, "landmark");
    }
    close(ours.confidence, &theirs["confidence"], 1e-3, "confidence");
}
