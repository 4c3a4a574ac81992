use std::fmt;

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
    /// Computing activation maps.
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

/// The error of one frame or face. The rest of the clip was still analyzed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FrameError {
    /// The stage that failed.
    pub stage: Stage,
    /// The frame's index, if it is known.
    pub index: Option<u64>,
    /// The frame's presentation time in seconds, if it is known.
    pub time: Option<f64>,
    /// The error with its causes.
    pub message: String,
}
