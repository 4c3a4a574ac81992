//! The table of uploads: the names of all files that the server made in its folder of uploads.

use std::collections::HashSet;

use rusqlite::params;

use super::{Store, StoreError};
use crate::domain::Moment;

impl Store {
    pub(crate) fn add_upload(&self, name: &str, now: Moment) -> Result<(), StoreError> {
        self.connection().execute("INSERT INTO uploads (name, added) VALUES (?1, ?2)", params![name, now.0])?;
        Ok(())
    }

    pub(crate) fn forget_upload(&self, name: &str) -> Result<(), StoreError> {
        self.connection().execute("DELETE FROM uploads WHERE name = ?1", [name])?;
        Ok(())
    }

    /// Returns the names of the uploads that no analysis refers to, and that are not arriving in parts.
    pub(crate) fn unused_uploads(&self) -> Result<Vec<String>, StoreError> {
        self.unused_uploads_before(Moment(i64::MAX))
    }

    /// Returns the names of the uploads that were added before a moment, that no analysis refers to, and that are not
    /// arriving in parts.
    pub(crate) fn unused_uploads_before(&self, before: Moment) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT name FROM uploads WHERE added < ?1
                   AND name NOT IN (SELECT upload FROM analyses WHERE upload IS NOT NULL)
                   AND name NOT IN (SELECT name FROM partial_uploads)";
        let connection = self.connection();
        let mut statement = connection.prepare_cached(sql)?;
        Ok(statement.query_map([before.0], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// Returns the names of all uploads.
    pub(crate) fn known_uploads(&self) -> Result<HashSet<String>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT name FROM uploads")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }
}
