#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

use std::path::PathBuf;

use deepsight_core::{Frame, image};
use deepsight_examples::device::Device;
use deepsight_video::{Sampling, Video};
use image::{RgbImage, imageops};

/// The clip bundled with the examples: 640 × 360, 180 frames, one or two faces in each.
pub fn clip() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clips/portraits.mp4"))
}

/// `count` frames spread over the bundled clip, at its own size.
///
/// # Panics
/// When the clip cannot be decoded: without ffmpeg there is nothing to measure.
pub fn frames(count: u64) -> Vec<Frame> {
    let frames = Video::open(clip()).and_then(|video| video.frames(Sampling::evenly(count))?.collect());
    frames.unwrap_or_else(|error| panic!("{error}"))
}

/// A 1280 × 720 picture with five faces: frames of the bundled clip pasted side by side at several sizes. MTCNN, the
/// reference too, takes a patch on a space suit for a sixth, at a probability of 0.84.
///
/// # Panics
/// When the clip cannot be decoded.
pub fn group_portrait() -> RgbImage {
    let mut canvas = RgbImage::from_pixel(1280, 720, image::Rgb([96, 104, 112]));
    let frames = frames(30);
    // Alone, side by side, and alone: one face, two faces, one face; then the first again, smaller.
    for (frame, width, x, y) in [(0, 640, 0, 0), (14, 640, 640, 0), (29, 560, 40, 380), (4, 480, 760, 420)] {
        let source = &frames[frame].image;
        let height = source.height() * width / source.width();
        let scaled = imageops::resize(source, width, height, imageops::FilterType::Triangle);
        imageops::replace(&mut canvas, &scaled, x, y);
    }
    canvas
}

/// The devices of this build that are here, and a line on standard error for each that is not.
#[allow(clippy::print_stderr, reason = "a bench that is left out must say so")]
pub fn devices() -> Vec<Device> {
    let named = |name: &&str| name.trim_end_matches("[:n]").parse().ok();
    let present = |device: &Device| match device.check() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("skipped: {error}");
            false
        }
    };
    Device::NAMES.iter().filter_map(named).filter(present).collect()
}
