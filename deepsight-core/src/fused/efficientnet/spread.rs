use rayon::prelude::*;

/// The distribution of the work on one image over threads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spread {
    /// The calling thread does all the work, because the other threads have their own images.
    OneThread,
    /// This many threads share the work.
    Threads(usize),
}

impl Spread {
    /// Tasks per thread, enough that no thread waits long for the others.
    const TASKS: usize = 2;
    /// Smallest number of rows of a matrix product that is worth a task of its own.
    const FEWEST_ROWS: usize = 12;

    /// Returns the number of rows per task if the work is already divided into `others` tasks that each cover all rows.
    pub(super) fn part(self, rows: usize, others: usize) -> usize {
        match self {
            Self::OneThread => rows,
            Self::Threads(threads) => rows.div_ceil((Self::TASKS * threads).div_ceil(others)),
        }
    }

    pub(super) fn each<T: Send>(self, tasks: Vec<T>, run: impl Fn(T) + Sync + Send) {
        match self {
            Self::OneThread => tasks.into_iter().for_each(run),
            Self::Threads(_) => tasks.into_par_iter().with_max_len(1).for_each(run),
        }
    }

    /// Runs a function on parts of an output whose rows have `length` values. The function also gets the index of the
    /// part's first row.
    pub(super) fn rows(self, output: &mut [f32], length: usize, run: impl Fn(usize, &mut [f32]) + Sync + Send) {
        match self {
            Self::OneThread => run(0, output),
            Self::Threads(threads) => {
                let part = (output.len() / length).div_ceil(Self::TASKS * threads).max(Self::FEWEST_ROWS);
                let parts = output.par_chunks_mut(part * length).with_max_len(1).enumerate();
                parts.for_each(|(number, output)| run(number * part, output));
            }
        }
    }
}
