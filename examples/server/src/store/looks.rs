//! What the videos of analyses look like.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, Transaction, params};

use super::analyses::{COLUMNS, read};
use super::{Store, StoreError};
use crate::domain::Analysis;
use crate::look::Look;

/// Number of analyses, the newest, whose videos are compared.
const COMPARED: u32 = 20_000;

/// Adds the look of an analysis's video.
pub(super) fn insert(transaction: &Transaction<'_>, id: &str, look: &Look) -> Result<(), StoreError> {
    let sql = "INSERT INTO looks (analysis, hashes) VALUES (?1, ?2)";
    transaction.execute(sql, params![id, look.to_bytes()])?;
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
        let connection = self.connection();
        let sql = format!("SELECT {COLUMNS} FROM analyses WHERE id = ?1");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut found = Vec::new();
        for (id, share) in alike.into_iter().take(limit) {
            // An analysis may have been removed meanwhile.
            found.extend(statement.query_row([id], read).optional()?.map(|analysis| (analysis, share)));
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
        let connection = self.connection();
        let sql = "SELECT hashes FROM looks WHERE analysis = ?1";
        let look = connection.query_row(sql, [&analysis.id], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        let Some(look) = look else { return Ok((None, Vec::new())) };
        let mut statement = connection.prepare_cached(
            "SELECT id, sha256, hashes FROM analyses JOIN looks ON analysis = id
             WHERE status = 'done' AND sha256 <> ?1 AND (?2 IS NULL OR owner = ?2)
             ORDER BY seq DESC LIMIT ?3",
        )?;
        let others = statement.query_map(params![analysis.sha256, owner, COMPARED], |row| {
            Ok((row.get("id")?, row.get("sha256")?, Look::from_bytes(&row.get::<_, Vec<u8>>("hashes")?)))
        })?;
        Ok((Some(Look::from_bytes(&look)), others.collect::<Result<_, _>>()?))
    }
}
