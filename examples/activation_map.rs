//! Scores one face and shows where the model looked: `cargo run --release --example activation_map [PICTURE]`.

use std::error::Error;

use deepsight_core::{Classifier, FaceClassifier, FaceDetector};
use deepsight_face::Mtcnn;

type B = burn::backend::Flex;

fn main() -> Result<(), Box<dyn Error>> {
    let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/../deepsight-face/tests/photos/one.png");
    let picture = std::env::args().nth(1).unwrap_or_else(|| bundled.into());
    let photograph = image::open(&picture)?.into_rgb8();

    let device = Default::default();
    let classifier = Classifier::<B>::pretrained(&device)?;
    let faces = Mtcnn::<B>::pretrained(&device)?.detect(&[&photograph])?;
    let largest = faces[0].first().ok_or("there is no face in the picture")?;

    // The model file says how its faces were cut out in training; another crop gives another score.
    let face = classifier.card().crop.cut(&photograph, largest)?;
    let score = classifier.classify(std::slice::from_ref(&face))?[0];
    println!("{picture}: fake with probability {:.3}", score.fake_probability);

    if let Some(map) = classifier.explain(&face)? {
        map.overlay(&face).save("activation-map.png")?;
        println!("activation-map.png is bright where the evidence for a forgery lies");
    }
    Ok(())
}
