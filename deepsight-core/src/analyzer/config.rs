use serde::{Deserialize, Serialize};

use crate::{Aggregation, Error, ModelInfo, Reliability, SegmentConfig, TrackerConfig};

/// The settings by which a clip is analyzed and judged.
///
/// ```
/// use deepsight_core::{Aggregation, AnalyzerConfig};
///
/// let config = AnalyzerConfig::new().with_aggregation(Aggregation::MeanOfFaces).with_threshold(0.6);
/// assert_eq!(config.threshold, Some(0.6));
/// assert_eq!(config.face_confidence, 0.9);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AnalyzerConfig {
    /// Rule that combines face scores into the clip's probability; [`Aggregation::WorstTrack`] by default.
    pub aggregation: Aggregation,
    /// Probability from which a clip is fake, `0..=1`; the model's own threshold if `None`.
    pub threshold: Option<f32>,
    /// Distance from the threshold within which the verdict is uncertain, `0..=0.5`. With 0 the threshold always
    /// decides. If `None`, it is that of the model's [`Reliability`], or 0.05 for a model without one and for a
    /// configured threshold.
    pub uncertain_band: Option<f32>,
    /// Detector confidence from which a face is followed and scored, `0..=1`; 0.9 by default. Others are only listed.
    pub face_confidence: f32,
    /// Number of scored faces from which a verdict is given, at least 1; 3 by default.
    pub min_faces: usize,
    /// Number of faces from which a track counts for [`Aggregation::WorstTrack`], at least 1; 3 by default.
    pub min_track_faces: usize,
    /// Median detector confidence from which a track counts for [`Aggregation::WorstTrack`], `0..=1`; 0.95 by default.
    /// Objects in the background that sometimes look like a face stay below it; people, even in profile, are above it.
    pub track_confidence: f32,
    /// Shorter side in pixels below which the median deciding face is too small for a verdict; 32 by default. 0 accepts
    /// any size.
    pub reliable_face_size: f32,
    /// Interval in frames at which the whole image is searched for faces, `1..=1000`; 1 by default. On the frames in
    /// between, the followed faces are only searched around their last positions
    /// ([`FaceDetector::find_again`](crate::FaceDetector::find_again)). After a cut, or if one of them is lost, the
    /// whole image is searched too.
    pub detect_every: usize,
    /// Frames given to the detector at once, `1..=1024`; 8 by default. Memory grows with it.
    pub detect_batch: usize,
    /// Faces given to the classifier at once, `1..=4096`; 32 by default. Memory grows with it.
    pub classify_batch: usize,
    /// Number of highest-scoring faces of each track that are kept as evidence, with their activation maps, `0..=100`;
    /// 3 by default.
    pub evidence: usize,
    /// Number of errors of single frames and faces that are listed in full in the report, `0..=10000`; 20 by default.
    /// All are counted.
    pub max_errors: usize,
    /// The settings by which faces are linked to tracks.
    pub tracker: TrackerConfig,
    /// The settings by which moments of a long track are judged, for [`Aggregation::WorstTrack`].
    pub segments: SegmentConfig,
}

impl Default for AnalyzerConfig {
    fn default() -> Self {
        Self {
            aggregation: Aggregation::WorstTrack,
            threshold: None,
            uncertain_band: None,
            face_confidence: 0.9,
            min_faces: 3,
            min_track_faces: 3,
            track_confidence: 0.95,
            reliable_face_size: 32.0,
            detect_every: 1,
            detect_batch: 8,
            classify_batch: 32,
            evidence: 3,
            max_errors: 20,
            tracker: TrackerConfig::default(),
            segments: SegmentConfig::default(),
        }
    }
}

impl AnalyzerConfig {
    /// Creates the default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`aggregation`](Self::aggregation).
    #[must_use]
    pub fn with_aggregation(self, aggregation: Aggregation) -> Self {
        Self { aggregation, ..self }
    }

    /// Sets [`threshold`](Self::threshold), overriding the model's.
    #[must_use]
    pub fn with_threshold(self, threshold: f32) -> Self {
        Self { threshold: Some(threshold), ..self }
    }

    /// Sets [`uncertain_band`](Self::uncertain_band), overriding the model's.
    #[must_use]
    pub fn with_uncertain_band(self, uncertain_band: f32) -> Self {
        Self { uncertain_band: Some(uncertain_band), ..self }
    }

    /// Sets [`face_confidence`](Self::face_confidence).
    #[must_use]
    pub fn with_face_confidence(self, face_confidence: f32) -> Self {
        Self { face_confidence, ..self }
    }

    /// Sets [`min_faces`](Self::min_faces).
    #[must_use]
    pub fn with_min_faces(self, min_faces: usize) -> Self {
        Self { min_faces, ..self }
    }

    /// Sets [`min_track_faces`](Self::min_track_faces).
    #[must_use]
    pub fn with_min_track_faces(self, min_track_faces: usize) -> Self {
        Self { min_track_faces, ..self }
    }

    /// Sets [`track_confidence`](Self::track_confidence).
    #[must_use]
    pub fn with_track_confidence(self, track_confidence: f32) -> Self {
        Self { track_confidence, ..self }
    }

    /// Sets [`reliable_face_size`](Self::reliable_face_size).
    #[must_use]
    pub fn with_reliable_face_size(self, reliable_face_size: f32) -> Self {
        Self { reliable_face_size, ..self }
    }

    /// Sets [`detect_every`](Self::detect_every).
    #[must_use]
    pub fn with_detect_every(self, detect_every: usize) -> Self {
        Self { detect_every, ..self }
    }

    /// Sets [`detect_batch`](Self::detect_batch) and [`classify_batch`](Self::classify_batch).
    #[must_use]
    pub fn with_batches(self, detect_batch: usize, classify_batch: usize) -> Self {
        Self { detect_batch, classify_batch, ..self }
    }

    /// Sets [`evidence`](Self::evidence).
    #[must_use]
    pub fn with_evidence(self, evidence: usize) -> Self {
        Self { evidence, ..self }
    }

    /// Sets [`max_errors`](Self::max_errors).
    #[must_use]
    pub fn with_max_errors(self, max_errors: usize) -> Self {
        Self { max_errors, ..self }
    }

    /// Sets [`tracker`](Self::tracker).
    #[must_use]
    pub fn with_tracker(self, tracker: TrackerConfig) -> Self {
        Self { tracker, ..self }
    }

    /// Sets [`segments`](Self::segments).
    #[must_use]
    pub fn with_segments(self, segments: SegmentConfig) -> Self {
        Self { segments, ..self }
    }

    /// Returns the uncertain band that applies to a single face and a model with this reliability: the configured band,
    /// or else the model's, or else 0.05. The model's band was measured around its own threshold, so it is not used
    /// around a configured one. Over several faces the model's band is narrower ([`Reliability::band_over`]).
    pub fn band(&self, reliability: Option<&Reliability>) -> f32 {
        const DEFAULT: f32 = 0.05;
        let measured = reliability.filter(|_| self.threshold.is_none()).map(|reliability| reliability.uncertain_band);
        self.uncertain_band.or(measured).unwrap_or(DEFAULT)
    }

    /// Returns the threshold that applies to a model: the configured one, or else the model's own, after checking the
    /// model's own values.
    pub(crate) fn threshold_of(&self, model: &ModelInfo) -> Result<f32, Error> {
        let in_range = (0.0..=1.0).contains(&model.threshold);
        Error::check("the model's threshold", model.threshold, in_range, "must lie in 0..=1")?;
        model.reliability.as_ref().map_or(Ok(()), Reliability::validate)?;
        Ok(self.threshold.unwrap_or(model.threshold))
    }

    /// Checks every value against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first value outside its range.
    pub fn validate(&self) -> Result<(), Error> {
        const UNIT: &str = "must lie in 0..=1";
        let unit = |value: f32| (0.0..=1.0).contains(&value);
        self.aggregation.validate()?;
        if let Some(threshold) = self.threshold {
            Error::check("threshold", threshold, unit(threshold), UNIT)?;
        }
        if let Some(band) = self.uncertain_band {
            Error::check("uncertain_band", band, (0.0..=0.5).contains(&band), "must lie in 0..=0.5")?;
        }
        Error::check("face_confidence", self.face_confidence, unit(self.face_confidence), UNIT)?;
        Error::check("min_faces", self.min_faces, self.min_faces >= 1, "must be at least 1")?;
        Error::check("min_track_faces", self.min_track_faces, self.min_track_faces >= 1, "must be at least 1")?;
        Error::check("track_confidence", self.track_confidence, unit(self.track_confidence), UNIT)?;
        let size = self.reliable_face_size;
        Error::check("reliable_face_size", size, size.is_finite() && size >= 0.0, "must be finite pixels, 0 or more")?;
        let every = self.detect_every;
        Error::check("detect_every", every, (1..=1000).contains(&every), "must lie in 1..=1000 frames")?;
        let (detect, classify) = (self.detect_batch, self.classify_batch);
        Error::check("detect_batch", detect, (1..=1024).contains(&detect), "must lie in 1..=1024")?;
        Error::check("classify_batch", classify, (1..=4096).contains(&classify), "must lie in 1..=4096")?;
        Error::check("evidence", self.evidence, self.evidence <= 100, "must lie in 0..=100")?;
        Error::check("max_errors", self.max_errors, self.max_errors <= 10_000, "must lie in 0..=10000")?;
        self.segments.validate()?;
        self.tracker.validate()
    }
}
