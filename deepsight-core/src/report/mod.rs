//! The result of an analysis, and its parts.

mod chart;
mod contact_sheet;
mod html;
mod json;
#[cfg(feature = "pdf")]
mod pdf;
mod pictures;
mod record;
#[cfg(feature = "signature")]
mod sign;
mod signature;
mod stability;
mod text;
mod words;

pub use contact_sheet::ContactSheet;
#[cfg(feature = "pdf")]
pub use pdf::{Paper, ReportPdf};
pub use record::Record;
#[cfg(feature = "signature")]
pub use sign::{PublicKey, SecretKey, SignatureError, Verified, verify};
pub use signature::Signature;
pub use stability::{Stability, VariationScore};
pub use text::escape_html;

pub use crate::ensemble::EnsembleInfo;
pub use crate::stage::{FrameError, Stage};
pub use crate::variation::Variation;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::decide::{Decision, has_enough_weight};
use crate::{
    ActivationMap, AnalyzerConfig, Coverage, DetectorInfo, EnsembleAnswer, Face, FaceQuality, Input, ModelInfo, Reason,
    Segment, Verdict,
};

/// The schema that [`Report::schema`] has in this version.
pub const REPORT_SCHEMA: u32 = 1;

/// The result of an analysis: the verdict, its reasons, and the evidence.
///
/// Serializes to the JSON that [`Report::to_json`] writes, and deserializes from it, except for
/// [`evidence`](Self::evidence), which consists of images. Times are in seconds, boxes and landmarks in pixels,
/// probabilities in `0..=1`. Every number is finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[must_use = "a report is the only result of an analysis"]
#[non_exhaustive]
pub struct Report {
    /// Version of this format: [`REPORT_SCHEMA`].
    pub schema: u32,
    /// The analyzed input, as [`Job::with_input`](crate::Job::with_input) described it.
    pub input: Input,
    /// The classifier.
    pub model: ModelInfo,
    /// The settings of the analysis.
    pub settings: Settings,
    /// The verdict.
    pub verdict: Verdict,
    /// The reasons for the verdict, doubts first.
    #[serde(with = "json::reasons")]
    pub reasons: Vec<Reason>,
    /// Probability that the clip is forged; `None` if no face was scored. If a segment decided, it is the segment's.
    pub fake_probability: Option<f32>,
    /// The answers of an ensemble's models and their disagreement; `None` for a single model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<EnsembleAnswer>,
    /// The scores of variations of the clip; `None` if none were analyzed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stability: Option<Stability>,
    /// The people in view, in order of appearance.
    pub tracks: Vec<Track>,
    /// The most suspicious seconds of people who are long in view, by track and time.
    #[serde(default)]
    pub segments: Vec<Segment>,
    /// The part of the clip that was seen.
    #[serde(default)]
    pub coverage: Coverage,
    /// The frames that were searched, in order of presentation.
    pub frames: Vec<ReportFrame>,
    /// The errors of single frames and faces.
    pub errors: ErrorLog,
    /// The time spent in each stage.
    pub seconds: Seconds,
    /// Who made the report, when, and for which case; `None` if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// The signature of everything above; `None` if the report is not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// The highest-scoring faces of each track, by track and falling probability. Not part of the JSON.
    #[serde(skip)]
    pub evidence: Vec<Evidence>,
}

/// The settings with which a clip was analyzed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// The face detector.
    pub detector: DetectorInfo,
    /// The analyzer's settings, with the threshold that was applied.
    pub analyzer: AnalyzerConfig,
    /// Settings that the program adds, such as its device and its sampling. See [`Report::with_setting`].
    pub run: serde_json::Map<String, serde_json::Value>,
}

/// One person in view over time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Track {
    /// Number of the track, from 0; faces refer to it.
    pub id: usize,
    /// Faces in the track.
    pub faces: usize,
    /// Faces in the track that were scored.
    pub scored: usize,
    /// Index of the first frame.
    pub first_frame: u64,
    /// Index of the last frame.
    pub last_frame: u64,
    /// Time of the first frame.
    pub start: f64,
    /// Time of the last frame.
    pub end: f64,
    /// Mean probability of the scored faces, without those of a closer look if there are enough others. It is weighted
    /// if the model has a [`Reliability`](crate::Reliability) and enough of the faces can be judged. `None` if no face
    /// was scored.
    pub fake_probability: Option<f32>,
    /// Highest probability of a face.
    pub max_fake_probability: Option<f32>,
    /// Median of the shorter sides of the scored faces, in pixels.
    pub median_face_size: Option<f32>,
    /// Median of the detector's confidence in the scored faces, `0..=1`.
    #[serde(default)]
    pub median_confidence: Option<f32>,
    /// Medians of the quality of the scored faces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<FaceQuality>,
    /// Sum of the weights of the scored faces ([`QualityLimits::weight`](crate::QualityLimits::weight)); `None` if the
    /// model has no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_faces: Option<f32>,
}

impl Track {
    /// Returns whether the track has enough faces, confidence and quality to decide a clip alone.
    pub(crate) fn counts(&self, config: &AnalyzerConfig) -> bool {
        self.scored >= config.min_track_faces
            && self.median_confidence.is_some_and(|confidence| confidence >= config.track_confidence)
            && self.is_clear(config)
    }

    /// Returns whether enough of the faces are neither blurred nor dark nor turned away.
    pub(crate) fn is_clear(&self, config: &AnalyzerConfig) -> bool {
        self.effective_faces.is_none_or(|weight| has_enough_weight(weight, self.scored, config.min_track_faces))
    }
}

/// A frame and the faces in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportFrame {
    /// Position in the video, from 0.
    pub index: u64,
    /// Presentation time.
    pub time: f64,
    /// All faces that the detector found, in its order.
    pub faces: Vec<ReportFace>,
    /// Whether the frame was looked at because faces around it are suspicious
    /// ([`Job::with_closer_look`](crate::Job::with_closer_look)).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closer_look: bool,
}

/// A face of a frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportFace {
    /// Box, landmarks and confidence.
    #[serde(flatten)]
    pub face: Face,
    /// The track it belongs to; `None` if the detector's confidence was too low.
    pub track: Option<usize>,
    /// Its quality; `None` if it was not cut out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<FaceQuality>,
    /// Probability that it is forged; `None` if it was not scored.
    pub fake_probability: Option<f32>,
    /// The probability that each model of an ensemble gives it, in order; empty for a single model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_model: Vec<f32>,
}

/// Errors of single frames and faces. All are counted, and the first ones are listed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorLog {
    /// Number of errors.
    pub count: u64,
    /// The first errors, up to [`AnalyzerConfig::max_errors`].
    pub first: Vec<FrameError>,
}

impl ErrorLog {
    pub(crate) fn add(&mut self, error: FrameError, limit: usize) {
        self.count += 1;
        if self.first.len() < limit {
            self.first.push(error);
        }
    }
}

/// Seconds spent in each stage. The stages overlap, so their sum may exceed the total.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Seconds {
    /// Waiting for frames.
    pub decode: f64,
    /// Finding, following and cutting out faces.
    pub detect: f64,
    /// Scoring and explaining faces, including the wait while faces of other analyses were scored.
    pub classify: f64,
    /// From start to end.
    pub total: f64,
}

/// A high-scoring face of a track, for a person to look at.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Evidence {
    /// The track it belongs to.
    pub track: usize,
    /// Index of the frame.
    pub index: u64,
    /// Time of the frame in seconds.
    pub time: f64,
    /// Position in the frame's list of faces.
    pub face: usize,
    /// The face's probability.
    pub fake_probability: f32,
    /// The crop that the classifier scored.
    pub image: RgbImage,
    /// The map of where in the face the evidence lies, if the classifier provides one.
    pub activation: Option<ActivationMap>,
}

impl Evidence {
    /// Creates a face without an activation map: `image` is the crop that the classifier scored, and `face` the
    /// position in the list of the frame with this index.
    pub fn new(track: usize, index: u64, time: f64, face: usize, fake_probability: f32, image: RgbImage) -> Self {
        Self { track, index, time, face, fake_probability, image, activation: None }
    }

    /// Sets the activation map; `None` if the classifier has none.
    #[must_use]
    pub fn with_activation(mut self, activation: Option<ActivationMap>) -> Self {
        self.activation = activation;
        self
    }
}

impl Report {
    #[allow(clippy::too_many_arguments, reason = "private: the one place where all parts meet")]
    pub(crate) fn new(
        decision: Decision,
        input: Input,
        coverage: Coverage,
        model: ModelInfo,
        settings: Settings,
        tracks: Vec<Track>,
        frames: Vec<ReportFrame>,
        errors: ErrorLog,
        seconds: Seconds,
        evidence: Vec<Evidence>,
    ) -> Self {
        let Decision { verdict, fake_probability, reasons, segments, ensemble, .. } = decision;
        Self {
            schema: REPORT_SCHEMA,
            input,
            model,
            settings,
            verdict,
            reasons,
            fake_probability,
            ensemble,
            stability: None,
            tracks,
            segments,
            coverage,
            frames,
            errors,
            seconds,
            record: None,
            signature: None,
            evidence,
        }
    }

    /// Sets the hash of the input file, which may take as long as the analysis to compute.
    pub fn with_sha256(mut self, sha256: impl Into<String>) -> Self {
        self.input.sha256 = Some(sha256.into());
        self
    }

    /// Adds who made the report, when, and for which case.
    pub fn with_record(mut self, record: Record) -> Self {
        self.record = Some(record);
        self
    }

    /// Adds one of the program's own settings, such as its device.
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.settings.run.insert(name.into(), value.into());
        self
    }
}
