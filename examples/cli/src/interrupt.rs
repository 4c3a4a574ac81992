//! Handling of Ctrl-C.

use deepsight_core::CancelToken;

/// The error when no handler for Ctrl-C can be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for Ctrl-C")]
pub(crate) struct InterruptError(#[from] ctrlc::Error);

/// Installs a handler for Ctrl-C. The first Ctrl-C cancels the token, so that the work and ffmpeg end in order; a
/// second one exits at once.
///
/// # Errors
/// Returns an error if the system refuses, or if a handler is already installed.
pub(crate) fn cancel_on_interrupt(cancel: &CancelToken) -> Result<(), InterruptError> {
    let token = cancel.clone();
    Ok(ctrlc::set_handler(move || {
        if token.is_cancelled() {
            std::process::exit(130);
        }
        token.cancel();
    })?)
}
