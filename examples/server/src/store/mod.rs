//! The database: analyses, their reports, pictures and links, webhooks still to be sent, API keys that admins made, and
//! the audit. SQLite in one file.

mod accuracy;
mod analyses;
mod audit;
mod desk;
mod keys;
mod looks;
mod partial_uploads;
mod shares;
mod uploads;
mod webhooks;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use deepsight_core::with_causes;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::domain::Failure;
use crate::locked::locked;

pub(crate) use analyses::{Picture, Seen};
pub(crate) use audit::export as export_audit;
pub(crate) use desk::{Filter, Page};
pub(crate) use partial_uploads::PartialUpload;
pub(crate) use webhooks::Delivery;

/// Statements that bring the tables from each layout to the next. The first ones create them. `PRAGMA user_version` is
/// the number of the layout.
const LAYOUTS: [&str; 8] = [
    include_str!("layout_1.sql"),
    include_str!("layout_2.sql"),
    include_str!("layout_3.sql"),
    include_str!("layout_4.sql"),
    include_str!("layout_5.sql"),
    include_str!("layout_6.sql"),
    include_str!("layout_7.sql"),
    include_str!("layout_8.sql"),
];
/// Number of the layout of this version.
const VERSION: i64 = LAYOUTS.len() as i64;

/// Settings of a connection. `auto_vacuum` has an effect only on a new file, and only before any other statement.
/// `synchronous` is FULL because an accepted analysis must survive a power cut. `secure_delete` overwrites removed data
/// because it shows people's faces.
const SETTINGS: &str = "\
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;";

/// The database. Clones share one connection.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

/// An error that keeps the database from being used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot open the database {}", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("cannot use the database {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "the database {} has layout {found}, and this version reads layouts up to {VERSION}: use a newer version",
        path.display()
    )]
    Version { path: PathBuf, found: i64 },
    #[error("{} is a database of another program: name another folder with --data-dir", path.display())]
    Foreign { path: PathBuf },
    #[error("the database failed")]
    Sql(#[from] rusqlite::Error),
    #[error("the database holds what cannot be read: {0}")]
    Content(#[from] serde_json::Error),
}

impl StoreError {
    /// Returns whether the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        let Self::Sql(rusqlite::Error::SqliteFailure(error, _)) = self else { return false };
        // SQLite has a code of its own for the index of its log.
        error.code == ErrorCode::DiskFull || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    }

    /// Returns whether a value that must be unique exists already.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation))
    }
}

impl Failure {
    /// Describes an error of the database. A full disk is named; other details are for the log.
    pub(crate) fn of_store(error: &StoreError, what: &str) -> Self {
        if error.is_full() {
            tracing::error!(error = with_causes(error), "the disk is full");
            return Self::disk_full(what);
        }
        Self::hide(error)
    }
}

impl Store {
    /// Opens the database. Creates it if it is missing.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened or has the layout of another version.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        owners_alone(path).map_err(|source| StoreError::File { path: path.to_owned(), source })?;
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        connection.execute_batch(SETTINGS).map_err(failed)?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        match found {
            0 if has_tables(&connection).map_err(failed)? => return Err(StoreError::Foreign { path: path.to_owned() }),
            0..=VERSION => {
                let missing = LAYOUTS.iter().skip(found as usize);
                missing.copied().try_for_each(|layout| connection.execute_batch(layout)).map_err(failed)?;
            }
            _ => return Err(StoreError::Version { path: path.to_owned(), found }),
        }
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Checks a database without changing it. A missing one is no error: it will be created.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is of another program, or has the layout of a newer version.
    pub(crate) fn check(path: &Path) -> Result<(), StoreError> {
        if !path.exists() {
            return Ok(());
        }
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        match found {
            0 if has_tables(&connection).map_err(failed)? => Err(StoreError::Foreign { path: path.to_owned() }),
            0..=VERSION => Ok(()),
            _ => Err(StoreError::Version { path: path.to_owned(), found }),
        }
    }

    /// Runs `work` on a thread where waiting for the disk blocks no request.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (store, span) = (self.clone(), tracing::Span::current());
        match tokio::task::spawn_blocking(move || span.in_scope(|| work(&store))).await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, and drops this request.
                Err(_) => std::future::pending().await,
            },
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic leaves no transaction open: dropping one rolls it back.
        locked(&self.0)
    }
}

fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) > 0 FROM sqlite_schema", [], |row| row.get(0))
}

/// Creates the file if it is missing, and makes it readable by its owner alone, because it shows people's faces. SQLite
/// gives its other files the same permissions.
fn owners_alone(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    drop(file);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::Moment;

    /// An analysis in layout 1.
    const IN_LAYOUT_1: &str = r#"
        INSERT INTO analyses (id, status, created, file_name, bytes, sha256, settings, upload, owner, fingerprint)
            VALUES ('a', 'queued', 7, 'clip.mp4', 1, '',
                '{"frames":1,"fps":null,"aggregation":"median","threshold":null,"min_face_size":20.0}', 'file', 'desk',
                '');"#;

    #[test]
    fn a_database_of_the_first_layout_is_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deepsight.sqlite");
        let connection = Connection::open(&path).unwrap();
        [LAYOUTS[0], IN_LAYOUT_1].into_iter().try_for_each(|batch| connection.execute_batch(batch)).unwrap();
        drop(connection);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.known_uploads().unwrap().into_iter().collect::<Vec<_>>(), ["file"]);
        assert_eq!(store.unused_uploads().unwrap().len(), 0);
        let analysis = store.get("a").unwrap().unwrap();
        assert_eq!((&*analysis.origin.client, analysis.source), ("desk", None));
        drop(store);
        Store::open(&path).unwrap();
    }

    #[test]
    fn a_full_disk_is_distinguished_from_other_errors() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("deepsight.sqlite")).unwrap();
        store.connection().execute_batch("PRAGMA max_page_count = 1").unwrap();
        let full = (0..10_000).find_map(|number| store.add_upload(&format!("{number:032x}"), Moment(0)).err()).unwrap();
        assert!(full.is_full(), "{full:?}");
        let problem = Failure::of_store(&full, "the report");
        assert!(problem.status() == 507 && problem.detail().contains("the report could not be stored"), "{problem:?}");
        let taken = store.add_upload(&format!("{:032x}", 0), Moment(0)).unwrap_err();
        assert!(taken.is_taken() && !taken.is_full(), "{taken:?}");
        assert_eq!(Failure::of_store(&taken, "the report").status(), 500);
    }

    #[test]
    fn a_database_of_another_program_or_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deepsight.sqlite");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Foreign { .. })));
        Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Version { found: 99, .. })));
    }
}
