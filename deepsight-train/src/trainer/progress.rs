use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Scored;
use crate::metrics::SourceAuc;

/// An event of a run, passed to the callback of [`Trainer::run`](crate::Trainer::run).
#[derive(Debug)]
#[non_exhaustive]
pub enum TrainProgress<'a> {
    /// The run began or was resumed.
    Started {
        /// Number of epochs.
        epochs: usize,
        /// Optimizer steps in each epoch.
        steps_per_epoch: usize,
        /// Optimizer steps that were done before.
        done: usize,
        /// Name of the engine that computes the steps: `burn` or `fused`.
        engine: &'static str,
    },
    /// A step of the optimizer is done.
    Step(StepSummary),
    /// A batch was lost because the loss scale was too high for half precision. The scale has been lowered.
    Skipped {
        /// The lowered scale, which is tried next.
        loss_scale: f32,
    },
    /// Some faces of the validation split are scored.
    Validating {
        /// Number of faces scored so far.
        done: usize,
        /// Number of faces in the split.
        total: usize,
    },
    /// An epoch is done and validated.
    Epoch {
        /// Losses and AUCs of the epoch.
        summary: EpochSummary,
        /// Optimizer steps done in the whole run.
        step: usize,
        /// Whether the mean video AUC is higher than in every epoch before.
        best: bool,
        /// Time since the epoch began or the run was resumed.
        elapsed: Duration,
        /// The faces of the validation split and their scores.
        scored: &'a [Scored],
    },
    /// A file was written.
    Saved(&'a Path),
}

/// The measurements of one step of the optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StepSummary {
    /// The epoch, from 0.
    pub epoch: usize,
    /// The step within the epoch, from 0.
    pub step_in_epoch: usize,
    /// The step within the run, from 0.
    pub step: usize,
    /// Mean loss of the step's faces, as in [`StepOutput::loss`](crate::step::StepOutput::loss).
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Length of the gradients before clipping.
    pub gradient_norm: f64,
    /// Number of faces in the step.
    pub faces: usize,
    /// Time since the step before, including the wait for samples.
    pub elapsed: Duration,
}

/// Losses and AUCs of one epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EpochSummary {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Mean training loss, with class weights and label smoothing. It cannot be compared with the validation loss.
    #[serde(with = "crate::exact")]
    pub loss: f64,
    /// Mean negative logarithm of the probability given to the right class in validation.
    #[serde(with = "crate::exact")]
    pub validation_loss: f64,
    /// Area under the ROC curve over the faces of the validation split.
    #[serde(with = "crate::exact")]
    pub frame_auc: f64,
    /// Area under the ROC curve over the videos of the validation split.
    #[serde(with = "crate::exact")]
    pub video_auc: f64,
    /// Mean of the sources' video AUCs, each source with the same weight. The best epoch is the one with the highest
    /// mean. Sources of one class are left out. If all sources are, this is [`video_auc`](Self::video_auc).
    #[serde(default, with = "crate::exact")]
    pub mean_video_auc: f64,
    /// The AUCs of each source, in the order of the manifests. Sources without faces in the validation split are left
    /// out.
    #[serde(default)]
    pub sources: Vec<SourceAuc>,
}

/// The best epoch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BestEpoch {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Video AUC of the epoch, over the videos of all sources together.
    #[serde(with = "crate::exact")]
    pub video_auc: f64,
    /// Mean video AUC of the epoch, which it was chosen by.
    #[serde(default, with = "crate::exact")]
    pub mean_video_auc: f64,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// The reason why the run ended.
    pub ending: Ending,
    /// The epoch whose weights are in `best.safetensors`. `None` if no epoch is done.
    pub best: Option<BestEpoch>,
    /// Summaries of all epochs done.
    pub history: Vec<EpochSummary>,
}

/// The reason why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// The mean video AUC did not rise for as many epochs as early stopping allows.
    Stopped,
    /// The run was cancelled, and a checkpoint to resume from is saved.
    Cancelled,
}
