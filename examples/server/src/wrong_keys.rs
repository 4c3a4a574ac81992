//! Delays for wrong API keys: after some of them, an address waits for each further answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::connections::network;
use crate::locked::locked;

/// Number of wrong keys without a delay.
const FREE: u32 = 10;
/// Time for which one wrong key counts.
const EACH: Duration = Duration::from_secs(1);
/// Longest wait for an answer.
const LONGEST: Duration = Duration::from_secs(10);
/// Largest number of addresses that are remembered. A further one replaces the one that is forgotten next.
const MAX_ADDRESSES: usize = 10_000;

/// The addresses that recently sent wrong keys.
#[derive(Debug, Default)]
pub(crate) struct WrongKeys(Mutex<HashMap<IpAddr, Debt>>);

#[derive(Debug)]
struct Debt {
    /// Moment when the address is forgotten. Each wrong key adds [`EACH`].
    until: Instant,
    /// Whether [`count`](WrongKeys::count) has already returned a first wait for the address.
    recorded: bool,
}

/// The delay for a wrong key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Penalty {
    /// Time to wait before the answer.
    pub(crate) wait: Duration,
    /// Whether this is the first wait of the address, which the audit records.
    pub(crate) is_first: bool,
}

impl WrongKeys {
    /// Counts a wrong key of an address.
    pub(crate) fn count(&self, address: IpAddr, now: Instant) -> Penalty {
        let network = network(address);
        let mut debts = locked(&self.0);
        if debts.len() >= MAX_ADDRESSES && !debts.contains_key(&network) {
            debts.retain(|_, debt| debt.until > now);
            if debts.len() >= MAX_ADDRESSES {
                let next = debts.iter().min_by_key(|(_, debt)| debt.until).map(|(address, _)| *address);
                next.map(|address| debts.remove(&address));
            }
        }
        let debt = debts.entry(network).or_insert(Debt { until: now, recorded: false });
        if debt.until <= now {
            *debt = Debt { until: now, recorded: false };
        }
        debt.until = (debt.until + EACH).min(now + EACH * FREE + LONGEST);
        let wait = (debt.until - now).saturating_sub(EACH * FREE);
        let is_first = !wait.is_zero() && !debt.recorded;
        debt.recorded |= is_first;
        Penalty { wait, is_first }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn after_some_wrong_keys_each_further_one_waits_longer_up_to_a_limit() {
        let (keys, now) = (WrongKeys::default(), Instant::now());
        for _ in 0..FREE {
            assert_eq!(keys.count(ip(1), now), Penalty { wait: Duration::ZERO, is_first: false });
        }
        assert_eq!(keys.count(ip(1), now), Penalty { wait: EACH, is_first: true });
        assert_eq!(keys.count(ip(1), now), Penalty { wait: EACH * 2, is_first: false });
        assert_eq!(keys.count(ip(2), now).wait, Duration::ZERO, "another address does not wait");
        for _ in 0..100 {
            keys.count(ip(1), now);
        }
        assert_eq!(keys.count(ip(1), now).wait, LONGEST);
        let later = now + EACH * FREE + LONGEST;
        assert_eq!(keys.count(ip(1), later).wait, Duration::ZERO, "in the end the address is forgotten");
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let (keys, now) = (WrongKeys::default(), Instant::now());
        let waits = (0..=u64::from(FREE)).map(|host| {
            let address = format!("2001:db8::{host:x}").parse().unwrap();
            keys.count(address, now).wait
        });
        assert_eq!(waits.max().unwrap(), EACH);
    }

    #[test]
    fn memory_is_bounded_and_the_worst_addresses_are_kept() {
        let (keys, now) = (WrongKeys::default(), Instant::now());
        for _ in 0..FREE + 5 {
            keys.count(ip(0), now);
        }
        for number in 1..=2 * MAX_ADDRESSES as u32 {
            keys.count(ip(number), now);
        }
        assert_eq!(keys.0.lock().unwrap().len(), MAX_ADDRESSES);
        assert_eq!(keys.count(ip(0), now).wait, EACH * 6);
    }
}
