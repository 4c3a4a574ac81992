//! The table of links that show an analysis without a key.

use rusqlite::{OptionalExtension, Row, params};

use super::audit::record;
use super::{Store, StoreError};
use crate::audit::Entry;
use crate::domain::{Moment, Share};

impl Store {
    /// Adds a link, with an entry of the audit, unless the analysis has `limit` that are valid. Returns whether it was
    /// added. `token` is the SHA-256 of its secret.
    pub(crate) fn share(
        &self,
        analysis: &str,
        share: &Share,
        token: &str,
        limit: u32,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let sql = "INSERT INTO shares (id, analysis, token, key, created, expires, remarks)
                   SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
                   WHERE (SELECT count(*) FROM shares WHERE analysis = ?2 AND expires > ?5) < ?8";
        let Share { id, by, created, expires, remarks, .. } = share;
        let values = params![id, analysis, token, by, created.0, expires.0, remarks, limit];
        let added = transaction.execute(sql, values)? > 0;
        if added {
            record(&transaction, entry)?;
        }
        transaction.commit()?;
        Ok(added)
    }

    /// Returns the links to an analysis that are valid, the newest first.
    pub(crate) fn shares(&self, analysis: &str, now: Moment) -> Result<Vec<Share>, StoreError> {
        let sql = "SELECT id, key, created, expires, remarks, opened FROM shares WHERE analysis = ?1 AND expires > ?2
                   ORDER BY created DESC, id";
        let connection = self.connection();
        let mut statement = connection.prepare_cached(sql)?;
        Ok(statement.query_map(params![analysis, now.0], read)?.collect::<Result<_, _>>()?)
    }

    /// Returns the valid link with this SHA-256 of its secret, and the id of its analysis.
    pub(crate) fn shared(&self, token: &str, now: Moment) -> Result<Option<(Share, String)>, StoreError> {
        let sql = "SELECT id, key, created, expires, remarks, opened, analysis FROM shares
                   WHERE token = ?1 AND expires > ?2";
        let read = |row: &Row<'_>| Ok((read(row)?, row.get("analysis")?));
        Ok(self.connection().query_row(sql, params![token, now.0], read).optional()?)
    }

    /// Counts that a link was opened, with an entry of the audit.
    pub(crate) fn opened(&self, share: &str, entry: &Entry) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.execute("UPDATE shares SET opened = opened + 1 WHERE id = ?1", [share])?;
        record(&transaction, entry)?;
        Ok(transaction.commit()?)
    }

    /// Revokes a link to an analysis, with an entry of the audit. Returns false if there is no such link.
    pub(crate) fn unshare(&self, analysis: &str, share: &str, entry: &Entry) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let removed = transaction.execute("DELETE FROM shares WHERE id = ?1 AND analysis = ?2", [share, analysis])? > 0;
        if removed {
            record(&transaction, entry)?;
        }
        transaction.commit()?;
        Ok(removed)
    }

    /// Removes the links that have expired.
    pub(crate) fn forget_shares(&self, now: Moment) -> Result<(), StoreError> {
        self.connection().execute("DELETE FROM shares WHERE expires <= ?1", [now.0])?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Share> {
    Ok(Share {
        id: row.get("id")?,
        by: row.get("key")?,
        created: Moment(row.get("created")?),
        expires: Moment(row.get("expires")?),
        remarks: row.get("remarks")?,
        opened: row.get::<_, i64>("opened")?.cast_unsigned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::audit::{Action, Actor};

    const ANALYSIS: &str = "INSERT INTO analyses (id, status, created, file_name, bytes, sha256, settings, owner,
        fingerprint) VALUES ('a', 'done', 7, 'clip.mp4', 1, '', '{}', 'desk', '')";

    fn share(id: &str, created: i64, expires: i64) -> Share {
        let (created, expires) = (Moment(created), Moment(expires));
        Share { id: id.into(), by: "desk".into(), created, expires, remarks: false, opened: 0 }
    }

    #[test]
    fn a_link_is_valid_until_it_expires_is_revoked_or_its_analysis_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("deepsight.sqlite")).unwrap();
        store.connection().execute_batch(ANALYSIS).unwrap();
        let actor = Actor { key: "desk".into(), address: String::new(), request: String::new() };
        let entry = Entry::new(Action::Share, &actor);
        for (id, created, expires) in [("one", 10, 20), ("two", 11, 30), ("three", 12, 30)] {
            assert!(store.share("a", &share(id, created, expires), id, 3, &entry).unwrap(), "{id}");
        }
        assert!(!store.share("a", &share("four", 13, 30), "four", 3, &entry).unwrap(), "the limit");
        assert!(store.share("a", &share("five", 20, 30), "five", 3, &entry).unwrap(), "the first has expired");
        let ids = |now| store.shares("a", Moment(now)).unwrap().into_iter().map(|share| share.id).collect::<Vec<_>>();
        assert_eq!(
            (ids(19), ids(20)),
            (
                ["five", "three", "two", "one"].map(String::from).to_vec(),
                ["five", "three", "two"].map(String::from).to_vec()
            )
        );
        assert!(
            store.shared("one", Moment(19)).unwrap().is_some() && store.shared("one", Moment(20)).unwrap().is_none()
        );
        store.opened("two", &entry).unwrap();
        assert_eq!(store.shared("two", Moment(20)).unwrap().unwrap().0.opened, 1);
        assert!(!store.unshare("b", "two", &entry).unwrap() && store.unshare("a", "two", &entry).unwrap());
        assert!(store.shared("two", Moment(20)).unwrap().is_none());
        store.forget_shares(Moment(20)).unwrap();
        assert_eq!(ids(0), ["five", "three"]);
        store.remove("a", &entry).unwrap();
        assert!(store.shared("three", Moment(20)).unwrap().is_none());
    }
}
