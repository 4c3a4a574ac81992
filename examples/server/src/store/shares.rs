//! The table of links that show an analysis without a key.

use super::audit::record;
use super::session::{Row, values};
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
        let transaction = self.transaction()?;
        let boolean = transaction.dialect().choose("INTEGER", "BOOLEAN");
        let sql = format!(
            "INSERT INTO shares (id, analysis, token, key, created, expires, remarks)
                   SELECT CAST(?1 AS TEXT), CAST(?2 AS TEXT), CAST(?3 AS TEXT), CAST(?4 AS TEXT), CAST(?5 AS BIGINT),
                       CAST(?6 AS BIGINT), CAST(?7 AS {boolean})
                   WHERE (SELECT count(*) FROM shares WHERE analysis = ?2 AND expires > ?5) < ?8"
        );
        let Share { id, by, created, expires, remarks, .. } = share;
        let values = values![id, analysis, token, by, *created, *expires, *remarks, limit];
        let added = transaction.execute(&sql, values)? > 0;
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
        self.session()?.query(sql, values![analysis, now])?.iter().map(read).collect()
    }

    /// Returns the valid link with this SHA-256 of its secret, and the id of its analysis.
    pub(crate) fn shared(&self, token: &str, now: Moment) -> Result<Option<(Share, String)>, StoreError> {
        let sql = "SELECT id, key, created, expires, remarks, opened, analysis FROM shares
                   WHERE token = ?1 AND expires > ?2";
        let read = |row: &Row| Ok((read(row)?, row.get("analysis")?));
        self.session()?.first(sql, values![token, now])?.as_ref().map(read).transpose()
    }

    /// Counts that a link was opened, with an entry of the audit.
    pub(crate) fn opened(&self, share: &str, entry: &Entry) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        transaction.execute("UPDATE shares SET opened = opened + 1 WHERE id = ?1", values![share])?;
        record(&transaction, entry)?;
        transaction.commit()
    }

    /// Revokes a link to an analysis, with an entry of the audit. Returns false if there is no such link.
    pub(crate) fn unshare(&self, analysis: &str, share: &str, entry: &Entry) -> Result<bool, StoreError> {
        let transaction = self.transaction()?;
        let sql = "DELETE FROM shares WHERE id = ?1 AND analysis = ?2";
        let removed = transaction.execute(sql, values![share, analysis])? > 0;
        if removed {
            record(&transaction, entry)?;
        }
        transaction.commit()?;
        Ok(removed)
    }

    /// Removes the links that have expired.
    pub(crate) fn forget_shares(&self, now: Moment) -> Result<(), StoreError> {
        self.session()?.execute("DELETE FROM shares WHERE expires <= ?1", values![now])?;
        Ok(())
    }
}

fn read(row: &Row) -> Result<Share, StoreError> {
    Ok(Share {
        id: row.get("id")?,
        by: row.get("key")?,
        created: row.get("created")?,
        expires: row.get("expires")?,
        remarks: row.get("remarks")?,
        opened: row.get("opened")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::audit::Action;
    use crate::store::tests::{analysis, entry, over_each};

    fn share(id: &str, created: i64, expires: i64) -> Share {
        let (created, expires) = (Moment(created), Moment(expires));
        Share { id: id.into(), by: "desk".into(), created, expires, remarks: false, opened: 0 }
    }

    #[test]
    fn a_link_is_valid_until_it_expires_is_revoked_or_its_analysis_is_removed() {
        over_each(|store| {
            let entry = entry(Action::Share);
            store.add_upload("a", Moment(1)).unwrap();
            store.insert(&analysis("a", "desk"), None, &entry).unwrap();
            for (id, created, expires) in [("one", 10, 20), ("two", 11, 30), ("three", 12, 30)] {
                assert!(store.share("a", &share(id, created, expires), id, 3, &entry).unwrap(), "{id}");
            }
            assert!(!store.share("a", &share("four", 13, 30), "four", 3, &entry).unwrap(), "the limit");
            assert!(store.share("a", &share("five", 20, 30), "five", 3, &entry).unwrap(), "the first has expired");
            let ids =
                |now| store.shares("a", Moment(now)).unwrap().into_iter().map(|share| share.id).collect::<Vec<_>>();
            assert_eq!(ids(19), ["five", "three", "two", "one"]);
            assert_eq!(ids(20), ["five", "three", "two"]);
            let valid = |id, now| store.shared(id, Moment(now)).unwrap();
            assert!(valid("one", 19).is_some() && valid("one", 20).is_none());
            store.opened("two", &entry).unwrap();
            assert_eq!(valid("two", 20).unwrap().0.opened, 1);
            assert!(!store.unshare("b", "two", &entry).unwrap() && store.unshare("a", "two", &entry).unwrap());
            assert!(valid("two", 20).is_none());
            store.forget_shares(Moment(20)).unwrap();
            assert_eq!(ids(0), ["five", "three"]);
            store.remove("a", &entry).unwrap();
            assert!(valid("three", 20).is_none());
        });
    }
}
