//! The tables of API keys that admins made, and of the days on which keys were used.

use rusqlite::params;

use super::audit::record;
use super::{Store, StoreError};
use crate::audit::Entry;
use crate::domain::{MadeKey, Moment};

impl Store {
    /// Returns the keys that admins made.
    pub(crate) fn made_keys(&self) -> Result<Vec<MadeKey>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare("SELECT name, is_admin, sha256, created, maker FROM keys ORDER BY name")?;
        let rows = statement.query_map([], |row| {
            Ok(MadeKey {
                name: row.get(0)?,
                is_admin: row.get(1)?,
                sha256: row.get(2)?,
                created: Moment(row.get(3)?),
                maker: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Adds a key, with an entry of the audit.
    pub(crate) fn add_key(&self, key: &MadeKey, entry: &Entry) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let MadeKey { name, is_admin, sha256, created, maker } = key;
        transaction.execute(
            "INSERT INTO keys (name, is_admin, sha256, created, maker) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![name, is_admin, sha256, created.0, maker],
        )?;
        // An earlier key of this name was another key.
        transaction.execute("DELETE FROM key_uses WHERE name = ?1", [name])?;
        record(&transaction, entry)?;
        Ok(transaction.commit()?)
    }

    /// Removes a key and the links that were made with it, with an entry of the audit.
    pub(crate) fn remove_key(&self, name: &str, entry: &Entry) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM keys WHERE name = ?1", [name])?;
        transaction.execute("DELETE FROM shares WHERE key = ?1", [name])?;
        record(&transaction, entry)?;
        Ok(transaction.commit()?)
    }

    /// Returns the last day on which each key was used, by the key's name.
    pub(crate) fn key_uses(&self) -> Result<Vec<(String, String)>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT name, day FROM key_uses")?;
        Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
    }

    /// Stores that a key was used on a day.
    pub(crate) fn key_used(&self, name: &str, day: &str) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO key_uses (name, day) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET day = excluded.day";
        self.connection().execute(sql, [name, day])?;
        Ok(())
    }
}
