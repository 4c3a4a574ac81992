//! The part of a run that its steps change, and that a checkpoint holds.

use std::collections::BTreeMap;
use std::path::Path;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::optim::GradientsParams;
use burn::tensor::backend::Backend;
use deepsight_core::model::EfficientNet;

use super::checkpoint::{Checkpoint, Counters};
use super::config::TrainConfig;
use super::data::TrainData;
use super::ema::Ema;
use super::optimizer::Optimizer;
use crate::Error;
use crate::schedule::Schedule;
use crate::step::LossScale;

/// The network and everything else that a step changes.
pub(super) struct RunState<B: Backend> {
    network: EfficientNet<Autodiff<B>>,
    ema: Option<Ema<B>>,
    optimizer: Optimizer<B>,
    schedule: Schedule,
    pub(super) counters: Counters,
}

impl<B: Backend> RunState<B> {
    /// Creates the state before the first step.
    pub(super) fn new(
        config: &TrainConfig,
        network: EfficientNet<Autodiff<B>>,
        schedule: Schedule,
        counters: Counters,
    ) -> Self {
        let ema = config.ema.map(|decay| Ema::new(&network, decay));
        Self { ema, optimizer: Optimizer::new(config.weight_decay), network, schedule, counters }
    }

    /// Restores the state of a checkpoint that was read from `path`.
    ///
    /// # Errors
    /// [`Error::CheckpointSetting`] when the checkpoint is of another configuration, [`Error::Checkpoint`] when it is
    /// of other faces or another network.
    pub(super) fn restore(
        &mut self,
        checkpoint: Checkpoint,
        path: &Path,
        config: &TrainConfig,
        data: &TrainData,
    ) -> Result<(), Error> {
        let Checkpoint { counters, network, ema, optimizer } = checkpoint;
        check_same(path, &counters.config, &self.counters.config)?;
        if counters.data != data.fingerprint() {
            return Err(Error::checkpoint(path, "it is of a run on other faces than the manifest's"));
        }
        let counters =
            counters.add_missing_means(data.sources().count() == 1).map_err(|what| Error::checkpoint(path, what))?;
        let wrong = |error: Error| Error::checkpoint(path, deepsight_core::with_causes(&error));
        self.network = self.network.clone().load_state_dict(network).map_err(|error| wrong(error.into()))?;
        // Created anew, because the optimizer and the mean find this network's tensors by their IDs.
        self.optimizer = Optimizer::new(config.weight_decay).load(&self.network, optimizer).map_err(wrong)?;
        if let Some(decay) = config.ema {
            self.ema = Some(Ema::new(&self.network, decay).resume(ema, counters.ema_updates).map_err(wrong)?);
        }
        self.schedule = self.schedule.clone().resume(counters.schedule).map_err(wrong)?;
        self.counters = counters;
        Ok(())
    }

    /// Returns the checkpoint of the state. `loss_scales` has the loss scale of each device.
    pub(super) fn checkpoint(&mut self, loss_scales: Vec<Option<LossScale>>) -> Checkpoint {
        self.counters.schedule = self.schedule.state();
        self.counters.loss_scales = loss_scales;
        self.counters.ema_updates = self.ema.as_ref().map_or(0, Ema::updates);
        Checkpoint {
            counters: self.counters.clone(),
            network: self.network.state_dict(),
            ema: self.ema.as_ref().map(|ema| ema.network().state_dict()).unwrap_or_default(),
            optimizer: self.optimizer.state(&self.network),
        }
    }

    /// Moves the network along its gradients at the schedule's next learning rate, and returns the rate.
    pub(super) fn apply(&mut self, gradients: GradientsParams) -> f64 {
        let learning_rate = self.schedule.next_rate();
        self.network = self.optimizer.step(learning_rate, self.network.clone(), gradients);
        if let Some(ema) = &mut self.ema {
            ema.update(&self.network);
        }
        learning_rate
    }

    /// Passes the mean video AUC of an epoch to the schedule, which may reduce the learning rate.
    pub(super) fn observe(&mut self, mean_video_auc: f64) {
        self.schedule.observe(mean_video_auc);
    }

    /// Returns the network that is trained.
    pub(super) fn network(&self) -> &EfficientNet<Autodiff<B>> {
        &self.network
    }

    /// Returns the network that is validated and written: the mean over the steps if the run keeps one.
    pub(super) fn validated_network(&self) -> EfficientNet<B> {
        match &self.ema {
            Some(ema) => ema.network().clone(),
            None => self.network.valid(),
        }
    }
}

/// Checks that two configurations are equal.
///
/// # Errors
/// [`Error::CheckpointSetting`] with the first setting that differs, [`Error::Checkpoint`] when `before` cannot be
/// read.
fn check_same(path: &Path, before: &str, now: &str) -> Result<(), Error> {
    // Read and written again: a setting that an earlier version did not have takes its default, which is the value it
    // had.
    let whole =
        |text: &str| serde_json::from_str::<TrainConfig>(text).and_then(|config| serde_json::to_string(&config));
    let Ok(before) = whole(before) else {
        return Err(Error::checkpoint(path, "its configuration is of another version"));
    };
    if before == now {
        return Ok(());
    }
    // Sorted by name, because the order of a serde_json map depends on the build.
    let read = |text: &str| serde_json::from_str::<BTreeMap<String, serde_json::Value>>(text).unwrap_or_default();
    let (before, now) = (read(&before), read(now));
    let none = serde_json::Value::Null;
    let differs = now.into_iter().find(|(name, value)| before.get(name).unwrap_or(&none) != value);
    Err(match differs {
        Some((name, value)) => {
            let found = before.get(&name).unwrap_or(&none).to_string();
            Error::CheckpointSetting { path: path.to_owned(), name, found, asked: value.to_string() }
        }
        None => Error::checkpoint(path, "its configuration is another"),
    })
}
