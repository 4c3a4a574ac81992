//! An analysis with your own classifier instead of the network: `cargo run --release --example own_classifier`.

use std::convert::Infallible;
use std::error::Error;

use deepsight_core::image::RgbImage;
use deepsight_core::{Analyzer, FaceClassifier, FaceCrop, FaceScore, ModelInfo};
use deepsight_face::Mtcnn;
use deepsight_video::{Sampling, Video};

type B = burn::backend::Flex;

/// A toy classifier: the more similar neighboring pixels are, the higher the fake probability.
struct Smoothness;

impl FaceClassifier for Smoothness {
    type Error = Infallible;

    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Infallible> {
        Ok(faces.iter().map(|face| FaceScore::new((-mean_difference(face) / 8.0).exp())).collect())
    }

    fn info(&self) -> ModelInfo {
        let mut info = ModelInfo::new("smoothness");
        info.threshold = 0.5;
        info.crop = FaceCrop::Margin { fraction: 0.1 }; // how faces are cut out for it
        info
    }
}

/// Returns the mean absolute difference of horizontal neighbors in the green channel, in levels of 255.
fn mean_difference(face: &RgbImage) -> f32 {
    let green: Vec<u8> = face.pixels().map(|pixel| pixel.0[1]).collect();
    let differences = green.windows(2).map(|pair| f32::from(pair[0].abs_diff(pair[1])));
    differences.sum::<f32>() / green.len().max(1) as f32
}

fn main() -> Result<(), Box<dyn Error>> {
    let analyzer = Analyzer::new(Mtcnn::<B>::pretrained(&Default::default())?, Smoothness);
    let video = Video::open(concat!(env!("CARGO_MANIFEST_DIR"), "/clips/portraits.mp4"))?;
    let report = analyzer.analyze(video.frames(Sampling::evenly(12))?)?;
    println!("{}, fake {:?}, says {}", report.verdict, report.fake_probability, report.model.name);
    Ok(())
}
