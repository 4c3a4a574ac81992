//! Panics of other crates' code, as error messages.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code of another crate and converts a panic to an error message.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Unwind-safe: state that a panic leaves half-changed is only used by further calls of the same foreign code.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panic_message(panic.as_ref())))
}

/// Returns the text of a caught panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("no message"))
}
