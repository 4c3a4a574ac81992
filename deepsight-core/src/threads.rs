use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Error;

/// The threads on which CPU work runs: a handle that analyses share. Clones are the same threads.
///
/// An [`Analyzer`](crate::Analyzer) runs its detector, its classifier and its own work on pixels here, and nothing else: waiting
/// for frames happens elsewhere. So however many analyses share one handle, at once no more than its threads are at work.
///
/// ```
/// use deepsight_core::Threads;
///
/// let threads = Threads::new(2)?;
/// assert_eq!(threads.count(), 2);
/// assert_eq!(threads.install(|| 6 * 7), 42);
/// # Ok::<(), deepsight_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Threads {
    /// `None` is rayon's own process-wide pool.
    pool: Option<Arc<ThreadPool>>,
}

impl Threads {
    /// The pool that the whole process shares: rayon's global one, with a thread for each core unless the program or the
    /// variable `RAYON_NUM_THREADS` says otherwise. The default.
    pub fn global() -> Self {
        Self::default()
    }

    /// A pool of its own with `count` threads, `1..=1024`. They end when the last clone of the handle is dropped.
    ///
    /// # Errors
    /// [`Error::Setting`] for a count outside the range, [`Error::NoThreads`] when the system refuses that many.
    pub fn new(count: usize) -> Result<Self, Error> {
        Error::check("threads", count, (1..=1024).contains(&count), "must lie in 1..=1024")?;
        let pool =
            ThreadPoolBuilder::new().num_threads(count).thread_name(|index| format!("deepsight-{index}")).build();
        let pool = pool.map_err(|error| Error::NoThreads { count, reason: error.to_string() })?;
        Ok(Self { pool: Some(Arc::new(pool)) })
    }

    /// How many threads there are.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or_else(rayon::current_num_threads, |pool| pool.current_num_threads())
    }

    /// Runs `work` on one of the threads and waits for it. Inside, these are rayon's current pool: everything that `work`
    /// spreads with rayon stays on them. A panic of `work` goes on in the caller.
    ///
    /// Work for the global pool that is asked for on a thread of another pool stays in that pool.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) => pool.install(work),
            // A scope runs in the pool too, which a plain call from a thread outside would not.
            None => rayon::scope(|_| work()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rayon::prelude::*;

    use super::*;

    #[test]
    fn work_and_all_that_it_spreads_run_on_the_threads_of_the_handle() {
        let threads = Threads::new(3).unwrap();
        let names = threads.clone().install(|| {
            assert_eq!(rayon::current_num_threads(), 3);
            (0..64).into_par_iter().map(|_| std::thread::current().name().map(str::to_owned)).collect::<Vec<_>>()
        });
        assert!(names.into_iter().all(|name| name.is_some_and(|name| name.starts_with("deepsight-"))));
        assert_eq!(threads.count(), 3);
    }

    #[test]
    fn the_global_pool_works_on_its_own_threads_too() {
        let caller = std::thread::current().id();
        assert!(Threads::global().install(|| std::thread::current().id() != caller));
        assert_eq!(Threads::global().count(), rayon::current_num_threads());
    }

    #[test]
    fn counts_outside_the_range_are_refused() {
        for count in [0, 1025, usize::MAX] {
            let message = Threads::new(count).unwrap_err().to_string();
            assert_eq!(message, format!("threads is {count}: it must lie in 1..=1024"));
        }
    }
}
