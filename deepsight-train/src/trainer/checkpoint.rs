//! Checkpoints: the whole state of a run in one safetensors file, so that it is either the old state or the new one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use deepsight_core::model::{StateDict, Weight};
use safetensors::Dtype;
use safetensors::tensor::{SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::optimizer::OptimizerState;
use super::progress::{BestEpoch, EpochSummary};
use crate::Error;
use crate::schedule::ScheduleState;
use crate::step::LossScale;
use crate::whole_file::write_whole;

/// The state of a run between two optimizer steps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Checkpoint {
    pub(super) counters: Counters,
    /// Parameters and running statistics.
    pub(super) network: StateDict,
    /// Mean of the parameters and statistics over the steps. Empty if the run does not keep one.
    pub(super) ema: StateDict,
    pub(super) optimizer: OptimizerState,
}

/// The part of a run's state that is not tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Counters {
    schema: u32,
    /// The run's configuration as JSON.
    pub(super) config: String,
    /// Fingerprint of the rows of training and validation.
    pub(super) data: String,
    /// The current epoch, from 0.
    pub(super) epoch: usize,
    /// Number of draws of the current epoch that are done.
    pub(super) position: usize,
    /// Number of optimizer steps done.
    pub(super) step: usize,
    optimizer_steps: usize,
    pub(super) schedule: ScheduleState,
    pub(super) ema_updates: u64,
    /// Loss scale of each device.
    pub(super) loss_scales: Vec<Option<LossScale>>,
    /// Sum of the losses of the current epoch's steps, and the number of these steps.
    #[serde(with = "crate::exact")]
    pub(super) loss_sum: f64,
    pub(super) passes: usize,
    pub(super) best: Option<BestEpoch>,
    /// Summaries of all epochs done.
    pub(super) history: Vec<EpochSummary>,
}

impl Counters {
    /// Creates the counters of a run before its first step.
    pub(super) fn new(config: String, data: String, schedule: ScheduleState) -> Self {
        Self {
            schema: SCHEMA,
            config,
            data,
            epoch: 0,
            position: 0,
            step: 0,
            optimizer_steps: 0,
            schedule,
            ema_updates: 0,
            loss_scales: Vec::new(),
            loss_sum: 0.0,
            passes: 0,
            best: None,
            history: Vec::new(),
        }
    }

    /// Adds the summary of an epoch, which is the `best` so far or not, and begins the next epoch.
    pub(super) fn end_epoch(&mut self, summary: &EpochSummary, best: bool) {
        if best {
            let EpochSummary { epoch, video_auc, mean_video_auc, .. } = *summary;
            self.best = Some(BestEpoch { epoch, video_auc, mean_video_auc });
        }
        self.history.push(summary.clone());
        (self.loss_sum, self.passes) = (0.0, 0);
        (self.epoch, self.position) = (self.epoch + 1, 0);
    }

    /// Returns the counters with the mean video AUCs that an earlier version did not write. With a single source they
    /// equal its video AUCs.
    ///
    /// # Errors
    /// Returns the reason if there are several sources: the best epoch so far was then chosen in another way.
    pub(super) fn add_missing_means(mut self, one_source: bool) -> Result<Self, &'static str> {
        for epoch in self.history.iter_mut().filter(|epoch| epoch.sources.is_empty()) {
            if !one_source {
                return Err("an earlier version wrote it, which chose the best epoch by the videos of all manifests \
                    together and not by the mean over manifests: begin a new run from the weights in its \
                    best.safetensors");
            }
            epoch.mean_video_auc = epoch.video_auc;
        }
        if let Some(best) = &mut self.best
            && let Some(epoch) = self.history.iter().find(|epoch| epoch.epoch == best.epoch)
        {
            best.mean_video_auc = epoch.mean_video_auc;
        }
        Ok(self)
    }
}

const SCHEMA: u32 = 1;
/// Key of the counters in the file's metadata.
const COUNTERS: &str = "deepsight.run";
/// Prefixes of the tensors' names, one for each part.
const PARTS: [&str; 4] = ["network.", "ema.", "first.", "second."];
/// Largest size of a checkpoint that is read: far more than any network of this project needs.
const MAX_BYTES: u64 = 4 << 30;

impl Checkpoint {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        let mut counters = self.counters.clone();
        counters.optimizer_steps = self.optimizer.steps;
        let counters = serde_json::to_string(&counters).map_err(Error::json(path))?;
        let parts = [&self.network, &self.ema, &self.optimizer.first, &self.optimizer.second];
        let mut tensors = Vec::new();
        for (prefix, weights) in PARTS.iter().zip(parts) {
            for (name, weight) in weights {
                let bytes: Vec<u8> = weight.values.iter().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((format!("{prefix}{name}"), weight.shape.clone(), bytes));
            }
        }
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
            .collect();
        let metadata = Some(HashMap::from([(COUNTERS.to_owned(), counters)]));
        let bytes = views.and_then(|views| safetensors::serialize(views, metadata));
        write_whole(path, &bytes.map_err(|error| Error::checkpoint(path, error))?)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Checkpoint`] when it is not a checkpoint, or one of another
    /// version.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let length = path.metadata().map_err(Error::io(path, "cannot be read"))?.len();
        if length > MAX_BYTES {
            return Err(Error::checkpoint(path, format_args!("it has {length} bytes, over the limit of {MAX_BYTES}")));
        }
        let bytes = std::fs::read(path).map_err(Error::io(path, "cannot be read"))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| Error::checkpoint(path, error))?;
        let counters = metadata.metadata().as_ref().and_then(|entries| entries.get(COUNTERS));
        let counters = counters.ok_or_else(|| Error::checkpoint(path, "it has no state of a run in it"))?;
        let counters: Counters = serde_json::from_str(counters).map_err(|error| Error::checkpoint(path, error))?;
        if counters.schema != SCHEMA {
            let what = format_args!("its schema is {}; this version reads schema {SCHEMA}", counters.schema);
            return Err(Error::checkpoint(path, what));
        }
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| Error::checkpoint(path, error))?;
        let mut parts: BTreeMap<&str, StateDict> = PARTS.iter().map(|part| (*part, StateDict::new())).collect();
        for (name, view) in tensors.tensors() {
            let part = PARTS.iter().find_map(|part| Some((*part, name.strip_prefix(part)?)));
            let (Some((part, name)), Dtype::F32) = (part, view.dtype()) else {
                return Err(Error::checkpoint(path, format_args!("tensor `{}` is not of a run", name.escape_debug())));
            };
            let values = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let weight = Weight { shape: view.shape().to_vec(), values };
            parts.entry(part).or_default().insert(name.to_owned(), weight);
        }
        let mut part = |name| parts.remove(name).unwrap_or_default();
        let [network, ema, first, second] = PARTS.map(&mut part);
        let optimizer = OptimizerState { steps: counters.optimizer_steps, first, second };
        Ok(Self { counters, network, ema, optimizer })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    fn checkpoint() -> Checkpoint {
        let schedule =
            crate::schedule::ScheduleConfig::new(0.1, 4, crate::schedule::Scheduler::Cosine { minimum: 0.0 })
                .init()
                .unwrap();
        let mut counters = Counters::new("{}".into(), "hash".into(), schedule.state());
        (counters.loss_sum, counters.optimizer_steps) = (0.1 + 0.2, 3);
        let weights =
            |value: f32| StateDict::from([("a.b".to_owned(), Weight { shape: vec![2], values: vec![value; 2] })]);
        let optimizer = OptimizerState { steps: 3, first: weights(0.1), second: weights(f32::MIN_POSITIVE) };
        Checkpoint { counters, network: weights(1.5), ema: StateDict::new(), optimizer }
    }

    #[test]
    fn a_checkpoint_reads_back_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.safetensors");
        checkpoint().write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint());
    }

    #[test]
    fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.safetensors");
        checkpoint().write(&path).unwrap();
        // A folder with the name of the temporary file makes the write fail, as a full disk would.
        fs::create_dir(folder.path().join(format!(".run.safetensors.{}.part", std::process::id()))).unwrap();
        let mut next = checkpoint();
        next.counters.epoch = 1;
        let message = next.write(&path).unwrap_err().to_string();
        assert!(message.contains("run.safetensors: cannot be written"), "{message}");
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint());
    }

    #[test]
    fn a_checkpoint_without_means_goes_on_with_one_source_and_is_refused_with_several() {
        let exact = |value: f64| format!("{:016x}", value.to_bits());
        let mut counters = serde_json::to_value(checkpoint().counters).unwrap();
        counters["best"] = serde_json::json!({ "epoch": 0, "video_auc": exact(0.75) });
        counters["history"] = serde_json::json!([{
            "epoch": 0,
            "loss": exact(0.5),
            "validation_loss": exact(0.25),
            "frame_auc": exact(0.5),
            "video_auc": exact(0.75),
        }]);
        let before: Counters = serde_json::from_value(counters).unwrap();
        let after = before.clone().add_missing_means(true).unwrap();
        assert_eq!((after.best.unwrap().mean_video_auc, after.history[0].mean_video_auc), (0.75, 0.75));
        assert!(before.add_missing_means(false).unwrap_err().contains("an earlier version wrote it"));
        checkpoint().counters.add_missing_means(false).unwrap();
    }

    #[test]
    fn a_file_that_is_not_a_checkpoint_is_an_error_with_its_name_and_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.safetensors");
        checkpoint().write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        for cut in [0, 4, 40, bytes.len() - 1] {
            fs::write(&path, &bytes[..cut]).unwrap();
            let message = Checkpoint::read(&path).unwrap_err().to_string();
            assert!(message.contains("run.safetensors: not a checkpoint"), "{message}");
        }
        fs::write(&path, safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap()).unwrap();
        assert!(Checkpoint::read(&path).unwrap_err().to_string().contains("no state of a run"));
    }
}
