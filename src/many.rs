use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use deepsight_core::{CancelToken, Job, Report};

use crate::{Detector, Error};

/// The results of [`Detector::analyze_many`], each with the path of its file, as they are ready.
///
/// ```no_run
/// # fn main() -> Result<(), deepsight::Error> {
/// let detector = deepsight::Detector::open()?;
/// for (path, result) in detector.analyze_many(["a.mp4", "b.mp4"], 2) {
///     match result {
///         Ok(report) => println!("{}: {}", path.display(), report.verdict),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it cancels the analyses"]
pub struct Analyses {
    results: Option<Receiver<(PathBuf, Result<Report, Error>)>>,
    cancel: CancelToken,
    threads: Vec<JoinHandle<()>>,
}

impl Analyses {
    pub(crate) fn start(detector: Detector, paths: VecDeque<PathBuf>, jobs: usize) -> Self {
        let jobs = jobs.clamp(1, paths.len().max(1));
        let (queue, cancel) = (Arc::new(Mutex::new(paths)), CancelToken::new());
        let (sender, results) = channel();
        let worker = || {
            let (detector, queue, cancel, sender) = (detector.clone(), queue.clone(), cancel.clone(), sender.clone());
            thread::Builder::new().name("deepsight-job".into()).spawn(move || {
                while !cancel.is_cancelled() {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(path) = next else { break };
                    let result = detector.analyze_job(&path, Job::new().with_cancel(cancel.clone()));
                    if sender.send((path, result)).is_err() {
                        break;
                    }
                }
            })
        };
        let mut threads = Vec::new();
        while threads.len() < jobs {
            match worker() {
                Ok(thread) => threads.push(thread),
                // With fewer threads, fewer files are analyzed at a time.
                Err(_) if !threads.is_empty() => break,
                Err(error) => {
                    refuse(&queue, &sender, &error);
                    break;
                }
            }
        }
        Self { results: Some(results), cancel, threads }
    }

    /// Returns the token that cancels the analyses that are not finished.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }
}

/// Returns the error of the system, which refused the first thread, for every file.
fn refuse(queue: &Mutex<VecDeque<PathBuf>>, sender: &Sender<(PathBuf, Result<Report, Error>)>, error: &io::Error) {
    for path in queue.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let refused = deepsight_core::Error::NoThreads { count: 1, reason: error.to_string() };
        // The receiver exists: it is part of the returned value.
        let _ = sender.send((path, Err(refused.into())));
    }
}

impl Iterator for Analyses {
    type Item = (PathBuf, Result<Report, Error>);

    fn next(&mut self) -> Option<Self::Item> {
        self.results.as_ref()?.recv().ok()
    }
}

impl Drop for Analyses {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.results = None;
        for thread in self.threads.drain(..) {
            // A panic of the thread has been reported where it happened.
            let _ = thread.join();
        }
    }
}
