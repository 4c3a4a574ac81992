use std::convert::Infallible;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use super::queue::{Receiver, queue};
use crate::panics::panic_message;
use crate::{Error, Stage};

/// A stage that runs on its own thread. Waiting for it does not block a thread of a rayon pool, because the stage may
/// need that thread: its detector does, and its frames may.
pub(super) struct StageThread<'scope> {
    name: Stage,
    thread: ScopedJoinHandle<'scope, Duration>,
    end: End,
}

/// A guard that waits for the end of a stage when it is dropped, also if the caller's thread panics.
struct End(Receiver<Infallible>);

impl<'scope> StageThread<'scope> {
    pub(super) fn new<'env>(
        scope: &'scope Scope<'scope, 'env>,
        name: Stage,
        run: impl FnOnce() -> Duration + Send + 'scope,
    ) -> Self {
        // No item is ever sent. The stage holds the sender while it runs, and its drop ends the wait.
        let (running, end) = queue(1, 0);
        let thread = scope.spawn(move || {
            let _running = running;
            run()
        });
        Self { name, thread, end: End(end) }
    }

    /// Waits for the stage and returns its time. Panics of foreign code are caught within the stage, so a panic that
    /// arrives here is a defect of this crate.
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
