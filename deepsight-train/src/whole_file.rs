//! Files that are written completely or not at all, and locks for one run at a time.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use deepsight_core::files::{self, Locked};

use crate::Error;

/// Writes a file completely or not at all. Missing parent folders are created.
///
/// # Errors
/// [`Error::Io`] when the file or a folder cannot be written.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder, "cannot be made"))?;
    }
    files::write(path, content).map_err(Error::io(path, "cannot be written"))
}

/// Removes the unfinished files that a killed run left in a folder: those of the file of that name, or of all files if
/// there is no name.
///
/// # Errors
/// [`Error::Io`] when one cannot be removed.
pub(crate) fn remove_unfinished(folder: &Path, of: Option<&str>) -> Result<(), Error> {
    files::remove_unfinished(folder, of).map_err(|(path, error)| Error::io(path, "cannot be removed")(error))
}

/// Locks the file at `path`, so that only this run writes into `folder`.
///
/// # Errors
/// [`Error::Busy`] when another run has locked it, [`Error::Io`] when the system cannot lock.
pub(crate) fn lock(file: File, path: &Path, folder: &Path) -> Result<Locked, Error> {
    Locked::new(file).map_err(|error| match error {
        TryLockError::WouldBlock => Error::Busy { path: folder.to_owned() },
        TryLockError::Error(error) => Error::io(path, "cannot be locked")(error),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn missing_folders_are_created_and_a_failure_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/file.txt");
        write_whole(&path, b"before").unwrap();
        write_whole(&path, b"after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        let message = write_whole(&folder.path().join("deep/er"), b"bytes").unwrap_err().to_string();
        assert!(message.contains("er: cannot be written"), "{message}");
    }
}
