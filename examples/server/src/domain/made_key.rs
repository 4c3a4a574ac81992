//! An API key that an admin made while the server ran.

use super::Moment;

/// An API key that an admin made, beside those of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct MadeKey {
    pub(crate) name: String,
    pub(crate) is_admin: bool,
    /// SHA-256 of the key, in hexadecimal.
    pub(crate) sha256: String,
    pub(crate) created: Moment,
    /// Name of the key of the admin who made it.
    pub(crate) maker: String,
}
