//! Values whose threads and child processes belong to the process that started them.

use std::mem;
use std::process;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use crate::fault::Kind;

/// A value that belongs to one process. A forked process has a copy of it, without its threads, and its child processes
/// are the parent's. So the copy is neither used nor dropped.
pub(crate) struct OfProcess<T> {
    process: u32,
    value: Mutex<Option<T>>,
}

impl<T: Send> OfProcess<T> {
    /// Creates a value of this process.
    pub(crate) fn new(value: T) -> Self {
        Self { process: process::id(), value: Mutex::new(Some(value)) }
    }

    /// Raises an exception in another process than the value's. `what` names it, with its article.
    pub(crate) fn check(&self, py: Python<'_>, what: &str) -> PyResult<()> {
        if self.process == process::id() {
            return Ok(());
        }
        let message = format!("{what} cannot be used in another process than the one that started it: start one there");
        Err(Kind::Process.exception(py, message))
    }

    /// Calls `work` with the value, which is `None` once it was taken. This may wait for another thread, so the
    /// interpreter's lock must be released.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Option<T>) -> R) -> R {
        work(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if self.process != process::id() {
            mem::forget(self.value.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}
