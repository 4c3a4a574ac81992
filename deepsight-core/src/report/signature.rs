use serde::{Deserialize, Serialize};

/// The signature of a report: Ed25519 (RFC 8032) over its canonical JSON (RFC 8785) without this field.
///
/// It proves that the report is unchanged since the owner of the key signed it. It does not prove who owns the key:
/// compare the key with one that the owner has published. The features `signature` and the command `deepsight verify`
/// check it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
// Unknown fields are not signed, so they are refused.
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Signature {
    /// `Ed25519`.
    pub algorithm: String,
    /// The signer's public key: 32 bytes as Base64.
    pub public_key: String,
    /// SHA-256 of the signed bytes, in hexadecimal.
    pub sha256: String,
    /// The signature: 64 bytes as Base64.
    pub value: String,
}

impl Signature {
    #[cfg(feature = "signature")]
    pub(super) fn new(public_key: String, sha256: String, value: String) -> Self {
        Self { algorithm: super::sign::ALGORITHM.into(), public_key, sha256, value }
    }

    /// Returns the names and values that reports show.
    pub(super) fn rows(&self) -> [(&'static str, String); 4] {
        [
            ("SHA-256 of the report", self.sha256.clone()),
            ("Signed with", self.algorithm.clone()),
            ("Public key", self.public_key.clone()),
            ("Signature", self.value.clone()),
        ]
    }
}
