use std::fmt;

use image::RgbImage;

use super::CancelToken;
use crate::{BoundingBox, BoxError, FaceQuality, Frame, Input};

/// The progress of an analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Frames that were searched for faces, including failed ones.
    pub frames: u64,
    /// Total number of frames, if the caller gave it.
    pub expected: Option<u64>,
    /// Faces that were scored.
    pub faces: u64,
    /// Errors of single frames and faces so far.
    pub errors: u64,
}

/// A face that was just scored, before the clip has a verdict.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ScoredFace<'a> {
    /// Index of its frame.
    pub index: u64,
    /// Time of its frame in seconds.
    pub time: f64,
    /// Its position in the frame's list of faces.
    pub face: usize,
    /// The track it belongs to.
    pub track: usize,
    /// Its position, in pixels of the frame.
    pub bounding_box: BoundingBox,
    /// Its quality.
    pub quality: Option<FaceQuality>,
    /// Probability that it is forged, `0..=1`.
    pub fake_probability: f32,
    /// The crop that the classifier scored.
    pub image: &'a RgbImage,
}

/// The frames of a closer look, each of which may have failed.
pub type CloserFrames<'a> = Box<dyn Iterator<Item = Result<Frame, BoxError>> + Send + 'a>;

/// A source of further frames by their times.
pub(super) type LookCloser<'a> = Box<dyn FnMut(&[f64]) -> Result<CloserFrames<'a>, BoxError> + Send + 'a>;
type OnProgress<'a> = Box<dyn FnMut(&Progress) + Send + 'a>;
type OnScored<'a> = Box<dyn FnMut(&ScoredFace<'_>) + Send + 'a>;

/// The parts that belong to one analysis: its input, the progress callbacks, the token that stops it, and the source of
/// further frames. A job may be moved to the thread that runs the analysis.
#[derive(Default)]
pub struct Job<'a> {
    pub(super) input: Input,
    pub(super) closer: Option<(LookCloser<'a>, usize)>,
    pub(super) expected: Option<u64>,
    pub(super) cancel: CancelToken,
    pub(super) progress: Option<OnProgress<'a>>,
    pub(super) scored: Option<OnScored<'a>>,
}

impl<'a> Job<'a> {
    /// Creates a job with an unknown input, without callbacks, and with a token that is never cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the description of the input. Its length decides which share of the clip was seen
    /// ([`Coverage`](crate::Coverage)), and a clip of which too little was seen is not called real. If the length is
    /// not known, the share is not known either.
    #[must_use]
    pub fn with_input(self, input: Input) -> Self {
        Self { input, ..self }
    }

    /// Sets a source of further frames. If a few faces of a long clip are suspicious and the frames there are more than
    /// half a second apart, the analysis calls it once with the times, in seconds and in rising order, of the frames
    /// that it needs. There are at most `max_frames` of them. The source returns the frame that is presented at each
    /// time, in the same order. It may leave out frames.
    ///
    /// The further frames tell a few seconds of forgery from a few odd faces. They count for
    /// [`segments`](crate::Report::segments), and for people of whom the first frames show too few faces, but not for
    /// the probability of other people: there are more of them where faces are suspicious.
    ///
    /// Tracks that further frames begin have numbers after all others.
    #[must_use]
    pub fn with_closer_look<F>(self, max_frames: usize, frames: F) -> Self
    where
        F: FnMut(&[f64]) -> Result<CloserFrames<'a>, BoxError> + Send + 'a,
    {
        Self { closer: Some((Box::new(frames), max_frames)), ..self }
    }

    /// Sets the expected number of frames. It is reported in [`Progress`]. If decoding fails, it tells how far apart
    /// frames should be, so that larger distances count as not seen ([`Coverage`](crate::Coverage)).
    #[must_use]
    pub fn with_expected(self, frames: impl Into<Option<u64>>) -> Self {
        Self { expected: frames.into(), ..self }
    }

    /// Returns the token that stops the analysis, for a source that should end with it.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Sets the token that stops the analysis when it is cancelled. It stops after the current batch, or once the
    /// source has given its next frame: [`CancelToken::interruptible`] helps with a source that waits.
    #[must_use]
    pub fn with_cancel(self, cancel: CancelToken) -> Self {
        Self { cancel, ..self }
    }

    /// Sets a callback that is called after every frame and every batch of faces, on the thread that called the
    /// analysis.
    #[must_use]
    pub fn with_progress(self, progress: impl FnMut(&Progress) + Send + 'a) -> Self {
        Self { progress: Some(Box::new(progress)), ..self }
    }

    /// Sets a callback that is called with every scored face, on the thread that called the analysis. The delay depends
    /// on [`AnalyzerConfig::classify_batch`](crate::AnalyzerConfig::classify_batch): faces are scored when that many
    /// wait.
    #[must_use]
    pub fn with_scored(self, scored: impl FnMut(&ScoredFace<'_>) + Send + 'a) -> Self {
        Self { scored: Some(Box::new(scored)), ..self }
    }
}

impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("input", &self.input)
            .field("closer", &self.closer.as_ref().map(|(_, max_frames)| max_frames))
            .field("expected", &self.expected)
            .field("cancel", &self.cancel)
            .field("progress", &self.progress.is_some())
            .field("scored", &self.scored.is_some())
            .finish()
    }
}
