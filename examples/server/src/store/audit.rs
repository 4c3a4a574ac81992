//! The table of the audit. Triggers of the database refuse to change or delete its rows.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};
use serde::Serialize;

use super::{Store, StoreError, VERSION};
use crate::audit::Entry;
use crate::domain::Moment;

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
        record(&self.connection(), entry)
    }
}

/// Adds an entry to the audit, in the transaction of the action that it records.
pub(super) fn record(connection: &Connection, entry: &Entry) -> Result<(), StoreError> {
    let Entry { time, action, actor, analysis, owner, sha256, change } = entry;
    connection.execute(
        "INSERT INTO audit (time, action, key, address, request, analysis, owner, sha256, change)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![time.0, action, actor.key, actor.address, actor.request, analysis, owner, sha256, change],
    )?;
    Ok(())
}

/// Passes every row of the audit in the database at `path` to `each`, the oldest first, until it returns false. A
/// server may use the database meanwhile.
///
/// # Errors
/// Returns an error if the database is missing, cannot be read or has another layout.
pub(crate) fn export(path: &Path, mut each: impl FnMut(&Row) -> bool) -> Result<(), StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    // The second layout has the same audit as the later ones, without changes.
    let change = match found {
        2 => "NULL",
        3..=VERSION => "change",
        _ => return Err(StoreError::Version { path: path.to_owned(), found }),
    };
    let sql = format!(
        "SELECT seq, time, action, key, address, request, analysis, owner, sha256, {change} FROM audit ORDER BY seq"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let row = Row {
            seq: row.get(0)?,
            time: Moment(row.get(1)?),
            action: row.get(2)?,
            key: row.get(3)?,
            address: row.get(4)?,
            request: row.get(5)?,
            analysis: row.get(6)?,
            owner: row.get(7)?,
            sha256: row.get(8)?,
            change: row.get::<_, Option<String>>(9)?.map(|text| serde_json::from_str(&text)).transpose()?,
        };
        if !each(&row) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::audit::{Action, Actor};

    #[test]
    fn rows_are_exported_in_order_and_can_be_neither_changed_nor_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deepsight.sqlite");
        let store = Store::open(&path).unwrap();
        let actor = Actor { key: "desk".into(), address: "192.0.2.1".into(), request: "r1".into() };
        store.record(&Entry::new(Action::Submit, &actor).about("a", "desk", "00ff")).unwrap();
        store.record(&Entry::new(Action::SignOut, &actor)).unwrap();
        for sql in ["UPDATE audit SET key = 'other'", "DELETE FROM audit"] {
            let error = store.connection().execute(sql, []).unwrap_err().to_string();
            assert!(error.contains("only grows"), "{sql}: {error}");
        }
        let mut lines = Vec::new();
        export(&path, |row| {
            lines.push(serde_json::to_value(row).unwrap());
            true
        })
        .unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["action"], &lines[0]["analysis"]), (&"submit".into(), &"a".into()));
        assert_eq!((&lines[1]["action"], &lines[1]["key"]), (&"sign-out".into(), &"desk".into()));
        assert!(lines[1].get("analysis").is_none());
        assert!(matches!(export(&folder.path().join("missing"), |_| true), Err(StoreError::Open { .. })));
    }
}
