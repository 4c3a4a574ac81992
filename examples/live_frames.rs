//! Scores faces while frames still arrive, as from a camera: `cargo run --release --example live_frames [CLIP]`.

use std::error::Error;
use std::sync::mpsc::sync_channel;

use deepsight_core::{Analyzer, AnalyzerConfig, CancelToken, Classifier, Job};
use deepsight_face::Mtcnn;
use deepsight_video::{Sampling, Video};

type B = burn::backend::Flex;

fn main() -> Result<(), Box<dyn Error>> {
    let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/clips/portraits.mp4");
    let clip = std::env::args().nth(1).unwrap_or_else(|| bundled.into());

    // A bounded channel stands for the camera's driver: the sender waits when the analysis is behind.
    let (sender, receiver) = sync_channel(4);
    let frames = Video::open(clip)?.frames(Sampling::fps(2.0))?;
    let camera = std::thread::spawn(move || {
        for frame in frames {
            if sender.send(frame).is_err() {
                break; // the analysis was canceled
            }
        }
    });

    let device = Default::default();
    let (detector, classifier) = (Mtcnn::<B>::pretrained(&device)?, Classifier::<B>::pretrained(&device)?);
    // Every face is scored at once, and the whole picture is searched for new faces on every other frame.
    let config = AnalyzerConfig::new().with_batches(1, 1).with_detect_every(2);
    let analyzer = Analyzer::new(detector, classifier).with_config(config);

    let cancel = CancelToken::new(); // `cancel.cancel()`, on any thread, ends the analysis
    let job = Job::new().with_cancel(cancel).with_scored(|face| {
        println!("{:6.2} s  person {}: {:4.1} % fake", face.time, face.track + 1, face.fake_probability * 100.0);
    });
    let report = analyzer.analyze_job(receiver, job)?;
    println!("{}, from {} frames", report.verdict, report.frames.len());
    camera.join().map_err(|_| "the camera's thread panicked")?;
    Ok(())
}
