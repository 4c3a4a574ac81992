use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, even a poisoned one: no code of the server that holds a lock leaves its value half-changed when it
/// panics.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
