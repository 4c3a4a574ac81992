//! The folder of uploaded videos. Files have random names, which the database knows before the file exists; the
//! client's name of a video is never part of a path. Only files whose names the database knows are ever deleted.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::{Failure, Moment};
use crate::random::is_id;
use crate::store::{Store, StoreError};

/// The folder of uploads.
#[derive(Clone)]
pub(crate) struct Uploads {
    folder: PathBuf,
    store: Store,
}

/// A file of the folder that is deleted when this value is dropped, unless it is [kept](Self::keep).
#[derive(Debug)]
pub(crate) struct Upload {
    path: PathBuf,
    name: String,
    kept: bool,
}

/// An error that keeps an upload from being created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("cannot write an upload")]
    File(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure {
    /// Describes why an upload cannot be created. `what` is what could not be stored.
    pub(crate) fn of_upload(error: &UploadError, what: &str) -> Self {
        match error {
            UploadError::File(error) => Self::unwritable(error),
            UploadError::Store(error) => Self::of_store(error, what),
        }
    }
}

/// The result of [`Uploads::sweep`].
#[derive(Debug, PartialEq, Eq)]
struct Swept {
    /// Number of files that it deleted.
    deleted: usize,
    /// Number of files that the server did not make, and that are left alone.
    unknown: usize,
}

impl Uploads {
    /// Opens the folder. Creates it if it is missing, readable by its owner alone.
    pub(crate) fn open(folder: PathBuf, store: Store) -> io::Result<Self> {
        crate::data_dir::create(&folder)?;
        Ok(Self { folder, store })
    }

    /// Creates a new, empty file.
    pub(crate) fn create(&self) -> Result<(Upload, File), UploadError> {
        let name = crate::random::id();
        // Stores the name before it creates the file, so that a crash in between leaves no file that the database does
        // not know.
        self.store.add_upload(&name, Moment::now())?;
        let path = self.folder.join(&name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok((Upload { path, name, kept: false }, file))
    }

    /// Returns a second name of a kept file, for another analysis of it; `None` if the file is gone. Where the disk
    /// has no hard links, the content is copied.
    pub(crate) fn share(&self, name: &str) -> Result<Option<Upload>, UploadError> {
        let Some(source) = self.path(name) else { return Ok(None) };
        let name = crate::random::id();
        self.store.add_upload(&name, Moment::now())?;
        let upload = Upload { path: self.folder.join(&name), name, kept: false };
        match fs::hard_link(&source, &upload.path) {
            Ok(()) => {}
            // The file was deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                tracing::debug!(%error, "copies an upload, because it cannot be linked");
                fs::copy(&source, &upload.path)?;
                File::open(&upload.path)?.sync_all()?;
            }
        }
        Ok(Some(upload))
    }

    /// Returns a kept file for use again; `None` if it is gone.
    pub(crate) fn reopen(&self, name: &str) -> Option<Upload> {
        Some(Upload { path: self.path(name)?, name: name.to_owned(), kept: true })
    }

    /// Returns the path of a file of the folder; `None` if the file is gone, or is not a file that the server made.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.join(name);
        (is_id(name) && is_file(&path)).then_some(path)
    }

    /// Deletes a file. A missing file is no error.
    pub(crate) fn delete(&self, name: &str) {
        if let Some(path) = self.path(name) {
            delete(&path);
        }
    }

    /// Deletes the files that the server made and no analysis refers to, and logs that. Also warns of files that the
    /// server did not make.
    pub(crate) fn clean(&self) -> Result<(), UploadError> {
        let Swept { deleted, unknown } = self.sweep()?;
        if deleted > 0 {
            tracing::info!(files = deleted, "removed uploads that an earlier run left");
        }
        if unknown > 0 {
            let folder = self.folder.display().to_string();
            tracing::warn!(files = unknown, folder, "the folder of uploads has files that the server did not make");
        }
        Ok(())
    }

    /// Deletes the files that the server made and no analysis refers to, such as those that a crash left.
    fn sweep(&self) -> Result<Swept, UploadError> {
        let mut deleted = 0;
        for name in self.store.unused_uploads()? {
            if let Some(path) = self.path(&name) {
                fs::remove_file(path)?;
                deleted += 1;
            }
            self.store.forget_upload(&name)?;
        }
        let known = self.store.known_uploads()?;
        let mut unknown = 0;
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            unknown += usize::from(!name.to_str().is_some_and(|name| known.contains(name)));
        }
        Ok(Swept { deleted, unknown })
    }

    /// Forgets the names of files that were deleted. Names that were added after `before` stay, because their files may
    /// not exist yet.
    pub(crate) fn forget_deleted(&self, before: Moment) -> Result<(), StoreError> {
        for name in self.store.unused_uploads_before(before)? {
            if !is_file(&self.folder.join(&name)) {
                self.store.forget_upload(&name)?;
            }
        }
        Ok(())
    }
}

impl Upload {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Keeps the file when this value is dropped.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// Undoes [`keep`](Self::keep): the file is deleted when the returned value is dropped.
    pub(crate) fn release(mut self) -> Self {
        self.kept = false;
        self
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.kept {
            delete(&self.path);
        }
    }
}

/// Returns whether a path is a file itself, not a link to one.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn delete(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(path = %path.display(), %error, "cannot delete an upload");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn opened(folder: &Path) -> Uploads {
        let store = Store::open(&folder.join("deepsight.sqlite")).unwrap();
        Uploads::open(folder.join("uploads"), store).unwrap()
    }

    #[test]
    fn only_files_that_the_server_made_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = opened(folder.path());
        let (mut left, _) = uploads.create().unwrap();
        left.keep();
        let foreign = ["holiday.mp4", "00000000000000000000000000000000"].map(|name| uploads.folder.join(name));
        for path in &foreign {
            fs::write(path, "mine").unwrap();
        }
        assert_eq!(uploads.sweep().unwrap(), Swept { deleted: 1, unknown: 2 });
        assert!(!left.path().exists() && foreign.iter().all(|path| path.exists()));
        assert_eq!(uploads.store.known_uploads().unwrap().len(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_under_the_name_of_an_upload_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = opened(folder.path());
        let (mut upload, _) = uploads.create().unwrap();
        upload.keep();
        let name = upload.name().to_owned();
        fs::remove_file(upload.path()).unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, upload.path()).unwrap();
        assert!(uploads.path(&name).is_none() && uploads.reopen(&name).is_none());
        uploads.delete(&name);
        uploads.delete("../other");
        assert_eq!(fs::read(&other).unwrap(), b"mine");
    }

    #[test]
    fn a_shared_file_outlives_the_first_one_and_a_missing_one_is_not_shared() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = opened(folder.path());
        let (first, mut file) = uploads.create().unwrap();
        io::Write::write_all(&mut file, b"a video").unwrap();
        let name = first.name().to_owned();
        let second = uploads.share(&name).unwrap().unwrap();
        assert_ne!(second.name(), name);
        drop(first);
        assert_eq!(fs::read(second.path()).unwrap(), b"a video");
        assert!(uploads.share(&name).unwrap().is_none());
        assert!(uploads.share("../deepsight.sqlite").unwrap().is_none());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists(), "it is deleted unless it is kept");
    }

    #[test]
    fn names_of_deleted_files_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = opened(folder.path());
        let (kept, _) = uploads.create().unwrap();
        drop(uploads.create().unwrap());
        uploads.forget_deleted(Moment(0)).unwrap();
        assert_eq!(uploads.store.known_uploads().unwrap().len(), 2, "both are too new");
        uploads.forget_deleted(Moment(i64::MAX)).unwrap();
        assert_eq!(uploads.store.known_uploads().unwrap().into_iter().collect::<Vec<_>>(), [kept.name()]);
    }
}
