//! A training run: from samples to a model file, with checkpoints to resume from after an interruption.
//!
//! Burn's `SupervisedTraining` is not used. Its loader delivers batches in the order in which its threads finish, its
//! checkpoints are several files written at the end of an epoch, and its steps use Burn's automatic differentiation
//! only. A run here can be stopped at any step and continues bit for bit, and it takes its gradients from any
//! [`Step`](crate::step::Step).
//!
//! [`Trainer`] uses the other files of this folder. None of them uses `Trainer`.

mod card;
mod checkpoint;
mod config;
mod data;
mod ema;
mod engines;
mod events;
mod folder;
mod init;
mod loader;
mod noise;
mod optimizer;
mod options;
mod progress;
mod state;
mod validate;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use deepsight_core::{
    CancelToken, Noise,
    model::{EfficientNet, ModelCard, ModelFile, WeightFormat},
};

use self::checkpoint::{Checkpoint, Counters};
use self::engines::{Engines, combine};
use self::folder::RunFolder;
use self::loader::in_order;
use self::state::RunState;
use crate::calibrate::{ThresholdRule, calibrate};
use crate::dataset::Sample;
use crate::sampler::Draw;
use crate::step::{Batch, LossScale, Objective, StepOutput, ascended, clip, gradient_norm};
use crate::{Error, Scored};

pub use config::{ClassWeights, Init, TrainConfig};
pub use data::TrainData;
pub use ema::Ema;
pub use events::EventLog;
pub use optimizer::{Optimizer, OptimizerState};
pub use options::RunOptions;
pub use progress::{BestEpoch, Ending, EpochSummary, Outcome, StepSummary, TrainProgress};

/// A training run of a network.
///
/// It writes these files into its output folder, each of them whole or not at all:
/// - `best.safetensors`, the model file of the best epoch, in half precision. The best epoch is the one with the
///   highest video AUC of the validation split, as the mean over the manifests ([`EpochSummary::mean_video_auc`]).
///   Temperature and threshold are fitted on that split as [`calibrate`](crate::calibrate::calibrate()) does;
/// - `last.safetensors`, the model file of the last epoch done;
/// - `checkpoint.safetensors`, the state that [`Trainer::resume`] continues from;
/// - `config.json` and `history.json`, for people to read.
pub struct Trainer<B: Backend> {
    config: TrainConfig,
    data: Arc<TrainData>,
    device: B::Device,
    folder: RunFolder,
    workers: usize,
    /// Optimizer steps between checkpoints within an epoch.
    checkpoint_every: usize,
    /// The model's card before calibration.
    card: ModelCard,
    objective: Objective,
    engines: Engines<B>,
    steps_per_epoch: usize,
    state: RunState<B>,
    last_step: Instant,
}

impl<B: Backend> fmt::Debug for Trainer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (config, counters) = (&self.config, &self.state.counters);
        f.debug_struct("Trainer").field("config", config).field("counters", counters).finish_non_exhaustive()
    }
}

/// The faces of one step of the optimizer.
struct StepBatches {
    /// The batches, each with the random factors of its passes.
    batches: Vec<(Batch, Noise)>,
    /// Rows of the faces in their manifest.
    rows: Vec<usize>,
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
        let trainer = Self::before_first_step(config, data, devices, options)?;
        let folder = &trainer.folder;
        let rule = "it holds a run already: resume that, or choose another folder";
        Error::check("output", folder.path().display(), !folder.checkpoint().exists(), rule)?;
        let _lock = folder.lock()?;
        folder.write_config(&trainer.config)?;
        Ok(trainer)
    }

    /// Resumes a run from the checkpoint in its output folder.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new), and [`Error::CheckpointSetting`] or [`Error::Checkpoint`] when the checkpoint
    /// is of another run: of another configuration or other faces.
    pub fn resume(
        config: TrainConfig,
        data: TrainData,
        devices: &[B::Device],
        options: RunOptions,
    ) -> Result<Self, Error> {
        let mut trainer = Self::before_first_step(config, data, devices, options)?;
        let path = trainer.folder.checkpoint();
        trainer.state.restore(Checkpoint::read(&path)?, &path, &trainer.config, &trainer.data)?;
        trainer.engines.set_loss_scales(&trainer.state.counters.loss_scales);
        Ok(trainer)
    }

    fn before_first_step(
        config: TrainConfig,
        data: TrainData,
        devices: &[B::Device],
        options: RunOptions,
    ) -> Result<Self, Error> {
        config.validate()?;
        options.validate()?;
        let Some(device) = devices.first().cloned() else {
            return Err(Error::Setting { name: "devices", value: "none".into(), rule: "at least one is needed" });
        };
        let (draws, taken) = (data.sampler().draws(), config.batch_size * config.accumulate);
        let steps_per_epoch = draws / taken;
        let rule = "an epoch shows fewer faces than a step takes";
        Error::check("batch_size", format!("{taken} with {draws} draws"), steps_per_epoch > 0, rule)?;

        let (network, given) = init::initial::<B>(&config, &device)?;
        let card = card::card(&config, &data, &options, given);
        card.validate()?;
        let engines = Engines::new(&config, card.mean, card.std, devices)?;
        let class_weights = data.class_weights(config.class_weights);
        let objective = Objective { class_weights, label_smoothing: config.label_smoothing };
        let schedule = config.schedule(steps_per_epoch).init()?;
        let json = serde_json::to_string(&config).map_err(Error::json(&options.output))?;
        let counters = Counters::new(json, data.fingerprint().to_owned(), schedule.state());
        Ok(Self {
            state: RunState::new(&config, network, schedule, counters),
            data: Arc::new(data),
            folder: RunFolder::new(options.output),
            workers: options.workers,
            checkpoint_every: options.checkpoint_every,
            last_step: Instant::now(),
            config,
            device,
            card,
            objective,
            engines,
            steps_per_epoch,
        })
    }

    /// Returns the faces.
    pub fn data(&self) -> &TrainData {
        &self.data
    }

    /// Returns the number of optimizer steps done.
    pub fn step(&self) -> usize {
        self.state.counters.step
    }

    /// Returns the network that is validated and written: the mean over the steps if the run keeps one.
    pub fn network(&self) -> EfficientNet<B> {
        self.state.validated_network()
    }

    /// Runs the remaining epochs, and passes each event to `report`. If cancelled, it saves a checkpoint to resume
    /// from.
    ///
    /// # Errors
    /// - [`Error::Busy`] when another run is writing into the output folder;
    /// - [`Error::NotFinite`] with the files of the batch when the loss is not a finite number. Files that were saved
    ///   before are left unchanged;
    /// - [`Error::Io`] and [`Error::Picture`] when a face cannot be read, or a file cannot be written;
    /// - the errors of [`Step::run`](crate::step::Step::run).
    pub fn run(&mut self, cancel: &CancelToken, report: &mut dyn FnMut(&TrainProgress<'_>)) -> Result<Outcome, Error> {
        let _lock = self.folder.lock()?;
        report(&TrainProgress::Started {
            epochs: self.config.epochs,
            steps_per_epoch: self.steps_per_epoch,
            done: self.step(),
            engine: self.engines.name(),
        });
        let ending = loop {
            if let Some(ending) = self.ending() {
                break ending;
            }
            let began = Instant::now();
            let scored = match self.epoch(cancel, report)? {
                true => self.validate(cancel, report)?,
                false => None,
            };
            let Some(scored) = scored else {
                self.save(report)?;
                break Ending::Cancelled;
            };
            let (summary, best) = self.end_epoch(&scored, report)?;
            report(&TrainProgress::Epoch {
                summary,
                step: self.step(),
                best,
                elapsed: began.elapsed(),
                scored: &scored,
            });
        };
        let Counters { best, history, .. } = &self.state.counters;
        Ok(Outcome { ending, best: *best, history: history.clone() })
    }

    /// Returns the reason why the run ends now, or `None` if it continues.
    fn ending(&self) -> Option<Ending> {
        let counters = &self.state.counters;
        let since_best = counters.best.map_or(0, |best| counters.epoch - 1 - best.epoch);
        if self.config.early_stopping.is_some_and(|patience| since_best >= patience) {
            return Some(Ending::Stopped);
        }
        (counters.epoch >= self.config.epochs).then_some(Ending::Finished)
    }

    /// Runs the remaining steps of the epoch. Returns `false` if it was cancelled.
    fn epoch(&mut self, cancel: &CancelToken, report: &mut dyn FnMut(&TrainProgress<'_>)) -> Result<bool, Error> {
        let (data, draws, workers) = (Arc::clone(&self.data), self.draws_left(), self.workers);
        // Two batches, so that the next one is made while a step waits for the first.
        let ahead = 2 * self.config.batch_size;
        // The time of validation does not count for the first step.
        self.last_step = Instant::now();
        in_order(
            &draws,
            workers,
            ahead,
            |draw| data.dataset().sample(draw),
            |samples| {
                while self.state.counters.position < self.draws_per_epoch() {
                    if cancel.is_cancelled() {
                        return Ok(false);
                    }
                    self.optimizer_step(samples, report)?;
                    if self.step().is_multiple_of(self.checkpoint_every) {
                        self.save(report)?;
                    }
                }
                Ok(true)
            },
        )
    }

    /// Returns the draws of the epoch that no step has taken yet.
    fn draws_left(&self) -> Vec<Draw> {
        let mut draws = self.data.sampler().epoch(self.state.counters.epoch as u64);
        draws.truncate(self.draws_per_epoch());
        draws.drain(..self.state.counters.position.min(draws.len()));
        draws
    }

    /// Returns the number of draws of an epoch that fill whole steps. The remaining draws are too few for batch norms
    /// that compare with those of whole batches.
    fn draws_per_epoch(&self) -> usize {
        self.steps_per_epoch * self.config.batch_size * self.config.accumulate
    }

    /// Runs one step of the optimizer.
    fn optimizer_step(
        &mut self,
        samples: &mut dyn Iterator<Item = Result<Sample, Error>>,
        report: &mut dyn FnMut(&TrainProgress<'_>),
    ) -> Result<(), Error> {
        let StepBatches { batches, rows } = self.batches(samples)?;
        let mut output = self.passes(None, &batches)?;
        self.check_finite("the loss", output.loss, &rows)?;
        let mut norm = gradient_norm(self.state.network(), &output.gradients)?;
        self.check_finite("the gradients' length", norm, &rows)?;
        if let (Some(radius), false) = (self.config.sam, output.gradients.is_empty()) {
            let uphill = ascended(self.state.network(), output.gradients, norm, radius);
            output.gradients = self.passes(Some(&uphill), &batches)?.gradients;
            norm = gradient_norm(self.state.network(), &output.gradients)?;
            self.check_finite("the gradients' length", norm, &rows)?;
        }
        let lowest = self.engines.loss_scales().iter().flatten().map(LossScale::value).reduce(f32::min);
        if let (true, Some(loss_scale)) = (output.gradients.is_empty(), lowest) {
            report(&TrainProgress::Skipped { loss_scale });
            return Ok(());
        }
        let gradients = match self.config.grad_clip {
            Some(limit) => clip(self.state.network(), output.gradients, norm, limit),
            None => output.gradients,
        };
        let learning_rate = self.state.apply(gradients);
        let elapsed = self.lap();
        let counters = &mut self.state.counters;
        counters.loss_sum += output.loss;
        counters.passes += 1;
        counters.step += 1;
        report(&TrainProgress::Step(StepSummary {
            epoch: counters.epoch,
            step_in_epoch: counters.position / (self.config.batch_size * self.config.accumulate) - 1,
            step: counters.step - 1,
            loss: output.loss,
            learning_rate,
            gradient_norm: norm,
            faces: rows.len(),
            elapsed,
        }));
        Ok(())
    }

    /// Takes the batches of one step of the optimizer from the samples.
    fn batches(&mut self, samples: &mut dyn Iterator<Item = Result<Sample, Error>>) -> Result<StepBatches, Error> {
        let network = self.config.model_name.config();
        let (mut rows, mut batches) = (Vec::new(), Vec::new());
        for _ in 0..self.config.accumulate {
            let mut batch = Batch::default();
            for sample in (&mut *samples).take(self.config.batch_size) {
                let sample = sample?;
                rows.push(sample.row);
                batch.images.push(sample.image);
                batch.labels.push(sample.label);
            }
            let (epoch, position) = (self.state.counters.epoch as u64, self.state.counters.position);
            let noise = noise::noise(&self.config, &network, epoch, position, batch.images.len());
            batches.push((batch, noise));
            self.state.counters.position += self.config.batch_size;
        }
        Ok(StepBatches { batches, rows })
    }

    /// Runs all batches of a step forward and backward, and combines their outputs. The network is the one that is
    /// trained if no other is given.
    fn passes(
        &mut self,
        network: Option<&EfficientNet<Autodiff<B>>>,
        batches: &[(Batch, Noise)],
    ) -> Result<StepOutput, Error> {
        let network = network.unwrap_or(self.state.network());
        let weight = |batch: &Batch| self.objective.weight(&batch.labels);
        let total: f32 = batches.iter().map(|(batch, _)| weight(batch)).sum();
        let shares: Vec<f32> = batches.iter().map(|(batch, _)| weight(batch) / total).collect();
        let mut outputs = Vec::new();
        for (batch, noise) in batches {
            outputs.push(Ok(self.engines.run(network, batch, noise, &self.objective)?));
        }
        combine(network, outputs.into_iter().zip(shares))
    }

    /// Returns the time since the last call.
    fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.last_step, Instant::now());
        self.last_step - before
    }

    fn check_finite(&self, what: &'static str, value: f64, rows: &[usize]) -> Result<(), Error> {
        if value.is_finite() {
            return Ok(());
        }
        let Counters { epoch, position, .. } = &self.state.counters;
        let step = position / (self.config.batch_size * self.config.accumulate);
        Err(Error::NotFinite { what, value, epoch: epoch + 1, step, files: self.data.files(rows) })
    }

    fn validate(
        &self,
        cancel: &CancelToken,
        report: &mut dyn FnMut(&TrainProgress<'_>),
    ) -> Result<Option<Vec<Scored>>, Error> {
        validate::score(self.network(), &self.card, &self.data, &self.device, self.workers, cancel, report)
    }

    /// Records an epoch's validation, saves the models, the history and a checkpoint, and returns the summary and
    /// whether this epoch is the best.
    fn end_epoch(
        &mut self,
        scored: &[Scored],
        report: &mut dyn FnMut(&TrainProgress<'_>),
    ) -> Result<(EpochSummary, bool), Error> {
        let counters = &self.state.counters;
        let loss = counters.loss_sum / counters.passes.max(1) as f64;
        let summary = validate::summarize(counters.epoch, loss, scored)?;
        let best = counters.best.is_none_or(|best| summary.mean_video_auc > best.mean_video_auc);
        let calibration = calibrate(scored, ThresholdRule::BalancedAccuracy)?;
        let card = card::of_epoch(&self.card, &summary, &calibration);
        let mut model = ModelFile::new(card, self.network().state_dict())?;
        model.format = WeightFormat::F16;
        for path in self.folder.models(best) {
            model.write(&path)?;
            report(&TrainProgress::Saved(&path));
        }
        self.state.observe(summary.mean_video_auc);
        self.state.counters.end_epoch(&summary, best);
        self.folder.write_history(&self.state.counters.history)?;
        self.save(report)?;
        Ok((summary, best))
    }

    /// Writes the checkpoint.
    fn save(&mut self, report: &mut dyn FnMut(&TrainProgress<'_>)) -> Result<(), Error> {
        let path = self.folder.checkpoint();
        self.state.checkpoint(self.engines.loss_scales()).write(&path)?;
        report(&TrainProgress::Saved(&path));
        Ok(())
    }
}
