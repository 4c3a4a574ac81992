use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Buffers that are lent out and come back, so that nothing is allocated again and again. It holds as many as were ever in
/// use at once.
pub(super) struct Pool<T>(Mutex<Vec<T>>);

impl<T: Default> Pool<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Runs a function with something from the pool.
    pub(super) fn with<R>(&self, function: impl FnOnce(&mut T) -> R) -> R {
        // A panic in between loses the buffer and leaves the pool as it was.
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
