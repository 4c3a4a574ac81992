//! The address of a database, which may hold a password.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use url::Url;

/// The address of a database of PostgreSQL. It is shown without user name, password and parameters. Any text is one,
/// because an error of the command line would show the text; the database refuses a wrong one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DatabaseAddress(String);

impl DatabaseAddress {
    /// Returns the address with its secrets.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only with PostgreSQL"))]
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
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
}
