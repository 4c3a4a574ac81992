use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

/// A step of the analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// Getting frames from the input.
    Decode,
    /// Finding faces.
    Detect,
    /// Cutting faces out of their frame.
    Crop,
    /// Scoring faces.
    Classify,
    /// Making activation maps.
    Explain,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Decode => "decoding",
            Self::Detect => "face detection",
            Self::Crop => "cropping",
            Self::Classify => "classification",
            Self::Explain => "explanation",
        })
    }
}

/// What went wrong with one frame or face; the rest of the clip was analysed all the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FrameError {
    /// Where it went wrong.
    pub stage: Stage,
    /// The frame's index, where it is known.
    pub index: Option<u64>,
    /// The frame's presentation time in seconds, where it is known.
    pub time: Option<f64>,
    /// The error with its causes.
    pub message: String,
}

/// Runs foreign code; its panic becomes a message like its errors.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // What the call leaves half-changed is used by further calls of the same foreign code only.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panic_message(panic.as_ref())))
}

/// The text of a caught panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("no message"))
}
