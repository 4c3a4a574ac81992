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
    /// As the client sent it with the name.
    pub(crate) metadata: String,
    /// Length of the whole file.
    pub(crate) bytes: u64,
    /// Time when the last part arrived.
    pub(crate) changed: Moment,
}

impl Store {
    /// Adds an upload, unless its client has `most` of them already, or all together would be longer than `most_bytes`.
    /// Returns whether it was added.
    pub(crate) fn add_partial_upload(
        &self,
        upload: &PartialUpload,
        most: u64,
        most_bytes: u64,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO partial_uploads (name, owner, client, file_name, metadata, bytes, changed)
                   SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
                   WHERE (SELECT count(*) FROM partial_uploads WHERE client = ?3) < ?8
                       AND (SELECT coalesce(sum(bytes), 0) FROM partial_uploads) + ?6 <= ?9";
        let PartialUpload { name, owner, client, file_name, metadata, bytes, changed } = upload;
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let values = params![
            name,
            owner,
            client,
            file_name,
            metadata,
            signed(*bytes),
            changed.0,
            signed(most),
            signed(most_bytes),
        ];
        Ok(self.connection().execute(sql, values)? > 0)
    }

    /// Returns the upload of that name of an owner.
    pub(crate) fn partial_upload(&self, name: &str, owner: &str) -> Result<Option<PartialUpload>, StoreError> {
        let sql = "SELECT * FROM partial_uploads WHERE name = ?1 AND owner = ?2";
        Ok(self.connection().query_row(sql, [name, owner], read).optional()?)
    }

    /// Stores that a part arrives. Returns whether the upload is still there.
    pub(crate) fn touch_partial_upload(&self, name: &str, now: Moment) -> Result<bool, StoreError> {
        let sql = "UPDATE partial_uploads SET changed = ?2 WHERE name = ?1";
        Ok(self.connection().execute(sql, params![name, now.0])? > 0)
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
        metadata: row.get("metadata")?,
        bytes: row.get::<_, i64>("bytes")?.cast_unsigned(),
        changed: Moment(row.get("changed")?),
    })
}
