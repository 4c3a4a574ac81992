use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use image::RgbImage;

use crate::{BoundingBox, FaceQuality};

/// Stops a running analysis from another thread. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that nobody has cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every analysis that watches this token to stop; it does so after the batch and the frame at hand.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far an analysis has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Frames that were searched for faces, failed ones included.
    pub frames: u64,
    /// Frames that are to come in all, where the caller said so.
    pub expected: Option<u64>,
    /// Faces that were scored.
    pub faces: u64,
    /// Errors of single frames and faces so far.
    pub errors: u64,
}

/// A face that has just been scored, before the clip has its verdict.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ScoredFace<'a> {
    /// Index of its frame.
    pub index: u64,
    /// Time of its frame in seconds.
    pub time: f64,
    /// Its position in the frame's list of faces.
    pub face: usize,
    /// The person.
    pub track: usize,
    /// Where it is, in pixels of the frame.
    pub bounding_box: BoundingBox,
    /// How well it can be judged.
    pub quality: Option<FaceQuality>,
    /// Probability that it is forged, `0..=1`.
    pub fake_probability: f32,
    /// The face as it was cut out for the classifier.
    pub image: &'a RgbImage,
}

type OnProgress<'a> = Box<dyn FnMut(&Progress) + 'a>;
type OnScored<'a> = Box<dyn FnMut(&ScoredFace<'_>) + 'a>;

/// One run of an analysis as its caller sees it: how far it has come, and how to stop it.
#[derive(Default)]
pub struct Job<'a> {
    pub(super) expected: Option<u64>,
    pub(super) cancel: CancelToken,
    pub(super) progress: Option<OnProgress<'a>>,
    pub(super) scored: Option<OnScored<'a>>,
}

impl<'a> Job<'a> {
    /// A run that nobody watches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how many frames are to come; only [`Progress`] repeats it.
    pub fn with_expected(self, frames: impl Into<Option<u64>>) -> Self {
        Self { expected: frames.into(), ..self }
    }

    /// Makes the run stop when this token is cancelled.
    pub fn with_cancel(self, cancel: CancelToken) -> Self {
        Self { cancel, ..self }
    }

    /// Calls `progress` after every frame and every batch of faces, on the thread that called the analysis.
    pub fn with_progress(self, progress: impl FnMut(&Progress) + 'a) -> Self {
        Self { progress: Some(Box::new(progress)), ..self }
    }

    /// Calls `scored` with every face as soon as it is scored, on the thread that called the analysis. How soon is a matter
    /// of [`AnalyzerConfig::classify_batch`](crate::AnalyzerConfig::classify_batch): faces are scored when so many wait.
    pub fn with_scored(self, scored: impl FnMut(&ScoredFace<'_>) + 'a) -> Self {
        Self { scored: Some(Box::new(scored)), ..self }
    }
}

impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("expected", &self.expected)
            .field("cancel", &self.cancel)
            .field("progress", &self.progress.is_some())
            .field("scored", &self.scored.is_some())
            .finish()
    }
}
