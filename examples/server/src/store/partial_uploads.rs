//! The table of uploads that arrive in parts.

use rusqlite::{OptionalExtension, Row, params};

use super::{Store, StoreError};
use crate::domain::Moment;

/// An upload that arrives in parts.
#[derive(Debug, Clone)]
pub(crate) struct PartialUpload {
    /// Name of its file in the folder of uploads.
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) client: String,
    /// The client's name of the file.
    pub(crate) file_name: String,
    /// Length of the whole file.
    pub(crate) bytes: u64,
    /// Time when the last part arrived.
    pub(crate) changed: Moment,
}

impl Store {
    /// Adds an upload, unless its client has `limit` of them already. Returns whether it was added.
    pub(crate) fn add_partial_upload(&self, upload: &PartialUpload, limit: u64) -> Result<bool, StoreError> {
        let sql = "INSERT INTO partial_uploads (name, owner, client, file_name, bytes, changed)
                   SELECT ?1, ?2, ?3, ?4, ?5, ?6
                   WHERE (SELECT count(*) FROM partial_uploads WHERE client = ?3) < ?7";
        let PartialUpload { name, owner, client, file_name, bytes, changed } = upload;
        let values = params![name, owner, client, file_name, bytes.cast_signed(), changed.0, limit.cast_signed()];
        Ok(self.connection().execute(sql, values)? > 0)
    }

    /// Returns the upload of that name of an owner.
    pub(crate) fn partial_upload(&self, name: &str, owner: &str) -> Result<Option<PartialUpload>, StoreError> {
        let sql = "SELECT * FROM partial_uploads WHERE name = ?1 AND owner = ?2";
        Ok(self.connection().query_row(sql, [name, owner], read).optional()?)
    }

    /// Stores that a part has arrived.
    pub(crate) fn touch_partial_upload(&self, name: &str, now: Moment) -> Result<(), StoreError> {
        self.connection().execute("UPDATE partial_uploads SET changed = ?2 WHERE name = ?1", params![name, now.0])?;
        Ok(())
    }

    /// Removes an upload from the table; its file becomes the caller's. Returns whether it was there.
    pub(crate) fn take_partial_upload(&self, name: &str, owner: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM partial_uploads WHERE name = ?1 AND owner = ?2";
        Ok(self.connection().execute(sql, [name, owner])? > 0)
    }

    /// Removes the uploads whose last part arrived before a moment. Returns the names of their files.
    pub(crate) fn expire_partial_uploads(&self, before: Moment) -> Result<Vec<String>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("DELETE FROM partial_uploads WHERE changed < ?1 RETURNING name")?;
        Ok(statement.query_map([before.0], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<PartialUpload> {
    Ok(PartialUpload {
        name: row.get("name")?,
        owner: row.get("owner")?,
        client: row.get("client")?,
        file_name: row.get("file_name")?,
        bytes: row.get::<_, i64>("bytes")?.cast_unsigned(),
        changed: Moment(row.get("changed")?),
    })
}
