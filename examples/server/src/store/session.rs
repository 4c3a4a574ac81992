//! One connection to a database, and the values that go in and out. The statements of the other modules are written in
//! the SQL that SQLite and PostgreSQL have in common, with parameters `?1`, `?2` and so on. Where the two differ, a
//! statement asks [`Session::dialect`].

use std::ops::Deref;
use std::sync::{Arc, MutexGuard};

use rusqlite::Connection;
use serde::de::DeserializeOwned;

use super::StoreError;
#[cfg(feature = "postgres")]
use super::postgres;
use crate::domain::Moment;

/// The database that a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Returns the text for this database.
    pub(super) fn choose<'a>(self, sqlite: &'a str, postgres: &'a str) -> &'a str {
        if self == Self::Sqlite { sqlite } else { postgres }
    }
}

/// A value of a column or of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

/// A number that is too large becomes the largest one: it is a limit or a length.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Integer(value.into())
    }
}

impl From<Moment> for Value {
    fn from(moment: Moment) -> Self {
        Self::Integer(moment.0)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<T> From<Option<T>> for Value
where
    Self: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        text.as_deref().map_or(Self::Null, Self::from)
    }
}

/// Makes the parameters of a statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::session::Value::from($value)),*]
    };
}
pub(super) use values;

/// A type that is read from a column.
pub(super) trait FromValue: Sized {
    /// Returns `None` if the value has another type.
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Integer(number) = value { Some(*number) } else { None }
    }
}

/// Reads a number that was stored with the same bits.
impl FromValue for u64 {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(i64::cast_unsigned)
    }
}

impl FromValue for u32 {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(|number| number != 0)
    }
}

impl FromValue for Moment {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(Moment)
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bytes(bytes) = value { Some(bytes.clone()) } else { None }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

/// A row of a result.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) columns: Arc<[String]>,
    pub(super) values: Vec<Value>,
}

impl Row {
    /// Reads a column.
    pub(super) fn get<T: FromValue>(&self, column: &'static str) -> Result<T, StoreError> {
        let value = self.value(column).and_then(T::from_value);
        value.ok_or(StoreError::Column(column))
    }

    /// Reads a column that only some databases have. Returns `None` if there is none.
    pub(super) fn find<T: FromValue>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        if self.value(column).is_none() { Ok(None) } else { self.get(column) }
    }

    /// Reads a column of JSON. Returns `None` if it is missing or null.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self.find(column)?.flatten();
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    fn value(&self, column: &str) -> Option<&Value> {
        let place = self.columns.iter().position(|name| name == column)?;
        self.values.get(place)
    }
}

/// A connection, for as long as this is held.
pub(super) enum Session<'a> {
    Sqlite(MutexGuard<'a, Connection>),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Lent<'a>),
}

impl Session<'_> {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement. Returns the number of rows that it changed.
    pub(super) fn execute(&self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let changed = connection.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values))?;
                Ok(changed as u64)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.execute(sql, values),
        }
    }

    /// Runs a statement once for each list of values.
    pub(super) fn execute_each(&self, sql: &str, rows: Vec<Vec<Value>>) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                for values in rows {
                    statement.execute(rusqlite::params_from_iter(values))?;
                }
                Ok(())
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.execute_each(sql, rows),
        }
    }

    /// Runs a statement. Returns the rows of its result.
    pub(super) fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let columns: Arc<[String]> = statement.column_names().map(str::to_owned).collect();
                let width = columns.len();
                let read = |row: &rusqlite::Row<'_>| {
                    let values: Result<_, _> = (0..width).map(|place| row.get(place)).collect();
                    Ok(Row { columns: Arc::clone(&columns), values: values? })
                };
                Ok(statement.query_map(rusqlite::params_from_iter(values), read)?.collect::<Result<_, _>>()?)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.query(sql, values),
        }
    }

    /// Runs a statement. Returns the first row of its result.
    pub(super) fn first(&self, sql: &str, values: &[Value]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    /// Runs a statement. Returns the column `column` of the first row of its result.
    pub(super) fn value<T: FromValue>(
        &self,
        column: &'static str,
        sql: &str,
        values: &[Value],
    ) -> Result<Option<T>, StoreError> {
        self.first(sql, values)?.map(|row| row.get(column)).transpose()
    }

    /// Runs statements without parameters and results.
    pub(super) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.batch(sql),
        }
    }
}

/// A transaction of a connection. It is rolled back when it is dropped without a [commit](Self::commit).
pub(super) struct Transaction<'a> {
    session: Session<'a>,
    is_open: bool,
}

impl<'a> Transaction<'a> {
    pub(super) fn begin(session: Session<'a>) -> Result<Self, StoreError> {
        session.batch("BEGIN")?;
        Ok(Self { session, is_open: true })
    }

    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        self.session.batch("COMMIT")?;
        self.is_open = false;
        Ok(())
    }
}

impl<'a> Deref for Transaction<'a> {
    type Target = Session<'a>;

    fn deref(&self) -> &Session<'a> {
        &self.session
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // An error here is one of the connection, whose end rolls back, too.
            let _ = self.session.batch("ROLLBACK");
        }
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl rusqlite::types::FromSql for Value {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        use rusqlite::types::{FromSqlError, ValueRef};
        match value {
            ValueRef::Null => Ok(Self::Null),
            ValueRef::Integer(number) => Ok(Self::Integer(number)),
            // No column has numbers with fractions.
            ValueRef::Real(_) => Err(FromSqlError::InvalidType),
            ValueRef::Text(text) => match std::str::from_utf8(text) {
                Ok(text) => Ok(Self::Text(text.to_owned())),
                Err(error) => Err(FromSqlError::Other(Box::new(error))),
            },
            ValueRef::Blob(bytes) => Ok(Self::Bytes(bytes.to_vec())),
        }
    }
}
