use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, even a poisoned one: no code of the server that holds a lock leaves its value half-changed when it
/// panics.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A claim on a value, which one holder at a time has. It ends when this is dropped.
pub(crate) struct Claim<'a, T: Eq + Hash> {
    claimed: &'a Mutex<HashSet<T>>,
    value: T,
}

impl<'a, T: Clone + Eq + Hash> Claim<'a, T> {
    /// Claims a value; `None` if it is claimed already.
    pub(crate) fn of(claimed: &'a Mutex<HashSet<T>>, value: T) -> Option<Self> {
        // Lazily, because dropping a claim that was not granted would end the holder's.
        locked(claimed).insert(value.clone()).then(|| Self { claimed, value })
    }
}

impl<T: Eq + Hash> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        locked(self.claimed).remove(&self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_claim_does_not_end_that_of_the_holder() {
        let claimed = Mutex::default();
        let first = Claim::of(&claimed, 1);
        assert!(first.is_some() && Claim::of(&claimed, 1).is_none() && Claim::of(&claimed, 1).is_none());
        assert!(Claim::of(&claimed, 2).is_some());
        drop(first);
        assert!(Claim::of(&claimed, 1).is_some());
    }
}
