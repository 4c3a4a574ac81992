//! The table of analyses, and their reports and pictures.

use std::collections::HashSet;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::audit::record;
use super::looks;
use super::{Store, StoreError};
use crate::audit::Entry;
use crate::domain::{Analysis, Failure, Finished, Label, Moment, Origin, Remarks, Status};
use crate::look::Look;

/// The crop of a face that the model scored.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) frame: u64,
    pub(crate) face: u64,
    pub(crate) jpeg: Vec<u8>,
}

/// What is kept of the frames of a video.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) pictures: Vec<Picture>,
    /// `None` if no frame showed anything.
    pub(crate) look: Option<Look>,
}

pub(super) const COLUMNS: &str = "seq, id, status, created, started, finished, file_name, bytes, sha256, settings, \
upload, attempts, client, owner, idempotency_key, fingerprint, result, problem, label, tags, note, source";

impl Store {
    /// Adds an analysis, the webhook to send at its end, and an entry of the audit.
    pub(crate) fn insert(&self, analysis: &Analysis, webhook: Option<&str>, entry: &Entry) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.execute(
            "INSERT INTO analyses (id, status, created, file_name, bytes, sha256, settings, upload, owner,
                 idempotency_key, fingerprint, client, source)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            params![
                analysis.id,
                analysis.status.name(),
                analysis.created.0,
                analysis.file_name,
                analysis.bytes.cast_signed(),
                analysis.sha256,
                serde_json::to_string(&analysis.settings)?,
                analysis.upload,
                analysis.origin.owner,
                analysis.origin.idempotency_key,
                analysis.origin.fingerprint,
                analysis.origin.client,
                analysis.source,
            ],
        )?;
        // A file that has arrived in parts belongs to the analysis from here on.
        transaction.execute("DELETE FROM partial_uploads WHERE name = ?1", [&analysis.upload])?;
        if let Some(url) = webhook {
            transaction.execute(
                "INSERT INTO webhooks (id, analysis, url) VALUES (?1, ?2, ?3)",
                params![crate::random::id(), analysis.id, url],
            )?;
        }
        record(&transaction, entry)?;
        Ok(transaction.commit()?)
    }

    pub(crate) fn get(&self, id: &str) -> Result<Option<Analysis>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM analyses WHERE id = ?1");
        Ok(self.connection().query_row(&sql, [id], read).optional()?)
    }

    pub(crate) fn by_idempotency_key(&self, owner: &str, key: &str) -> Result<Option<Analysis>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM analyses WHERE owner = ?1 AND idempotency_key = ?2");
        Ok(self.connection().query_row(&sql, [owner, key], read).optional()?)
    }

    /// Returns the analyses that have not ended, in order of arrival.
    pub(crate) fn unfinished(&self) -> Result<Vec<Analysis>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM analyses WHERE status IN ('queued', 'running') ORDER BY seq");
        let connection = self.connection();
        let mut statement = connection.prepare(&sql)?;
        Ok(statement.query_map([], read)?.collect::<Result<_, _>>()?)
    }

    /// Marks an analysis as running and counts the attempt. Returns false if the analysis was removed.
    pub(crate) fn begin(&self, id: &str, now: Moment) -> Result<bool, StoreError> {
        let sql = "UPDATE analyses SET status = 'running', started = ?2, attempts = attempts + 1 WHERE id = ?1";
        Ok(self.connection().execute(sql, params![id, now.0])? > 0)
    }

    /// Stores that the video of an analysis has arrived from the web, with an entry of the audit. Returns false if the
    /// analysis was removed.
    pub(crate) fn arrived(&self, analysis: &Analysis, entry: &Entry) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let Analysis { id, upload, file_name, bytes, sha256, .. } = analysis;
        let sql = "UPDATE analyses SET upload = ?2, file_name = ?3, bytes = ?4, sha256 = ?5 WHERE id = ?1";
        let found = transaction.execute(sql, params![id, upload, file_name, bytes.cast_signed(), sha256])? > 0;
        if found {
            record(&transaction, entry)?;
        }
        transaction.commit()?;
        Ok(found)
    }

    /// Marks a running analysis as queued again. This attempt does not count, because the server stopped it.
    pub(crate) fn put_back(&self, id: &str) -> Result<(), StoreError> {
        let sql = "UPDATE analyses SET status = 'queued', started = NULL, attempts = max(0, attempts - 1)
                   WHERE id = ?1 AND status = 'running'";
        self.connection().execute(sql, [id])?;
        Ok(())
    }

    /// Stores a report and what is kept of the frames. Returns false if the analysis was removed.
    pub(crate) fn finish(
        &self,
        id: &str,
        now: Moment,
        result: &Finished,
        json: &str,
        html: &str,
        seen: &Seen,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let found = transaction.execute(
            "UPDATE analyses SET status = 'done', finished = ?2, result = ?3 WHERE id = ?1",
            params![id, now.0, serde_json::to_string(result)?],
        )?;
        if found == 0 {
            return Ok(false);
        }
        transaction.execute("INSERT INTO reports (id, json, html) VALUES (?1, ?2, ?3)", params![id, json, html])?;
        {
            let sql = "INSERT INTO pictures (id, frame, face, jpeg) VALUES (?1, ?2, ?3, ?4)";
            let mut insert = transaction.prepare_cached(sql)?;
            for picture in &seen.pictures {
                insert.execute(params![id, picture.frame.cast_signed(), picture.face.cast_signed(), picture.jpeg])?;
            }
        }
        if let Some(look) = &seen.look {
            looks::insert(&transaction, id, look)?;
        }
        transaction.commit()?;
        Ok(true)
    }

    /// Stores why there is no report. Returns false if the analysis was removed.
    pub(crate) fn fail(&self, id: &str, now: Moment, problem: &Failure) -> Result<bool, StoreError> {
        let sql = "UPDATE analyses SET status = 'failed', finished = ?2, problem = ?3 WHERE id = ?1";
        Ok(self.connection().execute(sql, params![id, now.0, serde_json::to_string(problem)?])? > 0)
    }

    pub(crate) fn report_json(&self, id: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT json FROM reports WHERE id = ?1";
        Ok(self.connection().query_row(sql, [id], |row| row.get(0)).optional()?)
    }

    pub(crate) fn report_html(&self, id: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT html FROM reports WHERE id = ?1";
        Ok(self.connection().query_row(sql, [id], |row| row.get(0)).optional()?)
    }

    /// Returns the frames and positions of the faces of an analysis whose pictures are stored.
    pub(crate) fn pictures(&self, id: &str) -> Result<HashSet<(u64, u64)>, StoreError> {
        let connection = self.connection();
        let mut rows = connection.prepare_cached("SELECT frame, face FROM pictures WHERE id = ?1")?;
        let places = rows.query_map([id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let places: Result<Vec<_>, _> = places.collect();
        Ok(places?.into_iter().map(|(frame, face)| (frame.cast_unsigned(), face.cast_unsigned())).collect())
    }

    pub(crate) fn picture(&self, id: &str, frame: u64, face: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT jpeg FROM pictures WHERE id = ?1 AND frame = ?2 AND face = ?3";
        let place = params![id, frame.cast_signed(), face.cast_signed()];
        Ok(self.connection().query_row(sql, place, |row| row.get(0)).optional()?)
    }

    /// Removes an analysis with its report, its pictures and its webhook, and adds an entry to the audit. Returns the
    /// name of its upload, if the analysis still had one; `None` if the analysis is unknown.
    pub(crate) fn remove(&self, id: &str, entry: &Entry) -> Result<Option<Option<String>>, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let sql = "DELETE FROM analyses WHERE id = ?1 RETURNING upload";
        let removed = transaction.query_row(sql, [id], |row| row.get(0)).optional()?;
        if removed.is_some() {
            record(&transaction, entry)?;
        }
        transaction.commit()?;
        Ok(removed)
    }

    /// Removes the analyses that ended before `reports`. Releases the videos of those that ended before `videos`, and
    /// the oldest videos while they have more than `bytes` together. Returns the uploads whose files may be deleted.
    pub(crate) fn expire(&self, videos: Moment, reports: Moment, bytes: u64) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let mut released = names(
            &transaction,
            "DELETE FROM analyses WHERE status IN ('done', 'failed') AND finished < ?1 RETURNING upload",
            reports.0,
        )?;
        released.extend(names(
            &transaction,
            "SELECT upload FROM analyses WHERE status IN ('done', 'failed') AND upload IS NOT NULL AND finished < ?1",
            videos.0,
        )?);
        released.extend(names(
            &transaction,
            "SELECT upload FROM (
                 SELECT upload, sum(bytes) OVER (ORDER BY finished DESC, seq DESC) AS kept FROM analyses
                 WHERE status IN ('done', 'failed') AND upload IS NOT NULL
             ) WHERE kept > ?1",
            i64::try_from(bytes).unwrap_or(i64::MAX),
        )?);
        for name in &released {
            transaction.execute("UPDATE analyses SET upload = NULL WHERE upload = ?1", [name])?;
        }
        transaction.commit()?;
        Ok(released)
    }

    /// Removes the oldest ended analyses while the database holds more than `bytes`. Returns the uploads whose files
    /// may be deleted.
    pub(crate) fn trim(&self, bytes: u64) -> Result<Vec<String>, StoreError> {
        let connection = self.connection();
        let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
        let (page, mut released) = (number("PRAGMA page_size")?, Vec::new());
        loop {
            let used = (number("PRAGMA page_count")? - number("PRAGMA freelist_count")?) * page;
            let sql = "DELETE FROM analyses WHERE seq = (
                           SELECT seq FROM analyses WHERE status IN ('done', 'failed') ORDER BY finished, seq LIMIT 1
                       ) RETURNING upload";
            if used.cast_unsigned() <= bytes {
                return Ok(released);
            }
            match connection.query_row(sql, [], |row| row.get::<_, Option<String>>(0)).optional()? {
                Some(upload) => released.extend(upload),
                None => return Ok(released),
            }
        }
    }

    /// Gives some of the free pages of the database back to the disk. Returns whether there are more.
    pub(crate) fn shrink(&self) -> Result<bool, StoreError> {
        let connection = self.connection();
        {
            // Each step frees a page.
            let mut statement = connection.prepare_cached("PRAGMA incremental_vacuum(2000)")?;
            let mut steps = statement.query([])?;
            while steps.next()?.is_some() {}
        }
        let free: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
        if free == 0 {
            // Removed data must not stay in the write-ahead log either.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(free > 0)
    }
}

fn names(connection: &Connection, sql: &str, bound: i64) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare(sql)?;
    let names = statement.query_map([bound], |row| row.get::<_, Option<String>>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(names.into_iter().flatten().collect())
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Analysis> {
    let status: String = row.get("status")?;
    let bytes: i64 = row.get("bytes")?;
    Ok(Analysis {
        seq: row.get("seq")?,
        id: row.get("id")?,
        // The fallback is never used: the table's check allows only these names.
        status: Status::ALL.into_iter().find(|known| known.name() == status).unwrap_or(Status::Failed),
        created: Moment(row.get("created")?),
        started: row.get::<_, Option<i64>>("started")?.map(Moment),
        finished: row.get::<_, Option<i64>>("finished")?.map(Moment),
        file_name: row.get("file_name")?,
        bytes: bytes.cast_unsigned(),
        sha256: row.get("sha256")?,
        settings: json(row, "settings")?.unwrap_or_default(),
        source: row.get("source")?,
        upload: row.get("upload")?,
        attempts: row.get("attempts")?,
        origin: Origin {
            client: row.get("client")?,
            owner: row.get("owner")?,
            idempotency_key: row.get("idempotency_key")?,
            fingerprint: row.get("fingerprint")?,
        },
        result: json(row, "result")?,
        problem: json(row, "problem")?,
        remarks: Remarks {
            label: row.get::<_, Option<String>>("label")?.as_deref().and_then(Label::of_name),
            tags: json(row, "tags")?.unwrap_or_default(),
            note: row.get("note")?,
        },
    })
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else { return Ok(None) };
    let value = serde_json::from_str(&text);
    value.map(Some).map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}
