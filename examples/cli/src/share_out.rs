//! Distributes work among workers, and passes the results to one thread.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use deepsight_core::CancelToken;

/// Limit on the results per job that wait to be taken. It bounds the memory, whatever the number of items.
const AHEAD: usize = 2;

/// The order in which results are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The order of the items.
    AsGiven,
    /// The order in which the results are ready.
    AsDone,
}

/// The reason why not all results were taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped<E> {
    /// The token was cancelled.
    Cancelled,
    /// `take` returned an error.
    Failed(E),
}

/// Runs `work` on each of `count` items, `jobs` at a time on each worker. Passes the number and the result of each item
/// to `take` on the calling thread.
///
/// Each item goes to the next free worker. Workers pause when twice as many results as jobs wait for `take`, or for a
/// slow earlier item in [`Order::AsGiven`].
///
/// # Errors
/// Returns [`Stopped::Failed`] with the first error of `take`, and then cancels the token, so that running work ends
/// too. Returns [`Stopped::Cancelled`] if the caller cancels the token before the last result.
pub(crate) fn share_out<W: Sync, T: Send, E>(
    workers: &[W],
    jobs: usize,
    count: usize,
    order: Order,
    cancel: &CancelToken,
    work: impl Fn(&W, usize) -> T + Sync,
    mut take: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    let jobs = jobs.min(count);
    let ahead = AHEAD * jobs * workers.len();
    let queue = WorkQueue { count, ahead, cancel, state: Mutex::default(), moved: Condvar::new() };
    let (queue, work) = (&queue, &work);
    thread::scope(|scope| {
        let _closes = Closes(queue);
        let (sender, results) = channel();
        // The first few items go to different workers.
        for worker in (0..jobs).flat_map(|_| workers) {
            let sender = sender.clone();
            scope.spawn(move || {
                let _closes = ClosesInPanic(queue);
                while let Some(item) = queue.next() {
                    // The receiver is closed after an error of `take`.
                    let _ = sender.send((item, work(worker, item)));
                }
            });
        }
        drop(sender);
        let mut take = |item, result| {
            take(item, result).map_err(|error| {
                cancel.cancel();
                Stopped::Failed(error)
            })?;
            queue.taken();
            Ok(())
        };
        let (mut waiting, mut taken) = (BTreeMap::new(), 0);
        for (item, result) in results {
            waiting.insert(item, result);
            let due = |taken| if order == Order::AsGiven { taken } else { item };
            while let Some(result) = waiting.remove(&due(taken)) {
                take(due(taken), result)?;
                taken += 1;
            }
        }
        if taken == count { Ok(()) } else { Err(Stopped::Cancelled) }
    })
}

/// The queue from which workers take the next item.
struct WorkQueue<'a> {
    count: usize,
    ahead: usize,
    cancel: &'a CancelToken,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    next: usize,
    taken: usize,
    closed: bool,
}

impl WorkQueue<'_> {
    /// Waits until the next item is within the limit on waiting results, and returns it. Returns `None` if no item is
    /// left.
    fn next(&self) -> Option<usize> {
        let mut state = self.state();
        loop {
            if state.closed || state.next == self.count || self.cancel.is_cancelled() {
                return None;
            }
            if state.next < state.taken + self.ahead {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn taken(&self) {
        self.state().taken += 1;
        self.moved.notify_all();
    }

    fn close(&self) {
        self.state().closed = true;
        self.moved.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the queue when dropped.
struct Closes<'a>(&'a WorkQueue<'a>);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Closes the queue when dropped in a panic.
struct ClosesInPanic<'a>(&'a WorkQueue<'a>);

impl Drop for ClosesInPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.close();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_item_is_done_once_and_results_come_in_order_whatever_the_jobs() {
        for (workers, jobs) in [(1, 1), (1, 4), (2, 1), (2, 3), (3, 64)] {
            let done: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
            let mut taken = Vec::new();
            let work = |_: &(), item: usize| {
                done[item].fetch_add(1, Ordering::Relaxed);
                item * item
            };
            let take = |item, result| {
                assert_eq!(result, item * item);
                taken.push(item);
                Ok::<_, Infallible>(())
            };
            share_out(&vec![(); workers], jobs, 50, Order::AsGiven, &CancelToken::new(), work, take).unwrap();
            assert_eq!(taken, (0..50).collect::<Vec<_>>());
            assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn both_of_two_workers_have_items_at_the_same_time() {
        let both = Barrier::new(2);
        let work = |worker: &char, _| {
            both.wait();
            *worker
        };
        let mut workers = Vec::new();
        let take = |_, worker| {
            workers.push(worker);
            Ok::<_, Infallible>(())
        };
        share_out(&['a', 'b'], 1, 2, Order::AsDone, &CancelToken::new(), work, take).unwrap();
        workers.sort_unstable();
        assert_eq!(workers, ['a', 'b']);
    }

    #[test]
    fn a_slow_item_holds_up_the_order_but_not_what_is_done_first() {
        let second = Barrier::new(2);
        let work = |_: &(), item| {
            // The first item ends after the second one was taken.
            if item == 0 {
                second.wait();
            }
        };
        let mut taken = Vec::new();
        let take = |item, ()| {
            if item == 1 {
                second.wait();
            }
            taken.push(item);
            Ok::<_, Infallible>(())
        };
        share_out(&[()], 2, 2, Order::AsDone, &CancelToken::new(), work, take).unwrap();
        assert_eq!(taken, [1, 0]);
    }

    #[test]
    fn only_a_few_results_wait_for_a_slow_item() {
        let (started, all_ahead) = (AtomicUsize::new(0), Barrier::new(2));
        let (jobs, ahead) = (2, 2 * AHEAD);
        let work = |_: &(), item| {
            started.fetch_add(1, Ordering::SeqCst);
            if item == 0 || item == ahead - 1 {
                all_ahead.wait();
            }
            if item == 0 {
                assert_eq!(started.load(Ordering::SeqCst), ahead);
            }
        };
        let take = |_, ()| Ok::<_, Infallible>(());
        share_out(&[()], jobs, 40, Order::AsGiven, &CancelToken::new(), work, take).unwrap();
    }

    #[test]
    fn a_result_that_cannot_be_taken_stops_the_work() {
        let (cancel, done) = (CancelToken::new(), AtomicUsize::new(0));
        let work = |_: &(), item: usize| {
            done.fetch_add(1, Ordering::Relaxed);
            if item == 1 { Err("broken") } else { Ok(()) }
        };
        let take = |_, result| result;
        let stopped = share_out(&[(), ()], 2, 1000, Order::AsGiven, &cancel, work, take);
        assert_eq!(stopped, Err(Stopped::Failed("broken")));
        assert!(cancel.is_cancelled() && done.into_inner() < 20);
    }

    #[test]
    fn a_cancelled_run_starts_no_more_items_and_returns_cancelled() {
        let cancel = CancelToken::new();
        let mut taken = 0;
        let take = |item, ()| {
            taken += 1;
            if item == 3 {
                cancel.cancel();
            }
            Ok::<_, Infallible>(())
        };
        let stopped = share_out(&[()], 1, 1000, Order::AsGiven, &cancel, |_, _| (), take);
        assert_eq!(stopped, Err(Stopped::Cancelled));
        assert!((4..10).contains(&taken), "{taken}");
        let last = share_out(&[()], 1, 0, Order::AsGiven, &cancel, |_, _| (), |_, ()| Ok::<_, Infallible>(()));
        assert_eq!(last, Ok(()), "nothing was left to do");
    }

    #[test]
    #[should_panic(expected = "panicked")]
    fn a_panic_of_a_worker_ends_the_wait() {
        let work = |_: &(), item| assert_ne!(item, 0, "the first one");
        let take = |_, ()| Ok::<_, Infallible>(());
        let _ = share_out(&[()], 4, 1000, Order::AsGiven, &CancelToken::new(), work, take);
    }
}
