use std::path::PathBuf;

use deepsight_core::{BoundingBox, Landmarks};
use serde::{Deserialize, Serialize};

/// What a face is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// As the camera saw it.
    Real,
    /// Made or changed by a forgery method.
    Fake,
}

impl Label {
    /// Position among the network's logits: real before fake.
    pub fn class(self) -> usize {
        match self {
            Self::Real => 0,
            Self::Fake => 1,
        }
    }
}

/// The part of the data that a face belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What the network learns from.
    Train,
    /// What the best epoch, the temperature and the threshold are chosen on.
    Val,
    /// What is only measured on.
    Test,
}

/// One face crop on disk and where it comes from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// The crop's file, relative to the manifest's folder.
    pub file: PathBuf,
    /// Whether the face is real.
    pub label: Label,
    /// Name of the video, unique within the manifest together with the label.
    pub video: String,
    /// The person whose body and scene are seen, where the layout tells.
    pub target_id: Option<String>,
    /// The person whose face is seen, where it is another's.
    pub source_id: Option<String>,
    /// Number of the frame in the video, counted from 0.
    pub frame: Option<u64>,
    /// Seconds from the video's start.
    pub time: Option<f64>,
    /// The person in view, numbered within the video.
    pub track: Option<u32>,
    /// The detector's box in pixels of the frame.
    pub bounds: Option<BoundingBox>,
    /// Eyes, nose and corners of the mouth in pixels of the crop.
    pub landmarks: Option<Landmarks>,
    /// The detector's confidence, `0..=1`.
    pub confidence: Option<f32>,
    /// SHA-256 of the video's file, in hexadecimal digits.
    pub sha256: Option<String>,
    /// The part of the data, where it is decided.
    pub split: Option<Split>,
}
