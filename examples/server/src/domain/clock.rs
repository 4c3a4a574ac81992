//! Points in time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// A point in time in milliseconds since 1970, UTC. Serializes as RFC 3339 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) i64);

impl Moment {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    pub(crate) fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    pub(crate) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Returns the time until this moment; zero if it has passed.
    pub(crate) fn away(self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(Self::now().0)).unwrap_or(0))
    }

    /// Returns the day, UTC, as in 2026-11-29.
    pub(crate) fn day(self) -> String {
        self.to_string().chars().take(10).collect()
    }

    /// Returns the time as HTTP writes it in headers, as in `Sun, 29 Nov 2026 21:45:00 GMT`.
    pub(crate) fn http_date(self) -> String {
        let moment = Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::MAX);
        moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Returns the seconds since 1970.
    pub(crate) fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let moment = Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::MAX);
        write!(f, "{moment:.3}")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339_in_utc_with_milliseconds() {
        assert_eq!(Moment(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Moment(1_795_644_322_120).to_string(), "2026-11-25T22:05:22.120Z");
    }
}
