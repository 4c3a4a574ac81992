#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod boxes;
mod decode;
mod error;
mod ffmpeg;
mod hwaccel;
mod limits;
mod orientation;
mod parameter_sets;
mod picture;
mod probe;
mod process;
mod sampling;
mod scan;
mod video;

pub use decode::Frames;
pub use error::VideoError;
pub use ffmpeg::DecodeOptions;
pub use hwaccel::HwAccel;
pub use limits::{DecodeLimits, Limit};
pub use picture::Note;
pub use process::StopHandle;
pub use sampling::Sampling;
pub use video::{Video, VideoInfo};
