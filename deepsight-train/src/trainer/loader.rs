//! A loader: several threads make samples before a training step needs them, and the step receives them in order.
//!
//! Burn's `MultiThreadDataLoader` divides a dataset among its workers and delivers the batch that is ready first, so
//! the order of batches depends on timing. Two runs differ, and a resumed run cannot continue exactly as the stopped
//! one would have. Here the order is that of the jobs, whatever the number of workers.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Runs `work` on every job, on `workers` threads, and passes `consume` an iterator over the results, in the order of
/// the jobs. At most `ahead` results are made before `consume` takes them. Returns the result of `consume`, without
/// starting the remaining jobs.
pub(crate) fn in_order<J: Sync, T: Send, R>(
    jobs: &[J],
    workers: usize,
    ahead: usize,
    work: impl Fn(&J) -> T + Sync,
    consume: impl FnOnce(&mut dyn Iterator<Item = T>) -> R,
) -> R {
    let queue = Queue::new(jobs.len(), ahead.max(1));
    thread::scope(|scope| {
        for _ in 0..workers.max(1).min(jobs.len()) {
            scope.spawn(|| {
                // Stops the queue if the work panics, so that the consumer does not wait for a result that never comes.
                let _end = StopOnDrop(&queue, false);
                while let Some(index) = queue.claim() {
                    let result = work(&jobs[index]);
                    queue.put(index, result);
                }
            });
        }
        let _end = StopOnDrop(&queue, true);
        consume(&mut OrderedResults(&queue))
    })
}

struct Queue<T> {
    state: Mutex<QueueState<T>>,
    /// Notified when a result was put into the queue.
    filled: Condvar,
    /// Notified when a result was taken, or the queue stopped.
    taken: Condvar,
    jobs: usize,
    ahead: usize,
}

struct QueueState<T> {
    results: BTreeMap<usize, T>,
    claimed: usize,
    taken: usize,
    stopped: bool,
}

impl<T> Queue<T> {
    fn new(jobs: usize, ahead: usize) -> Self {
        let state = QueueState { results: BTreeMap::new(), claimed: 0, taken: 0, stopped: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), taken: Condvar::new(), jobs, ahead }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for another result, and returns the index of the next job. Returns `None` if there is
    /// none or the queue stopped.
    fn claim(&self) -> Option<usize> {
        let mut state = self.lock();
        while !state.stopped && state.claimed < self.jobs && state.claimed >= state.taken + self.ahead {
            state = self.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped || state.claimed == self.jobs {
            return None;
        }
        state.claimed += 1;
        Some(state.claimed - 1)
    }

    fn put(&self, index: usize, result: T) {
        self.lock().results.insert(index, result);
        self.filled.notify_all();
    }

    fn take(&self) -> Option<T> {
        let mut state = self.lock();
        let next = state.taken;
        while !state.stopped && next < self.jobs && !state.results.contains_key(&next) {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let result = state.results.remove(&next)?;
        state.taken += 1;
        self.taken.notify_all();
        Some(result)
    }
}

/// Stops the queue when dropped. With `true`, for the consumer, it always does. With `false`, for a worker, it does
/// only if the thread panics.
struct StopOnDrop<'a, T>(&'a Queue<T>, bool);

impl<T> Drop for StopOnDrop<'_, T> {
    fn drop(&mut self) {
        if self.1 || thread::panicking() {
            self.0.lock().stopped = true;
            self.0.filled.notify_all();
            self.0.taken.notify_all();
        }
    }
}

struct OrderedResults<'a, T>(&'a Queue<T>);

impl<T> Iterator for OrderedResults<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs_even_if_earlier_jobs_take_longer() {
        let jobs: Vec<u64> = (0..200).collect();
        for workers in [1, 2, 7] {
            // Earlier jobs take longer.
            let work = |job: &u64| (0..(200 - job) * 500).fold(*job, |sum, n| std::hint::black_box(sum ^ n ^ n));
            let results: Vec<u64> = in_order(&jobs, workers, 5, work, |results| results.collect());
            assert_eq!(results, jobs);
        }
    }

    #[test]
    fn at_most_the_given_number_of_results_is_made_ahead() {
        let made = AtomicUsize::new(0);
        let jobs: Vec<usize> = (0..50).collect();
        let work = |job: &usize| {
            made.fetch_add(1, Ordering::SeqCst);
            *job
        };
        in_order(&jobs, 3, 4, work, |results| {
            for taken in 1..=50 {
                assert_eq!(results.next(), Some(taken - 1));
                assert!(made.load(Ordering::SeqCst) <= taken + 4);
            }
            assert_eq!(results.next(), None);
        });
    }

    #[test]
    fn the_work_ends_when_the_consumer_returns() {
        let made = AtomicUsize::new(0);
        let jobs: Vec<usize> = (0..1000).collect();
        let work = |job: &usize| {
            made.fetch_add(1, Ordering::SeqCst);
            *job
        };
        assert_eq!(in_order(&jobs, 2, 3, work, |results| results.next()), Some(0));
        assert!(made.load(Ordering::SeqCst) <= 4);
    }

    #[test]
    fn a_panic_in_a_worker_reaches_the_caller_and_does_not_hang() {
        let jobs = [1, 2, 3];
        let run = || in_order(&jobs, 2, 2, |job| assert_ne!(*job, 2), |results| results.count());
        assert!(std::panic::catch_unwind(run).is_err());
    }
}
