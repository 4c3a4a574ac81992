#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

use std::path::PathBuf;

use deepsight_core::{Frame, Precision, image};
use deepsight_device::Device;
use deepsight_video::{Sampling, Video};
use image::{RgbImage, imageops};

/// Returns the path of the clip bundled with the examples: 640 × 360, 180 frames, one or two faces in each.
pub fn clip() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clips/portraits.mp4"))
}

/// Decodes `count` frames spread over the bundled clip, at its own size.
///
/// # Panics
/// Panics if the clip cannot be decoded: without ffmpeg there is nothing to measure.
pub fn frames(count: u64) -> Vec<Frame> {
    let frames = Video::open(clip()).and_then(|video| video.frames(Sampling::evenly(count))?.collect());
    frames.unwrap_or_else(|error| panic!("{error}"))
}

/// Heights in pixels of the pictures on which detectors are measured, with their usual names.
pub const HEIGHTS: [(&str, u32); 3] = [("480p", 480), ("720p", 720), ("1080p", 1080)];

/// Returns a picture of one face that looks into the camera: the bundled clip's first frame scaled to `height`, 16 : 9.
///
/// # Panics
/// Panics if the clip cannot be decoded.
pub fn portrait(height: u32) -> RgbImage {
    imageops::resize(&frames(1)[0].image, width(height), height, imageops::FilterType::Triangle)
}

/// Returns a picture of five faces: frames of the bundled clip side by side at several sizes, 16 : 9 and `height` high.
/// At some heights MTCNN, including the reference, detects a patch on a space suit as a sixth face (probability 0.84 at
/// 720).
///
/// # Panics
/// Panics if the clip cannot be decoded.
pub fn group_portrait(height: u32) -> RgbImage {
    let mut canvas = RgbImage::from_pixel(width(height), height, image::Rgb([96, 104, 112]));
    let frames = frames(30);
    let scaled = |pixels_at_720: u32| pixels_at_720 * height / 720;
    // These frames show one face, two faces, one face, and the first face again, smaller.
    for (frame, width, x, y) in [(0, 640, 0, 0), (14, 640, 640, 0), (29, 560, 40, 380), (4, 480, 760, 420)] {
        let source = &frames[frame].image;
        let width = scaled(width);
        let height = source.height() * width / source.width();
        let picture = imageops::resize(source, width, height, imageops::FilterType::Triangle);
        imageops::replace(&mut canvas, &picture, scaled(x).into(), scaled(y).into());
    }
    canvas
}

/// Returns the even width nearest to 16 : 9.
fn width(height: u32) -> u32 {
    (height * 8 + 4) / 9 * 2
}

/// Prints a line on standard error for a precision that a device does not have.
#[allow(clippy::print_stderr, reason = "a bench that is left out must say so")]
pub fn skipped(device: &Device, precision: Precision) {
    eprintln!("skipped: {device} does not compute in {precision}");
}

/// Returns the devices of this build that are present. Prints a line on standard error for each one that is not.
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
