//! API keys, and the browser sessions that replace them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::{MadeKey, Moment};
use crate::locked::locked;
use crate::random::{hex, secret};

/// How long a browser stays signed in.
pub(crate) const SESSION: Duration = Duration::from_secs(12 * 3600);
/// Largest number of browsers that are signed in at once. A further one signs out the browser whose session would end
/// first.
pub(crate) const MAX_SESSIONS: usize = 10_000;

/// The API keys and sessions that may use the server.
#[derive(Debug)]
pub(crate) struct Keys {
    known: RwLock<Known>,
    /// Held while an admin changes the keys.
    changes: Arc<tokio::sync::Mutex<()>>,
    /// The last day on which each key was used, by the key's name.
    days: Mutex<HashMap<String, String>>,
    sessions: Mutex<HashMap<[u8; 32], Session>>,
}

/// The holder of an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) name: String,
    /// Whether the holder sees and removes the analyses of all keys, not only its own.
    pub(crate) is_admin: bool,
}

/// The origin of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyOrigin {
    /// A flag, an environment variable or the settings file.
    Configured,
    /// An admin, while the server ran.
    Made,
}

/// Whether a key can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revocation {
    Possible,
    /// There is no key of this name.
    Unknown,
    /// The key is one of the configuration.
    Configured,
    /// The key is the last one of an admin.
    LastAdmin,
}

/// The keys by their origin.
#[derive(Debug, Default)]
struct Known {
    configured: Vec<Key>,
    /// A key of the configuration hides one of the same name.
    made: Vec<(Key, MadeKey)>,
}

impl Known {
    /// Returns the keys that are valid, each with its origin.
    fn valid(&self) -> impl Iterator<Item = (&Key, Option<&MadeKey>)> {
        let is_hidden = |name: &str| self.configured.iter().any(|key| key.holder.name == name);
        let made = self.made.iter().filter(move |(key, _)| !is_hidden(&key.holder.name));
        self.configured.iter().map(|key| (key, None)).chain(made.map(|(key, made)| (key, Some(made))))
    }
}

#[derive(Debug)]
struct Key {
    holder: Holder,
    sha256: [u8; 32],
}

impl Key {
    /// Returns a key that an admin made, with what is stored of it.
    fn of_made(made: MadeKey) -> Option<(Self, MadeKey)> {
        // The database has only what `made` returned.
        let sha256 = unhex(&made.sha256)?;
        let holder = Holder { name: made.name.clone(), is_admin: made.is_admin };
        Some((Self { holder, sha256 }, made))
    }
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
        let known = Known { configured: read(lines)?, made: Vec::new() };
        let (changes, days, sessions) = (Arc::default(), Mutex::default(), Mutex::default());
        Ok(Self { known: RwLock::new(known), changes, days, sessions })
    }

    /// Takes over the keys that admins made, and the days on which keys were used, from the database. Sessions of keys
    /// that are gone end.
    pub(crate) fn restore(&self, made: Vec<MadeKey>, uses: Vec<(String, String)>) {
        let made = made.into_iter().filter_map(Key::of_made).collect();
        self.known.write().unwrap_or_else(PoisonError::into_inner).made = made;
        let mut days = locked(&self.days);
        for (name, day) in uses {
            // The first use of a day may be here before it is stored.
            let known = days.entry(name).or_default();
            *known = day.max(std::mem::take(known));
        }
        drop(days);
        self.end_sessions();
    }

    /// Replaces the keys of the configuration. Sessions of keys that are gone end.
    ///
    /// # Errors
    /// Returns an error as [`new`](Self::new) does. The keys stay as they are then.
    pub(crate) fn replace(&self, lines: &[String]) -> Result<(), KeyError> {
        let keys = read(lines)?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).configured = keys;
        self.end_sessions();
        Ok(())
    }

    /// Waits until no other request changes the keys that admins make. Hold the returned value while changing them.
    pub(crate) async fn change(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.changes).lock_owned().await
    }

    /// Adds a key that an admin made and that is stored.
    pub(crate) fn add(&self, made: MadeKey) {
        // The day of an earlier key of this name is not that of this one.
        locked(&self.days).remove(&made.name);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Another process may have told of it already.
        known.made.retain(|(key, _)| key.holder.name != made.name);
        known.made.extend(Key::of_made(made));
    }

    /// Returns whether a key of that name is valid.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.known().valid().any(|(key, _)| key.holder.name == name)
    }

    /// Returns whether a key of the configuration is an admin's.
    pub(crate) fn has_configured_admin(&self) -> bool {
        self.known().configured.iter().any(|key| key.holder.is_admin)
    }

    /// Returns whether a key can be revoked.
    pub(crate) fn may_revoke(&self, name: &str) -> Revocation {
        let known = self.known();
        let Some((key, made)) = known.valid().find(|(key, _)| key.holder.name == name) else {
            return Revocation::Unknown;
        };
        // If a key of the configuration hides one of an admin, revoking the former would make the latter valid again.
        if made.is_none() && known.made.iter().any(|(key, _)| key.holder.name == name) {
            return Revocation::Possible;
        }
        let others = known.valid().filter(|(other, _)| other.holder.name != name);
        match made {
            None => Revocation::Configured,
            Some(_) if key.holder.is_admin && !others.into_iter().any(|(key, _)| key.holder.is_admin) => {
                Revocation::LastAdmin
            }
            Some(_) => Revocation::Possible,
        }
    }

    /// Removes a key that an admin made. Its sessions end.
    pub(crate) fn revoke(&self, name: &str) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).made.retain(|(key, _)| key.holder.name != name);
        self.end_sessions();
    }

    /// Ends the sessions of keys that are gone.
    fn end_sessions(&self) {
        let mut sessions = locked(&self.sessions);
        sessions.retain(|_, session| self.holder(&session.key).is_some());
    }

    /// Returns the holders of all keys, with their origin and, if an admin made them, what is stored of them.
    pub(crate) fn list(&self) -> Vec<(Holder, KeyOrigin, Option<MadeKey>)> {
        let known = self.known();
        let item = |(key, made): (&Key, Option<&MadeKey>)| {
            let origin = if made.is_some() { KeyOrigin::Made } else { KeyOrigin::Configured };
            (key.holder.clone(), origin, made.cloned())
        };
        known.valid().map(item).collect()
    }

    /// Records that a key was used on a day. Returns whether this is the first use on that day.
    pub(crate) fn is_first_use(&self, name: &str, day: &str) -> bool {
        let mut days = locked(&self.days);
        if days.get(name).is_some_and(|known| known == day) {
            return false;
        }
        days.insert(name.to_owned(), day.to_owned());
        true
    }

    /// Returns the last day on which a key was used.
    pub(crate) fn last_used(&self, name: &str) -> Option<String> {
        locked(&self.days).get(name).cloned()
    }

    /// Returns whether a key is needed at all.
    pub(crate) fn required(&self) -> bool {
        self.known().valid().next().is_some()
    }

    /// Returns whether admins made keys.
    pub(crate) fn has_made(&self) -> bool {
        !self.known().made.is_empty()
    }

    /// Returns whether one of the keys is an administrator's.
    pub(crate) fn has_admin(&self) -> bool {
        self.known().valid().any(|(key, _)| key.holder.is_admin)
    }

    /// Returns the holder of a key, if it is known. The comparison takes the same time for every key, known or not.
    pub(crate) fn owner(&self, key: &str) -> Option<Holder> {
        // A key has 256 random bits, so a fast hash is as safe as a slow one.
        let presented = digest(key);
        let mut owner = None;
        for (key, _) in self.known().valid() {
            if bool::from(key.sha256.ct_eq(&presented)) {
                owner = Some(key.holder.clone());
            }
        }
        owner
    }

    /// Returns the holder of the key with this hash.
    fn holder(&self, sha256: &[u8; 32]) -> Option<Holder> {
        self.known().valid().find(|(key, _)| key.sha256 == *sha256).map(|(key, _)| key.holder.clone())
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
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

    /// Returns the holder of the key with this hash, in hexadecimal, which a session in the database was opened with.
    pub(crate) fn holder_of(&self, key: &str) -> Option<Holder> {
        self.holder(&unhex(key)?)
    }
}

/// Returns the SHA-256 of a key or cookie as the database has it, in hexadecimal.
pub(crate) fn stored_digest(secret: &str) -> String {
    hex(&digest(secret))
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

/// Makes a new key for an admin, whose key has the name `maker`. `name` must be a valid name. Returns the key, and what
/// is stored of it.
pub(crate) fn made(name: &str, is_admin: bool, maker: &str) -> (String, MadeKey) {
    let key = format!("ds_{}", secret());
    let (sha256, created) = (hex(&digest(&key)), Moment::now());
    (key, MadeKey { name: name.to_owned(), is_admin, sha256, created, maker: maker.to_owned() })
}

/// Returns whether a text can be the name of a key.
pub(crate) fn is_name(name: &str) -> bool {
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
    fn keys_that_admins_make_are_revoked_with_their_sessions_but_never_the_last_admin() {
        let (_, line) = new_key("desk", false).unwrap();
        let keys = Keys::new(&[line]).unwrap();
        let (boss, stored) = made("boss", true, "desk");
        let (clerk, other) = made("clerk", false, "boss");
        keys.restore(vec![stored, other], vec![("boss".into(), "2026-11-29".into())]);
        assert!(keys.has_admin() && keys.owner(&boss).unwrap().is_admin);
        assert_eq!(keys.last_used("boss"), Some("2026-11-29".into()));
        let ways = ["boss", "clerk", "desk", "nobody"].map(|name| keys.may_revoke(name));
        assert_eq!(ways, [Revocation::LastAdmin, Revocation::Possible, Revocation::Configured, Revocation::Unknown]);
        let cookie = keys.sign_in(&clerk);
        keys.revoke("clerk");
        assert_eq!((keys.owner(&clerk), keys.session(&cookie)), (None, None));
        // With another admin, the first one can go, and a key of the configuration hides one of its name.
        let (_, admin) = new_key("boss", true).unwrap();
        keys.replace(&[admin]).unwrap();
        assert_eq!((keys.owner(&boss), keys.list().len()), (None, 1));
        // The hidden one can be revoked, so that it does not come back.
        assert_eq!(keys.may_revoke("boss"), Revocation::Possible);
        keys.revoke("boss");
        assert_eq!(keys.may_revoke("boss"), Revocation::Configured);
        keys.replace(&[]).unwrap();
        assert_eq!(keys.owner(&boss), None);
    }

    #[test]
    fn the_first_use_on_a_day_is_reported_once() {
        let keys = Keys::new(&[]).unwrap();
        assert!(keys.is_first_use("desk", "2026-11-29") && !keys.is_first_use("desk", "2026-11-29"));
        assert!(keys.is_first_use("desk", "2026-11-30") && keys.is_first_use("other", "2026-11-29"));
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
