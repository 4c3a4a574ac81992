//! Judges a live picture, and prints the verdict whenever it changes:
//! `ffmpeg -loglevel error -f v4l2 -i /dev/video0 -f yuv4mpegpipe - | cargo run --release --example live`.

use std::io::stdin;

use deepsight::video::{DecodeLimits, PipedVideo};
use deepsight::{DecodeOptions, Detector, Sampling};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Y4M, or any container that can be read from a pipe. A camera has no end, so there is no limit on the length.
    let options = DecodeOptions::default().with_limits(DecodeLimits::unlimited());
    let camera = PipedVideo::open(stdin(), &options, Sampling::fps(2.0))?;
    let mut session = Detector::open()?.session()?.with_input(camera.input());
    for frame in camera {
        let update = session.push(frame?);
        if update.changed {
            println!("{:6.1} s  {}", update.time, update.verdict);
            for reason in &update.reasons {
                println!("          {reason}");
            }
        }
    }
    let report = session.finish()?;
    println!("{}, from {}", report.verdict, report.coverage.density());
    Ok(())
}
