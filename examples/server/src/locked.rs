use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Locks a mutex, even a poisoned one: no code of the server that holds a lock leaves its value half-changed when it
/// panics.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values of which each may be claimed by one holder at a time. Clones share them.
#[derive(Clone)]
pub(crate) struct Claims<T>(Arc<Mutex<HashSet<T>>>);

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + Eq + Hash> Claims<T> {
    /// Claims a value; `None` if it is claimed already.
    pub(crate) fn claim(&self, value: T) -> Option<Claim<T>> {
        // Lazily, because dropping a claim that was not granted would end the holder's.
        locked(&self.0).insert(value.clone()).then(|| Claim { claims: Self::clone(self), value })
    }
}

/// A claim on a value, until this is dropped.
pub(crate) struct Claim<T: Eq + Hash> {
    claims: Claims<T>,
    value: T,
}

impl<T: Eq + Hash> Drop for Claim<T> {
    fn drop(&mut self) {
        locked(&self.claims.0).remove(&self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_claim_does_not_end_that_of_the_holder() {
        let claims = Claims::default();
        let first = claims.claim(1);
        assert!(first.is_some() && claims.claim(1).is_none() && claims.claim(1).is_none());
        assert!(claims.claim(2).is_some());
        drop(first);
        assert!(claims.claim(1).is_some());
    }
}
