mod cancel;
mod closer;
mod collect;
mod config;
mod crops;
mod evidence;
mod forget;
mod history;
mod job;
mod judge;
mod queue;
mod search;
mod session;
mod shared_batcher;
mod stage_thread;
mod stages;
mod summary;
mod turn;

use std::thread;
use std::time::{Duration, Instant};

pub use self::cancel::{CancelToken, Interruptible, OnCancel};
use self::closer::CloserLook;
use self::collect::Collector;
pub use self::config::AnalyzerConfig;
pub use self::history::History;
pub use self::job::{CloserFrames, Job, Progress, ScoredFace};
use self::judge::{Judge, Spent};
use self::queue::queue;
pub use self::session::{Session, Update};
use self::shared_batcher::SharedBatcher;
use self::stage_thread::StageThread;
use self::stages::{Detection, Linker};
use crate::track::Insertion;
use crate::{BoxError, Error, FaceClassifier, FaceCrop, FaceDetector, Frame, Report, Stage, Threads};

/// Bytes of pixels at which a batch is full even if it has fewer frames or faces than allowed: ten frames of
/// 1920 × 1080.
const BATCH_BYTES: usize = 64 << 20;
/// Limit on the bytes of pixels in the queue between two stages. While images are small, a whole batch fits.
const QUEUE_BYTES: usize = BATCH_BYTES / 2;

/// The analysis that turns frames into a [`Report`]: it finds faces, follows them, scores them and judges the clip.
///
/// It works with any [`FaceDetector`] and any [`FaceClassifier`]; see their traits. One analyzer can run several
/// analyses, one after the other or, if it is shared, at the same time. Faces of simultaneous analyses on one analyzer
/// and its clones go to the classifier together, as long as they share their [`Threads`]. A clone may have other
/// settings, and `Arc`s of a detector and a classifier are cheap to clone.
///
/// ```
/// use std::convert::Infallible;
///
/// use deepsight_core::image::RgbImage;
/// use deepsight_core::{
///     Analyzer, BoundingBox, DetectorInfo, Error, Face, FaceClassifier, FaceDetector, FaceScore, Frame,
///     ModelInfo, Verdict,
/// };
///
/// /// Nobody is ever there.
/// struct Blind;
///
/// impl FaceDetector for Blind {
///     type Error = Infallible;
///     fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Infallible> {
///         Ok(vec![Vec::new(); images.len()])
///     }
///     fn info(&self) -> DetectorInfo {
///         DetectorInfo::new("blind")
///     }
/// }
///
/// struct Trusting;
///
/// impl FaceClassifier for Trusting {
///     type Error = Infallible;
///     fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Infallible> {
///         Ok(vec![FaceScore::new(0.0); faces.len()])
///     }
///     fn info(&self) -> ModelInfo {
///         ModelInfo::new("trusting")
///     }
/// }
///
/// let frames = (0..5).map(|i| Ok::<_, Infallible>(Frame::new(i, i as f64 / 25.0, RgbImage::new(64, 48))));
/// let report = Analyzer::new(Blind, Trusting).analyze(frames)?;
/// assert_eq!(report.verdict, Verdict::Uncertain);
/// assert_eq!(report.fake_probability, None);
/// assert_eq!(report.reasons[0].to_string(), "No face was found in 5 frames.");
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Analyzer<D, C> {
    detector: D,
    classifier: C,
    config: AnalyzerConfig,
    threads: Threads,
    batcher: SharedBatcher,
}

impl<D: FaceDetector, C: FaceClassifier> Analyzer<D, C> {
    /// Creates an analyzer with the default settings.
    pub fn new(detector: D, classifier: C) -> Self {
        Self {
            detector,
            classifier,
            config: AnalyzerConfig::default(),
            threads: Threads::global(),
            batcher: SharedBatcher::default(),
        }
    }

    /// Sets the settings. [`analyze`](Self::analyze) checks their ranges.
    #[must_use]
    pub fn with_config(self, config: AnalyzerConfig) -> Self {
        Self { config, ..self }
    }

    /// Sets the threads, instead of those of the global pool.
    ///
    /// The detector and the classifier are only called on these threads. Analyzers with clones of one handle share the
    /// threads, so together they keep at most as many threads busy as the handle has. Work on a GPU does not count.
    #[must_use]
    pub fn with_threads(self, threads: Threads) -> Self {
        // A new batcher, so that faces of other analyzers are not scored on these threads, nor these faces on theirs.
        Self { threads, batcher: SharedBatcher::default(), ..self }
    }

    /// Returns the threads.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Returns the settings.
    pub fn config(&self) -> &AnalyzerConfig {
        &self.config
    }

    /// Returns the detector.
    pub fn detector(&self) -> &D {
        &self.detector
    }

    /// Replaces the detector, for example by one with other settings.
    #[must_use]
    pub fn with_detector<E: FaceDetector>(self, detector: E) -> Analyzer<E, C> {
        let Self { detector: _, classifier, config, threads, batcher } = self;
        Analyzer { detector, classifier, config, threads, batcher }
    }

    /// Returns the classifier.
    pub fn classifier(&self) -> &C {
        &self.classifier
    }

    /// Analyzes frames from any source, in order of presentation. The source's error is any error type, or a
    /// [`BoxError`].
    ///
    /// Decoding (the iterator), detection and classification each run on a separate thread, a few frames apart. Their
    /// computations run on the analyzer's [`Threads`]. Errors of single frames and faces, and panics of the iterator,
    /// the detector or the classifier, are collected in the report. Frames that failed are missing from its list.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when the input fails before its first frame, [`Error::NoFrames`] when it has none,
    /// [`Error::NothingAnalyzed`] when detection failed for all frames or scoring for all faces, [`Error::Setting`]
    /// when a setting is outside its range, the classifier's own threshold is outside `0..=1`, or its
    /// [`Reliability`](crate::Reliability) is not valid.
    pub fn analyze<I, E>(&self, frames: I) -> Result<Report, Error>
    where
        I: IntoIterator<Item = Result<Frame, E>> + Send,
        E: Into<BoxError>,
    {
        self.analyze_job(frames, Job::new())
    }

    /// Analyzes frames as [`analyze`](Self::analyze) does, with the input, the callbacks and the source of further
    /// frames of a job.
    ///
    /// # Errors
    /// The errors of [`analyze`](Self::analyze), and [`Error::Cancelled`].
    pub fn analyze_job<I, E>(&self, frames: I, mut job: Job<'_>) -> Result<Report, Error>
    where
        I: IntoIterator<Item = Result<Frame, E>> + Send,
        E: Into<BoxError>,
    {
        let started = Instant::now();
        let judge = Judge::new(&self.config, &self.detector, &self.classifier)?;
        let cancel = job.cancel.clone();
        let mut collector = Collector::new(&self.classifier, &self.config, &self.threads, &self.batcher);
        collector.expect(job.expected);
        let linker = Linker::in_order(self.config.tracker.init()?, job.closer.is_some());
        let crops = judge.model.crops();
        let (mut decoding, mut detecting) = self.pass(frames, linker, &crops, &mut collector, &mut job)?;
        if !cancel.is_cancelled() {
            collector.refuse_nothing()?;
        }
        if let Some((source, max_frames)) = job.closer.take().filter(|_| !cancel.is_cancelled()) {
            let times = judge.closer_times(&collector, &job.input, max_frames);
            if !times.is_empty() {
                let (linked, tracks, shots) = collector.look_closer(times.len());
                let linker = Linker::Between(Insertion::new(&self.config.tracker, linked, tracks, shots));
                let frames = CloserLook { source, times, seen: collector.indices() };
                let (more_decoding, more_detecting) = self.pass(frames, linker, &crops, &mut collector, &mut job)?;
                (decoding, detecting) = (decoding + more_decoding, detecting + more_detecting);
            }
        }

        let evidence = collector.explain(&cancel);
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let spent = Spent { decoding, detecting, total: started.elapsed() };
        Ok(judge.report(collector, job.input, evidence, spent))
    }

    /// Runs the stages over frames. Returns the time spent on decoding and on detection.
    fn pass<I, E>(
        &self,
        frames: I,
        linker: Linker,
        crops: &[FaceCrop],
        collector: &mut Collector<&C>,
        job: &mut Job<'_>,
    ) -> Result<(Duration, Duration), Error>
    where
        I: IntoIterator<Item = Result<Frame, E>> + Send,
        E: Into<BoxError>,
    {
        let cancel = &job.cancel.clone();
        let detection = Detection::new(&self.detector, linker, crops, &self.config, &self.threads, cancel);
        let (decoding, detecting) = thread::scope(|scope| {
            let (frames_out, frames_in) = queue(self.config.detect_batch, QUEUE_BYTES);
            let (faces_out, faces_in) = queue(self.config.detect_batch, QUEUE_BYTES);
            let decoding = StageThread::new(scope, Stage::Decode, move || stages::decode(frames, frames_out, cancel));
            let detecting = StageThread::new(scope, Stage::Detect, move || detection.run(frames_in, faces_out));
            // Each stage owns its receiver and drops it when it returns. The previous stage then ends at its next send,
            // so no stage waits forever for another, whichever stops first.
            collector.run(faces_in, job);
            (decoding.join(), detecting.join())
        });
        Ok((decoding?, detecting?))
    }
}
