//! Turns faces into a verdict.

#![deny(unsafe_code)]

mod aggregate;
mod crop;
mod error;
mod explain;
mod face;
mod frame;
mod input;
mod scene;
mod track;

pub use aggregate::{Aggregation, Combined};
pub use crop::FaceCrop;
pub use error::Error;
pub use explain::ActivationMap;
pub use face::{BoundingBox, DetectorInfo, Face, FaceClassifier, FaceDetector, FaceScore, Landmarks, ModelInfo};
pub use frame::Frame;
/// The crate whose `RgbImage` frames and faces are made of.
pub use image;
pub use input::Input;
pub use track::{Tracker, TrackerConfig};
