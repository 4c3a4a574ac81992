//! How the verdicts of the model compare with the judgments of analysts.

use serde::Serialize;
use utoipa::ToSchema;

/// The labels of one month, compared with the verdicts. Of each file, only the newest analysis with a label counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct MonthOfLabels {
    /// The month in which the analyses arrived, UTC.
    #[schema(example = "2026-11", pattern = "^[0-9]{4}-[0-9]{2}$")]
    pub(crate) month: String,
    /// Number of files with a label.
    pub(crate) labeled: u64,
    /// Files that both the model and the analyst called real or fake.
    pub(crate) decided: u64,
    /// Of those, files on which they agreed.
    pub(crate) agreed: u64,
    /// Of those, files that the model called FAKE and the analyst real.
    pub(crate) fake_but_real: u64,
    /// Of those, files that the model called REAL and the analyst fake.
    pub(crate) real_but_fake: u64,
    /// Files that the analyst called real or fake, and on which the model was UNCERTAIN.
    pub(crate) uncertain: u64,
    /// Files that the analyst called unclear.
    pub(crate) unclear: u64,
}
