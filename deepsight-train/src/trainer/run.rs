use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::backend::Backend;
use deepsight_core::{EfficientNet, ModelCard, ModelFile, WeightFormat};

use super::engines::{Engines, combine};
use super::validate::summarize;
use super::{
    Best, ClassWeights, Ema, Ending, EpochSummary, Optimizer, Outcome, Progress, RunOptions, StepSummary, TrainConfig,
    TrainData, init, noise,
};
use crate::checkpoint::{Checkpoint, Counters};
use crate::whole_file::write_whole;
use crate::{
    Batch, Calibration, Draw, Error, Label, LossScale, Objective, Sample, Schedule, Scored, SourceAuc, ThresholdRule,
    calibrate, clip, gradient_norm,
};

/// The state of a run, which changes with its steps.
pub(super) struct Run<B: Backend> {
    config: TrainConfig,
    options: RunOptions,
    device: B::Device,
    card: ModelCard,
    objective: Objective,
    engines: Engines<B>,
    steps_per_epoch: usize,
    network: EfficientNet<Autodiff<B>>,
    ema: Option<Ema<B>>,
    optimizer: Optimizer<B>,
    schedule: Schedule,
    counters: Counters,
    last_step: Instant,
}

impl<B: Backend> std::fmt::Debug for Run<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("config", &self.config).field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl<B: Backend> Run<B> {
    /// Creates a run before its first step.
    pub(super) fn new(
        config: TrainConfig,
        data: &TrainData,
        devices: &[B::Device],
        options: RunOptions,
    ) -> Result<Self, Error> {
        config.validate()?;
        Error::check("workers", options.workers, (1..=256).contains(&options.workers), "1 to 256 is needed")?;
        Error::check(
            "checkpoint-every",
            options.checkpoint_every,
            options.checkpoint_every > 0,
            "1 or more is needed",
        )?;
        let Some(device) = devices.first().cloned() else {
            return Err(Error::Setting { name: "device", value: "none".into(), rule: "at least one is needed" });
        };
        let (draws, taken) = (data.sampler().draws(), config.batch_size * config.accumulate);
        let steps_per_epoch = draws / taken;
        let rule = "an epoch shows fewer faces than a step takes";
        Error::check("batch-size", format!("{taken} with {draws} draws"), steps_per_epoch > 0, rule)?;

        let (network, given) = init::initial::<B>(&config, &device)?;
        let card = card(&config, data, &options, given);
        card.validate()?;
        let engines = Engines::new(&config, card.mean, card.std, devices)?;
        let class_weights = class_weights(config.class_weights, data);
        let objective = Objective { class_weights, label_smoothing: config.label_smoothing };
        let schedule = config.schedule(steps_per_epoch).init()?;
        let json = serde_json::to_string(&config).map_err(Error::json(&options.output))?;
        Ok(Self {
            counters: Counters::new(json, data.fingerprint().to_owned(), schedule.state()),
            ema: config.ema.map(|decay| Ema::new(&network, decay)),
            optimizer: Optimizer::new(config.weight_decay),
            last_step: Instant::now(),
            config,
            options,
            device,
            card,
            objective,
            engines,
            steps_per_epoch,
            network,
            schedule,
        })
    }

    /// Restores the state of a checkpoint.
    pub(super) fn load(&mut self, checkpoint: Checkpoint, path: &Path, data: &TrainData) -> Result<(), Error> {
        let Checkpoint { counters, network, ema, optimizer } = checkpoint;
        if let Some(what) = difference(&counters.config, &self.counters.config) {
            return Err(Error::checkpoint(path, what));
        }
        if counters.data != data.fingerprint() {
            return Err(Error::checkpoint(path, "it is of a run on other faces than the manifest's"));
        }
        let counters =
            counters.with_means(data.sources().count() == 1).map_err(|what| Error::checkpoint(path, what))?;
        let wrong = |error: Error| Error::checkpoint(path, deepsight_core::with_causes(&error));
        self.network = self.network.clone().load_state_dict(network).map_err(|error| wrong(error.into()))?;
        // Created anew, because the optimizer and the mean find this network's tensors by their IDs.
        self.optimizer = Optimizer::new(self.config.weight_decay).load(&self.network, optimizer).map_err(wrong)?;
        if let Some(decay) = self.config.ema {
            self.ema = Some(Ema::new(&self.network, decay).resume(ema, counters.ema_updates).map_err(wrong)?);
        }
        self.schedule = self.schedule.clone().resume(counters.schedule).map_err(wrong)?;
        self.engines.set_loss_scales(&counters.loss_scales);
        self.counters = counters;
        Ok(())
    }

    /// Runs one step of the optimizer.
    pub(super) fn step(
        &mut self,
        samples: &mut dyn Iterator<Item = Result<Sample, Error>>,
        data: &TrainData,
        report: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<(), Error> {
        let (batch_size, network) = (self.config.batch_size, self.config.model_name.config());
        let (mut rows, mut passed, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.config.accumulate {
            let mut batch = Batch::default();
            for sample in (&mut *samples).take(batch_size) {
                let sample = sample?;
                rows.push(sample.row);
                batch.images.push(sample.image);
                batch.labels.push(sample.label);
            }
            let (epoch, position) = (self.counters.epoch as u64, self.counters.position);
            let noise = noise::noise(&self.config, &network, epoch, position, batch.images.len());
            weights.push(self.objective.weight(&batch.labels));
            let one = self.engines.run(&self.network, &batch, &noise, &self.objective)?;
            self.check_finite("the loss", one.loss, &rows, data)?;
            passed.push(Ok(one));
            self.counters.position += batch_size;
        }
        let total: f32 = weights.iter().sum();
        let passed = combine(&self.network, passed.into_iter().zip(weights.iter().map(|weight| weight / total)))?;
        let lowest = self.engines.loss_scales().iter().flatten().map(LossScale::value).reduce(f32::min);
        if let (true, Some(loss_scale)) = (passed.gradients.is_empty(), lowest) {
            report(&Progress::Skipped { loss_scale });
            return Ok(());
        }
        let norm = gradient_norm(&self.network, &passed.gradients)?;
        self.check_finite("the gradients' length", norm, &rows, data)?;
        let gradients = match self.config.grad_clip {
            Some(limit) => clip(&self.network, passed.gradients, norm, limit),
            None => passed.gradients,
        };
        let learning_rate = self.schedule.next_rate();
        self.network = self.optimizer.step(learning_rate, self.network.clone(), gradients);
        if let Some(ema) = &mut self.ema {
            ema.update(&self.network);
        }
        self.counters.loss_sum += passed.loss;
        self.counters.passes += 1;
        self.counters.step += 1;
        report(&Progress::Step(StepSummary {
            epoch: self.counters.epoch,
            step_in_epoch: self.counters.position / (batch_size * self.config.accumulate) - 1,
            step: self.counters.step - 1,
            loss: passed.loss,
            learning_rate,
            gradient_norm: norm,
            faces: rows.len(),
            elapsed: self.lap(),
        }));
        Ok(())
    }

    /// Starts to time the first step of an epoch, so that the time of validation does not count.
    pub(super) fn begin_epoch(&mut self) {
        self.last_step = Instant::now();
    }

    fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.last_step, Instant::now());
        self.last_step - before
    }

    fn check_finite(&self, what: &'static str, value: f64, rows: &[usize], data: &TrainData) -> Result<(), Error> {
        if value.is_finite() {
            return Ok(());
        }
        let step = self.counters.position / (self.config.batch_size * self.config.accumulate) + 1;
        Err(Error::NotFinite { what, value, epoch: self.counters.epoch + 1, step, files: data.files(rows) })
    }

    /// Records an epoch's validation, saves the models, the history and a checkpoint, and returns the summary and
    /// whether this epoch is the best.
    pub(super) fn end_epoch(
        &mut self,
        scored: &[Scored],
        report: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<(EpochSummary, bool), Error> {
        let loss = self.counters.loss_sum / self.counters.passes.max(1) as f64;
        let summary = summarize(self.counters.epoch, loss, scored)?;
        let best = self.counters.best.is_none_or(|best| summary.mean_video_auc > best.mean_video_auc);
        let model = self.model_file(&summary, calibrate(scored, ThresholdRule::BalancedAccuracy)?)?;
        if best {
            let EpochSummary { epoch, video_auc, mean_video_auc, .. } = summary;
            self.counters.best = Some(Best { epoch, video_auc, mean_video_auc });
        }
        for name in if best { &["best.safetensors", "last.safetensors"][..] } else { &["last.safetensors"] } {
            let path = self.options.output.join(name);
            model.write(&path)?;
            report(&Progress::Saved(&path));
        }
        self.schedule.observe(summary.mean_video_auc);
        self.counters.history.push(summary.clone());
        (self.counters.loss_sum, self.counters.passes) = (0.0, 0);
        (self.counters.epoch, self.counters.position) = (self.counters.epoch + 1, 0);
        self.write_history()?;
        self.save(report)?;
        Ok((summary, best))
    }

    fn model_file(&self, summary: &EpochSummary, calibration: Calibration) -> Result<ModelFile, Error> {
        let mut card = self.card.clone();
        (card.temperature, card.threshold) = (calibration.temperature as f32, calibration.threshold as f32);
        let metrics = [
            ("epoch", (summary.epoch + 1) as f64),
            ("val_mean_video_auc", summary.mean_video_auc),
            ("val_video_auc", summary.video_auc),
            ("val_frame_auc", summary.frame_auc),
            ("val_loss", summary.validation_loss),
        ];
        card.metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let of_source = |source: &SourceAuc| Some((format!("val_video_auc/{}", source.name), source.video_auc?));
        card.metrics.extend(summary.sources.iter().filter_map(of_source));
        let mut file = ModelFile::new(card, self.judged().state_dict())?;
        file.format = WeightFormat::F16;
        Ok(file)
    }

    /// Writes the checkpoint.
    pub(super) fn save(&mut self, report: &mut dyn FnMut(&Progress<'_>)) -> Result<(), Error> {
        self.counters.schedule = self.schedule.state();
        self.counters.loss_scales = self.engines.loss_scales();
        self.counters.ema_updates = self.ema.as_ref().map_or(0, Ema::updates);
        let checkpoint = Checkpoint {
            counters: self.counters.clone(),
            network: self.network.state_dict(),
            ema: self.ema.as_ref().map(|ema| ema.network().state_dict()).unwrap_or_default(),
            optimizer: self.optimizer.state(&self.network),
        };
        let path = self.checkpoint_path();
        checkpoint.write(&path)?;
        report(&Progress::Saved(&path));
        Ok(())
    }

    /// Writes the configuration, for people to read.
    pub(super) fn write_config(&self) -> Result<(), Error> {
        let path = self.options.output.join("config.json");
        let text = serde_json::to_string_pretty(&self.config).map_err(Error::json(&path))?;
        write_whole(&path, format!("{text}\n").as_bytes())
    }

    fn write_history(&self) -> Result<(), Error> {
        let path = self.options.output.join("history.json");
        let source = |source: &SourceAuc| {
            let SourceAuc { name, reals, fakes, frame_auc, video_auc } = source;
            let measured = serde_json::json!({
                "real_videos": reals, "fake_videos": fakes, "frame_auc": frame_auc, "video_auc": video_auc,
            });
            (name.clone(), measured)
        };
        let epoch = |summary: &EpochSummary| {
            let sources: BTreeMap<String, serde_json::Value> = summary.sources.iter().map(source).collect();
            serde_json::json!({
                "epoch": summary.epoch + 1,
                "loss": summary.loss,
                "val_loss": summary.validation_loss,
                "val_frame_auc": summary.frame_auc,
                "val_video_auc": summary.video_auc,
                "val_mean_video_auc": summary.mean_video_auc,
                "sources": sources,
            })
        };
        let epochs: Vec<_> = self.counters.history.iter().map(epoch).collect();
        let text = serde_json::to_string_pretty(&epochs).map_err(Error::json(&path))?;
        write_whole(&path, format!("{text}\n").as_bytes())
    }

    /// Returns the draws of the epoch that no step has taken yet.
    pub(super) fn draws_left(&self, data: &TrainData) -> Vec<Draw> {
        let mut draws = data.sampler().epoch(self.counters.epoch as u64);
        draws.truncate(self.draws_taken());
        draws.drain(..self.counters.position.min(draws.len()));
        draws
    }

    /// Returns the number of draws of an epoch that fill whole steps. The remaining draws are too few for batch norms
    /// that compare with those of whole batches.
    fn draws_taken(&self) -> usize {
        self.steps_per_epoch * self.config.batch_size * self.config.accumulate
    }

    pub(super) fn steps_left(&self) -> bool {
        self.counters.position < self.draws_taken()
    }

    pub(super) fn checkpoint_due(&self) -> bool {
        self.counters.step.is_multiple_of(self.options.checkpoint_every)
    }

    /// Returns how many samples are made ahead: two batches, so that the next one is made while a step waits for the
    /// first.
    pub(super) fn samples_ahead(&self) -> usize {
        2 * self.config.batch_size
    }

    pub(super) fn started(&self) -> Progress<'static> {
        Progress::Started {
            epochs: self.config.epochs,
            steps_per_epoch: self.steps_per_epoch,
            done: self.counters.step,
            engine: self.engines.name(),
        }
    }

    /// Returns why the run ends now, or `None` if it goes on.
    pub(super) fn ending(&self) -> Option<Ending> {
        let since_best = self.counters.best.map_or(0, |best| self.counters.epoch - 1 - best.epoch);
        if self.config.early_stopping.is_some_and(|patience| since_best >= patience) {
            return Some(Ending::Stopped);
        }
        (self.counters.epoch >= self.config.epochs).then_some(Ending::Finished)
    }

    pub(super) fn outcome(&self, ending: Ending) -> Outcome {
        Outcome { ending, best: self.counters.best, history: self.counters.history.clone() }
    }

    pub(super) fn step_count(&self) -> usize {
        self.counters.step
    }

    /// Returns the network that is validated and written.
    pub(super) fn judged(&self) -> EfficientNet<B> {
        match &self.ema {
            Some(ema) => ema.network().clone(),
            None => self.network.valid(),
        }
    }

    pub(super) fn checkpoint_path(&self) -> PathBuf {
        self.options.output.join("checkpoint.safetensors")
    }

    pub(super) fn options(&self) -> &RunOptions {
        &self.options
    }

    pub(super) fn card(&self) -> &ModelCard {
        &self.card
    }

    pub(super) fn device(&self) -> &B::Device {
        &self.device
    }
}

/// Returns the model's card. Mean, standard deviation and resizing are those of the model that the run starts from, if
/// there is one, else those of timm.
fn card(config: &TrainConfig, data: &TrainData, options: &RunOptions, given: Option<ModelCard>) -> ModelCard {
    let folder = options.output.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = options.name.clone().or(folder).unwrap_or_else(|| config.model_name.to_string());
    let mut card = ModelCard::new(name, config.model_name);
    if let Some(given) = given {
        (card.mean, card.std, card.resize) = (given.mean, given.std, given.resize);
    }
    (card.input_size, card.crop) = (config.input_size(), data.crop());
    card.trained_on = options.trained_on.clone().unwrap_or_else(|| data.described().to_owned());
    card.terms.clone_from(&options.terms);
    card
}

fn class_weights(weights: ClassWeights, data: &TrainData) -> [f32; 2] {
    match weights {
        ClassWeights::Equal => [1.0; 2],
        ClassWeights::Given(weights) => weights,
        ClassWeights::Balanced => {
            let draws = data.sampler().epoch(0);
            let is_fake = |draw: &&Draw| draw.self_blended || data.dataset().rows()[draw.row].label == Label::Fake;
            let fake = draws.iter().filter(is_fake).count().clamp(1, draws.len().max(2) - 1);
            let share = |count: usize| draws.len() as f32 / (2 * count) as f32;
            [share(draws.len() - fake), share(fake)]
        }
    }
}

/// Describes the first setting in which two configurations differ, or returns `None` if they are equal.
fn difference(before: &str, now: &str) -> Option<String> {
    // Read and written again: a setting that an earlier version did not have takes its default, which is the value it
    // had.
    let whole =
        |text: &str| serde_json::from_str::<TrainConfig>(text).and_then(|config| serde_json::to_string(&config));
    let Ok(before) = whole(before) else { return Some("its configuration is of another version".to_owned()) };
    if before == now {
        return None;
    }
    // Sorted by name, because the order of a serde_json map depends on the build.
    let read = |text: &str| serde_json::from_str::<BTreeMap<String, serde_json::Value>>(text).unwrap_or_default();
    let (before, now) = (read(&before), read(now));
    let none = serde_json::Value::Null;
    let differs = now.iter().find(|(name, value)| before.get(*name).unwrap_or(&none) != *value);
    Some(match differs {
        Some((name, value)) => {
            let earlier = before.get(name).unwrap_or(&none);
            format!("its {} is {earlier}, and {value} is asked for now", name.replace('_', "-"))
        }
        None => "its configuration is another".to_owned(),
    })
}
