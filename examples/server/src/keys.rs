//! API keys, and the browser sessions that replace them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::locked::locked;
use crate::random::{hex, secret};

/// How long a browser stays signed in.
pub(crate) const SESSION: Duration = Duration::from_secs(12 * 3600);
/// Largest number of browsers that are signed in at once. A further one signs out the browser whose session would end
/// first.
const MAX_SESSIONS: usize = 10_000;

/// The API keys and sessions that may use the server.
#[derive(Debug)]
pub(crate) struct Keys {
    known: RwLock<Vec<Key>>,
    sessions: Mutex<HashMap<[u8; 32], Session>>,
}

/// The holder of an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) name: String,
    /// Whether the holder sees and removes the analyses of all keys, not only its own.
    pub(crate) is_admin: bool,
}

#[derive(Debug)]
struct Key {
    holder: Holder,
    sha256: [u8; 32],
}

#[derive(Debug)]
struct Session {
    /// Hash of the key that it was opened with.
    key: [u8; 32],
    ends: Instant,
}

/// An error in an API key of the configuration. Its message does not repeat the text, which might be the key itself.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum KeyError {
    #[error("API key {number}: must be NAME:SHA256 or NAME:SHA256:admin, as new-key prints it")]
    Form { number: usize },
    #[error("API key {number}: a name has 1 to 64 letters, digits, dots, dashes and underscores")]
    Name { number: usize },
    #[error("API key {number}: what follows the name must be a SHA-256 of 64 hexadecimal digits, as new-key prints it")]
    Hash { number: usize },
    #[error("API key {number}: what follows the SHA-256 must be admin, or nothing")]
    Role { number: usize },
    #[error("API key {number}: there is another one named {name}")]
    Twice { number: usize, name: String },
}

impl Keys {
    /// Reads the keys of the configuration, each `NAME:SHA256` or `NAME:SHA256:admin`.
    ///
    /// # Errors
    /// Returns an error if a line has another form or two keys have the same name.
    pub(crate) fn new(lines: &[String]) -> Result<Self, KeyError> {
        Ok(Self { known: RwLock::new(read(lines)?), sessions: Mutex::default() })
    }

    /// Replaces the keys. Sessions of keys that are gone end.
    ///
    /// # Errors
    /// Returns an error as [`new`](Self::new) does. The keys stay as they are then.
    pub(crate) fn replace(&self, lines: &[String]) -> Result<(), KeyError> {
        let keys = read(lines)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = keys;
        let mut sessions = locked(&self.sessions);
        sessions.retain(|_, session| self.holder(&session.key).is_some());
        Ok(())
    }

    /// Returns whether a key is needed at all.
    pub(crate) fn required(&self) -> bool {
        !self.known().is_empty()
    }

    /// Returns whether one of the keys is an administrator's.
    pub(crate) fn has_admin(&self) -> bool {
        self.known().iter().any(|key| key.holder.is_admin)
    }

    /// Returns the holder of a key, if it is known. The comparison takes the same time for every key, known or not.
    pub(crate) fn owner(&self, key: &str) -> Option<Holder> {
        // A key has 256 random bits, so a fast hash is as safe as a slow one.
        let presented = digest(key);
        let mut owner = None;
        for key in self.known().iter() {
            if bool::from(key.sha256.ct_eq(&presented)) {
                owner = Some(key.holder.clone());
            }
        }
        owner
    }

    /// Returns the holder of the key with this hash.
    fn holder(&self, sha256: &[u8; 32]) -> Option<Holder> {
        self.known().iter().find(|key| key.sha256 == *sha256).map(|key| key.holder.clone())
    }

    fn known(&self) -> RwLockReadGuard<'_, Vec<Key>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs a browser in with a key, and returns the secret for its cookie.
    pub(crate) fn sign_in(&self, key: &str) -> String {
        let cookie = secret();
        let mut sessions = locked(&self.sessions);
        let now = Instant::now();
        sessions.retain(|_, session| session.ends > now);
        if sessions.len() >= MAX_SESSIONS {
            let first = sessions.iter().min_by_key(|(_, session)| session.ends).map(|(hash, _)| *hash);
            first.map(|hash| sessions.remove(&hash));
        }
        // Sessions are stored and looked up by the secret's hash, so the time of a look-up tells nothing about the
        // secret.
        sessions.insert(digest(&cookie), Session { key: digest(key), ends: now + SESSION });
        cookie
    }

    /// Returns the holder of the key that a session was opened with, if the session and the key are still valid.
    pub(crate) fn session(&self, cookie: &str) -> Option<Holder> {
        let sessions = locked(&self.sessions);
        let session = sessions.get(&digest(cookie)).filter(|session| session.ends > Instant::now());
        session.and_then(|session| self.holder(&session.key))
    }

    pub(crate) fn sign_out(&self, cookie: &str) {
        locked(&self.sessions).remove(&digest(cookie));
    }
}

fn read(lines: &[String]) -> Result<Vec<Key>, KeyError> {
    let mut known: Vec<Key> = Vec::new();
    for (position, line) in lines.iter().enumerate() {
        let number = position + 1;
        let (name, rest) = line.trim().split_once(':').ok_or(KeyError::Form { number })?;
        if !is_name(name) {
            return Err(KeyError::Name { number });
        }
        let (hash, is_admin) = match rest.split_once(':') {
            None => (rest, false),
            Some((hash, "admin")) => (hash, true),
            Some(_) => return Err(KeyError::Role { number }),
        };
        let sha256 = unhex(hash).ok_or(KeyError::Hash { number })?;
        if known.iter().any(|key| key.holder.name == name) {
            return Err(KeyError::Twice { number, name: name.into() });
        }
        known.push(Key { holder: Holder { name: name.into(), is_admin }, sha256 });
    }
    Ok(known)
}

/// Makes a new key for `name`. Returns the key, and the line for the server's configuration.
pub(crate) fn new_key(name: &str, is_admin: bool) -> Result<(String, String), KeyError> {
    if !is_name(name) {
        return Err(KeyError::Name { number: 1 });
    }
    let key = format!("ds_{}", secret());
    let line = format!("{name}:{}{}", hex(&digest(&key)), if is_admin { ":admin" } else { "" });
    Ok((key, line))
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(allowed)
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_key_of_a_configured_line_is_known() {
        let (key, line) = new_key("newsroom", false).unwrap();
        let (other, _) = new_key("newsroom", false).unwrap();
        let keys = Keys::new(std::slice::from_ref(&line)).unwrap();
        assert!(!line.contains(&key));
        assert_eq!(keys.owner(&key), Some(Holder { name: "newsroom".into(), is_admin: false }));
        let hash = line.split_once(':').unwrap().1;
        for wrong in [other.as_str(), "", hash, &key[..key.len() - 1], &format!("{key} ")] {
            assert_eq!(keys.owner(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_session_stands_for_its_key_until_it_is_signed_out() {
        let (key, line) = new_key("desk", true).unwrap();
        let keys = Keys::new(&[line]).unwrap();
        let cookie = keys.sign_in(&key);
        assert_eq!(keys.session(&cookie), Some(Holder { name: "desk".into(), is_admin: true }));
        assert_eq!(keys.session("guess"), None);
        keys.sign_out(&cookie);
        assert_eq!(keys.session(&cookie), None);
    }

    #[test]
    fn a_session_ends_with_its_key() {
        let ((old, first), (_, second)) = (new_key("desk", true).unwrap(), new_key("desk", false).unwrap());
        let keys = Keys::new(std::slice::from_ref(&first)).unwrap();
        let cookie = keys.sign_in(&old);
        assert!(keys.replace(&["desk:1".into()]).is_err());
        assert!(keys.session(&cookie).is_some(), "an invalid line changes nothing");
        keys.replace(&[second]).unwrap();
        assert_eq!((keys.session(&cookie), keys.owner(&old)), (None, None));
        keys.replace(&[first]).unwrap();
        assert_eq!(keys.session(&cookie), None, "a session does not come back");
    }

    #[test]
    fn invalid_key_lines_are_refused_without_repeating_them() {
        let (key, line) = new_key("a", false).unwrap();
        for (bad, part) in [
            (key.as_str(), "NAME:SHA256"),
            ("a:123", "64 hexadecimal"),
            (&format!("a:{}", "g".repeat(64)), "64 hexadecimal"),
            (&format!("a:{}:root", "0".repeat(64)), "must be admin"),
            (&format!(":{}", "0".repeat(64)), "1 to 64 letters"),
            (&format!("a b:{}", "0".repeat(64)), "1 to 64 letters"),
        ] {
            let message = Keys::new(&[bad.to_owned()]).unwrap_err().to_string();
            assert!(message.contains(part) && !message.contains(bad), "{bad}: {message}");
        }
        assert!(matches!(Keys::new(&[line.clone(), line]), Err(KeyError::Twice { number: 2, .. })));
        assert!(new_key("two words", false).is_err());
    }
}
