#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod animation;
mod answer;
mod asf;
mod avi;
mod boxes;
mod byte_queue;
#[cfg(test)]
#[path = "../tests/suite/clips.rs"]
mod clips;
mod credentials;
mod cure;
mod decode;
mod error;
mod facts;
mod ffmpeg;
mod finish;
mod flv;
mod frames;
// For the target in `fuzz/`. Not a promise.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod heif;
mod hwaccel;
mod limits;
mod marks;
mod media;
mod orientation;
mod picture;
mod pieces;
mod piped;
mod pixel_format;
mod probe;
mod process;
mod raw;
mod recompress;
mod sample_tables;
mod sampling;
mod scan;
mod seek;
mod still;
mod tone_map;
mod transport;
mod units;
mod video;
mod vp8;
mod y4m;

pub use animation::{Animation, AnimationFrames};
#[cfg(feature = "c2pa")]
pub use credentials::TrustList;
pub use error::VideoError;
pub use ffmpeg::DecodeOptions;
pub use frames::Frames;
pub use hwaccel::HwAccel;
pub use limits::{DecodeLimits, Limit};
pub use media::{Media, MediaFrames, contact_sheet};
pub use picture::Note;
pub use piped::PipedVideo;
pub use pixel_format::PixelFormat;
pub use raw::RawFrames;
pub use recompress::recompress_clip;
pub use sampling::Sampling;
pub use still::Still;
pub use video::{Video, VideoInfo, sha256};
pub use y4m::Y4m;
