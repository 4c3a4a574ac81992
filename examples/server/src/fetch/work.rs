//! The temporary folder of one download.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::child::User;
use crate::random::is_id;

/// The folder of one download, with everything in it, which is deleted when this value is dropped.
#[derive(Debug)]
pub(super) struct Work(PathBuf);

impl Work {
    /// Creates an empty folder in `parent`, for the downloader's user.
    pub(super) fn new(parent: &Path, user: Option<User>) -> io::Result<Self> {
        let work = Self(parent.join(crate::random::id()));
        create(&work.0, user)?;
        for folder in [work.home(), work.video()] {
            crate::data_dir::create(&folder)?;
            #[cfg(unix)]
            if let Some(User { uid, gid }) = user {
                std::os::unix::fs::chown(&folder, Some(uid), Some(gid))?;
            }
        }
        Ok(work)
    }

    /// Returns the folder for temporary and personal files.
    pub(super) fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    /// Returns the folder for the video.
    pub(super) fn video(&self) -> PathBuf {
        self.0.join("video")
    }

    /// Returns the files in the folder for the video, without links and folders.
    pub(super) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.video())? {
            let entry = entry?;
            // Of a link, this is the type of the link itself.
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        Ok(files)
    }

    /// Removes the paths of the folders from a message of the downloader.
    pub(super) fn without_paths(&self, text: &str) -> String {
        let strip = |text: String, path: PathBuf| text.replace(&*path.to_string_lossy(), "…");
        strip(strip(strip(text.to_owned(), self.video()), self.home()), self.0.clone())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(path = %self.0.display(), %error, "cannot delete the folder of a download");
        }
    }
}

/// Creates a folder if it is missing, for its owner alone. The downloader's own user may pass through it, but not list
/// it.
pub(super) fn create(path: &Path, user: Option<User>) -> io::Result<()> {
    crate::data_dir::create(path)?;
    #[cfg(unix)]
    if user.is_some() {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o711))?;
    }
    #[cfg(not(unix))]
    let _ = user;
    Ok(())
}

/// Deletes the folders that an earlier run of the server left in the folder of downloads, if there is one.
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() && is_id(&entry.file_name().to_string_lossy()) {
            // Links in it are deleted, and not followed.
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_folder_is_deleted_with_all_that_is_in_it_and_links_are_not_followed() {
        let parent = tempfile::tempdir().unwrap();
        let other = parent.path().join("other");
        fs::write(&other, "mine").unwrap();
        let work = Work::new(parent.path(), None).unwrap();
        fs::write(work.video().join("video.mp4"), "video").unwrap();
        fs::create_dir(work.video().join("folder")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&other, work.video().join("link")).unwrap();
        assert_eq!(work.files().unwrap(), [work.video().join("video.mp4")]);
        let said = format!("cannot write {}", work.video().join("video.mp4").display());
        assert_eq!(work.without_paths(&said), "cannot write …/video.mp4");
        let path = work.0.clone();
        drop(work);
        assert!(!path.exists() && other.exists());
    }

    #[test]
    fn only_folders_that_the_server_made_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let left = Work::new(parent.path(), None).unwrap();
        let path = left.0.clone();
        std::mem::forget(left);
        fs::create_dir(parent.path().join("holiday")).unwrap();
        sweep(parent.path()).unwrap();
        assert!(!path.exists() && parent.path().join("holiday").exists());
        sweep(&parent.path().join("missing")).unwrap();
    }
}
