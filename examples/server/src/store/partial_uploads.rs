//! The table of uploads that arrive in parts.

use super::session::{Row, values};
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
                   SELECT CAST(?1 AS TEXT), CAST(?2 AS TEXT), CAST(?3 AS TEXT), CAST(?4 AS TEXT), CAST(?5 AS TEXT),
                       CAST(?6 AS BIGINT), CAST(?7 AS BIGINT)
                   WHERE (SELECT count(*) FROM partial_uploads WHERE client = ?3) < ?8
                       AND (SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM partial_uploads) + ?6 <= ?9";
        let PartialUpload { name, owner, client, file_name, metadata, bytes, changed } = upload;
        let values = values![name, owner, client, file_name, metadata, *bytes, *changed, most, most_bytes];
        Ok(self.session()?.execute(sql, values)? > 0)
    }

    /// Returns the upload of that name of an owner.
    pub(crate) fn partial_upload(&self, name: &str, owner: &str) -> Result<Option<PartialUpload>, StoreError> {
        let sql = "SELECT * FROM partial_uploads WHERE name = ?1 AND owner = ?2";
        self.session()?.first(sql, values![name, owner])?.as_ref().map(read).transpose()
    }

    /// Stores that a part arrives. Returns whether the upload is still there.
    pub(crate) fn touch_partial_upload(&self, name: &str, now: Moment) -> Result<bool, StoreError> {
        let sql = "UPDATE partial_uploads SET changed = ?2 WHERE name = ?1";
        Ok(self.session()?.execute(sql, values![name, now])? > 0)
    }

    /// Removes an upload from the table; its file becomes the caller's. Returns whether it was there.
    pub(crate) fn take_partial_upload(&self, name: &str, owner: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM partial_uploads WHERE name = ?1 AND owner = ?2";
        Ok(self.session()?.execute(sql, values![name, owner])? > 0)
    }

    /// Removes the uploads whose last part arrived before a moment. Returns the names of their files.
    pub(crate) fn expire_partial_uploads(&self, before: Moment) -> Result<Vec<String>, StoreError> {
        let sql = "DELETE FROM partial_uploads WHERE changed < ?1 RETURNING name";
        self.session()?.query(sql, values![before])?.iter().map(|row| row.get("name")).collect()
    }
}

fn read(row: &Row) -> Result<PartialUpload, StoreError> {
    Ok(PartialUpload {
        name: row.get("name")?,
        owner: row.get("owner")?,
        client: row.get("client")?,
        file_name: row.get("file_name")?,
        metadata: row.get("metadata")?,
        bytes: row.get("bytes")?,
        changed: row.get("changed")?,
    })
}
