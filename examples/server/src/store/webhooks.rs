//! The table of webhooks.

use rusqlite::params;

use super::{Store, StoreError};
use crate::domain::Moment;

/// A webhook to send.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The id of the webhook. It is the same in each attempt.
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) body: String,
    /// Number of earlier attempts.
    pub(crate) attempts: u32,
    pub(crate) due: Moment,
}

impl Store {
    /// Makes the webhook of an analysis ready to be sent. Returns false if there is none or it was ready already.
    pub(crate) fn announce(&self, analysis: &str, body: &str, now: Moment) -> Result<bool, StoreError> {
        let sql = "UPDATE webhooks SET body = ?2, due = ?3 WHERE analysis = ?1 AND body IS NULL";
        Ok(self.connection().execute(sql, params![analysis, body, now.0])? > 0)
    }

    /// Returns at most `limit` webhooks to send, those that are due first before the others.
    pub(crate) fn deliveries(&self, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        let sql = "SELECT id, url, body, attempts, due FROM webhooks WHERE due IS NOT NULL ORDER BY due LIMIT ?1";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Delivery {
                id: row.get(0)?,
                url: row.get(1)?,
                body: row.get(2)?,
                attempts: row.get(3)?,
                due: Moment(row.get(4)?),
            })
        };
        let connection = self.connection();
        let mut statement = connection.prepare_cached(sql)?;
        Ok(statement.query_map([limit], read)?.collect::<Result<_, _>>()?)
    }

    /// Returns the analyses that have ended but whose webhook is not ready, because the server stopped in between.
    pub(crate) fn unannounced(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT analysis FROM webhooks JOIN analyses ON analyses.id = analysis
                   WHERE body IS NULL AND status IN ('done', 'failed')";
        let connection = self.connection();
        let mut statement = connection.prepare(sql)?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// Returns the number of webhooks that are still to be sent.
    pub(crate) fn pending_webhooks(&self) -> Result<i64, StoreError> {
        let sql = "SELECT count(*) FROM webhooks WHERE due IS NOT NULL";
        Ok(self.connection().query_row(sql, [], |row| row.get(0))?)
    }

    /// Counts an attempt to send a webhook, and stores when to send it again; `None` for never.
    pub(crate) fn delivered(&self, id: &str, again: Option<Moment>) -> Result<(), StoreError> {
        let sql = "UPDATE webhooks SET attempts = attempts + 1, due = ?2 WHERE id = ?1";
        self.connection().execute(sql, params![id, again.map(|moment| moment.0)])?;
        Ok(())
    }
}
