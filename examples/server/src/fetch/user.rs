//! The user that the downloader runs as.

use super::FetchError;
use super::child::User;

/// Finds the user that `--fetch-user` names, by its name or as `UID:GID`.
///
/// # Errors
/// Returns an error if there is no such user, if it is root, or if the server may not run programs as another user.
#[cfg(unix)]
pub(super) fn find(user: &str) -> Result<User, FetchError> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = look_up(user, &passwd).ok_or_else(|| FetchError::UnknownUser { user: user.to_owned() })?;
    if found.uid == 0 {
        return Err(FetchError::RootUser { user: user.to_owned() });
    }
    if !rustix::process::geteuid().is_root() {
        return Err(FetchError::NotRoot { user: user.to_owned() });
    }
    Ok(found)
}

#[cfg(not(unix))]
pub(super) fn find(user: &str) -> Result<User, FetchError> {
    Err(FetchError::NotRoot { user: user.to_owned() })
}

#[cfg(any(unix, test))]
fn look_up(user: &str, passwd: &str) -> Option<User> {
    if let Some((uid, gid)) = user.split_once(':') {
        return Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? });
    }
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (name == user).then_some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_or_numbers() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nvideo:x:990:991::/:/usr/sbin/nologin\nbroken:x:a:b\n";
        assert_eq!(look_up("video", passwd), Some(User { uid: 990, gid: 991 }));
        assert_eq!(look_up("7:8", ""), Some(User { uid: 7, gid: 8 }));
        for unknown in ["vide", "broken", "", "7:", ":8", "-1:8"] {
            assert_eq!(look_up(unknown, passwd), None, "{unknown}");
        }
    }
}
