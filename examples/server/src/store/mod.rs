//! What outlives the process: analyses, their reports and pictures, and webhooks still to be sent. SQLite in one file.

mod analyses;
mod webhooks;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

pub(crate) use analyses::{Analysis, Finished, Origin, Picture, Status};
pub(crate) use webhooks::Delivery;

/// The layout of the tables, as `PRAGMA user_version`.
const VERSION: i64 = 1;

/// `auto_vacuum` counts for a new file only, and before anything else. What was answered with "accepted" must survive a power
/// cut, hence FULL. What is removed shows people's faces, so it is overwritten.
const SETTINGS: &str = "\
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;";

/// The database. Clones share one connection.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot open the database {}", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("cannot use the database {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the database {} has layout {found}; this version reads layout {VERSION}", path.display())]
    Version { path: PathBuf, found: i64 },
    #[error("the database failed")]
    Sql(#[from] rusqlite::Error),
    #[error("the database holds what cannot be read: {0}")]
    Content(#[from] serde_json::Error),
}

impl StoreError {
    /// Whether what was to be unique is there already.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation))
    }
}

impl Store {
    /// Opens the database, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        owners_alone(path).map_err(|source| StoreError::File { path: path.to_owned(), source })?;
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        connection.execute_batch(SETTINGS).map_err(failed)?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        match found {
            0 => connection.execute_batch(include_str!("schema.sql")).map_err(failed)?,
            VERSION => {}
            _ => return Err(StoreError::Version { path: path.to_owned(), found }),
        }
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Runs `work` where waiting for the disk holds up no connection.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (store, span) = (self.clone(), tracing::Span::current());
        match tokio::task::spawn_blocking(move || span.in_scope(|| work(&store))).await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and this request with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic leaves no transaction open: dropping one rolls it back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the file, and lets nobody but its owner read it: it shows people's faces. SQLite's files beside it take after it.
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
