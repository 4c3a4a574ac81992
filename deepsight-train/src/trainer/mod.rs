//! A training run: from samples to a model file, with checkpoints to resume from after an interruption.
//!
//! Burn's `SupervisedTraining` is not used. Its loader delivers batches in the order in which its threads finish, its
//! checkpoints are several files written at the end of an epoch, and its steps use Burn's automatic differentiation
//! only. A run here can be stopped at any step and continues bit for bit, and it takes its gradients from any
//! [`Step`](crate::Step).

mod config;
mod data;
mod ema;
mod engines;
mod events;
mod init;
mod loader;
mod noise;
mod optimizer;
mod progress;
mod run;
mod validate;

use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::backend::Backend;
use deepsight_core::{CancelToken, EfficientNet};

use self::loader::in_order;
use self::run::Run;
use crate::checkpoint::Checkpoint;
use crate::locked::Locked;
use crate::{Error, Scored};

pub use config::{ClassWeights, Init, TrainConfig};
pub use data::TrainData;
pub use ema::Ema;
pub use events::EventLog;
pub use optimizer::{Optimizer, OptimizerState};
pub use progress::{Best, Ending, EpochSummary, Outcome, Progress, StepSummary};

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
}

/// Name of the file that is locked while a run writes into its folder.
const LOCK: &str = ".lock";

fn lock(options: &RunOptions) -> Result<Locked, Error> {
    let (folder, path) = (&options.output, options.output.join(LOCK));
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "cannot be made"))?;
    let opened = File::options().write(true).create(true).truncate(false).open(&path);
    Locked::new(opened.map_err(Error::io(&path, "cannot be opened"))?, &path, folder)
}

/// A training run of a network.
///
/// It writes these files into its output folder, each of them whole or not at all:
/// - `best.safetensors`, the model file of the best epoch, in half precision. The best epoch is the one with the
///   highest video AUC of the validation split, as the mean over the manifests ([`EpochSummary::mean_video_auc`]).
///   Temperature and threshold are fitted on that split as [`calibrate`](crate::calibrate()) does;
/// - `last.safetensors`, the model file of the last epoch done;
/// - `checkpoint.safetensors`, the state that [`Trainer::resume`] continues from;
/// - `config.json` and `history.json`, for people to read.
#[derive(Debug)]
pub struct Trainer<B: Backend> {
    data: TrainData,
    run: Run<B>,
}

impl<B: Backend> Trainer<B> {
    /// Begins a run. Batches are divided among the devices.
    ///
    /// # Errors
    /// - [`Error::Setting`] when a setting is outside its range, an epoch draws fewer faces than a step takes, or the
    ///   output folder holds a run already;
    /// - [`Error::Precision`] when a device cannot compute in the configured precision;
    /// - [`Error::Core`] and [`Error::OtherArchitecture`] when the initial weights cannot be used;
    /// - [`Error::Io`] when the output folder cannot be created, [`Error::Busy`] when another run is writing into it.
    pub fn new(
        config: TrainConfig,
        data: TrainData,
        devices: &[B::Device],
        options: RunOptions,
    ) -> Result<Self, Error> {
        let run = Run::new(config, &data, devices, options)?;
        let checkpoint = run.checkpoint_path();
        let rule = "it holds a run already: resume that, or choose another folder";
        Error::check("output-dir", run.options().output.display(), !checkpoint.exists(), rule)?;
        let _lock = lock(run.options())?;
        run.write_config()?;
        Ok(Self { data, run })
    }

    /// Resumes a run from the checkpoint in its output folder.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new), and [`Error::Checkpoint`] when the checkpoint is of another run: of another
    /// configuration or other faces.
    pub fn resume(
        config: TrainConfig,
        data: TrainData,
        devices: &[B::Device],
        options: RunOptions,
    ) -> Result<Self, Error> {
        let mut run = Run::new(config, &data, devices, options)?;
        let path = run.checkpoint_path();
        run.load(Checkpoint::read(&path)?, &path, &data)?;
        Ok(Self { data, run })
    }

    /// Returns the faces.
    pub fn data(&self) -> &TrainData {
        &self.data
    }

    /// Returns the number of optimizer steps done.
    pub fn step(&self) -> usize {
        self.run.step_count()
    }

    /// Runs the remaining epochs, and passes each event to `report`. If cancelled, it saves a checkpoint to resume
    /// from.
    ///
    /// # Errors
    /// - [`Error::Busy`] when another run is writing into the output folder;
    /// - [`Error::NotFinite`] with the files of the batch when the loss is not a finite number. Files that were saved
    ///   before are left unchanged;
    /// - [`Error::Io`] and [`Error::Picture`] when a face cannot be read, or a file cannot be written;
    /// - the errors of [`Step::run`](crate::Step::run).
    pub fn run(&mut self, cancel: &CancelToken, report: &mut dyn FnMut(&Progress<'_>)) -> Result<Outcome, Error> {
        let _lock = lock(self.run.options())?;
        report(&self.run.started());
        while self.run.ending().is_none() {
            let began = Instant::now();
            let scored = match self.epoch(cancel, report)? {
                true => self.validate(cancel, report)?,
                false => None,
            };
            let Some(scored) = scored else {
                self.run.save(report)?;
                return Ok(self.run.outcome(Ending::Cancelled));
            };
            let (summary, best) = self.run.end_epoch(&scored, report)?;
            let (step, elapsed) = (self.run.step_count(), began.elapsed());
            report(&Progress::Epoch { summary, step, best, elapsed, scored: &scored });
        }
        Ok(self.run.outcome(self.run.ending().unwrap_or(Ending::Finished)))
    }

    /// Runs the remaining steps of the epoch. Returns `false` if it was cancelled.
    fn epoch(&mut self, cancel: &CancelToken, report: &mut dyn FnMut(&Progress<'_>)) -> Result<bool, Error> {
        let Self { data, run } = self;
        let draws = run.draws_left(data);
        run.begin_epoch();
        let (workers, ahead) = (run.options().workers, run.samples_ahead());
        in_order(
            &draws,
            workers,
            ahead,
            |draw| data.dataset().sample(draw),
            |samples| {
                while run.steps_left() {
                    if cancel.is_cancelled() {
                        return Ok(false);
                    }
                    run.step(samples, data, report)?;
                    if run.checkpoint_due() {
                        run.save(report)?;
                    }
                }
                Ok(true)
            },
        )
    }

    fn validate(
        &self,
        cancel: &CancelToken,
        report: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Option<Vec<Scored>>, Error> {
        let (run, workers) = (&self.run, self.run.options().workers);
        validate::score(run.judged(), run.card(), &self.data, run.device(), workers, cancel, report)
    }

    /// Returns the network that is validated and written: the mean over the steps if the run keeps one.
    pub fn network(&self) -> EfficientNet<B> {
        self.run.judged()
    }
}
