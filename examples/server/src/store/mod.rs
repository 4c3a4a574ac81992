//! The database: analyses, their reports, pictures and links, webhooks still to be sent, API keys that admins made, and
//! the audit. SQLite in one file, or PostgreSQL, which several processes share.

mod accuracy;
mod analyses;
mod audit;
mod desk;
mod keys;
mod looks;
mod partial_uploads;
#[cfg(feature = "postgres")]
mod postgres;
mod queue;
mod session;
mod shares;
mod sqlite;
#[cfg(test)]
mod tests;
mod uploads;
mod webhooks;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use deepsight_core::with_causes;
use rusqlite::{Connection, ErrorCode};

use self::session::{Session, Transaction};
#[cfg(not(feature = "postgres"))]
use crate::database::DatabaseAddress;
use crate::domain::Failure;
use crate::locked::locked;

pub(crate) use analyses::{Picture, Seen};
pub(crate) use desk::{Filter, Page};
pub(crate) use partial_uploads::PartialUpload;
pub(crate) use queue::{Crowd, Reserved};
pub(crate) use webhooks::Delivery;

/// The database. Clones share it.
#[derive(Clone)]
pub(crate) struct Store(Arc<Backend>);

enum Backend {
    /// One connection, which the threads take turns to use.
    Sqlite(Mutex<Connection>),
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::Pool>),
}

/// An error that keeps the database from being used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot open the database {}", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("cannot use the database {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{database} has layout {found}, and this version reads layouts up to {known}: use a newer version")]
    Version { database: String, found: i64, known: i64 },
    #[error("{database} is a database of another program: {cure}")]
    Foreign { database: String, cure: &'static str },
    #[error("the database failed")]
    Sql(#[from] rusqlite::Error),
    #[error("the database holds what cannot be read: {0}")]
    Content(#[from] serde_json::Error),
    #[error("other processes took this one for lost, and have deleted the upload")]
    Lost,
    #[error("the database has another type in the column {0}")]
    Column(&'static str),
    #[cfg(not(feature = "postgres"))]
    #[error("--database needs a server that was built with the feature postgres (cargo build --features postgres)")]
    NotBuilt,
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] postgres::PostgresError),
}

impl StoreError {
    /// Returns whether the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        #[cfg(feature = "postgres")]
        if let Self::Postgres(error) = self {
            return error.is_full();
        }
        let Self::Sql(rusqlite::Error::SqliteFailure(error, _)) = self else { return false };
        // SQLite has a code of its own for the index of its log.
        error.code == ErrorCode::DiskFull || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    }

    /// Returns whether the same may succeed later, without anyone's help. A file of SQLite has no such errors.
    pub(crate) fn is_passing(&self) -> bool {
        #[cfg(feature = "postgres")]
        if let Self::Postgres(error) = self {
            return error.is_passing();
        }
        false
    }

    /// Returns whether a value that must be unique exists already.
    pub(crate) fn is_taken(&self) -> bool {
        #[cfg(feature = "postgres")]
        if let Self::Postgres(error) = self {
            return error.is_taken();
        }
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
        if matches!(error, StoreError::Lost) {
            return Self::interrupted("The server gave up its part in the queue. Send the video again.");
        }
        Self::hide(error)
    }
}

impl Store {
    /// Opens the database in a file. Creates it if it is missing.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened or has the layout of another version.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(Backend::Sqlite(Mutex::new(sqlite::open(path)?)))))
    }

    /// Opens a database that several processes share.
    ///
    /// # Errors
    /// Returns an error if it cannot be reached, is of another program or has the layout of a newer version, and if
    /// this build has no client for it.
    #[cfg(not(feature = "postgres"))]
    pub(crate) fn open_shared(_: &DatabaseAddress) -> Result<Self, StoreError> {
        Err(StoreError::NotBuilt)
    }

    /// Opens a database that several processes share without changing it. Returns `None` if it is empty.
    ///
    /// # Errors
    /// Returns an error as [`open_shared`](Self::open_shared) does.
    #[cfg(not(feature = "postgres"))]
    pub(crate) fn look_into_shared(_: &DatabaseAddress) -> Result<Option<Self>, StoreError> {
        Err(StoreError::NotBuilt)
    }

    /// Opens the database in a file to read its audit.
    ///
    /// # Errors
    /// Returns an error if the file is missing, cannot be read or has a layout without an audit.
    pub(crate) fn open_audit(path: &Path) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(Backend::Sqlite(Mutex::new(sqlite::open_audit(path)?)))))
    }

    /// Checks a database in a file without changing it. A missing one is no error: it will be created.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is of another program, or has the layout of a newer version.
    pub(crate) fn check(path: &Path) -> Result<(), StoreError> {
        sqlite::check(path)
    }

    /// Returns whether several processes share the database.
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(&*self.0, Backend::Sqlite(_))
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

    /// Takes a connection. Waits until there is one.
    fn session(&self) -> Result<Session<'_>, StoreError> {
        match &*self.0 {
            // A panic leaves no transaction open: dropping one rolls it back.
            Backend::Sqlite(connection) => Ok(Session::Sqlite(locked(connection))),
            #[cfg(feature = "postgres")]
            Backend::Postgres(pool) => Ok(Session::Postgres(pool.lend()?)),
        }
    }

    fn transaction(&self) -> Result<Transaction<'_>, StoreError> {
        Transaction::begin(self.session()?)
    }
}
