//! The threads on which all objects of the package compute.

use std::mem;
use std::process;
use std::sync::{Mutex, PoisonError};
use std::thread;

use deepsight::Threads;
use pyo3::prelude::*;

use crate::fault::{Kind, OrRaise};

struct Pool {
    /// The process that started the threads. After a fork, they exist in the parent only.
    process: u32,
    count: usize,
    threads: Threads,
}

/// The one pool. It is locked only while the lock on the interpreter is held, so no fork finds it locked.
static POOL: Mutex<Option<Pool>> = Mutex::new(None);

/// Returns the threads of this process. The first call in a process starts them.
pub(crate) fn threads(py: Python<'_>) -> PyResult<Threads> {
    // No Python runs while the pool is locked: another thread that waits for it could hold the interpreter meanwhile.
    of_this_process().or_raise(py)
}

fn of_this_process() -> Result<Threads, deepsight::core::Error> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pool.as_ref().filter(|pool| pool.process == process::id()) {
        return Ok(pool.threads.clone());
    }
    let count = match pool.as_ref() {
        Some(parents) => parents.count,
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    let threads = Threads::new(count)?;
    if let Some(parents) = pool.replace(Pool { process: process::id(), count, threads: threads.clone() }) {
        // The threads are the parent's, so they cannot be joined in this process.
        mem::forget(parents.threads);
    }
    Ok(threads)
}

/// Set the number of threads on which all objects of the package compute together.
///
/// One thread for each core is the default. Calls that run finish on the threads that they have.
///
/// Parameters
/// ----------
/// count
///     The number of threads, 1 to 1024.
///
/// Raises
/// ------
/// SettingError
///     If the number is outside its range.
#[pyfunction]
pub(crate) fn set_threads(py: Python<'_>, count: &Bound<'_, PyAny>) -> PyResult<()> {
    let count = count
        .extract::<usize>()
        .map_err(|_| Kind::Setting.exception(py, format!("threads is {count}: it must lie in 1..=1024")))?;
    start(count).or_raise(py)
}

/// Replaces the threads of this process. The earlier ones end when their current work does.
pub(crate) fn renew(py: Python<'_>) -> PyResult<()> {
    start(threads(py)?.count()).or_raise(py)
}

fn start(count: usize) -> Result<(), deepsight::core::Error> {
    // Starts them first, so that a number that is refused changes nothing.
    let threads = Threads::new(count)?;
    let earlier =
        POOL.lock().unwrap_or_else(PoisonError::into_inner).replace(Pool { process: process::id(), count, threads });
    if let Some(earlier) = earlier.filter(|earlier| earlier.process != process::id()) {
        mem::forget(earlier.threads);
    }
    Ok(())
}

/// Return the number of threads on which all objects of the package compute together.
#[pyfunction]
pub(crate) fn get_threads(py: Python<'_>) -> PyResult<usize> {
    Ok(threads(py)?.count())
}
