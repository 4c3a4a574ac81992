//! The list of certificates that a user trusts.

use std::sync::Arc;

use c2pa::Settings;

use crate::VideoError;

/// Certificates that a user trusts to sign content credentials, in PEM.
///
/// A signer is trusted if its certificate was issued by one of them. To have time stamps checked, too, the list needs
/// the certificates of their authorities.
///
/// ```
/// use deepsight_video::TrustList;
/// assert!(TrustList::from_pem("not a certificate").is_err());
/// ```
#[derive(Clone)]
pub struct TrustList {
    pem: Arc<str>,
}

impl TrustList {
    /// Creates a list from the certificates in a text.
    ///
    /// # Errors
    /// Returns [`VideoError::TrustList`] if the text has no certificate in PEM, or a damaged one.
    pub fn from_pem(pem: &str) -> Result<Self, VideoError> {
        let list = Self { pem: pem.into() };
        let mut settings = Settings::new();
        settings.trust.user_anchors = Some(pem.to_owned());
        // An overlay without values only validates.
        match pem.contains("-----BEGIN CERTIFICATE-----") && settings.with_json("{}").is_ok() {
            true => Ok(list),
            false => Err(VideoError::TrustList),
        }
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }
}

impl std::fmt::Debug for TrustList {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TrustList({} bytes)", self.pem.len())
    }
}
