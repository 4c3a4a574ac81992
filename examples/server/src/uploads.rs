//! The folder of uploaded videos. Files have random names; what a client calls its video is never part of a path.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The folder.
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
    /// Opens the folder, or makes it, readable to its owner alone.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }

    /// A new, empty file.
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

    /// A file that was kept, to be used again; `None` when it is gone.
    pub(crate) fn reopen(&self, name: &str) -> Option<Upload> {
        let path = self.path(name);
        path.is_file().then(|| Upload { path, name: name.to_owned(), kept: true })
    }

    /// Where a file lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Deletes a file; one that is gone already is no error.
    pub(crate) fn delete(&self, name: &str) {
        delete(&self.path(name));
    }

    /// Deletes everything that is not in `needed`: what a crash left. How many files that were.
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

    /// Leaves the file where it is when this value is dropped.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// The file again as one that is deleted when this value is dropped.
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
