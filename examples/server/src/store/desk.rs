//! The list of analyses: its filters, earlier analyses of the same file, and what analysts add.

use super::analyses::{columns, read};
use super::audit::record;
use super::session::{Dialect, Value, values};
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
    fn condition(&self, dialect: Dialect) -> (String, Vec<Value>) {
        let mut parts: Vec<(&str, Option<Value>)> = Vec::new();
        if let Some(owner) = &self.owner {
            parts.push(("owner = ?", Some(owner.clone().into())));
        }
        if let Some(search) = &self.search {
            let text = search.to_ascii_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            let part = "(lower(file_name) LIKE ? ESCAPE '\\' OR lower(note) LIKE ? ESCAPE '\\')";
            parts.push((part, Some(format!("%{text}%").into())));
        }
        if let Some(verdict) = self.verdict {
            parts.push(("result ->> 'verdict' = ?", Some(verdict.to_string().into())));
        }
        match self.label {
            Some(Some(label)) => parts.push(("label = ?", Some(label.name().to_owned().into()))),
            Some(None) => parts.push(("label IS NULL", None)),
            None => {}
        }
        if let Some(tag) = &self.tag {
            let part = dialect.choose(
                "EXISTS (SELECT 1 FROM json_each(tags) WHERE lower(value) = ?)",
                "EXISTS (SELECT 1 FROM json_array_elements_text(CAST(tags AS JSON)) AS value
                         WHERE lower(value COLLATE \"C\") = ?)",
            );
            parts.push((part, Some(tag.to_ascii_lowercase().into())));
        }
        if let Some(from) = self.from {
            parts.push(("created >= ?", Some(from.0.into())));
        }
        if let Some(to) = self.to {
            parts.push(("created < ?", Some(to.0.into())));
        }
        // A prediction is nobody's stored analysis.
        let stored = dialect.choose("TRUE", "asker IS NULL");
        let (mut conditions, mut values) = (vec![stored.to_owned()], Vec::new());
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
        let session = self.session()?;
        let (condition, mut values) = filter.condition(session.dialect());
        values.extend([before.unwrap_or(i64::MAX).into(), (i64::from(limit) + 1).into()]);
        let (seq, most, columns) = (values.len() - 1, values.len(), columns(&session));
        let sql = format!(
            "SELECT {columns} FROM analyses WHERE {condition} AND seq < ?{seq} ORDER BY seq DESC LIMIT ?{most}"
        );
        let mut items = session.query(&sql, &values)?.iter().map(read).collect::<Result<Vec<_>, _>>()?;
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
        let session = self.session()?;
        let sql = format!(
            "SELECT {} FROM analyses WHERE sha256 = ?1 AND seq < ?2 AND status = 'done'
                 AND (CAST(?3 AS TEXT) IS NULL OR owner = ?3)
             ORDER BY seq DESC LIMIT ?4",
            columns(&session)
        );
        session.query(&sql, values![sha256, before, owner, limit])?.iter().map(read).collect()
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
        let session = self.session()?;
        let sql = format!(
            "SELECT {} FROM analyses WHERE sha256 = ?1 AND status = 'done'
                 AND (CAST(?2 AS TEXT) IS NULL OR owner = ?2)
                 AND settings = ?3 AND result ->> 'model' = ?4
             ORDER BY seq DESC LIMIT 1",
            columns(&session)
        );
        let settings = serde_json::to_string(settings)?;
        session.first(&sql, values![sha256, owner, settings, model])?.as_ref().map(read).transpose()
    }

    /// Stores what an analyst added to an analysis, with an entry of the audit. Returns whether that changed anything;
    /// `None` if the analysis was removed.
    pub(crate) fn remark(&self, id: &str, remarks: &Remarks, entry: &Entry) -> Result<Option<bool>, StoreError> {
        let transaction = self.transaction()?;
        let Remarks { label, tags, note } = remarks;
        let changed = transaction.execute(
            "UPDATE analyses SET label = ?2, tags = ?3, note = ?4
             WHERE id = ?1
                 AND (label IS DISTINCT FROM ?2 OR tags IS DISTINCT FROM ?3 OR note IS DISTINCT FROM ?4)",
            values![id, label.map(Label::name), serde_json::to_string(tags)?, note],
        )? > 0;
        if changed {
            record(&transaction, entry)?;
        }
        let exists = transaction.first("SELECT 1 AS one FROM analyses WHERE id = ?1", values![id])?.is_some();
        transaction.commit()?;
        Ok(exists.then_some(changed))
    }

    /// Returns at most `limit` tags of the analyses of `owner`, or of everybody, the most frequent first.
    pub(crate) fn tags(&self, owner: Option<&str>, limit: u32) -> Result<Vec<TagCount>, StoreError> {
        let session = self.session()?;
        // SQLite shows a tag in the spelling of one of the analyses.
        let sql = session.dialect().choose(
            "SELECT value AS tag, count(*) AS analyses FROM analyses, json_each(tags)
             WHERE CAST(?1 AS TEXT) IS NULL OR owner = ?1
             GROUP BY value COLLATE NOCASE ORDER BY count(*) DESC, value LIMIT ?2",
            "SELECT min(value COLLATE \"C\") AS tag, count(*) AS analyses
             FROM analyses, json_array_elements_text(CAST(tags AS JSON)) AS value
             WHERE CAST(?1 AS TEXT) IS NULL OR owner = ?1
             GROUP BY lower(value COLLATE \"C\") ORDER BY count(*) DESC, tag LIMIT ?2",
        );
        let rows = session.query(sql, values![owner, limit])?;
        rows.iter().map(|row| Ok((row.get("tag")?, row.get("analyses")?))).collect()
    }
}
