//! Scores one face and shows where the model looked: `cargo run --release --example activation_map [PICTURE]`.

use std::error::Error;

use deepsight::Detector;

fn main() -> Result<(), Box<dyn Error>> {
    let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/../deepsight-face/tests/photos/one.png");
    let picture = std::env::args().nth(1).unwrap_or_else(|| bundled.into());
    let photograph = image::open(&picture)?.into_rgb8();

    let detector = Detector::open()?;
    let faces = detector.faces(&photograph)?;
    let largest = faces.first().ok_or("there is no face in the picture")?;

    // The model file says how its faces were cut out in training; another crop gives another score.
    let face = detector.cut(&photograph, largest)?;
    let score = detector.score(std::slice::from_ref(&face))?[0];
    println!("{picture}: fake with probability {:.3}", score.fake_probability);

    if let Some(map) = detector.explain(&face)? {
        map.overlay(&face).save("activation-map.png")?;
        println!("activation-map.png is bright where the evidence for a forgery lies");
    }
    Ok(())
}
