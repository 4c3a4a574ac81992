//! Admission to the queue. A place is reserved before an upload begins, not after the video has been received.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::shared::Reservation;
use crate::domain::Failure;
use crate::store::Store;
use crate::tally::{Slot, Tally};

/// The free places of the queue, and the number of videos of each client that wait or run.
#[derive(Debug)]
pub(super) struct Admissions {
    places: Arc<Semaphore>,
    limit: u32,
    clients: Tally<String>,
    client_limit: AtomicU32,
}

/// A place in the queue for a video.
#[derive(Debug)]
pub(crate) enum Admission {
    /// In the queue of this process.
    Own(Admitted),
    /// In the queue that processes share.
    Shared(Reservation),
}

impl Admission {
    /// Returns the place if it is in the queue of this process. In a shared queue, frees the place of an analysis that
    /// is stored, which counts itself.
    pub(super) fn spend(self, store: &Store) -> Option<Admitted> {
        match self {
            Self::Own(admitted) => Some(admitted),
            Self::Shared(reservation) => {
                reservation.spend(store);
                None
            }
        }
    }
}

/// A place in the queue and a count of the client. The place is held from before the upload until the analysis begins;
/// the count, until the analysis ends.
#[derive(Debug)]
pub(crate) struct Admitted {
    place: OwnedSemaphorePermit,
    client: ClientSlot,
}

impl Admitted {
    /// Frees the place in the queue. The returned value counts as one video of the client until it is dropped.
    pub(super) fn begin(self) -> ClientSlot {
        let Self { place, client } = self;
        drop(place);
        client
    }
}

/// One of a client's videos, counted against the client's limit until this value is dropped.
pub(super) type ClientSlot = Slot<String>;

impl Admissions {
    pub(super) fn new(limit: u32, client_limit: u32) -> Self {
        let places = Arc::new(Semaphore::new(limit as usize));
        Self { places, limit, clients: Tally::default(), client_limit: AtomicU32::new(client_limit) }
    }

    /// Returns the limit of the queue and that of each client.
    pub(super) fn limits(&self) -> (u32, u32) {
        (self.limit, self.client_limit.load(Ordering::Relaxed))
    }

    /// Changes the limit of each client. Videos over a lower limit stay.
    pub(super) fn set_client_limit(&self, limit: u32) {
        self.client_limit.store(limit, Ordering::Relaxed);
    }

    /// Reserves a place for a video of `client`.
    ///
    /// # Errors
    /// Returns a failure if the client is at its limit or the queue is full. It names the seconds to wait,
    /// `retry_after()`.
    pub(super) fn admit(&self, client: &str, retry_after: impl Fn() -> u64) -> Result<Admitted, Failure> {
        let limit = self.client_limit.load(Ordering::Relaxed);
        let client = self.clients.claim(client.to_owned(), limit);
        let client = client.ok_or_else(|| Failure::too_many_jobs(limit, retry_after()))?;
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Ok(Admitted { place, client }),
            Err(_) => Err(Failure::queue_full(self.limit, retry_after())),
        }
    }

    /// Returns whether the queue is full.
    pub(super) fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn status(outcome: Result<Admitted, Failure>) -> u16 {
        outcome.unwrap_err().status()
    }

    #[test]
    fn a_full_queue_refuses_until_a_place_is_free() {
        let admissions = Admissions::new(2, 9);
        let first = admissions.admit("a", || 7).unwrap();
        let _second = admissions.admit("b", || 7).unwrap();
        assert!(admissions.is_full());
        assert_eq!(status(admissions.admit("c", || 7)), 503);
        let running = first.begin();
        let _third = admissions.admit("c", || 7).unwrap();
        drop(running);
    }

    #[test]
    fn a_client_is_refused_at_its_own_limit_and_others_are_not() {
        let admissions = Admissions::new(10, 1);
        let first = admissions.admit("a", || 7).unwrap();
        assert_eq!(status(admissions.admit("a", || 7)), 429);
        let _other = admissions.admit("b", || 7).unwrap();
        drop(first);
        assert!(admissions.admit("a", || 7).is_ok());
        assert_eq!(admissions.clients.len(), 1, "who has nothing under way is forgotten");
    }
}
