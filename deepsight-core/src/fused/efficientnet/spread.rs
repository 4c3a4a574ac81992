use rayon::prelude::*;

/// How the work on one image is spread.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spread {
    /// Not at all: other threads have their own images.
    OneThread,
    /// Over this many threads.
    Threads(usize),
}

impl Spread {
    /// Tasks for each thread: enough that none waits long for the others.
    const TASKS: usize = 2;
    /// Fewest rows of a matrix product that are worth a task.
    const FEWEST_ROWS: usize = 12;

    /// Rows of an image in one task, where there are `others` tasks of all rows.
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

    /// Runs a function on parts of an output of rows of `length`, with the number of each part's first row.
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
