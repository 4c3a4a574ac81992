//! The names that most programs need: `use deepsight::prelude::*;`.

pub use crate::image::RgbImage;
pub use crate::{CancelToken, Detector, Device, Error, Frame, Job, Reason, Report, Sampling, Verdict};
