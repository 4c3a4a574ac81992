//! Files that only one run at a time may write.

use std::fs::{File, TryLockError};
use std::ops::Deref;
use std::path::Path;

use crate::Error;

/// An open, locked file. No other run can lock it until this value is dropped.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Locked {
    /// Locks the file at `path`, so that only this run writes into `folder`.
    ///
    /// # Errors
    /// [`Error::Busy`] when another run has locked it, [`Error::Io`] when the system cannot lock.
    pub(crate) fn new(file: File, path: &Path, folder: &Path) -> Result<Self, Error> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { path: folder.to_owned() }),
            Err(TryLockError::Error(error)) => Err(Error::io(path, "cannot be locked")(error)),
        }
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    /// Unlocks the file. Closing it is not enough: a child process that another thread has just forked holds it open
    /// until it executes ffmpeg.
    fn drop(&mut self) {
        // An error cannot be reported from `drop`.
        let _ = self.0.unlock();
    }
}
