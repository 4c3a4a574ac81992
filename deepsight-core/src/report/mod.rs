mod chart;
mod html;
mod json;
mod pictures;

pub use html::escape_html;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::decide::{Decision, has_enough_weight};
use crate::{
    ActivationMap, AnalyzerConfig, DetectorInfo, Face, FaceQuality, FrameError, Input, ModelInfo, Reason, Verdict,
};

/// The schema that [`Report::schema`] has in this version.
pub const REPORT_SCHEMA: u32 = 1;

/// Everything an analysis found: the verdict, why, and the evidence.
///
/// Serialises to the JSON that [`Report::to_json`] writes and reads back from it, but for
/// [`evidence`](Self::evidence), which is pictures. Times are in seconds, boxes and landmarks in pixels, probabilities
/// in `0..=1`; every number is finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Version of this format: [`REPORT_SCHEMA`].
    pub schema: u32,
    /// What was analysed; its path is empty until [`with_input`](Self::with_input) names it.
    pub input: Input,
    /// The classifier.
    pub model: ModelInfo,
    /// How it was analysed.
    pub settings: Settings,
    /// The answer.
    pub verdict: Verdict,
    /// Why, doubts first.
    #[serde(with = "json::reasons")]
    pub reasons: Vec<Reason>,
    /// Probability that the clip is forged; `None` where no face was scored.
    pub fake_probability: Option<f32>,
    /// The people in view, in order of appearance.
    pub tracks: Vec<Track>,
    /// The frames that were searched, in order of presentation.
    pub frames: Vec<ReportFrame>,
    /// What went wrong with single frames and faces.
    pub errors: ErrorLog,
    /// Where the time went.
    pub seconds: Seconds,
    /// The highest-scoring faces of each track, by track and falling probability. Not part of the JSON.
    #[serde(skip)]
    pub evidence: Vec<Evidence>,
}

/// How a clip was analysed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// The face detector.
    pub detector: DetectorInfo,
    /// The analyzer, with the threshold that was in force.
    pub analyzer: AnalyzerConfig,
    /// What the program adds: its device, its sampling. See [`Report::with_setting`].
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
    /// Faces of them that were scored.
    pub scored: usize,
    /// Index of the first frame.
    pub first_frame: u64,
    /// Index of the last frame.
    pub last_frame: u64,
    /// Time of the first frame.
    pub start: f64,
    /// Time of the last frame.
    pub end: f64,
    /// Mean probability of the scored faces, by their weights where the model has a
    /// [`Reliability`](crate::Reliability) and enough of them can be judged; `None` where there is none.
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
    /// Sum of the weights of the scored faces ([`QualityLimits::weight`](crate::QualityLimits::weight)); `None` where
    /// the model has no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_faces: Option<f32>,
}

impl Track {
    /// Whether the track is long, sure and clear enough to decide a clip alone.
    pub(crate) fn counts(&self, config: &AnalyzerConfig) -> bool {
        self.scored >= config.min_track_faces
            && self.median_confidence.is_some_and(|confidence| confidence >= config.track_confidence)
            && self.is_clear(config)
    }

    /// Whether enough of the faces are neither blurred nor dark nor turned away.
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
}

/// A face of a frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportFace {
    /// Box, landmarks and confidence.
    #[serde(flatten)]
    pub face: Face,
    /// The person it belongs to; `None` where the detector was not sure enough.
    pub track: Option<usize>,
    /// How well it can be judged; `None` where it was not cut out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<FaceQuality>,
    /// Probability that it is forged; `None` where it was not scored.
    pub fake_probability: Option<f32>,
}

/// Errors of single frames and faces: all counted, the first ones listed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorLog {
    /// How many there were.
    pub count: u64,
    /// The first of them, up to [`AnalyzerConfig::max_errors`].
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

/// Seconds spent. The stages overlap: their sum may exceed the total.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Seconds {
    /// Waiting for frames.
    pub decode: f64,
    /// Finding, following and cutting out faces.
    pub detect: f64,
    /// Scoring and explaining them, and waiting for that while faces of other analyses were scored.
    pub classify: f64,
    /// From start to end.
    pub total: f64,
}

/// A face that speaks for its track, as a person can look at it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Evidence {
    /// The person.
    pub track: usize,
    /// Index of the frame.
    pub index: u64,
    /// Time of the frame in seconds.
    pub time: f64,
    /// Position in the frame's list of faces.
    pub face: usize,
    /// The face's probability.
    pub fake_probability: f32,
    /// The face as it was cut out for the classifier.
    pub image: RgbImage,
    /// Where in it the evidence lies, if the classifier can say.
    pub activation: Option<ActivationMap>,
}

impl Report {
    #[allow(clippy::too_many_arguments, reason = "private: the one place where all parts meet")]
    pub(crate) fn new(
        decision: Decision,
        model: ModelInfo,
        settings: Settings,
        tracks: Vec<Track>,
        frames: Vec<ReportFrame>,
        errors: ErrorLog,
        seconds: Seconds,
        evidence: Vec<Evidence>,
    ) -> Self {
        let Decision { verdict, fake_probability, reasons } = decision;
        Self {
            schema: REPORT_SCHEMA,
            input: Input::default(),
            model,
            settings,
            verdict,
            reasons,
            fake_probability,
            tracks,
            frames,
            errors,
            seconds,
            evidence,
        }
    }

    /// The report with its input named.
    pub fn with_input(self, input: Input) -> Self {
        Self { input, ..self }
    }

    /// The report with one more of the program's own settings, such as its device.
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.settings.run.insert(name.into(), value.into());
        self
    }
}
