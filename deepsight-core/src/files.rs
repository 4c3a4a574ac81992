//! Files that are written completely or not at all, and locks for one process at a time.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// Ending of the temporary names of files that are being written. A killed process may leave such a file.
const UNFINISHED: &str = ".part";

/// A file that is being written. Its bytes go to a temporary file in the same folder, which replaces the file when they
/// are complete.
///
/// A link is followed, not replaced. Pipes and devices are written directly. Dropped without [`finish`](Self::finish),
/// it leaves nothing behind.
#[derive(Debug)]
pub struct PendingFile {
    target: PathBuf,
    temporary: Option<PathBuf>,
    file: File,
}

impl PendingFile {
    /// Creates the temporary file, and thereby finds out whether the file can be written.
    ///
    /// # Errors
    /// Returns an error if the folder is missing, the path is a folder, or permission is lacking.
    pub fn create(path: &Path) -> io::Result<Self> {
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if target.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        if target.exists() && !target.is_file() {
            let file = File::options().write(true).open(&target)?;
            return Ok(Self { target, temporary: None, file });
        }
        let mut hidden = OsString::from(".");
        hidden.push(target.file_name().ok_or(ErrorKind::InvalidFilename)?);
        // Two processes may write the same file. The last one to finish wins.
        hidden.push(format!(".{}{UNFINISHED}", std::process::id()));
        let temporary = target.with_file_name(hidden);
        let file = File::create(&temporary)?;
        Ok(Self { target, temporary: Some(temporary), file })
    }

    /// Returns the path of the file that will be written, with links resolved.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Replaces the file by the written bytes.
    ///
    /// # Errors
    /// Returns an error if the disk is full or the file cannot be replaced. The earlier file is then unchanged.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(temporary) = &self.temporary {
            // Some systems report a full disk only at `sync_all`, so the earlier file must not be replaced before that.
            self.file.sync_all()?;
            fs::rename(temporary, &self.target)?;
            self.temporary = None;
        }
        Ok(())
    }
}

impl Write for PendingFile {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.file.write(content)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PendingFile {
    /// Removes the temporary file, unless it has replaced the file.
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // An error cannot be reported from `drop`.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Writes a file completely or not at all.
///
/// # Errors
/// The errors of [`PendingFile::create`] and [`PendingFile::finish`].
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = PendingFile::create(path)?;
    file.write_all(content)?;
    file.finish()
}

/// Removes the temporary files that killed processes left in a folder: those of the file of that name, or of all files
/// if there is no name. No process may be writing these files.
///
/// # Errors
/// Returns the path that cannot be read or removed, and why.
pub fn remove_unfinished(folder: &Path, of: Option<&str>) -> Result<(), (PathBuf, io::Error)> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(|error| (folder.to_path_buf(), error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let hidden = name.strip_prefix('.').and_then(|name| name.strip_suffix(UNFINISHED));
        // A process number may follow the file's name.
        let is_of = |file: &str| hidden.and_then(|name| name.strip_prefix(file)).is_some_and(is_number);
        if of.map_or(hidden.is_some(), is_of) {
            fs::remove_file(&path).map_err(|error| (path.clone(), error))?;
        }
    }
    Ok(())
}

/// Returns whether the rest of a temporary name is empty, or a dot and a number.
fn is_number(rest: &str) -> bool {
    rest.is_empty() || rest.strip_prefix('.').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// An open, locked file. No other process can lock it until this value is dropped.
#[derive(Debug)]
pub struct Locked(File);

impl Locked {
    /// Locks a file.
    ///
    /// # Errors
    /// Returns [`TryLockError::WouldBlock`] if another process has locked it, or the error of the system.
    pub fn new(file: File) -> Result<Self, TryLockError> {
        file.try_lock().map(|()| Self(file))
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
    /// until it executes its program.
    fn drop(&mut self) {
        // An error cannot be reported from `drop`.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        fs::write(&path, "before").unwrap();
        let mut pending = PendingFile::create(&path).unwrap();
        pending.write_all(b"half").unwrap();
        drop(pending);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        write(&path, b"after").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(entries(folder.path()), 1, "no leftovers");
    }

    #[test]
    fn a_path_that_cannot_be_written_is_an_error_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write(&folder.path().join("missing/file"), b"").unwrap_err().kind(), ErrorKind::NotFound);
        fs::create_dir(folder.path().join("taken")).unwrap();
        assert_eq!(write(&folder.path().join("taken"), b"").unwrap_err().kind(), ErrorKind::IsADirectory);
        assert!(write(Path::new("/"), b"").is_err());
        assert_eq!(entries(folder.path()), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_and_a_device_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "before").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, b"after").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "after");
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".a.png.17.part", ".a.png.part", ".a.png.b.png.17.part", "notes.part", ".hidden"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove_unfinished(&folder.path().join("missing"), None).unwrap();
        remove_unfinished(folder.path(), Some("a.png")).unwrap();
        assert_eq!(entries(folder.path()), 3, "another file's stays");
        remove_unfinished(folder.path(), None).unwrap();
        assert!(!folder.path().join(".a.png.b.png.17.part").exists());
        assert_eq!(entries(folder.path()), 2);
    }

    #[test]
    fn a_locked_file_cannot_be_locked_again_before_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let open = || File::options().create(true).append(true).open(&path).unwrap();
        let first = Locked::new(open()).unwrap();
        assert!(matches!(Locked::new(open()), Err(TryLockError::WouldBlock)));
        drop(first);
        Locked::new(open()).unwrap();
    }
}
