//! The hosts that videos may be fetched from, and the addresses that a name may lead to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use url::Host;

/// Time that the look-up of a name may take.
const LOOK_UP: Duration = Duration::from_secs(10);

/// An entry of the list of hosts. A name stands for its subdomains too; an IP address and `localhost` stand for
/// themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedHost {
    host: Host,
    /// The only port; `None` for the standard ports of http and https.
    port: Option<u16>,
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = || {
            "must be a host with or without a port, such as vimeo.com, video.example:8443 or [2001:db8::1]".to_owned()
        };
        let text = text.trim();
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, Some(port.parse::<u16>().map_err(|_| rule())?)),
            _ => (text, None),
        };
        if host.is_empty() || host.contains(['/', '@', '*']) || port == Some(0) {
            return Err(rule());
        }
        Ok(Self { host: undotted(Host::parse(host).map_err(|_| rule())?), port })
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

impl AllowedHost {
    fn stands_for(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (Host::Domain(own), Host::Domain(other)) if !self.is_localhost() => {
                other.strip_suffix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            (own, other) => own == other,
        }
    }

    fn takes(&self, port: u16) -> bool {
        self.port.map_or(matches!(port, 80 | 443), |own| own == port)
    }

    fn is_localhost(&self) -> bool {
        matches!(&self.host, Host::Domain(name) if name == "localhost")
    }

    /// Checks the addresses that the look-up of a name has given.
    fn checked(&self, name: &str, found: &[IpAddr]) -> Result<(), Refusal> {
        match found {
            [] => Err(Refusal::Unknown { host: name.to_owned() }),
            found if found.iter().all(|address| self.admits(*address)) => Ok(()),
            _ => Err(Refusal::Private { host: name.to_owned() }),
        }
    }

    /// Returns whether the host of this entry may have this address.
    fn admits(&self, address: IpAddr) -> bool {
        match &self.host {
            Host::Domain(_) if self.is_localhost() => address.is_loopback(),
            Host::Domain(_) => is_public(address),
            // The administrator named this very address.
            Host::Ipv4(own) => address == IpAddr::V4(*own),
            Host::Ipv6(own) => address == IpAddr::V6(*own),
        }
    }
}

/// A name with a dot at its end is the same name.
fn undotted(host: Host) -> Host {
    match host {
        Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_owned()),
        host => host,
    }
}

/// Why no connection to a host is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The list does not have the host.
    Host { host: String, port: u16 },
    /// The list has the host, but not with this port.
    Port { host: String, port: u16 },
    /// The name leads to an address that is not on the public internet.
    Private { host: String },
    /// The name does not exist, or cannot be looked up.
    Unknown { host: String },
    /// No address of the host answers.
    Silent { host: String },
}

/// The list of hosts.
#[derive(Debug, Clone)]
pub(crate) struct AllowedHosts(Vec<AllowedHost>);

impl AllowedHosts {
    pub(crate) fn new(hosts: Vec<AllowedHost>) -> Self {
        Self(hosts)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Returns the entry that allows a host with this port.
    ///
    /// # Errors
    /// Returns why it is not allowed.
    pub(crate) fn entry(&self, host: Host<&str>, port: u16) -> Result<&AllowedHost, Refusal> {
        let host = undotted(host.to_owned());
        let mut known = self.0.iter().filter(|entry| entry.stands_for(&host)).peekable();
        if known.peek().is_none() {
            return Err(Refusal::Host { host: host.to_string(), port });
        }
        known.find(|entry| entry.takes(port)).ok_or_else(|| Refusal::Port { host: host.to_string(), port })
    }

    /// Looks up the addresses of a host. Connections must be made to these addresses and not to the name, which could
    /// lead elsewhere the next time.
    ///
    /// # Errors
    /// Returns why the host is not allowed. One address that is not public refuses the whole name.
    pub(crate) async fn resolve(&self, host: Host<&str>, port: u16) -> Result<Vec<SocketAddr>, Refusal> {
        let entry = self.entry(host.clone(), port)?;
        let name = host.to_string();
        let found: Vec<IpAddr> = match host {
            Host::Ipv4(address) => vec![address.into()],
            Host::Ipv6(address) => vec![address.into()],
            Host::Domain(domain) => {
                let look_up = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((domain, port))).await;
                match look_up {
                    Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
                    _ => return Err(Refusal::Unknown { host: name }),
                }
            }
        };
        entry.checked(&name, &found)?;
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }
}

/// Networks of IPv4 that are not part of the public internet (IANA's registry of special-purpose addresses), and
/// multicast.
const SPECIAL_V4: [&str; 16] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// The network of IPv6 that has the public addresses. Loopback, IPv4-mapped, NAT64, unique-local, link-local and
/// multicast addresses lie outside.
const GLOBAL_V6: &str = "2000::/3";
/// Parts of it that are not public, or lead to IPv4 addresses inside (Teredo, 6to4).
const SPECIAL_V6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

/// Returns whether an address is one of the public internet.
fn is_public(address: IpAddr) -> bool {
    let within = |networks: &[&str]| {
        networks.iter().any(|network| network.parse::<IpNet>().is_ok_and(|network| network.contains(&address)))
    };
    match address {
        IpAddr::V4(_) => !within(&SPECIAL_V4),
        IpAddr::V6(_) => within(&[GLOBAL_V6]) && !within(&SPECIAL_V6),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn hosts(list: &[&str]) -> AllowedHosts {
        AllowedHosts::new(list.iter().map(|entry| entry.parse().unwrap()).collect())
    }

    fn entry(hosts: &AllowedHosts, host: &str, port: u16) -> Result<String, Refusal> {
        let host = Host::parse(host).unwrap();
        let host = match &host {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(address) => Host::Ipv4(*address),
            Host::Ipv6(address) => Host::Ipv6(*address),
        };
        hosts.entry(host, port).map(ToString::to_string)
    }

    #[test]
    fn every_table_of_networks_can_be_read() {
        for network in SPECIAL_V4.iter().chain(&SPECIAL_V6).chain([&GLOBAL_V6]) {
            assert!(network.parse::<IpNet>().is_ok(), "{network}");
        }
    }

    #[test]
    fn a_name_stands_for_its_subdomains_and_for_no_name_that_only_ends_like_it() {
        let hosts = hosts(&["Vimeo.com", "localhost:8080", "video.example:8443", "192.0.2.7", "[2001:db8::1]:81"]);
        for (host, port) in [
            ("vimeo.com", 443),
            ("VIMEO.com.", 80),
            ("player.vimeo.com", 443),
            ("localhost", 8080),
            ("a.video.example", 8443),
            ("192.0.2.7", 80),
            ("[2001:db8::1]", 81),
        ] {
            assert!(entry(&hosts, host, port).is_ok(), "{host}:{port}");
        }
        for host in [
            "evilvimeo.com",
            "vimeo.com.evil.example",
            "com",
            "a.localhost",
            "192.0.2.8",
            "[::1]",
            "1.192.0.2.7.example",
        ] {
            assert!(matches!(entry(&hosts, host, 443), Err(Refusal::Host { .. })), "{host}");
        }
        for (host, port) in [("vimeo.com", 22), ("video.example", 443), ("localhost", 80), ("192.0.2.7", 8080)] {
            assert_eq!(entry(&hosts, host, port), Err(Refusal::Port { host: host.into(), port }));
        }
    }

    #[test]
    fn addresses_that_are_not_public_are_known() {
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.254",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2001:0:1::1",
            "2002:7f00:1::",
            "2001:db8::1",
            "3fff::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::200e"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn only_the_entry_of_an_address_or_of_localhost_admits_a_private_one() {
        let admits =
            |entry: &str, address: &str| entry.parse::<AllowedHost>().unwrap().admits(address.parse().unwrap());
        assert!(admits("localhost", "127.0.0.1") && admits("localhost", "::1") && !admits("localhost", "10.0.0.1"));
        assert!(admits("10.0.0.1", "10.0.0.1") && !admits("10.0.0.1", "10.0.0.2"));
        assert!(admits("vimeo.com", "8.8.8.8") && !admits("vimeo.com", "10.0.0.1") && !admits("vimeo.com", "::1"));
    }

    #[tokio::test]
    async fn names_are_looked_up_only_if_the_list_has_them_and_every_address_is_checked() {
        let hosts = hosts(&["localhost:81", "127.0.0.1:82"]);
        let found = hosts.resolve(Host::Domain("localhost"), 81).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback() && address.port() == 81));
        assert!(hosts.resolve(Host::Ipv4([127, 0, 0, 1].into()), 82).await.is_ok());
        assert!(hosts.resolve(Host::Domain("example.org"), 443).await.is_err());
    }

    #[test]
    fn one_private_address_refuses_the_whole_name() {
        let entry: AllowedHost = "vimeo.com".parse().unwrap();
        let checked = |found: &[&str]| {
            let found: Vec<IpAddr> = found.iter().map(|address| address.parse().unwrap()).collect();
            entry.checked("vimeo.com", &found)
        };
        assert_eq!(checked(&["8.8.8.8", "2606:4700::1111"]), Ok(()));
        let private = Err(Refusal::Private { host: "vimeo.com".into() });
        for inside in ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fd00::1"] {
            assert_eq!(checked(&["8.8.8.8", inside]), private, "{inside}");
        }
        assert_eq!(checked(&[]), Err(Refusal::Unknown { host: "vimeo.com".into() }));
    }

    #[test]
    fn malformed_entries_are_refused_with_the_form() {
        for text in ["", "https://vimeo.com", "a:b", "vimeo.com:0", "*.vimeo.com", "user@vimeo.com", "a b", "x:99999"] {
            assert!(text.parse::<AllowedHost>().unwrap_err().contains("such as vimeo.com"), "{text}");
        }
        for text in ["vimeo.com", "video.example:8443", "[2001:db8::1]", "[2001:db8::1]:81", "127.0.0.1:8000"] {
            assert_eq!(text.parse::<AllowedHost>().unwrap().to_string(), text);
        }
    }
}
