//! The table of webhooks.

use super::session::{Dialect, values};
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
        Ok(self.session()?.execute(sql, values![analysis, body, now])? > 0)
    }

    /// Returns at most `limit` webhooks to send, those that are due first before the others.
    pub(crate) fn deliveries(&self, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        let session = self.session()?;
        // A claim of this process that is not among its deliveries is one whose outcome could not be stored.
        let (free, values) = match session.dialect() {
            Dialect::Sqlite => ("TRUE", values![limit].to_vec()),
            Dialect::Postgres => ("(process IS NULL OR process = ?2)", values![limit, self.process()].to_vec()),
        };
        let sql = format!(
            "SELECT id, url, body, attempts, due FROM webhooks WHERE due IS NOT NULL AND {free} ORDER BY due LIMIT ?1"
        );
        let read = |row: &super::session::Row| {
            Ok(Delivery {
                id: row.get("id")?,
                url: row.get("url")?,
                body: row.get("body")?,
                attempts: row.get("attempts")?,
                due: row.get("due")?,
            })
        };
        session.query(&sql, &values)?.iter().map(read).collect()
    }

    /// Claims a webhook among the processes that share the database. Returns false if another one has it or has sent
    /// it. The claim ends with [`delivered`](Self::delivered), or with this process.
    pub(crate) fn claim_delivery(&self, delivery: &Delivery) -> Result<bool, StoreError> {
        let session = self.session()?;
        if session.dialect() == Dialect::Sqlite {
            return Ok(true);
        }
        let sql = "UPDATE webhooks SET process = ?2
                   WHERE id = ?1 AND (process IS NULL OR process = ?2) AND due = ?3 AND attempts = ?4";
        let values = values![&delivery.id, self.process(), delivery.due, delivery.attempts];
        Ok(session.execute(sql, values)? > 0)
    }

    /// Returns the analyses that have ended but whose webhook is not ready, because the server stopped in between.
    pub(crate) fn unannounced(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT analysis FROM webhooks JOIN analyses ON analyses.id = analysis
                   WHERE body IS NULL AND status IN ('done', 'failed')";
        self.session()?.query(sql, &[])?.iter().map(|row| row.get("analysis")).collect()
    }

    /// Returns the number of webhooks that are still to be sent.
    pub(crate) fn pending_webhooks(&self) -> Result<i64, StoreError> {
        let sql = "SELECT count(*) AS pending FROM webhooks WHERE due IS NOT NULL";
        Ok(self.session()?.value("pending", sql, &[])?.unwrap_or(0))
    }

    /// Counts an attempt to send a webhook, and stores when to send it again; `None` for never.
    pub(crate) fn delivered(&self, id: &str, again: Option<Moment>) -> Result<(), StoreError> {
        let session = self.session()?;
        let sql = session.dialect().choose(
            "UPDATE webhooks SET attempts = attempts + 1, due = ?2 WHERE id = ?1",
            "UPDATE webhooks SET attempts = attempts + 1, due = ?2, process = NULL WHERE id = ?1",
        );
        session.execute(sql, values![id, again])?;
        Ok(())
    }
}
