//! Runs work on another thread, while the caller's thread handles signals and callbacks.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use deepsight::CancelToken;
use deepsight::core::Progress;
use pyo3::prelude::*;

use crate::fault::Kind;
use crate::pool;

/// Longest time until Ctrl-C is noticed.
const TICK: Duration = Duration::from_millis(50);
/// Longest wait for cancelled work. Work that cannot be interrupted, such as a read from a disk that does not answer,
/// then continues on its thread, and its result is dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// Ends cancelled work on another thread, and waits for it while other Python threads run, but no longer than
/// [`PATIENCE`]. Work that takes longer continues in the background.
pub(crate) fn briefly(py: Python<'_>, work: impl FnOnce() + Send + 'static) -> PyResult<()> {
    let (sender, ended) = channel::<()>();
    let worker = thread::Builder::new().name("deepsight-close".into()).spawn(move || {
        work();
        drop(sender);
    });
    worker.map_err(|error| Kind::Analysis.exception(py, format!("cannot start a thread: {error}")))?;
    // Nothing is sent: the receiver waits for the end of the thread, or for the limit.
    let _ = py.detach(move || ended.recv_timeout(PATIENCE));
    Ok(())
}

/// Runs `work` while other Python threads run. A signal such as Ctrl-C, or an exception of the callback, cancels the
/// token; the exception is raised once the work has ended, or after [`PATIENCE`]. So work that has effects must check
/// the token first.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    cancel: &CancelToken,
    progress: Option<&Py<PyAny>>,
    work: impl FnOnce(&Sender<Progress>) -> T + Send + 'static,
) -> PyResult<T> {
    let (sender, events) = channel();
    // The end of the thread drops the sender, which ends the loop below.
    let worker = thread::Builder::new().name("deepsight-call".into()).spawn(move || work(&sender));
    let worker = worker.map_err(|error| Kind::Analysis.exception(py, format!("cannot start a thread: {error}")))?;
    let (result, stopped) = py.detach(move || {
        let mut stopped: Option<(PyErr, Instant)> = None;
        loop {
            let event = match events.recv_timeout(TICK) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                // The work has ended.
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Some((_, since)) = &stopped {
                if since.elapsed() > PATIENCE {
                    return (None, stopped);
                }
                continue;
            }
            let told = Python::attach(|py| {
                py.check_signals()?;
                let (Some(event), Some(progress)) = (event, progress) else { return Ok(()) };
                progress.call1(py, (event.frames, event.expected, event.faces, event.errors)).map(drop)
            });
            if let Err(error) = told {
                cancel.cancel();
                stopped = Some((error, Instant::now()));
            }
        }
        (Some(worker.join()), stopped)
    });
    if result.is_none() {
        // The abandoned work may occupy threads of the pool for long. If new ones cannot be started, the pool is kept.
        let _ = pool::renew(py);
    }
    match (result, stopped) {
        (Some(Err(panic)), _) => resume_unwind(panic),
        (_, Some((error, _))) => Err(error),
        // Ctrl-C also ends ffmpeg, and is the reason for the error that follows from that.
        (Some(Ok(result)), None) => py.check_signals().map(|()| result),
        // Only cancelled work is left to its thread.
        (None, None) => Err(Kind::Cancelled.exception(py, "cancelled")),
    }
}
