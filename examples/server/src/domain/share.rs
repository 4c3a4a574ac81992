//! A link that shows one analysis without a key, until it expires or is revoked.

use serde::Serialize;
use utoipa::ToSchema;

use super::Moment;

/// A link to an analysis. Its secret is known only to those who have it; the server keeps its SHA-256.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Share {
    /// The id of the link, to revoke it. It is not the secret.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    pub(crate) id: String,
    /// Name of the API key that made it; empty without one.
    pub(crate) by: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created: Moment,
    /// Time from which it shows nothing.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires: Moment,
    /// Whether it shows label, tags and note.
    pub(crate) remarks: bool,
    /// Number of times that it was opened.
    pub(crate) opened: u64,
}
