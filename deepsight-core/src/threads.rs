use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Error;

/// A handle to the threads on which CPU work runs. Analyses can share it, and clones refer to the same threads.
///
/// An [`Analyzer`](crate::Analyzer) runs its detector, its classifier and its own work on pixels on these threads. It
/// waits for frames on other threads. So all analyses that share one handle together keep at most its threads busy.
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
    /// The pool; `None` for rayon's global one.
    pool: Option<Arc<ThreadPool>>,
}

impl Threads {
    /// Returns a handle to rayon's global pool, which the whole process shares. It has one thread for each core, unless
    /// the program or the variable `RAYON_NUM_THREADS` sets another number. This is the default.
    pub fn global() -> Self {
        Self::default()
    }

    /// Creates a separate pool with `count` threads, `1..=1024`. They end when the last clone of the handle is dropped.
    ///
    /// # Errors
    /// [`Error::Setting`] for a count outside the range, [`Error::NoThreads`] if the system refuses to start them.
    pub fn new(count: usize) -> Result<Self, Error> {
        Error::check("threads", count, (1..=1024).contains(&count), "must lie in 1..=1024")?;
        let pool =
            ThreadPoolBuilder::new().num_threads(count).thread_name(|index| format!("deepsight-{index}")).build();
        let pool = pool.map_err(|error| Error::NoThreads { count, reason: error.to_string() })?;
        Ok(Self { pool: Some(Arc::new(pool)) })
    }

    /// Returns the number of threads.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or_else(rayon::current_num_threads, |pool| pool.current_num_threads())
    }

    /// Runs `work` on one of the threads and waits for it. Within `work`, these threads are rayon's current pool, so
    /// all work that it distributes with rayon stays on them. A panic of `work` is propagated to the caller.
    ///
    /// If this is called for the global pool on a thread of another pool, the work stays in that other pool.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) => pool.install(work),
            // A scope runs in the pool. A plain call would stay on the calling thread.
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
    fn work_and_its_parallel_parts_run_on_the_threads_of_the_handle() {
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
