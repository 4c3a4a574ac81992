use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use crate::Error;

/// A token that stops a running analysis from another thread. Clones share one state.
///
/// ```
/// use std::sync::mpsc::channel;
///
/// use deepsight_core::CancelToken;
///
/// let token = CancelToken::new();
/// // A source that never gives anything, such as a camera that was switched off.
/// let (camera, frames) = channel::<u32>();
/// let mut frames = token.interruptible(frames)?;
/// token.cancel();
/// assert_eq!(frames.next(), None);
/// # drop(camera);
/// # Ok::<(), deepsight_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct CancelToken(Arc<State>);

#[derive(Default)]
struct State {
    cancelled: AtomicBool,
    actions: Mutex<Actions>,
}

/// The actions that run when the token is cancelled.
#[derive(Default)]
struct Actions {
    next: u64,
    waiting: BTreeMap<u64, Box<dyn FnOnce() + Send>>,
}

impl State {
    fn actions(&self) -> MutexGuard<'_, Actions> {
        self.actions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CancelToken {
    /// Creates a token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every analysis with this token to stop. It stops after the current batch and frame. Runs the actions of
    /// [`on_cancel`](Self::on_cancel) first.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        let actions = std::mem::take(&mut self.0.actions().waiting);
        actions.into_values().for_each(|action| action());
    }

    /// Returns whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Runs `action` once when the token is cancelled, on the thread that cancels it, or at once if it is already
    /// cancelled. A source of frames uses it to end the process or connection that it waits for. The action must not
    /// block. Dropping the returned guard removes the action.
    pub fn on_cancel(&self, action: impl FnOnce() + Send + 'static) -> OnCancel {
        let mut actions = self.0.actions();
        if self.is_cancelled() {
            drop(actions);
            action();
            return OnCancel { token: Weak::new(), number: 0 };
        }
        let number = actions.next;
        actions.next += 1;
        actions.waiting.insert(number, Box::new(action));
        OnCancel { token: Arc::downgrade(&self.0), number }
    }

    /// Reads `items` on a separate thread, one ahead of the reader, and ends when the token is cancelled, even while
    /// the source waits. Use it for a source that cannot be interrupted, such as a channel or a camera. The thread
    /// keeps the source, and ends when the source next returns.
    ///
    /// # Errors
    /// [`Error::NoThreads`] if the system refuses the thread.
    pub fn interruptible<I>(&self, items: I) -> Result<Interruptible<I::Item>, Error>
    where
        I: IntoIterator + Send + 'static,
        I::Item: Send + 'static,
    {
        let (sender, receiver) = sync_channel(1);
        let waker = sender.clone();
        // If the channel is full, the reader is not waiting, and it looks at the token before it reads again.
        let wakes = self.on_cancel(move || drop(waker.try_send(Message::End)));
        let read = move || {
            let last = catch_unwind(AssertUnwindSafe(|| {
                for item in items {
                    if sender.send(Message::Item(item)).is_err() {
                        break;
                    }
                }
            }));
            // The reader may be gone.
            let _ = sender.send(last.map_or_else(Message::Panic, |()| Message::End));
        };
        let thread = thread::Builder::new().name("deepsight-source".into()).spawn(read);
        thread.map_err(|error| Error::NoThreads { count: 1, reason: error.to_string() })?;
        Ok(Interruptible { messages: Some(receiver), token: self.clone(), _wakes: wakes })
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

/// A guard of an action that runs when a token is cancelled ([`CancelToken::on_cancel`]). Dropping it removes the
/// action.
#[must_use = "dropping it takes the action back"]
pub struct OnCancel {
    token: Weak<State>,
    number: u64,
}

impl Drop for OnCancel {
    fn drop(&mut self) {
        if let Some(state) = self.token.upgrade() {
            // Dropped after the lock is released, because values that the action owns may call `cancel` or `on_cancel`.
            let action = state.actions().waiting.remove(&self.number);
            drop(action);
        }
    }
}

impl fmt::Debug for OnCancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnCancel").finish_non_exhaustive()
    }
}

/// The items of a source until a token is cancelled: see [`CancelToken::interruptible`].
#[derive(Debug)]
pub struct Interruptible<T> {
    messages: Option<Receiver<Message<T>>>,
    token: CancelToken,
    _wakes: OnCancel,
}

enum Message<T> {
    Item(T),
    End,
    /// The payload of a panic of the source.
    Panic(Box<dyn Any + Send>),
}

impl<T> Iterator for Interruptible<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let messages = self.messages.take().filter(|_| !self.token.is_cancelled())?;
        match messages.recv() {
            Ok(Message::Item(item)) if !self.token.is_cancelled() => {
                self.messages = Some(messages);
                Some(item)
            }
            // Passes a panic of the source on to the reader.
            Ok(Message::Panic(payload)) => resume_unwind(payload),
            Ok(_) | Err(_) => None,
        }
    }
}

impl<T> std::iter::FusedIterator for Interruptible<T> {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_source_that_waits_is_left_when_the_token_is_cancelled() {
        let token = CancelToken::new();
        let (sender, receiver) = channel();
        let mut items = token.interruptible(receiver).unwrap();
        sender.send(1).unwrap();
        assert_eq!(items.next(), Some(1));
        let reader = thread::spawn(move || items.next());
        token.cancel();
        assert_eq!(reader.join().unwrap(), None);
        // Keeps the source open until its reader is dropped.
        drop(sender);
    }

    #[test]
    fn all_items_of_a_source_arrive_in_order_and_then_it_ends() {
        let mut items = CancelToken::new().interruptible(0..100).unwrap();
        assert!(items.by_ref().eq(0..100));
        assert_eq!(items.next(), None);
    }

    #[test]
    fn a_panic_of_the_source_is_the_readers() {
        let source = (0..3).map(|n| if n == 2 { panic!("the camera broke") } else { n });
        let mut items = CancelToken::new().interruptible(source).unwrap();
        assert_eq!((items.next(), items.next()), (Some(0), Some(1)));
        let payload = catch_unwind(AssertUnwindSafe(|| items.next())).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the camera broke"));
        assert_eq!(items.next(), None);
    }

    #[test]
    fn actions_run_once_in_order_or_at_once_and_can_be_taken_back() {
        let token = CancelToken::new();
        let (sender, receiver) = channel();
        let told = |word: &'static str| {
            let sender = sender.clone();
            move || sender.send(word).unwrap()
        };
        let _first = token.on_cancel(told("first"));
        drop(token.on_cancel(told("taken back")));
        let _second = token.clone().on_cancel(told("second"));
        token.cancel();
        token.cancel();
        let _late = token.on_cancel(told("late"));
        assert!(receiver.try_iter().eq(["first", "second", "late"]));
    }
}
