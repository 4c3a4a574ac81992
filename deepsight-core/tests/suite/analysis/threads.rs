//! Tests of analyses on threads of their own and on shared threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use deepsight_core::image::RgbImage;
use deepsight_core::{
    ActivationMap, Analyzer, AnalyzerConfig, CancelToken, DetectorInfo, Error, Face, FaceClassifier, FaceDetector,
    FaceScore, Frame, Job, ModelInfo, Report, Threads,
};
use rayon::prelude::*;

use super::analyzer::or_abort;
use super::stand_ins::{Broken, Classifier, Detector, face, frame, frames};

/// A counter of the tasks that run at once, and of their largest number.
#[derive(Default)]
struct Meter {
    now: AtomicUsize,
    most: AtomicUsize,
    /// Number of tasks that ran on a thread outside the pool.
    strangers: AtomicUsize,
}

impl Meter {
    /// Runs one task, on one thread from beginning to end.
    fn work(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        if !std::thread::current().name().is_some_and(|name| name.starts_with("deepsight-")) {
            self.strangers.fetch_add(1, Ordering::SeqCst);
        }
        let sum = (0..20_000_u64).fold(7_u64, |sum, n| std::hint::black_box(sum.wrapping_mul(31) ^ n));
        assert_ne!(sum, 0);
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    /// Runs one task alone, and then eight tasks in parallel.
    fn call(&self) {
        self.work();
        (0..8).into_par_iter().for_each(|_| self.work());
    }
}

/// A detector and classifier whose work is counted by the meter.
struct Worker<'a>(&'a Meter);

impl FaceDetector for Worker<'_> {
    type Error = Broken;

    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Broken> {
        self.0.call();
        Ok(vec![vec![face(20.0, 0.99)]; images.len()])
    }

    fn find_again(&self, _image: &RgbImage, earlier: &[Face]) -> Result<Vec<Face>, Broken> {
        self.0.call();
        Ok(earlier.to_vec())
    }

    fn info(&self) -> DetectorInfo {
        DetectorInfo::new("worker")
    }
}

impl FaceClassifier for Worker<'_> {
    type Error = Broken;

    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Broken> {
        self.0.call();
        Ok(vec![FaceScore::new(0.2); faces.len()])
    }

    fn explain(&self, _face: &RgbImage) -> Result<Option<ActivationMap>, Broken> {
        self.0.call();
        Ok(None)
    }

    fn info(&self) -> ModelInfo {
        ModelInfo::new("worker")
    }
}

#[test]
fn analyses_that_share_two_threads_never_run_three_tasks_at_once() {
    let meter = Meter::default();
    let threads = Threads::new(2).unwrap();
    let analyze = || {
        let config = AnalyzerConfig::new().with_batches(2, 2).with_detect_every(2);
        let analyzer = Analyzer::new(Worker(&meter), Worker(&meter)).with_config(config);
        analyzer.with_threads(threads.clone()).analyze(frames(30)).unwrap()
    };
    std::thread::scope(|scope| {
        for run in [scope.spawn(analyze), scope.spawn(analyze), scope.spawn(analyze)] {
            assert_eq!(run.join().unwrap().frames.len(), 30);
        }
    });
    let most = meter.most.load(Ordering::SeqCst);
    assert!((1..=2).contains(&most), "{most} at once");
    assert_eq!(meter.strangers.load(Ordering::SeqCst), 0, "all work is done on the threads of the handle");
}

fn report_on(threads: Threads) -> Report {
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|number| f32::from(number) / 100.0));
    let mut report = Analyzer::new(&detector, &classifier).with_threads(threads).analyze(frames(40)).unwrap();
    report.seconds = Default::default();
    report
}

#[test]
fn the_number_of_threads_changes_no_result() {
    let one = report_on(Threads::new(1).unwrap());
    assert_eq!(one.tracks.len(), 2);
    assert_eq!(one, report_on(Threads::new(3).unwrap()));
    assert_eq!(one, report_on(Threads::global()));
}

#[test]
fn analyses_can_run_on_the_threads_that_they_use() {
    let threads = Threads::new(2).unwrap();
    let expected = report_on(threads.clone());
    let all = || (0..6).into_par_iter().map(|_| report_on(threads.clone())).collect();
    let reports: Vec<Report> = or_abort(|| threads.install(all));
    assert!(reports.iter().all(|report| *report == expected));
}

/// A detector that cancels the analysis at the first frame.
struct Canceller<'a>(&'a CancelToken);

impl FaceDetector for Canceller<'_> {
    type Error = Broken;

    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Broken> {
        self.0.cancel();
        Ok(vec![Vec::new(); images.len()])
    }

    fn info(&self) -> DetectorInfo {
        DetectorInfo::new("canceller")
    }
}

/// An input that needs the threads of the analysis to read frames and to be dropped. The first frame comes at once, the
/// second one after the analysis was canceled.
struct Needy<'a> {
    threads: &'a Threads,
    cancel: &'a CancelToken,
    given: u64,
}

impl Needy<'_> {
    /// Runs enough tasks that detection ends during them.
    fn work(&self) {
        (0..200).for_each(|_| self.threads.install(|| ()));
    }
}

impl Iterator for Needy<'_> {
    type Item = Result<Frame, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.given > 0 {
            while !self.cancel.is_cancelled() {
                std::thread::yield_now();
            }
            self.work();
        }
        self.given += 1;
        Some(Ok(frame(self.given)))
    }
}

impl Drop for Needy<'_> {
    fn drop(&mut self) {
        self.work();
    }
}

#[test]
fn canceled_analyses_end_on_threads_that_their_input_needs() {
    for (threads, analyses) in [(1, 1), (1, 4), (2, 9)] {
        let threads = Threads::new(threads).unwrap();
        let (cancel, classifier) = (CancelToken::new(), Classifier::of(|_| 0.1));
        let one = |_| {
            let config = AnalyzerConfig::new().with_batches(1, 1);
            let analyzer = Analyzer::new(Canceller(&cancel), &classifier).with_config(config);
            let frames = Needy { threads: &threads, cancel: &cancel, given: 0 };
            let job = Job::new().with_cancel(cancel.clone());
            analyzer.with_threads(threads.clone()).analyze_job(frames, job)
        };
        let all = || (0..analyses).into_par_iter().map(one).collect();
        let results: Vec<Result<Report, Error>> = or_abort(|| threads.install(all));
        assert!(results.iter().all(|result| matches!(result, Err(Error::Cancelled))));
    }
}

#[test]
fn a_panic_of_the_progress_callback_ends_an_analysis_on_the_threads_it_uses() {
    let threads = Threads::new(1).unwrap();
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.1));
    let config = AnalyzerConfig::new().with_batches(1, 1);
    let analyzer = Analyzer::new(&detector, &classifier).with_config(config).with_threads(threads.clone());
    let run = || {
        let job = Job::new().with_progress(|_| panic!("no one to tell"));
        analyzer.analyze_job(frames(20), job).is_ok()
    };
    let panic = or_abort(|| threads.install(|| catch_unwind(AssertUnwindSafe(run)))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"no one to tell"));
}
