use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Creates a queue between two stages with a limit on items and bytes. The first stage cannot run far ahead of the
/// second, and the memory of the queue does not grow with the clip's length or the size of its images.
pub(super) fn queue<T>(max_items: usize, max_bytes: usize) -> (Sender<T>, Receiver<T>) {
    let state = QueueState { waiting: VecDeque::new(), bytes: 0, sender_gone: false, receiver_gone: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), max_items, max_bytes });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

pub(super) struct Sender<T>(Arc<Shared<T>>);

pub(super) struct Receiver<T>(Arc<Shared<T>>);

/// The error that the receiver is dropped.
#[derive(Debug)]
pub(super) struct Gone;

struct Shared<T> {
    state: Mutex<QueueState<T>>,
    changed: Condvar,
    max_items: usize,
    max_bytes: usize,
}

struct QueueState<T> {
    /// Items and the number of bytes given for each.
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    sender_gone: bool,
    receiver_gone: bool,
}

impl<T> Sender<T> {
    /// Waits until an item of `bytes` fits into the queue, and adds it. An item larger than the limit fits into an
    /// empty queue.
    pub(super) fn send(&self, item: T, bytes: usize) -> Result<(), Gone> {
        let Shared { changed, max_items, max_bytes, .. } = &*self.0;
        let mut state = self.0.lock();
        let fits = |state: &QueueState<T>| {
            let room = state.waiting.len() < *max_items && state.bytes.saturating_add(bytes) <= *max_bytes;
            state.waiting.is_empty() || room
        };
        while !state.receiver_gone && !fits(&state) {
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.receiver_gone {
            return Err(Gone);
        }
        state.bytes += bytes;
        state.waiting.push_back((item, bytes));
        changed.notify_all();
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// Waits for the next item; `None` if the queue is empty and the sender is dropped.
    ///
    /// On a thread of a rayon pool, it runs work of the pool while it waits, because the item may depend on work that
    /// waits for this thread.
    pub(super) fn receive(&self) -> Option<T> {
        let in_pool = rayon::current_thread_index().is_some();
        let mut state = self.0.lock();
        loop {
            if let Some((item, bytes)) = state.waiting.pop_front() {
                state.bytes -= bytes;
                self.0.changed.notify_all();
                return Some(item);
            }
            if state.sender_gone {
                return None;
            }
            if !in_pool {
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            let helped = rayon::yield_now() == Some(rayon::Yield::Executed);
            state = self.0.lock();
            if !helped && state.waiting.is_empty() && !state.sender_gone {
                let waited = self.0.changed.wait_timeout(state, Duration::from_millis(1));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().sender_gone = true;
        self.0.changed.notify_all();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receiver_gone = true;
        let unwanted = std::mem::take(&mut state.waiting);
        drop(state);
        drop(unwanted);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    /// Sends `count` items of `bytes` each. Returns the largest number of items that the sender was ahead of the
    /// receiver.
    fn most_ahead(max_items: usize, max_bytes: usize, count: usize, bytes: usize) -> usize {
        let (sender, receiver) = queue(max_items, max_bytes);
        let sent = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let sender = sender;
                for item in 0..count {
                    sender.send(item, bytes).unwrap();
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            });
            let mut most = 0;
            let mut expected = 0;
            while let Some(item) = receiver.receive() {
                assert_eq!(item, expected);
                expected += 1;
                most = most.max(sent.load(Ordering::SeqCst).saturating_sub(expected));
            }
            assert_eq!(expected, count);
            most
        })
    }

    #[test]
    fn items_arrive_in_order_and_within_the_limits() {
        // One more item may be sent between the removal of an item and the check.
        assert!(most_ahead(3, usize::MAX, 200, 1) <= 3 + 1);
        assert!(most_ahead(100, 10, 200, 4) <= 2 + 1);
        assert!(most_ahead(100, 10, 50, 1000) <= 1 + 1, "an item over the limit comes through alone");
    }

    #[test]
    fn sending_to_a_dropped_receiver_is_an_error() {
        let (sender, receiver) = queue(1, 100);
        sender.send(1, 1).unwrap();
        let sending = thread::spawn(move || sender.send(2, 1).is_err());
        drop(receiver);
        assert!(sending.join().unwrap());
    }

    #[test]
    fn a_thread_of_a_pool_does_the_work_it_waits_for() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let (sender, receiver) = queue(1, 100);
        let received = pool.install(|| {
            let waiting = &pool;
            thread::scope(|scope| {
                scope.spawn(move || sender.send(waiting.install(|| 7), 1).is_ok());
                receiver.receive()
            })
        });
        assert_eq!(received, Some(7));
    }
}
