//! What an analyst adds to an analysis: a label, tags and a note.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Failure;

/// Characters that a note may have.
pub(crate) const MAX_NOTE: usize = 4000;
/// Tags that an analysis may have.
pub(crate) const MAX_TAGS: usize = 20;
/// Characters that a tag may have.
pub(crate) const MAX_TAG: usize = 40;

/// An analyst's own judgment, beside the verdict of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Label {
    /// The analyst takes the file for genuine.
    Real,
    /// The analyst takes the file for forged.
    Fake,
    /// The analyst has not come to a conclusion.
    Unclear,
}

impl Label {
    pub(crate) const ALL: [Self; 3] = [Self::Real, Self::Fake, Self::Unclear];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Fake => "fake",
            Self::Unclear => "unclear",
        }
    }

    /// Returns the label of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.name() == name)
    }
}

/// The remarks on an analysis. A member that is missing removes what there was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remarks {
    /// The analyst's own judgment; null for none.
    #[serde(default)]
    pub(crate) label: Option<Label>,
    /// Tags: 20 at most, each of 1 to 40 characters and without a comma.
    #[serde(default)]
    #[schema(max_items = 20, example = json!(["election"]))]
    pub(crate) tags: Vec<String>,
    /// A note: 4000 characters at most. Untrusted text: escape it wherever you show it.
    #[serde(default)]
    #[schema(max_length = 4000)]
    pub(crate) note: String,
}

impl Remarks {
    /// Returns the remarks without white space at the ends of texts and without tags that are there twice.
    ///
    /// # Errors
    /// Returns a failure that names the limit if the note is too long, or if there are too many tags or unsuitable
    /// ones.
    pub(crate) fn checked(self) -> Result<Self, Failure> {
        let Self { label, tags, note } = self;
        let note = note.replace("\r\n", "\n").trim_end().to_owned();
        let length = note.chars().count();
        if length > MAX_NOTE {
            let rule = format!("has {length} characters; the limit is {MAX_NOTE}: shorten it");
            return Err(Failure::bad_parameter("note", &note, &rule));
        }
        if note.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(Failure::bad_parameter("note", &note, "has control characters: remove them"));
        }
        let mut kept: Vec<String> = Vec::new();
        for tag in tags {
            let tag = tag.trim();
            let length = tag.chars().count();
            if !(1..=MAX_TAG).contains(&length) {
                let rule = format!("must have 1 to {MAX_TAG} characters");
                return Err(Failure::bad_parameter("tags", tag, &rule));
            }
            if tag.chars().any(|c| c.is_control() || c == ',') {
                return Err(Failure::bad_parameter("tags", tag, "must have no comma and no control characters"));
            }
            // SQLite's NOCASE, which filters by tags, knows the letters A to Z only as well.
            if !kept.iter().any(|known| known.eq_ignore_ascii_case(tag)) {
                kept.push(tag.to_owned());
            }
            if kept.len() > MAX_TAGS {
                let rule = format!("is one too many; the limit is {MAX_TAGS} tags");
                return Err(Failure::bad_parameter("tags", tag, &rule));
            }
        }
        Ok(Self { label, tags: kept, note })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn remarks_are_trimmed_and_a_tag_is_kept_once() {
        let tags = [" Kyiv ", "kyiv", "tv"].map(str::to_owned).to_vec();
        let remarks = Remarks { label: Some(Label::Fake), tags, note: "from\r\na friend \n".into() };
        let kept = remarks.checked().unwrap();
        assert_eq!((kept.tags, kept.note.as_str()), (vec!["Kyiv".to_owned(), "tv".to_owned()], "from\na friend"));
    }

    #[test]
    fn remarks_over_a_limit_are_refused_with_the_limit() {
        let tagged = |tags: Vec<String>| Remarks { tags, ..Remarks::default() };
        for (remarks, part) in [
            (Remarks { note: "x".repeat(MAX_NOTE + 1), ..Remarks::default() }, "4000"),
            (Remarks { note: "\u{1b}[31m".into(), ..Remarks::default() }, "control"),
            (tagged((0..=MAX_TAGS).map(|number| format!("t{number}")).collect()), "20 tags"),
            (tagged(vec!["x".repeat(MAX_TAG + 1)]), "1 to 40"),
            (tagged(vec!["  ".into()]), "1 to 40"),
            (tagged(vec!["a,b".into()]), "comma"),
        ] {
            let failure = remarks.checked().unwrap_err();
            assert!(failure.status() == 400 && failure.detail().contains(part), "{failure:?}");
        }
        let most = Remarks { note: "ü".repeat(MAX_NOTE), ..Remarks::default() };
        assert!(most.checked().is_ok(), "characters are counted, not bytes");
    }
}
