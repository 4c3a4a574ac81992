//! What outlives the process: analyses, their reports and pictures, and webhooks still to be sent. SQLite in one file.

mod analyses;
mod webhooks;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

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
    #[error("the database {} has layout {found}; this version reads layout {VERSION}", path.display())]
    Version { path: PathBuf, found: i64 },
    #[error("the database failed")]
    Sql(#[from] rusqlite::Error),
    #[error("the database holds what cannot be read: {0}")]
    Content(#[from] serde_json::Error),
}

impl Store {
    /// Opens the database, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
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
        let store = self.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(outcome) => outcome,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic leaves no transaction open: dropping one rolls it back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
