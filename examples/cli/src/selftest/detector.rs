//! Compares MTCNN with facenet-pytorch.

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use deepsight_core::image::{self, RgbImage};
use deepsight_core::{Face, FaceDetector};
use deepsight_face::MtcnnConfig;
use serde::Deserialize;

use super::Checked;
use super::table::Check;

const EXPECTED: &str = include_str!("../../../../deepsight-face/tests/suite/parity/expected.json");

macro_rules! photographs {
    ($($name:literal),*) => {
        [$(($name, &include_bytes!(concat!("../../../../deepsight-face/tests/photos/", $name, ".png"))[..])),*]
    };
}

#[derive(Deserialize)]
struct Expected {
    r#box: [f32; 4],
    landmarks: [[f32; 2]; 5],
    confidence: f32,
}

pub(crate) fn photographs<B: Backend>(device: &B::Device) -> Checked {
    let photographs: [(&str, &[u8]); 7] = photographs!["border", "grey", "many", "none", "one", "small", "too_small"];
    let mut expected: BTreeMap<String, Vec<Expected>> = serde_json::from_str(EXPECTED)?;
    let detector = MtcnnConfig::new().init::<B>(device)?;
    let decode = |(_, png): &(&str, &[u8])| image::load_from_memory(png).map(|image| image.into_rgb8());
    let images = photographs.iter().map(decode).collect::<Result<Vec<RgbImage>, _>>()?;
    let found = detector.detect(&images.iter().collect::<Vec<_>>())?;
    let (mut faces, mut off) = (0.0_f64, [0.0_f64; 3]);
    for ((name, _), found) in photographs.iter().zip(&found) {
        let expected = expected.remove(*name).ok_or_else(|| format!("{name} is not among the expected photographs"))?;
        faces = faces.max((found.len() as f64 - expected.len() as f64).abs());
        for (ours, theirs) in found.iter().zip(&expected) {
            for (worst, found) in off.iter_mut().zip(differences(ours, theirs)) {
                *worst = worst.max(found);
            }
        }
    }
    Ok(vec![
        Check::new("number of faces", faces, 0.0),
        Check::new("boxes, pixels", off[0], 0.5),
        Check::new("landmarks, pixels", off[1], 0.5),
        Check::new("confidence", off[2], 1e-3),
    ])
}

/// Returns the largest differences of box, landmarks and confidence.
fn differences(ours: &Face, theirs: &Expected) -> [f64; 3] {
    let off =
        |ours: &[f32], theirs: &[f32]| ours.iter().zip(theirs).map(|(a, b)| f64::from(a - b).abs()).fold(0.0, f64::max);
    let bounds = <[f32; 4]>::from(ours.bounding_box);
    let landmarks =
        ours.landmarks.map_or(f64::INFINITY, |ours| off(ours.0.as_flattened(), theirs.landmarks.as_flattened()));
    [off(&bounds, &theirs.r#box), landmarks, off(&[ours.confidence], &[theirs.confidence])]
}
