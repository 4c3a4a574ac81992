//! The folder of uploaded videos. Files have random names; the client's name of a video is never part of a path.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The folder of uploads.
#[derive(Debug, Clone)]
pub(crate) struct Uploads(PathBuf);

/// A file of the folder that is deleted when this value is dropped, unless it is [kept](Self::keep).
#[derive(Debug)]
pub(crate) struct Upload {
    path: PathBuf,
    name: String,
    kept: bool,
}

impl Uploads {
    /// Opens the folder. Creates it if it is missing, readable by its owner alone.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }

    /// Creates a new, empty file.
    pub(crate) fn create(&self) -> io::Result<(Upload, File)> {
        let name = crate::random::id();
        let path = self.0.join(&name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok((Upload { path, name, kept: false }, file))
    }

    /// Returns a kept file for use again; `None` if it is gone.
    pub(crate) fn reopen(&self, name: &str) -> Option<Upload> {
        let path = self.path(name);
        path.is_file().then(|| Upload { path, name: name.to_owned(), kept: true })
    }

    /// Returns the path of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Deletes a file. A missing file is no error.
    pub(crate) fn delete(&self, name: &str) {
        delete(&self.path(name));
    }

    /// Deletes every file that is not in `needed`, such as those that a crash left. Returns the number of deleted
    /// files.
    pub(crate) fn sweep(&self, needed: &[String]) -> io::Result<usize> {
        let mut deleted = 0;
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_type()?.is_file() && !needed.iter().any(|name| entry.file_name() == name.as_str()) {
                delete(&entry.path());
                deleted += 1;
            }
        }
        Ok(deleted)
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

fn delete(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(path = %path.display(), %error, "cannot delete an upload");
        }
        _ => {}
    }
}
