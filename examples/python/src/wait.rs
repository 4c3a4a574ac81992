//! Work on a thread of its own, while the caller's thread sees signals and calls back.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use deepsight::CancelToken;
use deepsight::core::Progress;
use pyo3::prelude::*;

/// Longest time after which Ctrl-C is noticed.
const TICK: Duration = Duration::from_millis(50);

/// Runs `work` while other Python threads run. A signal such as Ctrl-C, or an exception of the callback, cancels the
/// token; the exception is raised once the work has ended.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    cancel: &CancelToken,
    progress: Option<&Py<PyAny>>,
    work: impl FnOnce(Sender<Progress>) -> T + Send,
) -> PyResult<T> {
    let (result, stopped) = py.detach(|| {
        thread::scope(|scope| {
            let (sender, events) = channel();
            let worker = scope.spawn(move || work(sender));
            let mut stopped = None;
            loop {
                let event = match events.recv_timeout(TICK) {
                    Ok(event) => Some(event),
                    Err(RecvTimeoutError::Timeout) => None,
                    // The work has ended.
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                if stopped.is_none() {
                    let told = Python::attach(|py| {
                        py.check_signals()?;
                        let (Some(event), Some(progress)) = (event, progress) else { return Ok(()) };
                        progress.call1(py, (event.frames, event.expected, event.faces, event.errors)).map(drop)
                    });
                    if let Err(error) = told {
                        cancel.cancel();
                        stopped = Some(error);
                    }
                }
            }
            (worker.join(), stopped)
        })
    });
    let result = result.unwrap_or_else(|panic| resume_unwind(panic));
    match stopped {
        Some(error) => Err(error),
        // Ctrl-C also ends ffmpeg, and is the reason for the error that follows from that.
        None => py.check_signals().map(|()| result),
    }
}
