//! Limits on connections: their number in total and for each address, and the addresses of clients behind a proxy.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use ipnet::IpNet;

use crate::locked::locked;
use crate::tally::{Slot, Tally};

/// A limit on connections that is reached. It is attached to the requests of a connection over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// The server has `limit` connections.
    Server { limit: u32 },
    /// The client's address has `limit` connections.
    Address { limit: u32 },
}

/// Counts of open connections or requests by address, with the same limit for each. Clones share the counts.
#[derive(Debug, Clone)]
pub(crate) struct AddressCounts {
    limit: u32,
    counts: Tally<IpAddr>,
}

/// One count of an address, until this value is dropped.
pub(crate) type AddressSlot = Slot<IpAddr>;

impl AddressCounts {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, counts: Tally::default() }
    }

    /// Counts one more for an address.
    ///
    /// # Errors
    /// Returns an error if the address is at its limit.
    pub(crate) fn claim(&self, address: IpAddr) -> Result<AddressSlot, Crowded> {
        self.counts.claim(network(address), self.limit).ok_or(Crowded::Address { limit: self.limit })
    }
}

/// The open connections, with their limits.
#[derive(Debug)]
pub(crate) struct Connections {
    limit: u32,
    open: Arc<Mutex<u32>>,
    addresses: AddressCounts,
    proxies: Proxies,
}

/// One open connection, counted until this value is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    open: Arc<Mutex<u32>>,
    _address: Option<AddressSlot>,
}

impl Connections {
    /// Limits all connections to `limit`, and those of one address to `per_address`. Proxies have no limit of their
    /// own, because they pass on the requests of many clients.
    pub(crate) fn new(limit: u32, per_address: u32, proxies: Proxies) -> Self {
        Self { limit, open: Arc::default(), addresses: AddressCounts::new(per_address), proxies }
    }

    /// Counts a new connection.
    ///
    /// # Errors
    /// Returns the limit that is reached.
    pub(crate) fn admit(&self, peer: IpAddr) -> Result<Place, Crowded> {
        let address = if self.proxies.contains(peer) { None } else { Some(self.addresses.claim(peer)?) };
        let mut open = locked(&self.open);
        if *open >= self.limit {
            return Err(Crowded::Server { limit: self.limit });
        }
        *open += 1;
        Ok(Place { open: Arc::clone(&self.open), _address: address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *locked(&self.open) -= 1;
    }
}

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// Returns the address of the client of a request.
    ///
    /// It is the peer, unless the peer is a trusted proxy. Then it is the last address of `X-Forwarded-For` that is not
    /// a trusted proxy itself: every proxy appends the address that it saw, so what stands before that one is whatever
    /// the client claims. A malformed entry ends the search.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.contains(client) {
            return client;
        }
        let lines: Vec<&str> =
            headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
        for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let Some(address) = address(entry.trim()) else { break };
            client = address;
            if !self.contains(client) {
                break;
            }
        }
        client
    }
}

/// Reads an address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// Returns the address by which clients are counted: an IPv4 address, or the /64 network of an IPv6 address, because
/// one machine can use all addresses of such a network.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn forwarded(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn one_address_cannot_take_the_connections_of_another() {
        let connections = Connections::new(5, 2, Proxies::default());
        let first = connections.admit(ip("192.0.2.1")).unwrap();
        let _second = connections.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(connections.admit(ip("192.0.2.1")).unwrap_err(), Crowded::Address { limit: 2 });
        let _other = connections.admit(ip("192.0.2.2")).unwrap();
        drop(first);
        let _third = connections.admit(ip("::ffff:192.0.2.1")).unwrap();
        assert!(
            connections.admit(ip("192.0.2.1")).is_err(),
            "an IPv4 address that is written as IPv6 is the same address"
        );
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_limit() {
        let connections = Connections::new(5, 1, Proxies::default());
        let _first = connections.admit(ip("2001:db8:1:2::1")).unwrap();
        assert!(connections.admit(ip("2001:db8:1:2:ffff::9")).is_err());
        assert!(connections.admit(ip("2001:db8:1:3::1")).is_ok());
    }

    #[test]
    fn a_refused_connection_leaves_no_count() {
        let connections = Connections::new(1, 1, Proxies::default());
        let first = connections.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(connections.admit(ip("192.0.2.2")).unwrap_err(), Crowded::Server { limit: 1 });
        drop(first);
        assert_eq!(connections.addresses.counts.len(), 0);
        assert!(connections.admit(ip("192.0.2.2")).is_ok());
    }

    #[test]
    fn only_trusted_proxies_may_name_their_client() {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let client = |peer: &str, lines: &[&str]| proxies.client(ip(peer), &forwarded(lines)).to_string();
        assert_eq!(client("192.0.2.1", &["203.0.113.9"]), "192.0.2.1", "a client cannot name another address");
        assert_eq!(client("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, 203.0.113.9, 10.1.1.1"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.1", "203.0.113.9:1234"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert!(Connections::new(9, 0, proxies).admit(ip("10.0.0.1")).is_ok(), "a proxy has no limit of its own");
    }
}
