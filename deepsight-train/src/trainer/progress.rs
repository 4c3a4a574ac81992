use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Scored, SourceAuc};

/// What a run tells while it goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// It begins, or goes on.
    Started {
        /// Epochs in all.
        epochs: usize,
        /// Optimizer steps in each.
        steps_per_epoch: usize,
        /// Optimizer steps done before.
        done: usize,
        /// What computes the steps: `burn` or `fused`.
        engine: &'static str,
    },
    /// A step of the optimizer is done.
    Step(StepSummary),
    /// A batch was lost because the loss scale was too high for half precision; it is lower now.
    Skipped {
        /// The scale that is tried next.
        loss_scale: f32,
    },
    /// So many faces of the validation split are scored.
    Validating {
        /// Faces scored.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// An epoch is done and validated.
    Epoch {
        /// How it went.
        summary: EpochSummary,
        /// Optimizer steps done in all.
        step: usize,
        /// Whether no epoch before had so high a mean video AUC.
        best: bool,
        /// Time since the epoch began, or the run went on.
        elapsed: Duration,
        /// The faces of the validation split and their scores.
        scored: &'a [Scored],
    },
    /// A file was written.
    Saved(&'a Path),
}

/// How a step of the optimizer went.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StepSummary {
    /// The epoch, from 0.
    pub epoch: usize,
    /// The step within the epoch, from 0.
    pub step_in_epoch: usize,
    /// The step within the run, from 0.
    pub step: usize,
    /// Mean loss of its faces, as in [`StepOutput::loss`](crate::StepOutput::loss).
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Length of the gradients, before they were shortened.
    pub gradient_norm: f64,
    /// Faces in it.
    pub faces: usize,
    /// Time since the step before, waiting for samples included.
    pub elapsed: Duration,
}

/// How an epoch went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EpochSummary {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Mean training loss, with class weights and label smoothing: not to be compared with that of validation.
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
    /// Mean of the sources' video AUCs, each source counting the same: the best epoch is the one with the highest.
    /// Sources of one class are left out; where all are, it is [`video_auc`](Self::video_auc).
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
pub struct Best {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Its video AUC, over the videos of all sources together.
    #[serde(with = "crate::exact")]
    pub video_auc: f64,
    /// Its mean video AUC, by which it was chosen.
    #[serde(default, with = "crate::exact")]
    pub mean_video_auc: f64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// Why.
    pub ending: Ending,
    /// The epoch whose weights are in `best.safetensors`; `None` when none is done.
    pub best: Option<Best>,
    /// All epochs done.
    pub history: Vec<EpochSummary>,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// The mean video AUC has not risen for as many epochs as were put up with.
    Stopped,
    /// It was cancelled, and everything it needs to go on is saved.
    Cancelled,
}
