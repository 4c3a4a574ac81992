//! The data folder. The server creates it, locks it while it runs, and refuses a folder that it did not create.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::random::is_id;

/// First line of the file `lock`. It marks a folder that the server made.
const SIGNATURE: &str = "data folder of deepsight-server\n";
/// First bytes of an SQLite file. Earlier versions of the server made a folder without a signature.
const SQLITE: &[u8] = b"SQLite format 3\0";
const LOCK: &str = "lock";
/// A file with the id that the folder and a shared database have in common. A folder of one server has none.
const BINDING: &str = "database";
const DATABASE: &str = "deepsight.sqlite";
const UPLOADS: &str = "uploads";
const DOWNLOADS: &str = "downloads";
/// The names of everything that the server creates in the folder.
const OWN: [&str; 7] = [LOCK, BINDING, DATABASE, "deepsight.sqlite-wal", "deepsight.sqlite-shm", UPLOADS, DOWNLOADS];
/// A folder that exists on an empty file system.
const LOST_AND_FOUND: &str = "lost+found";

/// The data folder, locked so that only one server uses it at a time, or only servers that share a database.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
    /// The folder for downloads of this process and its lock, if others share the data folder.
    downloads: Option<(PathBuf, File)>,
}

/// A folder that cannot be the data folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("there is no folder for data on this system: name one with --data-dir")]
    Unknown,
    #[error("cannot use the data folder {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the data folder {} is not a folder: name a folder with --data-dir", path.display())]
    NotAFolder { path: PathBuf },
    #[error(
        "the folder {} is not empty and was not made by deepsight-server (it has {found:?}), and the server deletes \
         files in its data folder: name a new or an empty folder with --data-dir",
        path.display()
    )]
    Foreign { path: PathBuf, found: String },
    #[error(
        "{} is a symbolic link, and the server follows none inside its data folder, because it deletes files there: \
         remove the link, or let --data-dir name a folder on the other disk",
        path.display()
    )]
    Link { path: PathBuf },
    #[error("another server uses the data folder {}: stop it, or name another folder with --data-dir", path.display())]
    Busy { path: PathBuf },
    #[error(
        "the data folder {} belongs to servers with --database: give that database, or name another folder with \
         --data-dir",
        path.display()
    )]
    Shared { path: PathBuf },
    #[error(
        "the data folder {} belongs to a server without --database, whose reports are in {DATABASE}: name another \
         folder with --data-dir, or leave --database out",
        path.display()
    )]
    NotShared { path: PathBuf },
    #[error(
        "the data folder {} and the database {database} do not belong together: all servers with one database need one \
         folder, so name that folder with --data-dir, or an empty folder and an empty database",
        path.display()
    )]
    Mismatch { path: PathBuf, database: String },
}

impl DataDir {
    /// Returns the path of the data folder: `given`, or a folder in the user's data folder.
    pub(crate) fn locate(given: Option<&Path>) -> Result<PathBuf, DataDirError> {
        match given {
            Some(path) => Ok(path.to_owned()),
            None => Ok(dirs::data_local_dir().ok_or(DataDirError::Unknown)?.join("deepsight-server")),
        }
    }

    /// Opens the folder and locks it. Creates it if it is missing, readable by its owner alone.
    ///
    /// # Errors
    /// Returns an error if the folder has files but was not made by a server, if something in it is a symbolic link,
    /// or if another server uses it.
    pub(crate) fn open(path: PathBuf) -> Result<Self, DataDirError> {
        Self::lock(path, false)
    }

    /// Opens the folder for servers that share a database, and locks it against others. Creates it if it is missing.
    ///
    /// # Errors
    /// Returns an error as [`open`](Self::open) does, and if the folder has a database of its own.
    pub(crate) fn open_shared(path: PathBuf) -> Result<Self, DataDirError> {
        Self::lock(path, true)
    }

    fn lock(path: PathBuf, is_shared: bool) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Io { path: path.clone(), source };
        create(&path).map_err(failed)?;
        Self::check_for(&path, is_shared)?;
        let lock = File::options().create(true).truncate(false).read(true).write(true).open(path.join(LOCK));
        let mut lock = lock.map_err(failed)?;
        match if is_shared { lock.try_lock_shared() } else { lock.try_lock() } {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::Busy { path }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        sign(&mut lock).map_err(failed)?;
        Ok(Self { path, lock, downloads: None })
    }

    /// Returns the id that binds the folder to a shared database. Chooses one if there is none.
    pub(crate) fn binding(&self) -> Result<String, DataDirError> {
        let bind = || {
            let path = self.path.join(BINDING);
            // Written under another name first, so that no other server reads half of it.
            let new = self.path.join(format!("{BINDING}-{}", crate::random::id()));
            fs::write(&new, crate::random::id())?;
            let linked = fs::hard_link(&new, &path);
            fs::remove_file(&new)?;
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => fs::read_to_string(path),
            }
        };
        match fs::read_to_string(self.path.join(BINDING)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => bind(),
            outcome => outcome,
        }
        .map_err(|source| self.failed(source))
    }

    /// Checks an existing folder without changing it, as [`check`](Self::check) does, for a server with or without a
    /// shared database.
    pub(crate) fn check_for(path: &Path, is_shared: bool) -> Result<(), DataDirError> {
        Self::check(path)?;
        match is_shared {
            true if path.join(DATABASE).exists() => Err(DataDirError::NotShared { path: path.to_owned() }),
            false if path.join(BINDING).exists() => Err(DataDirError::Shared { path: path.to_owned() }),
            _ => Ok(()),
        }
    }

    /// Checks an existing folder without changing it.
    ///
    /// # Errors
    /// Returns an error if the folder has files but was not made by a server, or if something in it is a symbolic link.
    pub(crate) fn check(path: &Path) -> Result<(), DataDirError> {
        let failed = |source| DataDirError::Io { path: path.to_owned(), source };
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            return Err(DataDirError::NotAFolder { path: path.to_owned() });
        }
        for name in OWN {
            let path = path.join(name);
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
                return Err(DataDirError::Link { path });
            }
        }
        let mut others = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name != LOCK && name != LOST_AND_FOUND {
                others.push(name);
            }
        }
        if others.is_empty() || is_signed(&path.join(LOCK)) || is_unsigned(path) {
            return Ok(());
        }
        others.sort();
        Err(DataDirError::Foreign { path: path.to_owned(), found: others.swap_remove(0) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn database(&self) -> PathBuf {
        Self::database_in(&self.path)
    }

    /// Returns the path of the database in a data folder.
    pub(crate) fn database_in(path: &Path) -> PathBuf {
        path.join(DATABASE)
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.path.join(UPLOADS)
    }

    /// Returns the folder for downloads of videos from the web.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.downloads.as_ref().map_or_else(|| self.path.join(DOWNLOADS), |(own, _)| own.clone())
    }

    /// Makes a folder for downloads that no other server which shares the data folder uses. Deletes those of servers
    /// that have ended. Must not be called before [`binding`](Self::binding).
    pub(crate) fn separate_downloads(&mut self) -> Result<(), DataDirError> {
        let separate = || {
            // One server at a time, so that none deletes a folder that another one has not locked yet.
            let gate = File::open(self.path.join(BINDING))?;
            gate.lock()?;
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let is_own = name.strip_prefix(DOWNLOADS).and_then(|rest| rest.strip_prefix('-')).is_some_and(is_id);
                if is_own && entry.file_type()?.is_dir() {
                    let is_free = match File::open(entry.path().join(LOCK)) {
                        Ok(lock) => lock.try_lock().is_ok(),
                        Err(error) => error.kind() == io::ErrorKind::NotFound,
                    };
                    if is_free {
                        // Links in it are deleted, and not followed.
                        fs::remove_dir_all(entry.path())?;
                    }
                }
            }
            let own = self.path.join(format!("{DOWNLOADS}-{}", crate::random::id()));
            create(&own)?;
            let lock = File::create_new(own.join(LOCK))?;
            lock.lock()?;
            Ok((own, lock))
        };
        self.downloads = Some(separate().map_err(|source| self.failed(source))?);
        Ok(())
    }

    pub(crate) fn failed(&self, source: io::Error) -> DataDirError {
        DataDirError::Io { path: self.path.clone(), source }
    }
}

impl Drop for DataDir {
    /// Unlocks the folder. Closing the file is not enough: a child process that was just forked holds it open until it
    /// executes ffmpeg.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
        if let Some((own, lock)) = self.downloads.take() {
            drop(lock);
            let _ = fs::remove_dir_all(own);
        }
    }
}

/// Creates a folder if it is missing, readable by its owner alone.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Returns whether the file `lock` has the signature of the server.
fn is_signed(lock: &Path) -> bool {
    starts_with(lock, SIGNATURE.as_bytes())
}

/// Returns whether a server of an earlier version made the folder: it has an empty `lock` and a database.
fn is_unsigned(path: &Path) -> bool {
    fs::metadata(path.join(LOCK)).is_ok_and(|lock| lock.len() == 0) && starts_with(&path.join(DATABASE), SQLITE)
}

fn starts_with(path: &Path, expected: &[u8]) -> bool {
    let mut start = vec![0; expected.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok_and(|()| start == expected)
}

/// Writes the signature into the file, unless it is there.
fn sign(lock: &mut File) -> io::Result<()> {
    if lock.metadata()?.len() == SIGNATURE.len() as u64 {
        return Ok(());
    }
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(SIGNATURE.as_bytes())?;
    lock.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_new_or_empty_folder_becomes_the_servers_own() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("deep/new")] {
            drop(DataDir::open(path.clone()).unwrap());
            fs::write(path.join("notes.txt"), "of the administrator").unwrap();
            drop(DataDir::open(path.clone()).unwrap());
            fs::remove_file(path.join("notes.txt")).unwrap();
            fs::remove_file(path.join(LOCK)).unwrap();
        }
    }

    #[test]
    fn a_folder_that_the_server_did_not_create_is_refused_and_unchanged() {
        for files in [vec!["uploads/holiday.mp4"], vec!["lock", "thesis.tex"], vec!["deepsight.sqlite"]] {
            let folder = tempfile::tempdir().unwrap();
            for file in &files {
                let path = folder.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "mine").unwrap();
            }
            let error = DataDir::open(folder.path().to_owned()).unwrap_err();
            assert!(matches!(error, DataDirError::Foreign { .. }), "{files:?}: {error}");
            let said = error.to_string();
            assert!(said.contains(folder.path().to_str().unwrap()) && said.contains("--data-dir"), "{said}");
            for file in &files {
                assert_eq!(fs::read(folder.path().join(file)).unwrap(), b"mine", "{file}");
            }
        }
    }

    #[test]
    fn a_folder_of_an_earlier_version_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(LOCK), "").unwrap();
        fs::write(folder.path().join(DATABASE), [SQLITE, &[0; 100]].concat()).unwrap();
        fs::create_dir(folder.path().join(UPLOADS)).unwrap();
        drop(DataDir::open(folder.path().to_owned()).unwrap());
        assert!(is_signed(&folder.path().join(LOCK)));
    }

    #[test]
    fn servers_share_a_folder_only_with_a_shared_database_and_keep_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = || folder.path().to_owned();
        let one = DataDir::open_shared(path()).unwrap();
        let two = DataDir::open_shared(path()).unwrap();
        assert!(matches!(DataDir::open(path()), Err(DataDirError::Busy { .. })));
        let id = one.binding().unwrap();
        assert_eq!((id.len(), two.binding().unwrap()), (32, id.clone()));
        assert!(matches!(DataDir::open(path()), Err(DataDirError::Shared { .. })));
        drop((one, two));
        assert!(matches!(DataDir::open(path()), Err(DataDirError::Shared { .. })));
        assert_eq!(DataDir::open_shared(path()).unwrap().binding().unwrap(), id);

        let folder = tempfile::tempdir().unwrap();
        let alone = DataDir::open(folder.path().to_owned()).unwrap();
        assert!(matches!(DataDir::open_shared(folder.path().to_owned()), Err(DataDirError::Busy { .. })));
        drop(alone);
        fs::write(folder.path().join(DATABASE), [SQLITE, &[0; 100]].concat()).unwrap();
        assert!(matches!(DataDir::open_shared(folder.path().to_owned()), Err(DataDirError::NotShared { .. })));
    }

    #[test]
    fn each_server_that_shares_a_folder_has_its_own_downloads_and_those_of_lost_ones_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let mut data = DataDir::open_shared(folder.path().to_owned()).unwrap();
            data.binding().unwrap();
            data.separate_downloads().unwrap();
            data
        };
        drop(open());
        let lost = folder.path().join(format!("{DOWNLOADS}-{}", crate::random::id()));
        fs::create_dir(&lost).unwrap();
        fs::write(lost.join(LOCK), "").unwrap();
        fs::create_dir(folder.path().join("downloads-mine")).unwrap();
        let (one, two) = (open(), open());
        assert!(one.downloads() != two.downloads() && one.downloads().exists() && two.downloads().exists());
        assert!(!lost.exists() && folder.path().join("downloads-mine").exists());
        let path = one.downloads();
        drop(one);
        assert!(!path.exists() && two.downloads().exists());
    }

    #[cfg(unix)]
    #[test]
    fn links_inside_the_folder_are_refused() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        drop(DataDir::open(folder.path().to_owned()).unwrap());
        for name in [UPLOADS, DATABASE, DOWNLOADS, BINDING] {
            std::os::unix::fs::symlink(other.path(), folder.path().join(name)).unwrap();
            let error = DataDir::open(folder.path().to_owned()).unwrap_err();
            assert!(matches!(error, DataDirError::Link { .. }) && error.to_string().contains(name), "{error}");
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        // The folder itself may be reached by a link: its user named it.
        let link = other.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        drop(DataDir::open(link).unwrap());
    }
}
