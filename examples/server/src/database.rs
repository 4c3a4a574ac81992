//! The address of a database, which may hold a password.

use std::convert::Infallible;
use std::fmt;
#[cfg(feature = "postgres")]
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

/// The address of a database of PostgreSQL. It is shown without user name, password and parameters. Any text is one,
/// because an error of the command line would show the text; the database refuses a wrong one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DatabaseAddress(String);

impl DatabaseAddress {
    /// Returns the address with its secrets, in the form that the client knows, and how the connection is protected.
    ///
    /// PostgreSQL's own programs know more forms of `sslmode` than the client does, and `sslrootcert`. As for them, a
    /// file of certificates asks for TLS; unlike them, every mode that asks for TLS checks certificate and host.
    #[cfg(feature = "postgres")]
    pub(crate) fn secret(&self) -> (String, Protection) {
        let Some((place, parameters)) = self.0.split_once('?') else { return (self.0.clone(), Protection::Asked) };
        let (mut is_tls, mut roots, mut kept) = (false, None, Vec::new());
        for parameter in parameters.split('&') {
            match parameter.split_once('=') {
                Some(("sslmode", "require" | "verify-ca" | "verify-full")) => is_tls = true,
                Some(("sslrootcert", _)) => {
                    let value = url::form_urlencoded::parse(parameter.as_bytes()).next();
                    roots = value.map(|(_, path)| PathBuf::from(&*path));
                }
                _ => kept.push(parameter),
            }
        }
        let address = format!("{place}?{}", kept.join("&"));
        if !is_tls && roots.is_none() {
            return (address, Protection::Asked);
        }
        // The word `system` is no file, for the other programs either.
        (address, Protection::Tls { roots: roots.filter(|path| path.as_os_str() != "system") })
    }
}

/// How the connection to the database is protected.
#[cfg(feature = "postgres")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Protection {
    /// As the rest of the address says.
    Asked,
    /// TLS, with a certificate of these authorities (a file in PEM); by default, of those that browsers trust.
    Tls { roots: Option<PathBuf> },
}

impl FromStr for DatabaseAddress {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Display for DatabaseAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The slash of a password that was not encoded ends what looks like a host and a port.
        let is_split = |url: &Url| url.username().is_empty() && self.0.contains('@');
        let Some(url) = Url::parse(&self.0).ok().filter(|url| !is_split(url)) else {
            return f.write_str("of another form");
        };
        let parameter = |name| url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned());
        let host = url.host_str().filter(|host| !host.is_empty()).map(ToOwned::to_owned).or_else(|| parameter("host"));
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{}://{}{port}{}", url.scheme(), host.unwrap_or_default(), url.path())
    }
}

impl fmt::Debug for DatabaseAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (text, shown) in [
            ("postgres://desk:secret@db.example:5433/videos?sslmode=disable", "postgres://db.example:5433/videos"),
            (
                "postgresql:///videos?host=/run/postgresql&user=desk&password=secret",
                "postgresql:///run/postgresql/videos",
            ),
            ("host=db.example user=desk password=secret", "of another form"),
            ("postgres://desk:sec ret@db.example/videos", "postgres://db.example/videos"),
            ("postgres://desk:secret@:x/videos", "of another form"),
            ("postgres://desk:123/secret@db.example/videos", "of another form"),
        ] {
            let address: DatabaseAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), shown);
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn an_address_says_how_the_connection_is_protected_as_for_other_programs() {
        let tls = |roots: Option<&str>| Protection::Tls { roots: roots.map(PathBuf::from) };
        for (text, secret, protection) in [
            ("postgres://desk@db.example/videos", "postgres://desk@db.example/videos", Protection::Asked),
            (
                "postgres://db.example/videos?sslmode=disable&options=-csearch_path%3Da",
                "postgres://db.example/videos?sslmode=disable&options=-csearch_path%3Da",
                Protection::Asked,
            ),
            ("postgres://db.example/videos?sslmode=require", "postgres://db.example/videos?", tls(None)),
            (
                "postgres://db.example/videos?user=desk&sslmode=verify-full&sslrootcert=%2Fetc%2Fdb%20ca.pem",
                "postgres://db.example/videos?user=desk",
                tls(Some("/etc/db ca.pem")),
            ),
            ("postgres://db.example/videos?sslrootcert=/ca.pem", "postgres://db.example/videos?", tls(Some("/ca.pem"))),
            ("postgres://db.example/videos?sslrootcert=system", "postgres://db.example/videos?", tls(None)),
        ] {
            let address: DatabaseAddress = text.parse().unwrap();
            assert_eq!(address.secret(), (secret.to_owned(), protection), "{text}");
        }
    }
}
