use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A pool of reusable buffers, which avoids repeated allocation. It holds as many buffers as were ever in use at once.
pub(super) struct Pool<T>(Mutex<Vec<T>>);

impl<T: Default> Pool<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Calls a function with a buffer from the pool, or with a new one if the pool is empty.
    pub(super) fn with<R>(&self, function: impl FnOnce(&mut T) -> R) -> R {
        // If the function panics, its buffer is lost and the pool stays usable.
        let mut lent = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let result = function(&mut lent);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(lent);
        result
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}
