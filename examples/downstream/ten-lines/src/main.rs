//! The verdict on a clip, in ten lines.

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let clip = std::env::args().nth(1).context("name a clip")?;
    let detector = deepsight::Detector::open()?;
    let report = detector.analyze(&clip)?;
    println!("{}: {:?}", report.verdict, report.fake_probability);
    Ok(())
}
