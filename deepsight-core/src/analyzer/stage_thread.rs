use std::convert::Infallible;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use super::Stage;
use super::failure::panic_message;
use super::queue::{Receiver, queue};
use crate::Error;

/// A stage on a thread of its own, which is waited for without blocking a thread of a pool that the stage may need: its
/// detector does, and its frames may.
pub(super) struct Started<'scope> {
    name: Stage,
    thread: ScopedJoinHandle<'scope, Duration>,
    end: End,
}

/// Waits for the end of a stage when it is dropped, which is also when the caller's own thread panics.
struct End(Receiver<Infallible>);

impl<'scope> Started<'scope> {
    pub(super) fn new<'env>(
        scope: &'scope Scope<'scope, 'env>,
        name: Stage,
        run: impl FnOnce() -> Duration + Send + 'scope,
    ) -> Self {
        // Nothing is ever sent: the stage holds the sender for as long as it runs.
        let (running, end) = queue(1, 0);
        let thread = scope.spawn(move || {
            let _running = running;
            run()
        });
        Self { name, thread, end: End(end) }
    }

    /// Waits for the stage; foreign panics are caught within it, so one that arrives here is our own.
    pub(super) fn join(self) -> Result<Duration, Error> {
        let Self { name, thread, end } = self;
        drop(end);
        thread.join().map_err(|panic| Error::Stopped { stage: name, reason: panic_message(panic.as_ref()) })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let _nothing = self.0.receive();
    }
}
