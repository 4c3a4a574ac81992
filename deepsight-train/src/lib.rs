#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod augment;
pub mod blend;
pub mod calibrate;
pub mod dataset;
mod error;
pub mod evaluate;
mod exact;
// For the target in `fuzz/`. Not a promise.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod label_noise;
pub mod layout;
pub mod manifest;
pub mod metrics;
pub mod plot;
pub mod prepare;
pub mod preview;
mod random;
pub mod sampler;
pub mod schedule;
pub mod split;
#[cfg(feature = "model")]
pub mod step;
pub mod tensorboard;
#[cfg(feature = "model")]
pub mod trainer;
mod whole_file;

pub use augment::Augmentation;
/// The Burn version that this crate follows, 0.21. All backends, devices and tensors that the crate takes or returns
/// are of this version. A program may contain another version too, but cannot pass its types to this crate.
#[cfg(feature = "model")]
pub use burn;
/// The crate that defines `RgbImage`, the type of a sample's picture.
pub use deepsight_core::image;
#[cfg(feature = "parquet")]
pub use error::ParquetError;
pub use error::{Error, JsonError, PictureError, TableError};
pub use evaluate::Evaluation;
pub use layout::Dataset;
pub use manifest::{Label, Manifest, Row, Split};
pub use metrics::{Scored, frame_auc, video_auc};
pub use prepare::{Preparation, PrepareConfig};
pub use split::{SplitConfig, assign_splits};
#[cfg(feature = "model")]
pub use trainer::{Init, Outcome, RunOptions, TrainConfig, TrainData, TrainProgress, Trainer};
