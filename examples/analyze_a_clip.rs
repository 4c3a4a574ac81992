//! One clip from file to verdict, in the fewest lines: `cargo run --release --example analyze_a_clip [CLIP]`.

use deepsight::{Detector, Error};

fn main() -> Result<(), Error> {
    let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/clips/portraits.mp4");
    let clip = std::env::args().nth(1).unwrap_or_else(|| bundled.into());

    let detector = Detector::open()?; // `Detector::builder()` chooses the device, the model and the settings
    let report = detector.analyze(&clip)?;

    println!("{clip}: {}", report.verdict);
    for reason in &report.reasons {
        println!("  {reason}");
    }
    for person in &report.tracks {
        println!("  person {}: {} faces, fake {:?}", person.id + 1, person.scored, person.fake_probability);
    }
    report.write_html("report.html")?;
    println!("report.html shows the faces and where the model looked");
    Ok(())
}
