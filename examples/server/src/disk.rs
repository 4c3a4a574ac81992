//! The disk of the data folder: its free space, and the part of it that the server leaves free.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use deepsight_core::with_causes;

use crate::domain::DiskFull;

/// The disk of the data folder.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    reserve: AtomicU64,
}

impl Disk {
    /// Watches the disk of `folder`, of which `reserve` bytes are left free.
    ///
    /// # Errors
    /// Returns an error if the system does not say how much space is free.
    pub(crate) fn new(folder: PathBuf, reserve: u64) -> io::Result<Self> {
        fs4::available_space(&folder)?;
        Ok(Self { folder, reserve: AtomicU64::new(reserve) })
    }

    /// Returns the free bytes. An error of the system counts as no space: then nothing could be written either.
    pub(crate) fn free(&self) -> u64 {
        fs4::available_space(&self.folder).unwrap_or_else(|error| {
            tracing::error!(error = with_causes(&error), "cannot read the free space of the data folder");
            0
        })
    }

    pub(crate) fn reserve(&self) -> u64 {
        self.reserve.load(Ordering::Relaxed)
    }

    pub(crate) fn set_reserve(&self, reserve: u64) {
        self.reserve.store(reserve, Ordering::Relaxed);
    }

    /// Checks that the reserve stays free if `bytes` more are written.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), DiskFull> {
        let (free, reserve) = (self.free(), self.reserve());
        if free < reserve.saturating_add(bytes) { Err(DiskFull { free, reserve }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_write_must_leave_the_reserve_free() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().to_owned(), 1).unwrap();
        assert_eq!(disk.check(0), Ok(()));
        assert!(disk.check(u64::MAX).is_err());
        disk.set_reserve(u64::MAX);
        assert_eq!(disk.check(0).unwrap_err().reserve, u64::MAX);
        assert!(Disk::new(folder.path().join("missing"), 1).is_err());
    }
}
