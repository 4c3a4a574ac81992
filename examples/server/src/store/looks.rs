//! What the videos of analyses look like.

use std::collections::HashSet;

use super::analyses::by_id;
use super::session::{Session, values};
use super::{Store, StoreError};
use crate::domain::Analysis;
use crate::look::Look;

/// Number of analyses, the newest, whose videos are compared.
const COMPARED: u32 = 20_000;

/// Adds the look of an analysis's video.
pub(super) fn insert(session: &Session<'_>, id: &str, look: &Look) -> Result<(), StoreError> {
    let sql = "INSERT INTO looks (analysis, hashes) VALUES (?1, ?2)";
    session.execute(sql, values![id, look.to_bytes()])?;
    Ok(())
}

impl Store {
    /// Returns finished analyses of other files that look like the one of `analysis`, of `owner` or of everybody, with
    /// the share of frames that look alike: the most alike first, at most `limit`, one of each file.
    pub(crate) fn similar(
        &self,
        owner: Option<&str>,
        analysis: &Analysis,
        limit: usize,
    ) -> Result<Vec<(Analysis, f32)>, StoreError> {
        let (look, others) = self.looks(owner, analysis)?;
        let Some(look) = look else { return Ok(Vec::new()) };
        // The comparison takes some tenths of a second in the worst case, so the database is free meanwhile.
        let (mut alike, mut files) = (Vec::new(), HashSet::new());
        for (id, sha256, other) in others {
            if let Some(share) = look.likeness(&other)
                && files.insert(sha256)
            {
                alike.push((id, share));
            }
        }
        alike.sort_by(|a, b| b.1.total_cmp(&a.1));
        let session = self.session()?;
        let mut found = Vec::new();
        for (id, share) in alike.into_iter().take(limit) {
            // An analysis may have been removed meanwhile.
            found.extend(by_id(&session, &id)?.map(|analysis| (analysis, share)));
        }
        Ok(found)
    }

    /// Returns the look of an analysis, and those of other files with their id and SHA-256, the newest first.
    #[allow(clippy::type_complexity, reason = "rows of a table")]
    fn looks(
        &self,
        owner: Option<&str>,
        analysis: &Analysis,
    ) -> Result<(Option<Look>, Vec<(String, String, Look)>), StoreError> {
        let session = self.session()?;
        let sql = "SELECT hashes FROM looks WHERE analysis = ?1";
        let look: Option<Vec<u8>> = session.value("hashes", sql, values![&analysis.id])?;
        let Some(look) = look else { return Ok((None, Vec::new())) };
        let sql = "SELECT id, sha256, hashes FROM analyses JOIN looks ON analysis = id
                   WHERE status = 'done' AND sha256 <> ?1 AND (CAST(?2 AS TEXT) IS NULL OR owner = ?2)
                   ORDER BY seq DESC LIMIT ?3";
        let rows = session.query(sql, values![&analysis.sha256, owner, COMPARED])?;
        let other = |row: &super::session::Row| {
            Ok((row.get("id")?, row.get("sha256")?, Look::from_bytes(&row.get::<Vec<u8>>("hashes")?)))
        };
        let others: Result<_, StoreError> = rows.iter().map(other).collect();
        Ok((Some(Look::from_bytes(&look)), others?))
    }
}
