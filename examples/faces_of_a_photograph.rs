//! Finds the faces of a photograph and saves each, upright:
//! `cargo run --release --example faces_of_a_photograph [PICTURE]`.

use std::error::Error;

use deepsight::Detector;
use deepsight::core::FaceCrop;

fn main() -> Result<(), Box<dyn Error>> {
    let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/../deepsight-face/tests/photos/many.png");
    let picture = std::env::args().nth(1).unwrap_or_else(|| bundled.into());
    let photograph = image::open(&picture)?.into_rgb8();

    let faces = Detector::builder().min_face_size(40).build()?.faces(&photograph)?;
    println!("{picture}: {} faces", faces.len());

    // Aligns eyes, nose and mouth to the positions that face recognition expects.
    let upright = FaceCrop::Aligned { size: 224, scale: 0.8, down: 0.0 };
    for (number, face) in faces.iter().enumerate() {
        let path = format!("face-{number}.png");
        upright.cut(&photograph, face)?.save(&path)?;
        println!("  {path}: {:.0} pixels, confidence {:.3}", face.size(), face.confidence);
    }
    Ok(())
}
