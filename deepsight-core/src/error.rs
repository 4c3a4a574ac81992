use crate::{BoundingBox, Landmarks};

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A face's box has no area, or a coordinate that is not a number.
    #[error("cannot cut out the face: its box [{}, {}, {}, {}] is empty or not finite", .0.x1, .0.y1, .0.x2, .0.y2)]
    CropBox(BoundingBox),
    /// A cut-out face would be larger than any real one.
    #[error("cannot cut out the face: {width} x {height} pixels are over the limit of {limit} a side")]
    CropTooLarge {
        /// Width it would have, in pixels.
        width: f64,
        /// Height it would have, in pixels.
        height: f64,
        /// The longest side allowed ([`FaceCrop::MAX_SIDE`](crate::FaceCrop::MAX_SIDE)).
        limit: u32,
    },
    /// A setting of [`FaceCrop`](crate::FaceCrop) is outside its range.
    #[error("crop setting {name} = {value} is not in {allowed}")]
    CropSetting {
        /// Name of the field.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// Alignment was asked for, but the detector found no landmarks.
    #[error("cannot align the face: it has no landmarks")]
    NoLandmarks,
    /// Alignment was asked for, but the landmarks fall together or are not finite, so that they say nothing of the
    /// face's pose.
    #[error("cannot align the face: its landmarks {:?} are degenerate", .0.0)]
    DegenerateLandmarks(Landmarks),

    // The analysis.
    /// A setting is outside its range.
    #[error("{name} is {value}: it {rule}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The value given.
        value: String,
        /// What the value must be, as the end of a sentence.
        rule: &'static str,
    },
    /// The name of an aggregation is not known.
    #[error("unknown aggregation {name:?}: choose worst-track, mean-of-faces, median or top-k:N with N from 1")]
    UnknownAggregation {
        /// The name given.
        name: String,
    },
    /// The input gave an error before its first frame.
    #[error("cannot read any frame: {reason}")]
    Unreadable {
        /// What the input's iterator said, with its causes.
        reason: String,
    },
    /// The input ended without a frame.
    #[error("the input holds no frame")]
    NoFrames,
    /// Not one frame could be analysed, or not one of the faces found could be scored.
    #[error("{stage} failed for all {count} {what}: {reason}")]
    NothingAnalyzed {
        /// Where it went wrong.
        stage: crate::Stage,
        /// How many were tried.
        count: u64,
        /// What was tried: frames or faces.
        what: &'static str,
        /// The first failure, with its causes.
        reason: String,
    },
    /// The analysis was cancelled through its [`CancelToken`](crate::CancelToken).
    #[error("cancelled")]
    Cancelled,
    /// A thread of the analysis ended by a panic of its own; a defect of this library.
    #[error("{stage} stopped unexpectedly: {reason}")]
    Stopped {
        /// Which one.
        stage: crate::Stage,
        /// The panic's message.
        reason: String,
    },
    /// A report's JSON cannot be read.
    #[error("not a report: {reason}")]
    MalformedReport {
        /// What the parser said, with line and column.
        reason: String,
    },
    /// A report was written with a newer or unknown schema.
    #[error("report has schema {found}; this version reads schema {supported}")]
    ReportSchema {
        /// The schema in the file.
        found: u64,
        /// The schema this version reads.
        supported: u32,
    },
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// An [`Error::Setting`] unless `holds`.
    pub(crate) fn check(
        name: &'static str,
        value: impl std::fmt::Display,
        holds: bool,
        rule: &'static str,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::Setting { name, value: value.to_string(), rule }) }
    }
}

/// An error and its causes in one line, without repeating a cause that the error already quotes.
///
/// ```
/// use deepsight_core::with_causes;
///
/// let error = deepsight_core::Error::NoFrames;
/// assert_eq!(with_causes(&error), "the input holds no frame");
/// ```
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
