//! The tables of API keys that admins made, and of the days on which keys were used.

use std::time::Duration;

use super::audit::record;
use super::session::{Dialect, values};
use super::{Store, StoreError};
use crate::audit::Entry;
use crate::domain::MadeKey;

/// Advisory lock: held while a key is removed. Without it, two processes could each remove the last but one key of an
/// admin.
const KEYS_LOCK: i64 = 0x6465_6570_0004;

impl Store {
    /// Returns the keys that admins made.
    pub(crate) fn made_keys(&self) -> Result<Vec<MadeKey>, StoreError> {
        let rows =
            self.session()?.query("SELECT name, is_admin, sha256, created, maker FROM keys ORDER BY name", &[])?;
        let key = |row: &super::session::Row| {
            Ok(MadeKey {
                name: row.get("name")?,
                is_admin: row.get("is_admin")?,
                sha256: row.get("sha256")?,
                created: row.get("created")?,
                maker: row.get("maker")?,
            })
        };
        rows.iter().map(key).collect()
    }

    /// Adds a key, with an entry of the audit.
    pub(crate) fn add_key(&self, key: &MadeKey, entry: &Entry) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        let MadeKey { name, is_admin, sha256, created, maker } = key;
        transaction.execute(
            "INSERT INTO keys (name, is_admin, sha256, created, maker) VALUES (?1, ?2, ?3, ?4, ?5)",
            values![name, *is_admin, sha256, *created, maker],
        )?;
        // An earlier key of this name was another key.
        transaction.execute("DELETE FROM key_uses WHERE name = ?1", values![name])?;
        record(&transaction, entry)?;
        transaction.commit()
    }

    /// Removes a key and the links that were made with it, with an entry of the audit. Returns false if it is the last
    /// key of an admin, which stays: another process may have removed the others. With `has_other_admin`, there is one
    /// of the configuration.
    pub(crate) fn remove_key(&self, name: &str, has_other_admin: bool, entry: &Entry) -> Result<bool, StoreError> {
        let transaction = self.transaction()?;
        if transaction.dialect() == Dialect::Postgres {
            transaction.query("SELECT pg_advisory_xact_lock(?1)", values![KEYS_LOCK])?;
        }
        let sql = "SELECT 1 AS one FROM keys WHERE name = ?1 AND is_admin
                       AND NOT EXISTS (SELECT 1 FROM keys WHERE name <> ?1 AND is_admin)";
        if !has_other_admin && transaction.first(sql, values![name])?.is_some() {
            return Ok(false);
        }
        transaction.execute("DELETE FROM keys WHERE name = ?1", values![name])?;
        transaction.execute("DELETE FROM shares WHERE key = ?1", values![name])?;
        record(&transaction, entry)?;
        transaction.commit()?;
        Ok(true)
    }

    /// Returns the last day on which each key was used, by the key's name.
    pub(crate) fn key_uses(&self) -> Result<Vec<(String, String)>, StoreError> {
        let rows = self.session()?.query("SELECT name, day FROM key_uses", &[])?;
        rows.iter().map(|row| Ok((row.get("name")?, row.get("day")?))).collect()
    }

    /// Stores that a key was used on a day.
    pub(crate) fn key_used(&self, name: &str, day: &str) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO key_uses (name, day) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET day = excluded.day";
        self.session()?.execute(sql, values![name, day])?;
        Ok(())
    }

    /// Stores that a browser was signed in, for all processes: the hashes of its cookie and of its key.
    /// Ends the oldest sessions beyond `most`.
    pub(crate) fn add_session(&self, cookie: &str, key: &str, span: Duration, most: usize) -> Result<(), StoreError> {
        let session = self.session()?;
        let sql = "DELETE FROM sessions WHERE ends < deepsight_now()
                       OR cookie IN (SELECT cookie FROM sessions ORDER BY ends DESC OFFSET ?1)";
        session.execute(sql, values![most.saturating_sub(1) as u64])?;
        let sql = "INSERT INTO sessions (cookie, key, ends) VALUES (?1, ?2, deepsight_now() + ?3)";
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        session.execute(sql, values![cookie, key, span])?;
        Ok(())
    }

    /// Returns the hash of the key that a browser was signed in with, if its session has not ended.
    pub(crate) fn session_key(&self, cookie: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT key FROM sessions WHERE cookie = ?1 AND ends > deepsight_now()";
        self.session()?.value("key", sql, values![cookie])
    }

    /// Ends a session.
    pub(crate) fn end_session(&self, cookie: &str) -> Result<(), StoreError> {
        self.session()?.execute("DELETE FROM sessions WHERE cookie = ?1", values![cookie])?;
        Ok(())
    }
}
