//! Ctrl-C.

use deepsight_core::CancelToken;

/// Why Ctrl-C cannot be heard.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for Ctrl-C")]
pub(crate) struct InterruptError(#[from] ctrlc::Error);

/// The first Ctrl-C cancels the token, so that work ends in order, ffmpeg included; a second one ends the program at
/// once.
///
/// # Errors
/// When the system refuses, or somebody listens already.
pub(crate) fn cancel_on_interrupt(cancel: &CancelToken) -> Result<(), InterruptError> {
    let token = cancel.clone();
    Ok(ctrlc::set_handler(move || {
        if token.is_cancelled() {
            std::process::exit(130);
        }
        token.cancel();
    })?)
}
