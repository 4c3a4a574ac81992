//! Counts with a limit, by client or address.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use crate::locked::locked;

/// Counts by key. Clones share the counts; keys with a count of 0 are not stored.
#[derive(Debug)]
pub(crate) struct Tally<K: Eq + Hash>(Arc<Mutex<HashMap<K, u32>>>);

/// One count of a key, until this value is dropped.
#[derive(Debug)]
pub(crate) struct Slot<K: Eq + Hash> {
    key: K,
    tally: Tally<K>,
}

impl<K: Eq + Hash> Default for Tally<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash> Clone for Tally<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash + Clone> Tally<K> {
    /// Counts one more for a key. Returns `None` if the key has `limit` or more.
    pub(crate) fn claim(&self, key: K, limit: u32) -> Option<Slot<K>> {
        let mut counts = locked(&self.0);
        let count = counts.get(&key).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        counts.insert(key.clone(), count + 1);
        Some(Slot { key, tally: self.clone() })
    }

    /// Returns the number of keys with a count above 0.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        locked(&self.0).len()
    }
}

impl<K: Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut counts = locked(&self.tally.0);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}
