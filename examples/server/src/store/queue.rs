//! The queue as a table of PostgreSQL, for processes that share it. A process that takes an analysis holds it as long
//! as its row in the table of processes is renewed. When that row is deleted, whatever the process held is free.

use std::collections::HashSet;
use std::time::Duration;

use super::analyses::{add, columns, read};
use super::session::{Transaction, Value, values};
use super::{Backend, Store, StoreError};
use crate::domain::{Analysis, Failure, Moment, Status, UnderWay};
use crate::random::id;

/// Advisory lock: held while analyses are expired.
pub(super) const SWEEP_LOCK: i64 = 0x6465_6570_0002;
/// Advisory lock: held while an analysis is taken from the queue or a place in it is reserved. Without it, two
/// processes could take two analyses of one client in its one turn, or reserve the last place twice.
const QUEUE_LOCK: i64 = 0x6465_6570_0003;

/// The outcome of a reservation in the queue.
#[derive(Debug)]
pub(crate) enum Reserved {
    Place,
    Full(Crowd),
    /// The client is at its limit.
    TooMany(Crowd),
}

/// The analyses that wait, and the workers of all processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    /// Includes uploads under way.
    pub(crate) waiting: u64,
    pub(crate) workers: u64,
}

/// An analysis that another process may run, as the clients see it that follow it.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) status: Status,
    pub(crate) under_way: UnderWay,
    /// Lists of scored faces as JSON, in order, each with the number of faces before it.
    pub(crate) faces: Vec<(u64, String)>,
}

impl Store {
    /// Returns the id under which this process shares the queue; `None` with SQLite.
    pub(crate) fn process(&self) -> Option<String> {
        match &*self.0 {
            Backend::Sqlite(_) => None,
            #[cfg(feature = "postgres")]
            Backend::Postgres(pool) => pool.process.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
        }
    }

    /// Adds this process to those that share the queue, under a new id. It counts as gone if it does not
    /// [renew](Self::renew) that within `lease`.
    pub(crate) fn join(&self, role: &str, workers: u32, lease: Duration) -> Result<(), StoreError> {
        let process = id();
        let sql = "INSERT INTO processes (id, role, workers, alive_until)
                   VALUES (?1, ?2, ?3, deepsight_now() + ?4)";
        self.session()?.execute(sql, values![&process, role, workers, milliseconds(lease)])?;
        match &*self.0 {
            Backend::Sqlite(_) => {}
            #[cfg(feature = "postgres")]
            Backend::Postgres(pool) => {
                *pool.process.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(process);
            }
        }
        Ok(())
    }

    /// Says that this process is alive. Returns false if the others took it for gone, and all that it held.
    pub(crate) fn renew(&self, lease: Duration) -> Result<bool, StoreError> {
        let sql = "UPDATE processes SET alive_until = deepsight_now() + ?2 WHERE id = ?1";
        Ok(self.session()?.execute(sql, values![self.process(), milliseconds(lease)])? > 0)
    }

    /// Removes this process, and frees all that it holds.
    pub(crate) fn leave(&self) -> Result<(), StoreError> {
        self.session()?.execute("DELETE FROM processes WHERE id = ?1", values![self.process()])?;
        Ok(())
    }

    /// Removes the processes that have not renewed their leases, and frees all that they held. Returns their number.
    pub(crate) fn bury(&self) -> Result<u64, StoreError> {
        let sql = "DELETE FROM processes WHERE id IN (
                       SELECT id FROM processes WHERE alive_until < deepsight_now() FOR UPDATE SKIP LOCKED
                   )";
        self.session()?.execute(sql, &[])
    }

    /// Takes an analysis that a process ran, or whose video it downloaded, when it ended.
    pub(crate) fn take_orphan(&self) -> Result<Option<Analysis>, StoreError> {
        let session = self.session()?;
        let sql = format!(
            "UPDATE analyses SET process = ?1 WHERE id = (
                 SELECT id FROM analyses
                 WHERE process IS NULL AND (status = 'running' OR (status = 'queued' AND upload IS NULL))
                 ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED
             ) RETURNING {}",
            columns(&session)
        );
        session.first(&sql, values![self.process()])?.as_ref().map(read).transpose()
    }

    /// Puts an analysis that this process took back into the queue. The attempt counts.
    pub(crate) fn queue_again(&self, analysis: &Analysis) -> Result<(), StoreError> {
        let sql = "UPDATE analyses SET status = 'queued', started = NULL WHERE id = ?1 AND process = ?2";
        self.session()?.execute(sql, values![&analysis.id, &analysis.process])?;
        Ok(())
    }

    /// Gives up an analysis that this process holds without running it.
    pub(crate) fn abandon(&self, id: &str) -> Result<(), StoreError> {
        let sql = "UPDATE analyses SET process = NULL WHERE id = ?1 AND process = ?2";
        self.session()?.execute(sql, values![id, self.process()])?;
        Ok(())
    }

    /// Takes the next analysis of the client whose turn it is, marks it as running and counts the attempt.
    pub(crate) fn take_next(&self, now: Moment) -> Result<Option<Analysis>, StoreError> {
        let transaction = self.queue_transaction()?;
        let sql = format!(
            "UPDATE analyses SET status = 'running', started = ?2, attempts = attempts + 1, process = ?1
             WHERE id = (
                 SELECT analyses.id FROM analyses LEFT JOIN turns USING (client)
                 WHERE status = 'queued' AND upload IS NOT NULL
                 ORDER BY turn NULLS FIRST, seq LIMIT 1 FOR UPDATE OF analyses SKIP LOCKED
             ) RETURNING {}",
            columns(&transaction)
        );
        let next = transaction.first(&sql, values![self.process(), now])?.as_ref().map(read).transpose()?;
        if let Some(analysis) = &next {
            transaction.execute(
                "INSERT INTO turns (client, turn) VALUES (?1, 2 * nextval('claims') + 1)
                 ON CONFLICT (client) DO UPDATE SET turn = excluded.turn",
                values![&analysis.origin.client],
            )?;
            // A client without waiting analyses gets a new turn with its next one, unless it had the last turn.
            transaction.execute(
                "DELETE FROM turns WHERE client <> ?1 AND NOT EXISTS (
                     SELECT 1 FROM analyses
                     WHERE analyses.client = turns.client AND status = 'queued' AND upload IS NOT NULL
                 )",
                values![&analysis.origin.client],
            )?;
        }
        transaction.commit()?;
        Ok(next)
    }

    /// Returns the analyses that this process runs, or whose videos it downloads.
    pub(crate) fn held(&self) -> Result<HashSet<String>, StoreError> {
        let rows = self.session()?.query("SELECT id FROM analyses WHERE process = ?1", values![self.process()])?;
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// Stores how far an analysis of this process is, and the faces that were scored after the first `seen` ones, as
    /// JSON.
    pub(crate) fn save_progress(
        &self,
        id: &str,
        under_way: &UnderWay,
        seen: usize,
        faces: Option<&str>,
    ) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        let sql = "UPDATE analyses SET progress = ?2 WHERE id = ?1 AND process = ?3";
        if transaction.execute(sql, values![id, serde_json::to_string(under_way)?, self.process()])? == 0 {
            return Ok(());
        }
        if let Some(faces) = faces {
            let sql = "INSERT INTO scores (analysis, first, faces) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            transaction.execute(sql, values![id, seen as u64, faces])?;
        }
        transaction.query("SELECT pg_notify('deepsight', 'analysis ' || CAST(?1 AS TEXT))", values![id])?;
        transaction.commit()
    }

    /// Returns an analysis as those see it that follow it, with the faces after the first `seen` ones; `None` if it was
    /// removed.
    pub(crate) fn follow(&self, id: &str, seen: usize) -> Result<Option<Followed>, StoreError> {
        let session = self.session()?;
        let Some(row) = session.first("SELECT status, progress FROM analyses WHERE id = ?1", values![id])? else {
            return Ok(None);
        };
        let status: String = row.get("status")?;
        let status = Status::ALL.into_iter().find(|known| known.name() == status).unwrap_or(Status::Failed);
        let under_way = row.json("progress")?.unwrap_or_default();
        let sql = "SELECT first, faces FROM scores WHERE analysis = ?1 AND first >= ?2 ORDER BY first";
        let rows = session.query(sql, values![id, seen as u64])?;
        let faces: Result<_, StoreError> = rows.iter().map(|row| Ok((row.get("first")?, row.get("faces")?))).collect();
        Ok(Some(Followed { status, under_way, faces: faces? }))
    }

    /// Returns the waiting analyses and their clients. The client whose turn is next comes first, and each client's
    /// analyses are in order.
    pub(crate) fn waiting(&self) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT id, client FROM analyses LEFT JOIN turns USING (client)
                   WHERE status = 'queued' AND upload IS NOT NULL ORDER BY turn NULLS FIRST, seq";
        let rows = self.session()?.query(sql, &[])?;
        rows.iter().map(|row| Ok((row.get("id")?, row.get("client")?))).collect()
    }

    /// Counts the analyses that wait, and the workers.
    pub(crate) fn crowd(&self) -> Result<Crowd, StoreError> {
        let session = self.session()?;
        let sql = "SELECT (SELECT count(*) FROM analyses WHERE status = 'queued')
                       + (SELECT count(*) FROM admissions) AS waiting,
                       (SELECT CAST(coalesce(sum(workers), 0) AS BIGINT) FROM processes) AS workers";
        let row = session.first(sql, &[])?.ok_or(StoreError::Column("waiting"))?;
        Ok(Crowd { waiting: row.get("waiting")?, workers: row.get("workers")? })
    }

    /// Reserves a place in the queue, unless it has `most` or the client has `most_of_client` waiting or running.
    pub(crate) fn reserve(
        &self,
        place: &str,
        client: &str,
        most: u32,
        most_of_client: u32,
    ) -> Result<Reserved, StoreError> {
        let crowd = self.crowd()?;
        let transaction = self.queue_transaction()?;
        let sql = "SELECT (SELECT count(*) FROM analyses WHERE status IN ('queued', 'running') AND client = ?1)
                       + (SELECT count(*) FROM admissions WHERE client = ?1) AS own,
                       (SELECT count(*) FROM analyses WHERE status = 'queued')
                       + (SELECT count(*) FROM admissions) AS all_waiting";
        let row = transaction.first(sql, values![client])?.ok_or(StoreError::Column("own"))?;
        if row.get::<u64>("own")? >= u64::from(most_of_client) {
            return Ok(Reserved::TooMany(crowd));
        }
        if row.get::<u64>("all_waiting")? >= u64::from(most) {
            return Ok(Reserved::Full(crowd));
        }
        let sql = "INSERT INTO admissions (id, client, process) VALUES (?1, ?2, ?3)";
        transaction.execute(sql, values![place, client, self.process()])?;
        transaction.commit()?;
        Ok(Reserved::Place)
    }

    /// Frees a reserved place.
    pub(crate) fn free(&self, place: &str) -> Result<(), StoreError> {
        self.session()?.execute("DELETE FROM admissions WHERE id = ?1", values![place])?;
        Ok(())
    }

    /// Adds a prediction to the queue. It ends with this process.
    pub(crate) fn ask(&self, analysis: &Analysis) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        self.check_upload(&transaction, analysis)?;
        add(&transaction, analysis)?;
        transaction.commit()
    }

    /// Removes a prediction, and stores its result for the process that waits for it. Does nothing if the prediction
    /// was withdrawn or is not this process's any more. Calls `delete_video` before the result can be read.
    pub(crate) fn answer(
        &self,
        analysis: &Analysis,
        result: Result<&str, &Failure>,
        delete_video: impl FnOnce(),
    ) -> Result<(), StoreError> {
        let (report, problem) = match result {
            Ok(report) => (Some(report), None),
            Err(problem) => (None, Some(serde_json::to_string(problem)?)),
        };
        let transaction = self.transaction()?;
        let sql = "DELETE FROM analyses WHERE id = ?1 AND process = ?2";
        if transaction.execute(sql, values![&analysis.id, &analysis.process])? > 0 {
            let sql = "INSERT INTO answers (id, asker, report, problem) VALUES (?1, ?2, ?3, ?4)";
            transaction.execute(sql, values![&analysis.id, &analysis.asker, report, problem])?;
            delete_video();
        }
        transaction.commit()
    }

    /// Removes the result of a prediction, and returns it: its report as JSON, or the problem. Returns `None` while
    /// there is none.
    pub(crate) fn take_answer(&self, id: &str) -> Result<Option<Result<String, Failure>>, StoreError> {
        let sql = "DELETE FROM answers WHERE id = ?1 RETURNING report, problem";
        let Some(row) = self.session()?.first(sql, values![id])? else { return Ok(None) };
        let problem: Option<Failure> = row.json("problem")?;
        Ok(Some(match problem {
            Some(problem) => Err(problem),
            None => Ok(row.get("report")?),
        }))
    }

    /// Removes a prediction and its result. Returns the name of its upload, if it had not ended.
    pub(crate) fn withdraw(&self, id: &str) -> Result<Option<String>, StoreError> {
        let transaction = self.transaction()?;
        let sql = "DELETE FROM analyses WHERE id = ?1 AND asker IS NOT NULL RETURNING upload";
        let upload: Option<Option<String>> = transaction.value("upload", sql, values![id])?;
        transaction.execute("DELETE FROM answers WHERE id = ?1", values![id])?;
        transaction.commit()?;
        Ok(upload.flatten())
    }

    /// Claims an upload that arrives in parts, so that one process at a time changes it. Returns false if another one
    /// has it. Without a row, there is nothing to claim.
    pub(crate) fn claim_partial_upload(&self, name: &str) -> Result<bool, StoreError> {
        let Some(process) = self.process() else { return Ok(true) };
        let session = self.session()?;
        let sql = "UPDATE partial_uploads SET process = ?2 WHERE name = ?1 AND (process IS NULL OR process = ?2)";
        let is_claimed = session.execute(sql, values![name, process])? > 0;
        let exists = "SELECT 1 AS one FROM partial_uploads WHERE name = ?1";
        Ok(is_claimed || session.first(exists, values![name])?.is_none())
    }

    /// Ends a claim.
    pub(crate) fn free_partial_upload(&self, name: &str) -> Result<(), StoreError> {
        let sql = "UPDATE partial_uploads SET process = NULL WHERE name = ?1 AND process = ?2";
        self.session()?.execute(sql, values![name, self.process()])?;
        Ok(())
    }

    /// Binds the database to a data folder. Returns the name of the folder that it is bound to: `folder`, unless it was
    /// bound before.
    pub(crate) fn bind(&self, folder: &str) -> Result<String, StoreError> {
        let session = self.session()?;
        session.execute("UPDATE deepsight SET folder = ?1 WHERE folder IS NULL", values![folder])?;
        let bound = session.value("folder", "SELECT folder FROM deepsight", &[])?;
        bound.ok_or(StoreError::Column("folder"))
    }

    /// Checks that the database answers.
    pub(crate) fn ping(&self) -> Result<(), StoreError> {
        self.session()?.query("SELECT 1 AS one", &[]).map(drop)
    }

    /// Calls `heard` with the text of each notification of the other processes, and with an empty text whenever some
    /// may have been missed.
    pub(crate) fn listen(&self, heard: impl Fn(&str) + Send + Sync + 'static) {
        match &*self.0 {
            Backend::Sqlite(_) => drop(heard),
            #[cfg(feature = "postgres")]
            Backend::Postgres(pool) => pool.listen(heard),
        }
    }

    fn queue_transaction(&self) -> Result<Transaction<'_>, StoreError> {
        let transaction = self.transaction()?;
        transaction.query("SELECT pg_advisory_xact_lock(?1)", values![QUEUE_LOCK])?;
        Ok(transaction)
    }
}

fn milliseconds(span: Duration) -> Value {
    Value::from(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
