//! Signing reports, and checking their signatures.

mod canonical;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use self::canonical::canonical;
use super::{Report, Signature};
use crate::digest::sha256;
use crate::{BoxError, Error};

/// Bytes of a key file that are read; a key has about a hundred.
const MAX_KEY: u64 = 64 * 1024;
/// The one algorithm.
pub(super) const ALGORITHM: &str = "Ed25519";

/// The reason why a report cannot be signed, or why its signature does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The file is not a report.
    #[error(transparent)]
    Report(#[from] Error),
    /// The JSON can be read in more than one way.
    #[error("the JSON cannot be signed: {reason}")]
    Ambiguous {
        /// What is ambiguous, and where.
        reason: String,
    },
    /// The report has no signature.
    #[error("the report is not signed")]
    Unsigned,
    /// The signature is of another kind.
    #[error("the signature's algorithm is {found:?}; this version checks Ed25519")]
    Algorithm {
        /// The algorithm that the report names.
        found: String,
    },
    /// The signature's key or value is malformed.
    #[error("the signature's {field} is malformed")]
    Malformed {
        /// The field.
        field: &'static str,
    },
    /// The report was changed after it was signed.
    #[error("the signature does not hold: the report was altered after it was signed")]
    Altered,
    /// The report was signed by somebody else.
    #[error("the report was signed with another key: {found}, not {expected}")]
    OtherKey {
        /// The key that signed it.
        found: Box<PublicKey>,
        /// The key that it was expected from.
        expected: Box<PublicKey>,
    },
    /// Text is not a key.
    #[error("not an Ed25519 {kind} key in PEM: {reason}")]
    Key {
        /// `secret` or `public`.
        kind: &'static str,
        /// The parser's message.
        reason: String,
    },
    /// A key file cannot be read, or is not one.
    #[error("cannot read the key {}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The system's error, or the defect of the key.
        source: BoxError,
    },
    /// Other users of the machine can read a secret key.
    #[error("{0} can be read by others (mode {mode:o}), who could sign in your name: chmod 600 {0}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The system has no random numbers for a new key.
    #[error("cannot make a key: {reason}")]
    Random {
        /// The system's message.
        reason: String,
    },
}

/// A key that signs reports: Ed25519 (RFC 8032). Anyone who has it can sign in its owner's name.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}

impl SecretKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`SignatureError::Random`] if the system has no random numbers.
    pub fn generate() -> Result<Self, SignatureError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| SignatureError::Random { reason: error.to_string() })?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads a key in PEM (PKCS #8), as [`to_pem`](Self::to_pem) and `openssl genpkey -algorithm ed25519` write it.
    ///
    /// # Errors
    /// [`SignatureError::Key`] if it is not such a key.
    pub fn from_pem(pem: &str) -> Result<Self, SignatureError> {
        let key = SigningKey::from_pkcs8_pem(pem);
        key.map(Self).map_err(|error| SignatureError::Key { kind: "secret", reason: error.to_string() })
    }

    /// Reads a key file, which only its owner may be able to read.
    ///
    /// # Errors
    /// [`SignatureError::KeyFile`] if it cannot be read or is not a key, and on Unix [`SignatureError::Exposed`] if
    /// other users can read it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, SignatureError> {
        let path = path.as_ref();
        let key = Self::from_pem(&key_file(path)?).map_err(|error| in_file(path, error))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;

            let metadata = std::fs::metadata(path).map_err(|error| in_file(path, error))?;
            let mode = metadata.permissions().mode() & 0o777;
            // A pipe, as a shell's <(...), has no permissions that matter.
            if metadata.is_file() && mode & 0o077 != 0 {
                return Err(SignatureError::Exposed { path: path.into(), mode });
            }
        }
        Ok(key)
    }

    /// Writes the key in PEM (PKCS #8, version 1, which OpenSSL reads).
    ///
    /// # Errors
    /// [`SignatureError::Key`] if it cannot be encoded.
    pub fn to_pem(&self) -> Result<String, SignatureError> {
        let bytes = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = bytes.to_pkcs8_pem(LineEnding::LF);
        let pem = pem.map_err(|error| SignatureError::Key { kind: "secret", reason: error.to_string() })?;
        Ok(pem.as_str().to_owned())
    }

    /// Returns the key that checks this key's signatures.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

/// A key that checks signatures. It is shown as Base64 of its 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0.as_bytes()))
    }
}

impl PublicKey {
    /// Reads a key in PEM, as [`to_pem`](Self::to_pem) and `openssl pkey -pubout` write it.
    ///
    /// # Errors
    /// [`SignatureError::Key`] if it is not such a key.
    pub fn from_pem(pem: &str) -> Result<Self, SignatureError> {
        let key = VerifyingKey::from_public_key_pem(pem);
        key.map(Self).map_err(|error| SignatureError::Key { kind: "public", reason: error.to_string() })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`SignatureError::KeyFile`] if it cannot be read or is not a key.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, SignatureError> {
        let path = path.as_ref();
        Self::from_pem(&key_file(path)?).map_err(|error| in_file(path, error))
    }

    /// Writes the key in PEM.
    ///
    /// # Errors
    /// [`SignatureError::Key`] if it cannot be encoded.
    pub fn to_pem(&self) -> Result<String, SignatureError> {
        let pem = self.0.to_public_key_pem(LineEnding::LF);
        pem.map_err(|error| SignatureError::Key { kind: "public", reason: error.to_string() })
    }
}

/// A report whose signature holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Verified {
    /// The report.
    pub report: Report,
    /// The key that signed it. The report does not prove who owns it.
    pub key: PublicKey,
    /// The bytes that were signed: the report's canonical JSON without its signature.
    pub signed: Vec<u8>,
}

impl Report {
    /// Signs the report, and replaces its signature if it has one. Every later change of the report makes the signature
    /// invalid.
    ///
    /// # Errors
    /// The errors of [`to_json`](Self::to_json), and [`SignatureError::Ambiguous`] for a number that canonical JSON
    /// cannot hold.
    pub fn sign(mut self, key: &SecretKey) -> Result<Self, SignatureError> {
        self.signature = None;
        // Signs the values that a reader of the JSON gets: its numbers may have other digits than those in memory.
        let signed = canonical(&self.to_json()?)?;
        let value = STANDARD.encode(key.0.sign(&signed).to_bytes());
        self.signature = Some(Signature::new(key.public_key().to_string(), sha256(&signed), value));
        Ok(self)
    }
}

/// Checks the signature of a report's JSON. Line breaks and the order of fields do not matter. With `expected`, the
/// report must be signed with that key; without it, with the key that the report names, which anyone could have made.
///
/// # Errors
/// [`SignatureError`], which says what does not hold.
///
/// ```
/// use deepsight_core::Report;
/// use deepsight_core::report::{PublicKey, SecretKey, SignatureError, verify};
///
/// fn publish(report: Report, key: &SecretKey) -> Result<String, SignatureError> {
///     Ok(report.sign(key)?.to_json()?)
/// }
///
/// fn check(json: &str, newsroom: &PublicKey) -> Result<Report, SignatureError> {
///     Ok(verify(json, Some(newsroom))?.report)
/// }
/// ```
pub fn verify(json: &str, expected: Option<&PublicKey>) -> Result<Verified, SignatureError> {
    let report = Report::from_json(json)?;
    let signed = canonical(json)?;
    let signature = report.signature.as_ref().ok_or(SignatureError::Unsigned)?;
    if signature.algorithm != ALGORITHM {
        return Err(SignatureError::Algorithm { found: signature.algorithm.clone() });
    }
    let key: [u8; 32] = decoded(&signature.public_key).ok_or(SignatureError::Malformed { field: "public key" })?;
    let key = VerifyingKey::from_bytes(&key).map_err(|_| SignatureError::Malformed { field: "public key" })?;
    let value: [u8; 64] = decoded(&signature.value).ok_or(SignatureError::Malformed { field: "value" })?;
    // Refuses weak keys, with which one signature fits many messages.
    let holds = key.verify_strict(&signed, &ed25519_dalek::Signature::from_bytes(&value));
    if holds.is_err() || signature.sha256 != sha256(&signed) {
        return Err(SignatureError::Altered);
    }
    let key = PublicKey(key);
    match expected {
        Some(expected) if *expected != key => {
            Err(SignatureError::OtherKey { found: Box::new(key), expected: Box::new(*expected) })
        }
        _ => Ok(Verified { report, key, signed }),
    }
}

/// Reads a key file, at most [`MAX_KEY`] bytes.
fn key_file(path: &Path) -> Result<String, SignatureError> {
    let mut pem = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_KEY).read_to_string(&mut pem));
    read.map(|_| pem).map_err(|error| in_file(path, error))
}

fn in_file(path: &Path, error: impl Into<BoxError>) -> SignatureError {
    SignatureError::KeyFile { path: path.into(), source: error.into() }
}

fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
