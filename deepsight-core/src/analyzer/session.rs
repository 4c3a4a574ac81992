use std::fmt;
use std::time::{Duration, Instant};

use super::collect::Collector;
use super::history::History;
use super::judge::{Judge, Spent};
use super::stages::{Detection, Linker, usable};
use super::{Analyzer, CancelToken, Job};
use crate::error::described;
use crate::{
    BoxError, Decision, EnsembleAnswer, Error, FaceClassifier, FaceDetector, Frame, FrameError, Input, Reason, Report,
    Segment, Stage, Verdict,
    report::{ReportFace, Track},
};

/// Number of faces that are scored between two checks of the deadline.
const FACES_PER_DEADLINE_CHECK: usize = 4;

/// An analysis of frames as they come, such as those of a camera or a call, with an answer after each.
///
/// It decides as [`Analyzer::analyze`] does. [`History`] bounds its memory, so it may run for days.
/// [`push`](Self::push) works on the caller's thread, which should read the source on another thread and skip frames if
/// it falls behind.
///
/// ```
/// # use std::convert::Infallible;
/// # use deepsight_core::image::RgbImage;
/// # use deepsight_core::*;
/// # #[derive(Clone)]
/// # struct Center;
/// # impl FaceDetector for Center {
/// #     type Error = Infallible;
/// #     fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Infallible> {
/// #         let face = Face::new(BoundingBox::new(60.0, 40.0, 160.0, 140.0), None, 0.99);
/// #         Ok(vec![vec![face]; images.len()])
/// #     }
/// #     fn info(&self) -> DetectorInfo {
/// #         DetectorInfo::new("center")
/// #     }
/// # }
/// # #[derive(Clone)]
/// # struct Suspicious;
/// # impl FaceClassifier for Suspicious {
/// #     type Error = Infallible;
/// #     fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Infallible> {
/// #         Ok(vec![FaceScore::new(0.9); faces.len()])
/// #     }
/// #     fn info(&self) -> ModelInfo {
/// #         ModelInfo::new("suspicious")
/// #     }
/// # }
/// # let camera = (0..5).map(|n| Frame::new(n, n as f64 / 2.0, RgbImage::new(320, 180)));
/// let mut session = Analyzer::new(Center, Suspicious).session()?;
/// for frame in camera {
///     let update = session.push(frame);
///     if update.changed {
///         println!("{:.1} s: {}", update.time, update.verdict);
///     }
/// }
/// let report = session.finish()?;
/// assert_eq!(report.verdict, Verdict::Fake);
/// # Ok::<(), Error>(())
/// ```
pub struct Session<D, C> {
    detection: Detection<D>,
    collector: Collector<C>,
    judge: Judge,
    history: History,
    deadline: Option<Duration>,
    job: Job<'static>,
    started: Instant,
    detecting: Duration,
    last_time: Option<f64>,
    /// The tracks and the outcome of the last update.
    tracks: Vec<Track>,
    outcome: Option<Outcome>,
}

/// The verdict, and the person and the beginning of the moment that decided it.
type Outcome = (Verdict, Option<(usize, Option<u64>)>);

/// The answer after a frame, on everything that a [`Session`] remembers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Update {
    /// Index of the frame.
    pub index: u64,
    /// Time of the frame in seconds.
    pub time: f64,
    /// The faces of the frame.
    pub faces: Vec<ReportFace>,
    /// Faces of the frame that were not scored, because the [deadline](Session::with_deadline) had passed.
    pub unscored: usize,
    /// The error of the frame, or of its first face that failed. The session goes on.
    pub error: Option<FrameError>,
    /// The verdict.
    pub verdict: Verdict,
    /// Probability that a forged face has been in view; `None` if no face was scored.
    pub fake_probability: Option<f32>,
    /// The reasons for the verdict, doubts first.
    pub reasons: Vec<Reason>,
    /// The answers of an ensemble's models and their disagreement; `None` for a single model.
    pub ensemble: Option<EnsembleAnswer>,
    /// The people, in order of appearance.
    pub tracks: Vec<Track>,
    /// The most suspicious seconds of people who are long in view, by track and time.
    pub segments: Vec<Segment>,
    /// Whether the answer changed since the previous frame: the verdict, or the person or moment that decides. True for
    /// the first frame.
    pub changed: bool,
}

impl<D: FaceDetector + Clone, C: FaceClassifier + Clone> Analyzer<D, C> {
    /// Starts a session, which analyzes frames as they come, with these settings and threads. The detector and the
    /// classifier are cloned; an `Arc` or a reference will do. Faces of simultaneous sessions are scored together.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is outside its range, as in [`analyze`](Self::analyze).
    pub fn session(&self) -> Result<Session<D, C>, Error> {
        let judge = Judge::new(&self.config, &self.detector, &self.classifier)?;
        let linker = Linker::in_order(self.config.tracker.init()?, false);
        // A session cannot be cancelled in the middle of a frame.
        let never = CancelToken::new();
        let (detector, crops) = (self.detector.clone(), judge.model.crops());
        Ok(Session {
            detection: Detection::new(detector, linker, &crops, &self.config, &self.threads, &never),
            collector: Collector::new(self.classifier.clone(), &self.config, &self.threads, &self.batcher),
            judge,
            history: History::default(),
            deadline: None,
            job: Job::new(),
            started: Instant::now(),
            detecting: Duration::ZERO,
            last_time: None,
            tracks: Vec::new(),
            outcome: None,
        })
    }
}

impl<D: FaceDetector, C: FaceClassifier> Session<D, C> {
    /// Sets the description of the source for the report.
    #[must_use]
    pub fn with_input(mut self, input: Input) -> Self {
        self.job.input = input;
        self
    }

    /// Sets the limits on what is remembered.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        Self { history, ..self }
    }

    /// Sets the time after the start of a frame from which on no more of its faces are scored. The search for faces is
    /// not cut short. People with the fewest scores come first, and one is always scored, so that a slow machine gets
    /// an answer too.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Analyzes a frame and returns the answer so far. Frames must come in order of their times. A frame that cannot be
    /// analyzed is counted, and its error is in the update.
    pub fn push(&mut self, frame: Frame) -> Update {
        let started = Instant::now();
        let (index, time) = (frame.index, frame.time);
        let position = self.collector.frames.len();
        let unscored = match self.in_order(frame).and_then(|frame| self.detect(&frame)) {
            Ok(()) => self.score(started),
            Err(error) => {
                self.collector.lose_frame(error);
                0
            }
        };
        let faces = self.collector.frames.get(position).map(|frame| frame.faces.clone()).unwrap_or_default();
        let error = self.collector.new_error.take();
        let (changed, decision) = self.answer();
        let Decision { verdict, fake_probability, reasons, segments, ensemble, .. } = decision;
        let tracks = self.tracks.clone();
        Update {
            index,
            time,
            faces,
            unscored,
            error,
            verdict,
            fake_probability,
            reasons,
            ensemble,
            tracks,
            segments,
            changed,
        }
    }

    /// Counts a frame that the source failed to give. The report lists the error, and treats the rest of the source as
    /// unknown.
    pub fn fail(&mut self, error: impl Into<BoxError>) {
        let message = described(error);
        self.collector.lose_frame(FrameError { stage: Stage::Decode, index: None, time: None, message });
        // The error belongs to no frame, so no update reports it.
        self.collector.new_error = None;
    }

    /// Ends the session and returns the report on what it remembers, with the most telling faces of all that it saw.
    ///
    /// # Errors
    /// [`Error::NoFrames`] if there was none, [`Error::Unreadable`] or [`Error::NothingAnalyzed`] if every frame or
    /// every face failed.
    pub fn finish(mut self) -> Result<Report, Error> {
        self.collector.refuse_nothing()?;
        let evidence = self.collector.explain(&CancelToken::new());
        let spent = Spent { detecting: self.detecting, total: self.started.elapsed(), ..Spent::default() };
        Ok(self.judge.report(self.collector, self.job.input, evidence, spent))
    }

    /// Returns the frame if it can be analyzed and is later than the one before.
    fn in_order(&mut self, frame: Frame) -> Result<Frame, FrameError> {
        let frame = usable(frame)?;
        let (index, time) = (Some(frame.index), Some(frame.time));
        if let Some(last) = self.last_time.filter(|&last| frame.time < last) {
            let message = format!("the frame at {} s comes after that at {last} s", frame.time);
            return Err(FrameError { stage: Stage::Decode, index, time, message });
        }
        self.last_time = time;
        Ok(frame)
    }

    fn detect(&mut self, frame: &Frame) -> Result<(), FrameError> {
        let started = Instant::now();
        let detected = self.detection.one(frame);
        self.detecting += started.elapsed();
        self.collector.take(detected?);
        let first_time = &mut self.collector.losses.first_time;
        first_time.get_or_insert(frame.time);
        Ok(())
    }

    /// Scores the faces of the frame as far as the deadline allows. Returns the number of faces left out.
    fn score(&mut self, started: Instant) -> usize {
        let Some(deadline) = self.deadline else {
            while self.collector.has_pending() {
                self.collector.score(self.judge.config.classify_batch, &mut self.job);
            }
            return 0;
        };
        let tracks = &self.tracks;
        self.collector.rank_pending(|id| {
            tracks.binary_search_by_key(&id, |track| track.id).map_or(0, |slot| tracks[slot].scored)
        });
        if self.collector.has_pending() && started.elapsed() >= deadline {
            self.collector.score(1, &mut self.job);
        }
        while self.collector.has_pending() && started.elapsed() < deadline {
            let most = FACES_PER_DEADLINE_CHECK.min(self.judge.config.classify_batch);
            self.collector.score(most, &mut self.job);
        }
        self.collector.skip_pending()
    }

    /// Decides again and forgets old frames. Returns whether the answer changed, and the decision.
    fn answer(&mut self) -> (bool, Decision) {
        let (tracks, _, decision) = self.judge.judge(&self.collector, &self.job.input);
        let suspicious: Vec<Segment> =
            decision.segments.iter().filter(|s| s.fake_probability >= self.judge.threshold).copied().collect();
        self.collector.forget(&self.history, &suspicious, &tracks);
        self.tracks = tracks;
        let outcome = outcome(&decision);
        (self.outcome.replace(outcome) != Some(outcome), decision)
    }
}

fn outcome(decision: &Decision) -> Outcome {
    let decides = decision.reasons.iter().find_map(|reason| match *reason {
        Reason::DecidedBySegment { track, from, .. } => Some((track, Some(from.to_bits()))),
        Reason::DecidedByTrack { track, .. } => Some((track, None)),
        _ => None,
    });
    // The most suspicious person matters only if the verdict is FAKE.
    (decision.verdict, decides.filter(|_| decision.verdict == Verdict::Fake))
}

impl<D, C> fmt::Debug for Session<D, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("history", &self.history)
            .field("deadline", &self.deadline)
            .field("last_time", &self.last_time)
            .finish_non_exhaustive()
    }
}
