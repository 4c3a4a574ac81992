#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod boxes;
mod error;
mod mtcnn;
mod resample;

/// The Burn version that this crate follows, 0.21. All backends, devices and tensors that the crate takes or returns
/// are of this version. A program may contain another version too, but cannot pass its types to this crate.
pub use burn;
pub use deepsight_core::FaceCrop;
pub use error::Error;
pub use mtcnn::{Mtcnn, MtcnnConfig};
