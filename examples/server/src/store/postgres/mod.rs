//! PostgreSQL, which several processes share. The calls block, as those of SQLite do: a thread of the pool drives the
//! connections, and the caller waits for it. So a call is possible on any thread.

mod tls;
mod value;

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::{poll_fn, try_join_all};
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::session::{Row, Session, Value, values};
use super::{Backend, Store, StoreError};
use crate::database::DatabaseAddress;
use crate::locked::locked;

/// Statements that bring the tables from each layout to the next. The first ones create them. The table `deepsight` has
/// the number of the layout.
const LAYOUTS: [&str; 1] = [include_str!("layout_1.sql")];
/// Number of the layout of this version.
const VERSION: i64 = LAYOUTS.len() as i64;

/// Connections of a process, besides the one that waits for notifications.
const CONNECTIONS: usize = 8;
/// Statements that a connection keeps prepared.
const PREPARED: usize = 256;
/// Longest time that a connection may take to open, and a statement.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before the connection that waits for notifications is opened again.
const AGAIN: Duration = Duration::from_secs(1);
/// Channel of the notifications.
const CHANNEL: &str = "deepsight";
/// Advisory lock: held while a process creates or changes the tables.
const LAYOUT_LOCK: i64 = 0x6465_6570_0001;

/// Advice for a database with other tables.
const CURE: &str = "name an empty database, or a schema of its own (?options=-csearch_path%3DNAME)";

/// An error of PostgreSQL. No message has the password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostgresError {
    #[error("--database is not an address of PostgreSQL such as postgres://user@host/name")]
    Address(#[source] tokio_postgres::Error),
    #[error("--database: cannot use the certificate authorities of {} (sslrootcert)", path.display())]
    Authorities { path: PathBuf, source: tls::AuthorityError },
    #[error("the library of TLS refuses its own settings")]
    Tls(#[from] rustls::Error),
    #[error("cannot start the thread of the database")]
    Thread(#[source] std::io::Error),
    #[error("cannot connect to the database {shown}")]
    Connect { shown: String, source: tokio_postgres::Error },
    #[error("the database failed")]
    Statement(#[from] tokio_postgres::Error),
    #[error("the database did not answer for {} s", PATIENCE.as_secs())]
    Slow,
    #[error("the connection to the database ended")]
    Lost,
}

impl PostgresError {
    fn has(&self, state: &SqlState) -> bool {
        matches!(self, Self::Statement(error) if error.code() == Some(state))
    }

    pub(super) fn is_full(&self) -> bool {
        self.has(&SqlState::DISK_FULL)
    }

    pub(super) fn is_taken(&self) -> bool {
        self.has(&SqlState::UNIQUE_VIOLATION)
    }

    /// Returns whether the same statement may succeed later: the connection failed, the database stops or starts, or
    /// a lock could not be had.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Slow | Self::Lost | Self::Connect { .. } => true,
            // Classes of errors: connection, transaction, objects in use, and the operator's intervention.
            Self::Statement(error) => {
                let code = error.code().map(SqlState::code).unwrap_or_default();
                error.is_closed() || ["08", "40", "55", "57"].iter().any(|class| code.starts_with(class))
            }
            Self::Address(_) | Self::Authorities { .. } | Self::Tls(_) | Self::Thread(_) => false,
        }
    }
}

/// Limits of a connection. A machine that is gone, or a process that is stopped, must not hold locks until TCP notices:
/// the other processes wait for them.
const LIMITS: &str = "\
SET idle_in_transaction_session_timeout = '10s';
SET lock_timeout = '10s';
SET statement_timeout = '50s';
SET tcp_keepalives_idle = 30;
SET tcp_keepalives_interval = 10;
SET tcp_keepalives_count = 3;";

/// The connections of a process.
pub(super) struct Pool {
    config: Config,
    /// `None` for a connection that is not encrypted.
    tls: Option<MakeRustlsConnect>,
    /// The address without secrets.
    shown: String,
    /// Drives the connections. `None` once the pool is dropped.
    runtime: Option<Runtime>,
    connections: Mutex<Connections>,
    /// Notified when a connection is given back.
    given_back: Condvar,
    /// The id under which this process shares the queue; `None` if it does not.
    pub(super) process: RwLock<Option<String>>,
}

#[derive(Default)]
struct Connections {
    idle: Vec<Arc<Connection>>,
    /// Number of connections that are lent.
    lent: usize,
}

struct Connection {
    client: Client,
    prepared: Mutex<HashMap<String, Statement>>,
    /// Whether a statement was given up, which the database may still run.
    is_stuck: AtomicBool,
}

/// A connection of the pool, until this value is dropped.
pub(super) struct Lent<'a> {
    pool: &'a Pool,
    connection: Arc<Connection>,
}

impl Store {
    /// Opens a database that several processes share, and brings its tables up to date. Creates them if there are none.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, has the tables of another program, or the layout of a newer
    /// version.
    pub(crate) fn open_shared(address: &DatabaseAddress) -> Result<Self, StoreError> {
        let store = Self(Arc::new(Backend::Postgres(Box::new(Pool::new(address)?))));
        let transaction = store.transaction()?;
        transaction.query("SELECT pg_advisory_xact_lock(?1)", values![LAYOUT_LOCK])?;
        let found = layout(&transaction, &address.to_string())?;
        for (layout, number) in LAYOUTS.iter().zip(1_i64..).skip(usize::try_from(found).unwrap_or(0)) {
            transaction.batch(layout)?;
            transaction.execute("UPDATE deepsight SET layout = ?1", values![number])?;
        }
        transaction.commit()?;
        Ok(store)
    }

    /// Opens a database that several processes share without changing it. Returns `None` if it is empty.
    ///
    /// # Errors
    /// Returns an error as [`open_shared`](Self::open_shared) does.
    pub(crate) fn look_into_shared(address: &DatabaseAddress) -> Result<Option<Self>, StoreError> {
        let store = Self(Arc::new(Backend::Postgres(Box::new(Pool::new(address)?))));
        let layout = layout(&store.session()?, &address.to_string())?;
        Ok((layout > 0).then_some(store))
    }
}

/// Returns the number of the layout of the tables; 0 if there are no tables.
fn layout(session: &Session<'_>, shown: &str) -> Result<i64, StoreError> {
    let sql = "SELECT CAST(tablename AS TEXT) AS name FROM pg_tables WHERE schemaname = current_schema()";
    let tables = session.query(sql, &[])?;
    let tables: Vec<String> = tables.iter().map(|row| row.get("name")).collect::<Result<_, _>>()?;
    if tables.is_empty() {
        return Ok(0);
    }
    let database = format!("the database {shown}");
    if !tables.iter().any(|name| name == "deepsight") {
        return Err(StoreError::Foreign { database, cure: CURE });
    }
    match session.value("layout", "SELECT layout FROM deepsight", &[])? {
        Some(found @ 1..=VERSION) => Ok(found),
        found => Err(StoreError::Version { database, found: found.unwrap_or(0), known: VERSION }),
    }
}

impl Pool {
    fn new(address: &DatabaseAddress) -> Result<Self, StoreError> {
        let (secret, protection) = address.secret();
        let mut config = Config::from_str(&secret).map_err(PostgresError::Address)?;
        let tls = tls::connector(&mut config, protection)?;
        if config.get_application_name().is_none() {
            config.application_name("deepsight-server");
        }
        // A machine that is gone must not hold a thread for hours.
        config.connect_timeout(Duration::from_secs(10));
        config.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(Duration::from_secs(30));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("database").enable_all().build();
        let runtime = Some(runtime.map_err(PostgresError::Thread)?);
        let (connections, given_back) = (Mutex::default(), Condvar::new());
        let process = RwLock::default();
        Ok(Self { config, tls, shown: address.to_string(), runtime, connections, given_back, process })
    }

    /// Takes a connection. Waits if all are lent.
    pub(super) fn lend(&self) -> Result<Lent<'_>, PostgresError> {
        let mut connections = locked(&self.connections);
        while connections.lent >= CONNECTIONS {
            connections = self.given_back.wait(connections).unwrap_or_else(PoisonError::into_inner);
        }
        connections.lent += 1;
        connections.idle.retain(|connection| !connection.client.is_closed());
        let idle = connections.idle.pop();
        drop(connections);
        let connection = match idle {
            Some(connection) => Ok(connection),
            None => self.connect(),
        };
        match connection {
            Ok(connection) => Ok(Lent { pool: self, connection }),
            Err(error) => {
                locked(&self.connections).lent -= 1;
                self.given_back.notify_one();
                Err(error)
            }
        }
    }

    fn connect(&self) -> Result<Arc<Connection>, PostgresError> {
        let (config, tls) = (self.config.clone(), self.tls.clone());
        let connected = self.wait(async move {
            let client = match tls {
                Some(tls) => open(&config, tls).await?,
                None => open(&config, NoTls).await?,
            };
            client.batch_execute(LIMITS).await?;
            Ok(client)
        });
        let client = connected.map_err(|error| match error {
            PostgresError::Statement(source) => PostgresError::Connect { shown: self.shown.clone(), source },
            other => other,
        })?;
        Ok(Arc::new(Connection { client, prepared: Mutex::default(), is_stuck: AtomicBool::new(false) }))
    }

    /// Calls `heard` with the text of each notification, and with an empty text whenever notifications may have been
    /// missed, until the pool is dropped.
    pub(super) fn listen(&self, heard: impl Fn(&str) + Send + Sync + 'static) {
        let (config, tls, shown) = (self.config.clone(), self.tls.clone(), self.shown.clone());
        let Some(runtime) = &self.runtime else { return };
        runtime.spawn(async move {
            loop {
                let heard_all = match &tls {
                    Some(tls) => hear(&config, tls.clone(), &heard).await,
                    None => hear(&config, NoTls, &heard).await,
                };
                if let Err(error) = heard_all {
                    let error = deepsight_core::with_causes(&error);
                    tracing::warn!(database = shown, error, "no notifications of the database; trying again");
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    /// Runs `work` on the thread of the pool, and waits for it.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    ) -> Result<T, PostgresError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let Some(runtime) = &self.runtime else { return Err(PostgresError::Lost) };
        runtime.spawn(async move {
            let outcome = match tokio::time::timeout(PATIENCE, work).await {
                Ok(outcome) => outcome.map_err(PostgresError::from),
                Err(_) => Err(PostgresError::Slow),
            };
            // The caller waits, so this does not fail.
            drop(sender.send(outcome));
        });
        receiver.recv().unwrap_or(Err(PostgresError::Lost))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Waiting for the thread is not possible on a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Opens a connection.
async fn open<T>(config: &Config, tls: T) -> Result<Client, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket, Stream: Send + 'static, TlsConnect: TlsConnect<Socket, Future: Send>>,
{
    let (client, connection) = config.connect(tls).await?;
    // An error ends the connection, which the next statement reports.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// Passes on notifications until the connection ends.
async fn hear<T>(config: &Config, tls: T, heard: &(impl Fn(&str) + Sync)) -> Result<(), tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket, Stream: Send + 'static, TlsConnect: TlsConnect<Socket, Future: Send>>,
{
    let (client, mut connection) = config.connect(tls).await?;
    let (sender, mut notifications) = tokio::sync::mpsc::unbounded_channel();
    let driver = tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message?
                && sender.send(notification).is_err()
            {
                break;
            }
        }
        Ok(())
    });
    client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
    heard("");
    while let Some(notification) = notifications.recv().await {
        heard(notification.payload());
    }
    driver.await.unwrap_or(Ok(()))
}

impl Connection {
    async fn prepare(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = locked(&self.prepared).get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&numbered(sql)).await?;
        let mut prepared = locked(&self.prepared);
        if prepared.len() >= PREPARED {
            prepared.clear();
        }
        prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Returns a statement with `$1` in place of `?1`.
fn numbered(sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut numbered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        numbered.push(if part.starts_with(|c: char| c.is_ascii_digit()) { '$' } else { '?' });
        numbered.push_str(part);
    }
    numbered
}

impl Lent<'_> {
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let outcome = self.pool.wait(work);
        if matches!(outcome, Err(PostgresError::Slow)) {
            self.connection.is_stuck.store(true, Ordering::Relaxed);
        }
        Ok(outcome?)
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let (connection, sql, values) = (Arc::clone(&self.connection), sql.to_owned(), values.to_vec());
        self.wait(async move {
            let statement = connection.prepare(&sql).await?;
            connection.client.execute(&statement, &borrowed(&values)).await
        })
    }

    pub(super) fn execute_each(&self, sql: &str, rows: Vec<Vec<Value>>) -> Result<(), StoreError> {
        let (connection, sql) = (Arc::clone(&self.connection), sql.to_owned());
        self.wait(async move {
            let statement = connection.prepare(&sql).await?;
            let parameters: Vec<_> = rows.iter().map(|row| borrowed(row)).collect();
            // The client sends all of them before it waits for the first result.
            try_join_all(parameters.iter().map(|values| connection.client.execute(&statement, values))).await?;
            Ok(())
        })
    }

    pub(super) fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let (connection, sql, values) = (Arc::clone(&self.connection), sql.to_owned(), values.to_vec());
        self.wait(async move {
            let statement = connection.prepare(&sql).await?;
            let columns: Arc<[String]> = statement.columns().iter().map(|column| column.name().to_owned()).collect();
            let rows = connection.client.query(&statement, &borrowed(&values)).await?;
            let read = |row: tokio_postgres::Row| {
                let values: Result<_, tokio_postgres::Error> = (0..row.len()).map(|place| row.try_get(place)).collect();
                Ok(Row { columns: Arc::clone(&columns), values: values? })
            };
            rows.into_iter().map(read).collect()
        })
    }

    pub(super) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        // It would wait as long again, such as for the end of a transaction.
        if self.connection.is_stuck.load(Ordering::Relaxed) {
            return Err(PostgresError::Lost.into());
        }
        let (connection, sql) = (Arc::clone(&self.connection), sql.to_owned());
        self.wait(async move { connection.client.batch_execute(&sql).await })
    }
}

fn borrowed(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut connections = locked(&self.pool.connections);
        connections.lent -= 1;
        if !self.connection.client.is_closed() && !self.connection.is_stuck.load(Ordering::Relaxed) {
            connections.idle.push(Arc::clone(&self.connection));
        }
        drop(connections);
        self.pool.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_as_postgresql_does() {
        assert_eq!(numbered("SELECT ?1, '?' WHERE x = ?12"), "SELECT $1, '?' WHERE x = $12");
    }
}
