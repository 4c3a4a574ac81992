//! The address of a video on the web, as a client gives it.

use std::fmt;

use url::{Host, Url};

use super::Failure;

/// Bytes that an address may have.
const MAX_LENGTH: usize = 2000;

/// The address of a video on the web, or of the page that shows it: http or https, with a host.
///
/// The part after the path may contain secrets, such as the token of a signed link. So neither [`shown`](Self::shown)
/// nor the debug output contains it.
#[derive(Clone)]
pub(crate) struct WebAddress(Url);

impl fmt::Debug for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebAddress").field(&self.shown()).finish()
    }
}

impl WebAddress {
    /// Reads the address in the member `url` of a request.
    ///
    /// # Errors
    /// Returns a problem if it is too long, is no address of the web, or holds a user name or a password.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        let refuse = |rule: &str| Failure::bad_parameter("url", text, rule);
        if text.len() > MAX_LENGTH {
            return Err(refuse(&format!("must have at most {MAX_LENGTH} bytes")));
        }
        let form = "must be a web address that begins with https:// or http://, such as https://example.org/video";
        let url = Url::parse(text).map_err(|_| refuse(form))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(refuse(form));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("must not hold a user name or a password; remove what stands before the @"));
        }
        Ok(Self(url))
    }

    /// Returns the whole address. It may hold secrets.
    pub(crate) fn secret(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the address without what may hold secrets: its query and its fragment.
    pub(crate) fn shown(&self) -> String {
        let mut url = self.0.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }

    /// Returns the name of the host, or its IP address.
    pub(crate) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Returns the host as the parser understood it. To it, `0x7f.1` is the IP address 127.0.0.1.
    pub(crate) fn parsed_host(&self) -> Option<Host<&str>> {
        self.0.host()
    }

    /// Returns the port: that of the address, or the standard one of its scheme.
    pub(crate) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    /// Returns the name of the video until it has a better one: the last part of the path, or the host.
    pub(crate) fn file_name(&self) -> String {
        let last = self.0.path_segments().and_then(|mut parts| parts.rfind(|part| !part.is_empty()));
        last.map_or_else(|| self.host().to_owned(), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_addresses_of_the_web_without_a_password_are_read() {
        for text in [
            "",
            "--exec",
            "--config-location=/etc/passwd",
            "-o/tmp/x",
            "clip.mp4",
            "example.org/video",
            "file:///etc/passwd",
            "ftp://example.org/a",
            "https://",
            "data:text/html,x",
            "https://user@example.org/",
            "https://user:secret@example.org/",
            &format!("https://example.org/{}", "x".repeat(MAX_LENGTH)),
        ] {
            let problem = WebAddress::parse(text).unwrap_err();
            assert_eq!(problem.status(), 400, "{text}");
            assert!(problem.detail().starts_with("url is "), "{}", problem.detail());
        }
    }

    #[test]
    fn parts_with_secrets_are_not_shown() {
        let address = WebAddress::parse(" https://Example.org:8443/a/b.mp4?token=secret#secret ").unwrap();
        assert_eq!(address.shown(), "https://example.org:8443/a/b.mp4");
        assert!(!format!("{address:?}").contains("secret") && address.secret().ends_with("?token=secret#secret"));
        assert_eq!((address.host(), address.port()), ("example.org", 8443));
        assert_eq!(address.file_name(), "b.mp4");
        assert_eq!(WebAddress::parse("http://example.org").unwrap().file_name(), "example.org");
    }

    #[test]
    fn every_way_to_write_an_ip_address_is_understood_as_one() {
        for text in ["http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/"] {
            let address = WebAddress::parse(text).unwrap();
            assert_eq!(address.parsed_host(), Some(Host::Ipv4([127, 0, 0, 1].into())), "{text}");
        }
    }
}
