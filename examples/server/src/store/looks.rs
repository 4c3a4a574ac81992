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
        let connection = self.connection();
        let sql = "SELECT hashes FROM looks WHERE analysis = ?1";
        let look = connection.query_row(sql, [&analysis.id], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        let Some(look) = look.map(|bytes| Look::from_bytes(&bytes)) else { return Ok(Vec::new()) };
        let mut statement = connection.prepare_cached(
            "SELECT id, sha256, hashes FROM analyses JOIN looks ON analysis = id
             WHERE status = 'done' AND sha256 <> ?1 AND (?2 IS NULL OR owner = ?2)
             ORDER BY seq DESC LIMIT ?3",
        )?;
        let mut rows = statement.query(params![analysis.sha256, owner, COMPARED])?;
        let (mut alike, mut files) = (Vec::new(), HashSet::new());
        while let Some(row) = rows.next()? {
            let other = Look::from_bytes(row.get_ref("hashes")?.as_blob().map_err(rusqlite::Error::from)?);
            if let Some(share) = look.likeness(&other)
                && files.insert(row.get::<_, String>("sha256")?)
            {
                alike.push((row.get::<_, String>("id")?, share));
            }
        }
        alike.sort_by(|a, b| b.1.total_cmp(&a.1));
        let sql = format!("SELECT {COLUMNS} FROM analyses WHERE id = ?1");
        let mut statement = connection.prepare_cached(&sql)?;
        let alike = alike.into_iter().take(limit);
        alike.map(|(id, share)| Ok((statement.query_row([id], read)?, share))).collect()
    }
}
