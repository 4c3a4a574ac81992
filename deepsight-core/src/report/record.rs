use serde::{Deserialize, Serialize};

/// A record of who made a report, when, and for which case. The report shows it. It never changes the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// When the analysis ended: RFC 3339, with the offset from UTC, such as `2026-11-29T18:04:11+01:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The program and its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The case that the clip belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// Who made the analysis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analyst: Option<String>,
    /// The analyst's own judgment, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgment: Option<String>,
    /// Labels by which the analyst sorts reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The analyst's note, which may have line breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Record {
    /// Creates an empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets when the analysis ended (RFC 3339, with the offset from UTC).
    #[must_use]
    pub fn with_created(mut self, created: impl Into<String>) -> Self {
        self.created = Some(created.into());
        self
    }

    /// Sets the program and its version.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<String>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Sets the case; `None` for none.
    #[must_use]
    pub fn with_case(mut self, case: Option<String>) -> Self {
        self.case = case;
        self
    }

    /// Sets who made the analysis; `None` if nobody is named.
    #[must_use]
    pub fn with_analyst(mut self, analyst: Option<String>) -> Self {
        self.analyst = analyst;
        self
    }

    /// Sets the analyst's own judgment; `None` for none.
    #[must_use]
    pub fn with_judgment(mut self, judgment: Option<String>) -> Self {
        self.judgment = judgment;
        self
    }

    /// Sets the analyst's labels.
    #[must_use]
    pub fn with_tags(mut self, tags: Vec<String>) -> Self {
        self.tags = tags;
        self
    }

    /// Sets the analyst's note; `None` for none.
    #[must_use]
    pub fn with_note(mut self, note: Option<String>) -> Self {
        self.note = note;
        self
    }

    /// Returns the names and values that reports show above the verdict. The note is shown apart.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let rows = [
            ("Case", self.case.clone()),
            ("Analyst", self.analyst.clone()),
            ("Date", self.created.clone()),
            ("Program", self.program.clone()),
            ("Analyst's own judgment", self.judgment.clone()),
            ("Tags", (!self.tags.is_empty()).then(|| self.tags.join(", "))),
        ];
        rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
