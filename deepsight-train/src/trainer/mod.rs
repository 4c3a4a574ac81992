//! A training run: from samples to a model file, with everything it needs to go on after an interruption.
//!
//! Burn's `SupervisedTraining` is not used. Its loader delivers batches in the order in which its threads finish, its
//! checkpoints are several files taken at the end of an epoch, and its steps differentiate by Burn's own means only. A run
//! here can be stopped at any step and goes on bit for bit, and takes its gradients from any [`Step`](crate::Step).

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

/// What of a run does not change its result.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunOptions {
    /// The folder that everything is written to.
    pub output: PathBuf,
    /// Threads that make samples, from 1.
    pub workers: usize,
    /// Optimizer steps between checkpoints within an epoch, from 1.
    pub checkpoint_every: usize,
    /// Name of the model; the output folder's name when not given.
    pub name: Option<String>,
    /// What the data is, for the model card; the number of faces and videos when not given.
    pub trained_on: Option<String>,
    /// Terms of use of the weights, for the model card.
    pub terms: String,
}

impl RunOptions {
    /// Two workers, and a checkpoint every 200 steps.
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

/// A file that is locked while a run writes into its folder.
const LOCK: &str = ".lock";

fn lock(options: &RunOptions) -> Result<Locked, Error> {
    let (folder, path) = (&options.output, options.output.join(LOCK));
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "cannot be made"))?;
    let opened = File::options().write(true).create(true).truncate(false).open(&path);
    Locked::new(opened.map_err(Error::io(&path, "cannot be opened"))?, &path, folder)
}

/// Trains a network.
///
/// It writes into its output folder, each file whole or not at all:
/// - `best.safetensors`, the model file of the epoch with the best video AUC of the validation split, taken as the mean
///   over the manifests ([`EpochSummary::mean_video_auc`]), in half precision, its temperature and threshold fitted on
///   that split as [`calibrate`](crate::calibrate) does;
/// - `last.safetensors`, that of the last epoch done;
/// - `checkpoint.safetensors`, what [`Trainer::resume`] goes on from;
/// - `config.json` and `history.json`, for people.
#[derive(Debug)]
pub struct Trainer<B: Backend> {
    data: TrainData,
    run: Run<B>,
}

impl<B: Backend> Trainer<B> {
    /// A run that begins. Batches are divided among the devices.
    ///
    /// # Errors
    /// - [`Error::Setting`] when a setting is outside its range, an epoch shows less than a step takes, or the output folder
    ///   holds a run already;
    /// - [`Error::Precision`] when a device cannot compute in the precision asked for;
    /// - [`Error::Core`] and [`Error::OtherArchitecture`] when the initial weights cannot be used;
    /// - [`Error::Io`] when the output folder cannot be made, [`Error::Busy`] when another run is at work in it.
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

    /// A run that goes on from the checkpoint in its output folder.
    ///
    /// # Errors
    /// As for [`new`](Self::new), and [`Error::Checkpoint`] when the checkpoint is of another run: another configuration or
    /// other faces.
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

    /// The faces.
    pub fn data(&self) -> &TrainData {
        &self.data
    }

    /// Optimizer steps done.
    pub fn step(&self) -> usize {
        self.run.step_count()
    }

    /// Goes through the epochs that are left, and tells `report` how it goes. Cancelled, it saves what it needs to go on.
    ///
    /// # Errors
    /// - [`Error::Busy`] when another run is at work in the output folder;
    /// - [`Error::NotFinite`] with the files of the batch when the loss is no number; what was saved before is left as it is;
    /// - [`Error::Io`] and [`Error::Picture`] when a face cannot be read, or a file cannot be written;
    /// - what [`Step::run`](crate::Step::run) says.
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

    /// What is left of the epoch's steps; whether it was not cancelled.
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

    /// The network as it is validated and written: the mean over the steps where the run keeps one.
    pub fn network(&self) -> EfficientNet<B> {
        self.run.judged()
    }
}
