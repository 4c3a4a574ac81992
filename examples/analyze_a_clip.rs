//! One clip from file to verdict, in the fewest lines: `cargo run --release --example analyze_a_clip [CLIP]`.

use std::error::Error;

use deepsight_core::{Analyzer, Classifier, Job, frames_for};
use deepsight_face::Mtcnn;
use deepsight_video::{Sampling, Video};

type B = burn::backend::Flex;

fn main() -> Result<(), Box<dyn Error>> {
    let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/clips/portraits.mp4");
    let clip = std::env::args().nth(1).unwrap_or_else(|| bundled.into());

    let device = Default::default();
    let analyzer = Analyzer::new(Mtcnn::<B>::pretrained(&device)?, Classifier::<B>::pretrained(&device)?);
    let video = Video::open(&clip)?;
    // A frame every two seconds says about as much as all of them: neighbors are nearly alike. With the length of the
    // clip, the analysis knows which share of it was seen.
    let frames = video.frames(Sampling::evenly(frames_for(video.info().duration)))?;
    let report = analyzer.analyze_job(frames, Job::new().with_input(video.input()))?;

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
