//! The list of analyses: its filters, earlier analyses of the same file, and what analysts add.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params, params_from_iter};

use super::analyses::{COLUMNS, read};
use super::audit::record;
use super::{Store, StoreError};
use crate::audit::Entry;
use crate::domain::{Analysis, Label, Moment, Remarks, Settings};

/// The filter of the list. Every given member narrows the list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Name of the API key whose analyses are listed; `None` for those of everybody.
    pub(crate) owner: Option<String>,
    /// Part of the file's name or of the note, the letters A to Z in either case.
    pub(crate) search: Option<String>,
    pub(crate) verdict: Option<deepsight_core::Verdict>,
    /// The analyst's label; `Some(None)` for analyses without one.
    pub(crate) label: Option<Option<Label>>,
    pub(crate) tag: Option<String>,
    /// Time of arrival: from this moment on.
    pub(crate) from: Option<Moment>,
    /// Time of arrival: before this moment.
    pub(crate) to: Option<Moment>,
}

/// One page of the list of analyses, newest first, and the `seq` after which the next page begins.
pub(crate) struct Page {
    pub(crate) items: Vec<Analysis>,
    pub(crate) next: Option<i64>,
}

/// A tag and the number of analyses that have it.
pub(crate) type TagCount = (String, u64);

impl Filter {
    /// Returns the condition of a statement, and the values of its parameters.
    fn condition(&self) -> (String, Vec<Value>) {
        let mut parts: Vec<(&str, Option<Value>)> = Vec::new();
        if let Some(owner) = &self.owner {
            parts.push(("owner = ?", Some(owner.clone().into())));
        }
        if let Some(search) = &self.search {
            let text = search.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            let part = "(file_name LIKE ? ESCAPE '\\' OR note LIKE ? ESCAPE '\\')";
            parts.push((part, Some(format!("%{text}%").into())));
        }
        if let Some(verdict) = self.verdict {
            parts.push(("json_extract(result, '$.verdict') = ?", Some(verdict.to_string().into())));
        }
        match self.label {
            Some(Some(label)) => parts.push(("label = ?", Some(label.name().to_owned().into()))),
            Some(None) => parts.push(("label IS NULL", None)),
            None => {}
        }
        if let Some(tag) = &self.tag {
            let part = "EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ? COLLATE NOCASE)";
            parts.push((part, Some(tag.clone().into())));
        }
        if let Some(from) = self.from {
            parts.push(("created >= ?", Some(from.0.into())));
        }
        if let Some(to) = self.to {
            parts.push(("created < ?", Some(to.0.into())));
        }
        let (mut conditions, mut values) = (vec!["TRUE".to_owned()], Vec::new());
        for (part, value) in parts {
            values.extend(value);
            conditions.push(part.replace('?', &format!("?{}", values.len())));
        }
        (conditions.join(" AND "), values)
    }
}

impl Store {
    /// Returns at most `limit` of the analyses that pass the filter and arrived before the one at `before`, newest
    /// first.
    pub(crate) fn page(&self, filter: &Filter, before: Option<i64>, limit: u32) -> Result<Page, StoreError> {
        let (condition, mut values) = filter.condition();
        values.extend([before.unwrap_or(i64::MAX).into(), (i64::from(limit) + 1).into()]);
        let (seq, most) = (values.len() - 1, values.len());
        let sql = format!(
            "SELECT {COLUMNS} FROM analyses WHERE {condition} AND seq < ?{seq} ORDER BY seq DESC LIMIT ?{most}"
        );
        let connection = self.connection();
        let mut statement = connection.prepare(&sql)?;
        let mut items = statement.query_map(params_from_iter(values), read)?.collect::<Result<Vec<_>, _>>()?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(|last| last.seq) } else { None };
        Ok(Page { items, next })
    }

    /// Returns at most `limit` finished analyses of the file with this SHA-256 that arrived before the one at `before`,
    /// newest first: those of `owner`, or of everybody.
    pub(crate) fn earlier(
        &self,
        owner: Option<&str>,
        sha256: &str,
        before: i64,
        limit: u32,
    ) -> Result<Vec<Analysis>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM analyses WHERE sha256 = ?1 AND seq < ?2 AND status = 'done'
                 AND (?3 IS NULL OR owner = ?3)
             ORDER BY seq DESC LIMIT ?4"
        );
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(statement.query_map(params![sha256, before, owner, limit], read)?.collect::<Result<_, _>>()?)
    }

    /// Returns the newest finished analysis of the file with this SHA-256 by the same model with the same settings: of
    /// `owner`, or of everybody.
    pub(crate) fn same(
        &self,
        owner: Option<&str>,
        sha256: &str,
        settings: &Settings,
        model: &str,
    ) -> Result<Option<Analysis>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM analyses WHERE sha256 = ?1 AND status = 'done' AND (?2 IS NULL OR owner = ?2)
                 AND settings = ?3 AND json_extract(result, '$.model') = ?4
             ORDER BY seq DESC LIMIT 1"
        );
        let settings = serde_json::to_string(settings)?;
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(statement.query_row(params![sha256, owner, settings, model], read).optional()?)
    }

    /// Stores what an analyst added to an analysis, with an entry of the audit. Returns whether that changed anything;
    /// `None` if the analysis was removed.
    pub(crate) fn remark(&self, id: &str, remarks: &Remarks, entry: &Entry) -> Result<Option<bool>, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let Remarks { label, tags, note } = remarks;
        let changed = transaction.execute(
            "UPDATE analyses SET label = ?2, tags = ?3, note = ?4
             WHERE id = ?1 AND (label IS NOT ?2 OR tags IS NOT ?3 OR note IS NOT ?4)",
            params![id, label.map(Label::name), serde_json::to_string(tags)?, note],
        )? > 0;
        if changed {
            record(&transaction, entry)?;
        }
        let exists = "SELECT EXISTS (SELECT 1 FROM analyses WHERE id = ?1)";
        let exists: bool = transaction.query_row(exists, [id], |row| row.get(0))?;
        transaction.commit()?;
        Ok(exists.then_some(changed))
    }

    /// Returns at most `limit` tags of the analyses of `owner`, or of everybody, the most frequent first.
    pub(crate) fn tags(&self, owner: Option<&str>, limit: u32) -> Result<Vec<TagCount>, StoreError> {
        let sql = "SELECT value, count(*) FROM analyses, json_each(tags) WHERE ?1 IS NULL OR owner = ?1
                   GROUP BY value COLLATE NOCASE ORDER BY count(*) DESC, value LIMIT ?2";
        let connection = self.connection();
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![owner, limit], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
