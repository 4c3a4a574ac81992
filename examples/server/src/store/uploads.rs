//! The table of uploads: the names of all files that the server made in its folder of uploads.

use std::collections::HashSet;

use super::session::values;
use super::{Store, StoreError};
use crate::domain::Moment;

impl Store {
    pub(crate) fn add_upload(&self, name: &str, now: Moment) -> Result<(), StoreError> {
        match self.process() {
            None => {
                let sql = "INSERT INTO uploads (name, added) VALUES (?1, ?2)";
                self.session()?.execute(sql, values![name, now])?;
            }
            Some(process) => {
                let sql = "INSERT INTO uploads (name, added, process) VALUES (?1, ?2, ?3)";
                self.session()?.execute(sql, values![name, now, process])?;
            }
        }
        Ok(())
    }

    pub(crate) fn forget_upload(&self, name: &str) -> Result<(), StoreError> {
        self.session()?.execute("DELETE FROM uploads WHERE name = ?1", values![name])?;
        Ok(())
    }

    /// Returns the names of the uploads that no analysis refers to, and that are not arriving in parts. In a shared
    /// folder, takes over those of processes that are gone, and returns no others.
    pub(crate) fn unused_uploads(&self) -> Result<Vec<String>, StoreError> {
        let Some(process) = self.process() else { return self.unused_uploads_before(Moment(i64::MAX)) };
        let sql = format!(
            "UPDATE uploads SET process = ?2 WHERE process IS NULL AND name IN ({UNUSED} AND process IS NULL)
             RETURNING name"
        );
        let rows = self.session()?.query(&sql, values![Moment(i64::MAX), process])?;
        rows.iter().map(|row| row.get("name")).collect()
    }

    /// Returns the names of the uploads that were added before a moment, that no analysis refers to, and that are not
    /// arriving in parts.
    pub(crate) fn unused_uploads_before(&self, before: Moment) -> Result<Vec<String>, StoreError> {
        self.session()?.query(UNUSED, values![before])?.iter().map(|row| row.get("name")).collect()
    }

    /// Returns the names of all uploads.
    pub(crate) fn known_uploads(&self) -> Result<HashSet<String>, StoreError> {
        self.session()?.query("SELECT name FROM uploads", &[])?.iter().map(|row| row.get("name")).collect()
    }
}

const UNUSED: &str = "SELECT name FROM uploads WHERE added < ?1
                      AND name NOT IN (SELECT upload FROM analyses WHERE upload IS NOT NULL)
                      AND name NOT IN (SELECT name FROM partial_uploads)";
