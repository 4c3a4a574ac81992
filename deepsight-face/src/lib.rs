#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod boxes;
mod error;
mod mtcnn;
mod resample;

pub use deepsight_core::FaceCrop;
pub use error::Error;
pub use mtcnn::{Mtcnn, MtcnnConfig};
