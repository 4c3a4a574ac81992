use std::path::PathBuf;

use crate::Error;

/// The options of a run that do not change its result.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunOptions {
    /// The folder that the run writes to.
    pub output: PathBuf,
    /// Number of threads that make samples, from 1.
    pub workers: usize,
    /// Optimizer steps between checkpoints within an epoch, from 1.
    pub checkpoint_every: usize,
    /// Name of the model. The output folder's name if not given.
    pub name: Option<String>,
    /// Description of the data, for the model card. The number of faces and videos if not given.
    pub trained_on: Option<String>,
    /// Terms of use of the weights, for the model card.
    pub terms: String,
}

impl RunOptions {
    /// Returns the defaults: two workers, and a checkpoint every 200 steps.
    pub fn new(output: impl Into<PathBuf>) -> Self {
        Self {
            output: output.into(),
            workers: 2,
            checkpoint_every: 200,
            name: None,
            trained_on: None,
            terms: String::new(),
        }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        let Self { workers, checkpoint_every, .. } = self;
        Error::check("workers", workers, (1..=256).contains(workers), "1 to 256 is needed")?;
        Error::check("checkpoint_every", checkpoint_every, *checkpoint_every > 0, "1 or more is needed")
    }
}
