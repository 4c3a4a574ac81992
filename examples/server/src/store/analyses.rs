//! The table of analyses, and their reports and pictures.

use std::collections::HashSet;

use super::audit::record;
use super::looks;
use super::session::{Dialect, Row, Session, Transaction, Value, values};
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

/// Returns the columns that [`read`] reads.
pub(super) fn columns(session: &Session<'_>) -> &'static str {
    const COMMON: &str = "seq, id, status, created, started, finished, file_name, bytes, sha256, settings, upload, \
attempts, client, owner, idempotency_key, fingerprint, result, problem, label, tags, note, source";
    const SHARED: &str = "seq, id, status, created, started, finished, file_name, bytes, sha256, settings, upload, \
attempts, client, owner, idempotency_key, fingerprint, result, problem, label, tags, note, source, process, asker, \
progress";
    session.dialect().choose(COMMON, SHARED)
}

/// Returns a condition on the rows of analyses: that the process which ran or downloaded this one still holds it. Adds
/// its parameter to `values`. With SQLite there is one process.
fn held(session: &Session<'_>, analysis: &Analysis, values: &mut Vec<Value>) -> String {
    if session.dialect() == Dialect::Sqlite {
        return "TRUE".into();
    }
    values.push(Value::from(&analysis.process));
    format!("process = ?{}", values.len())
}

impl Store {
    /// Adds an analysis, the webhook to send at its end, and an entry of the audit.
    pub(crate) fn insert(&self, analysis: &Analysis, webhook: Option<&str>, entry: &Entry) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        self.check_upload(&transaction, analysis)?;
        add(&transaction, analysis)?;
        // A file that has arrived in parts belongs to the analysis from here on.
        transaction.execute("DELETE FROM partial_uploads WHERE name = ?1", values![&analysis.upload])?;
        if let Some(url) = webhook {
            transaction.execute(
                "INSERT INTO webhooks (id, analysis, url) VALUES (?1, ?2, ?3)",
                values![crate::random::id(), &analysis.id, url],
            )?;
        }
        record(&transaction, entry)?;
        transaction.commit()
    }

    /// Checks that other processes have not taken this one for lost while the video of a new analysis arrived: they
    /// delete its uploads. One that has arrived in parts is nobody's.
    pub(super) fn check_upload(&self, session: &Session<'_>, analysis: &Analysis) -> Result<(), StoreError> {
        let (Some(process), Some(upload)) = (self.process(), &analysis.upload) else { return Ok(()) };
        let sql = "SELECT name FROM uploads WHERE name = ?1
                       AND (process = ?2 OR name IN (SELECT name FROM partial_uploads)) FOR UPDATE";
        match session.first(sql, values![upload, process])? {
            Some(_) => Ok(()),
            None => Err(StoreError::Lost),
        }
    }

    pub(crate) fn get(&self, id: &str) -> Result<Option<Analysis>, StoreError> {
        by_id(&self.session()?, id)
    }

    pub(crate) fn by_idempotency_key(&self, owner: &str, key: &str) -> Result<Option<Analysis>, StoreError> {
        let session = self.session()?;
        let sql = format!("SELECT {} FROM analyses WHERE owner = ?1 AND idempotency_key = ?2", columns(&session));
        session.first(&sql, values![owner, key])?.as_ref().map(read).transpose()
    }

    /// Returns the analyses that have not ended, in order of arrival.
    pub(crate) fn unfinished(&self) -> Result<Vec<Analysis>, StoreError> {
        let session = self.session()?;
        let sql =
            format!("SELECT {} FROM analyses WHERE status IN ('queued', 'running') ORDER BY seq", columns(&session));
        session.query(&sql, &[])?.iter().map(read).collect()
    }

    /// Marks an analysis as running and counts the attempt. Returns false if the analysis was removed.
    pub(crate) fn begin(&self, id: &str, now: Moment) -> Result<bool, StoreError> {
        let sql = "UPDATE analyses SET status = 'running', started = ?2, attempts = attempts + 1 WHERE id = ?1";
        Ok(self.session()?.execute(sql, values![id, now])? > 0)
    }

    /// Stores that the video of an analysis has arrived from the web, with an entry of the audit. Returns false if the
    /// analysis was removed, or is not this process's any more.
    pub(crate) fn arrived(&self, analysis: &Analysis, entry: &Entry) -> Result<bool, StoreError> {
        let transaction = self.transaction()?;
        let Analysis { id, upload, file_name, bytes, sha256, .. } = analysis;
        let mut values = values![id, upload, file_name, *bytes, sha256].to_vec();
        let held = held(&transaction, analysis, &mut values);
        let sql = format!(
            "UPDATE analyses SET upload = ?2, file_name = ?3, bytes = ?4, sha256 = ?5 WHERE id = ?1 AND {held}"
        );
        let found = transaction.execute(&sql, &values)? > 0;
        if found {
            record(&transaction, entry)?;
        }
        transaction.commit()?;
        Ok(found)
    }

    /// Marks a running analysis as queued again. This attempt does not count, because the server stopped it.
    pub(crate) fn put_back(&self, analysis: &Analysis) -> Result<(), StoreError> {
        let session = self.session()?;
        let mut values = values![&analysis.id].to_vec();
        let held = held(&session, analysis, &mut values);
        let sql = format!(
            "UPDATE analyses SET status = 'queued', started = NULL,
                 attempts = CASE WHEN attempts > 0 THEN attempts - 1 ELSE 0 END
             WHERE id = ?1 AND status = 'running' AND {held}"
        );
        session.execute(&sql, &values)?;
        Ok(())
    }

    /// Stores a report and what is kept of the frames. Returns false if the analysis was removed, or is not this
    /// process's any more.
    pub(crate) fn finish(
        &self,
        analysis: &Analysis,
        now: Moment,
        result: &Finished,
        json: &str,
        html: &str,
        seen: &Seen,
    ) -> Result<bool, StoreError> {
        let id = &analysis.id;
        let transaction = self.transaction()?;
        let mut values = values![id, now, serde_json::to_string(result)?].to_vec();
        let held = held(&transaction, analysis, &mut values);
        let sql = format!("UPDATE analyses SET status = 'done', finished = ?2, result = ?3 WHERE id = ?1 AND {held}");
        if transaction.execute(&sql, &values)? == 0 {
            return Ok(false);
        }
        transaction.execute("INSERT INTO reports (id, json, html) VALUES (?1, ?2, ?3)", values![id, json, html])?;
        let picture = |picture: &Picture| {
            let Picture { frame, face, jpeg } = picture;
            values![id, frame.cast_signed(), face.cast_signed(), jpeg.clone()].to_vec()
        };
        let pictures = seen.pictures.iter().map(picture).collect();
        transaction.execute_each("INSERT INTO pictures (id, frame, face, jpeg) VALUES (?1, ?2, ?3, ?4)", pictures)?;
        if let Some(look) = &seen.look {
            looks::insert(&transaction, id, look)?;
        }
        if transaction.dialect() == Dialect::Postgres {
            let pictures = seen.pictures.iter().map(|picture| picture.jpeg.len()).sum::<usize>();
            let bytes = (json.len() + html.len() + pictures) as u64;
            transaction.execute("UPDATE analyses SET kept_bytes = ?2 WHERE id = ?1", values![id, bytes])?;
        }
        transaction.commit()?;
        Ok(true)
    }

    /// Stores why there is no report. Returns false if the analysis was removed, or is not this process's any more.
    pub(crate) fn fail(&self, analysis: &Analysis, now: Moment, problem: &Failure) -> Result<bool, StoreError> {
        let session = self.session()?;
        let mut values = values![&analysis.id, now, serde_json::to_string(problem)?].to_vec();
        let held = held(&session, analysis, &mut values);
        let sql =
            format!("UPDATE analyses SET status = 'failed', finished = ?2, problem = ?3 WHERE id = ?1 AND {held}");
        Ok(session.execute(&sql, &values)? > 0)
    }

    pub(crate) fn report_json(&self, id: &str) -> Result<Option<String>, StoreError> {
        self.session()?.value("json", "SELECT json FROM reports WHERE id = ?1", values![id])
    }

    pub(crate) fn report_html(&self, id: &str) -> Result<Option<String>, StoreError> {
        self.session()?.value("html", "SELECT html FROM reports WHERE id = ?1", values![id])
    }

    /// Returns the frames and positions of the faces of an analysis whose pictures are stored.
    pub(crate) fn pictures(&self, id: &str) -> Result<HashSet<(u64, u64)>, StoreError> {
        let rows = self.session()?.query("SELECT frame, face FROM pictures WHERE id = ?1", values![id])?;
        rows.iter().map(|row| Ok((row.get("frame")?, row.get("face")?))).collect()
    }

    pub(crate) fn picture(&self, id: &str, frame: u64, face: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT jpeg FROM pictures WHERE id = ?1 AND frame = ?2 AND face = ?3";
        self.session()?.value("jpeg", sql, values![id, frame.cast_signed(), face.cast_signed()])
    }

    /// Removes an analysis with its report, its pictures and its webhook, and adds an entry to the audit. Returns the
    /// name of its upload, if the analysis still had one; `None` if the analysis is unknown.
    pub(crate) fn remove(&self, id: &str, entry: &Entry) -> Result<Option<Option<String>>, StoreError> {
        let transaction = self.transaction()?;
        let sql = "DELETE FROM analyses WHERE id = ?1 RETURNING upload";
        let removed = transaction.value("upload", sql, values![id])?;
        if removed.is_some() {
            record(&transaction, entry)?;
        }
        transaction.commit()?;
        Ok(removed)
    }

    /// Removes the analyses that ended before `reports`. Releases the videos of those that ended before `videos`, and
    /// the oldest videos while they have more than `bytes` together. Returns the uploads whose files may be deleted.
    pub(crate) fn expire(&self, videos: Moment, reports: Moment, bytes: u64) -> Result<Vec<String>, StoreError> {
        let transaction = self.transaction()?;
        self.one_sweep(&transaction)?;
        let mut released = uploads(
            &transaction,
            "DELETE FROM analyses WHERE status IN ('done', 'failed') AND finished < ?1 RETURNING upload",
            values![reports],
        )?;
        released.extend(uploads(
            &transaction,
            "SELECT upload FROM analyses WHERE status IN ('done', 'failed') AND upload IS NOT NULL AND finished < ?1",
            values![videos],
        )?);
        released.extend(uploads(
            &transaction,
            "SELECT upload FROM (
                 SELECT upload, CAST(sum(bytes) OVER (ORDER BY finished DESC, seq DESC) AS BIGINT) AS kept
                 FROM analyses WHERE status IN ('done', 'failed') AND upload IS NOT NULL
             ) AS videos WHERE kept > ?1",
            values![bytes],
        )?);
        for name in &released {
            transaction.execute("UPDATE analyses SET upload = NULL WHERE upload = ?1", values![name])?;
        }
        transaction.commit()?;
        Ok(released)
    }

    /// Removes the oldest ended analyses while the database holds more than `bytes`. Returns the uploads whose files
    /// may be deleted.
    pub(crate) fn trim(&self, bytes: u64) -> Result<Vec<String>, StoreError> {
        match self.session()? {
            Session::Sqlite(connection) => super::sqlite::trim(&connection, bytes),
            #[cfg(feature = "postgres")]
            session @ Session::Postgres(_) => {
                let transaction = Transaction::begin(session)?;
                self.one_sweep(&transaction)?;
                // What removed rows take is used again, so only the rest counts.
                let sql = "DELETE FROM analyses WHERE seq IN (
                               SELECT seq FROM (
                                   SELECT seq, CAST(sum(kept_bytes) OVER (ORDER BY finished DESC, seq DESC) AS BIGINT)
                                       AS kept
                                   FROM analyses WHERE status IN ('done', 'failed')
                               ) AS ended WHERE kept > ?1
                           ) RETURNING upload";
                let released = uploads(&transaction, sql, values![bytes])?;
                transaction.commit()?;
                Ok(released)
            }
        }
    }

    /// Gives some of the free pages of the database back to the disk. Returns whether there are more.
    pub(crate) fn shrink(&self) -> Result<bool, StoreError> {
        match self.session()? {
            Session::Sqlite(connection) => super::sqlite::shrink(&connection),
            // PostgreSQL does that by itself.
            #[cfg(feature = "postgres")]
            Session::Postgres(_) => Ok(false),
        }
    }

    /// Waits until no other process removes what is too old, until the end of the transaction.
    fn one_sweep(&self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        if transaction.dialect() == Dialect::Postgres {
            transaction.query("SELECT pg_advisory_xact_lock(?1)", values![super::queue::SWEEP_LOCK])?;
        }
        Ok(())
    }
}

/// Adds the row of an analysis.
pub(super) fn add(session: &Session<'_>, analysis: &Analysis) -> Result<(), StoreError> {
    let sql = "INSERT INTO analyses (id, status, created, file_name, bytes, sha256, settings, upload, owner,
                   idempotency_key, fingerprint, client, source)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    session.execute(
        sql,
        values![
            &analysis.id,
            analysis.status.name(),
            analysis.created,
            &analysis.file_name,
            analysis.bytes,
            &analysis.sha256,
            serde_json::to_string(&analysis.settings)?,
            &analysis.upload,
            &analysis.origin.owner,
            &analysis.origin.idempotency_key,
            &analysis.origin.fingerprint,
            &analysis.origin.client,
            &analysis.source,
        ],
    )?;
    let Analysis { id, process, asker, .. } = analysis;
    if process.is_some() || asker.is_some() {
        let sql = "UPDATE analyses SET process = ?2, asker = ?3 WHERE id = ?1";
        session.execute(sql, values![id, process, asker])?;
    }
    Ok(())
}

/// Reads an analysis.
pub(super) fn by_id(session: &Session<'_>, id: &str) -> Result<Option<Analysis>, StoreError> {
    let sql = format!("SELECT {} FROM analyses WHERE id = ?1", columns(session));
    session.first(&sql, values![id])?.as_ref().map(read).transpose()
}

/// Runs a statement that returns names of uploads.
fn uploads(session: &Session<'_>, sql: &str, values: &[Value]) -> Result<Vec<String>, StoreError> {
    let rows = session.query(sql, values)?;
    let names: Result<Vec<Option<String>>, _> = rows.iter().map(|row| row.get("upload")).collect();
    Ok(names?.into_iter().flatten().collect())
}

pub(super) fn read(row: &Row) -> Result<Analysis, StoreError> {
    let status: String = row.get("status")?;
    Ok(Analysis {
        seq: row.get("seq")?,
        id: row.get("id")?,
        // The fallback is never used: the table's check allows only these names.
        status: Status::ALL.into_iter().find(|known| known.name() == status).unwrap_or(Status::Failed),
        created: row.get("created")?,
        started: row.get("started")?,
        finished: row.get("finished")?,
        file_name: row.get("file_name")?,
        bytes: row.get("bytes")?,
        sha256: row.get("sha256")?,
        settings: row.json("settings")?.unwrap_or_default(),
        source: row.get("source")?,
        upload: row.get("upload")?,
        attempts: row.get("attempts")?,
        origin: Origin {
            client: row.get("client")?,
            owner: row.get("owner")?,
            idempotency_key: row.get("idempotency_key")?,
            fingerprint: row.get("fingerprint")?,
        },
        result: row.json("result")?,
        problem: row.json("problem")?,
        remarks: Remarks {
            label: row.get::<Option<String>>("label")?.as_deref().and_then(Label::of_name),
            tags: row.json("tags")?.unwrap_or_default(),
            note: row.get("note")?,
        },
        process: row.find("process")?.flatten(),
        asker: row.find("asker")?.flatten(),
        under_way: row.json("progress")?,
    })
}
