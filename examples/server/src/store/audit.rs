//! The table of the audit. Triggers of the database refuse to change or delete its rows.

use serde::Serialize;

use super::session::{Session, values};
use super::{Store, StoreError};
use crate::audit::Entry;
use crate::domain::Moment;

/// Rows that an export reads at a time.
const EXPORTED: u32 = 1000;

/// A row of the audit, as it is exported.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    seq: i64,
    time: Moment,
    action: String,
    key: String,
    address: String,
    request: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    analysis: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<serde_json::Value>,
}

impl Store {
    /// Adds an entry to the audit.
    pub(crate) fn record(&self, entry: &Entry) -> Result<(), StoreError> {
        record(&self.session()?, entry)
    }

    /// Passes every row of the audit to `each`, the oldest first, until it returns false. A server may use the database
    /// meanwhile.
    pub(crate) fn export_audit(&self, mut each: impl FnMut(&Row) -> bool) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let rows = self.audit_after(after)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.seq;
            if !rows.iter().all(&mut each) {
                return Ok(());
            }
        }
    }

    fn audit_after(&self, seq: i64) -> Result<Vec<Row>, StoreError> {
        let sql = "SELECT * FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let rows = self.session()?.query(sql, values![seq, EXPORTED])?;
        let row = |row: &super::session::Row| {
            Ok(Row {
                seq: row.get("seq")?,
                time: row.get("time")?,
                action: row.get("action")?,
                key: row.get("key")?,
                address: row.get("address")?,
                request: row.get("request")?,
                analysis: row.get("analysis")?,
                owner: row.get("owner")?,
                sha256: row.get("sha256")?,
                // The second layout of SQLite has none.
                change: row.json("change")?,
            })
        };
        rows.iter().map(row).collect()
    }
}

/// Adds an entry to the audit, in the transaction of the action that it records.
pub(super) fn record(session: &Session<'_>, entry: &Entry) -> Result<(), StoreError> {
    let Entry { time, action, actor, analysis, owner, sha256, change } = entry;
    session.execute(
        "INSERT INTO audit (time, action, key, address, request, analysis, owner, sha256, change)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        values![*time, *action, &actor.key, &actor.address, &actor.request, analysis, owner, sha256, change],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::audit::{Action, Entry};
    use crate::store::tests::{entry, over_each};

    fn lines(store: &Store) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        let line = |row: &Row| {
            lines.push(serde_json::to_value(row).unwrap());
            true
        };
        store.export_audit(line).unwrap();
        lines
    }

    #[test]
    fn rows_are_exported_in_order_and_can_be_neither_changed_nor_deleted() {
        over_each(|store| {
            store.record(&entry(Action::Submit).about("a", "desk", "00ff")).unwrap();
            store.record(&entry(Action::SignOut)).unwrap();
            let truncate = store.session().unwrap().dialect().choose("DELETE FROM audit", "TRUNCATE audit");
            for sql in ["UPDATE audit SET key = 'other'", "DELETE FROM audit", truncate] {
                let error = store.session().unwrap().batch(sql).unwrap_err();
                let error = deepsight_core::with_causes(&error);
                assert!(error.contains("only grows"), "{sql}: {error}");
            }
            let lines = lines(store);
            assert_eq!(lines.len(), 2);
            assert_eq!((&lines[0]["action"], &lines[0]["analysis"]), (&"submit".into(), &"a".into()));
            assert_eq!((&lines[1]["action"], &lines[1]["key"]), (&"sign-out".into(), &"desk".into()));
            assert!(lines[1].get("analysis").is_none());
        });
    }

    #[test]
    fn an_export_of_many_rows_stops_when_its_reader_does() {
        over_each(|store| {
            let transaction = store.transaction().unwrap();
            for _ in 0..2100 {
                record(&transaction, &Entry { analysis: Some("a".into()), ..entry(Action::Download) }).unwrap();
            }
            transaction.commit().unwrap();
            assert_eq!(lines(store).len(), 2100);
            let mut read = 0;
            let first = |_: &Row| {
                read += 1;
                read < 10
            };
            store.export_audit(first).unwrap();
            assert_eq!(read, 10);
        });
    }

    #[test]
    fn the_audit_of_a_missing_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Store::open_audit(&folder.path().join("missing"));
        assert!(matches!(missing.map(drop), Err(StoreError::Open { .. })));
    }
}
