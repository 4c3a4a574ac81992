#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod augment;
mod blend;
mod calibrate;
#[cfg(feature = "model")]
mod checkpoint;
mod dataset;
mod error;
mod evaluate;
mod exact;
mod label_noise;
mod layout;
mod locked;
mod manifest;
mod metrics;
mod plot;
mod prepare;
mod preview;
mod random;
mod sampler;
mod schedule;
mod split;
#[cfg(feature = "model")]
mod step;
mod tensorboard;
#[cfg(feature = "model")]
mod trainer;
mod whole_file;

pub use augment::{AugmentStep, Augmentation, ClipCompression, Operation, recompress};
pub use blend::{Blended, Region, SelfBlending};
pub use calibrate::{
    Calibration, MeasuredVerdicts, ThresholdRule, VerdictAim, VerdictLimits, VerdictRates, calibrate, false_alarms,
    fit_temperature, fit_threshold, fit_verdicts, measure_verdicts,
};
pub use dataset::{DatasetConfig, FaceDataset, Sample};
#[cfg(feature = "model")]
pub use dataset::{EpochDataset, FaceBatch, FaceBatcher, Loaded};
/// The crate that defines `RgbImage`, the type of a sample's picture.
pub use deepsight_core::image;
#[cfg(feature = "parquet")]
pub use error::ParquetError;
pub use error::{Error, JsonError, PictureError, TableError};
pub use evaluate::{
    ClipFailure, ClipScore, ClipSet, Degradation, EVALUATION_SCHEMA, EvaluatedData, EvaluatedModel, EvaluatedSource,
    Evaluation, FittedOn, GradedFace, GroupMetrics, MeanValue, MeasuredValue, MethodReport, QualityAim, QualityBin,
    QualityFigures, QualityLevel, QualityReport, RobustnessRow, Section, SourceMeans, SourceReport, TestClip, TestFace,
    TestSet, classification_report, fit_quality, recompress_clip,
};
#[cfg(feature = "model")]
pub use evaluate::{calibrated_file, fake_logits};
pub use label_noise::{ForgeryDifference, forgery_differences};
pub use layout::{Clip, Dataset, Layout, Media, Picture};
pub use manifest::{Label, Manifest, Row, Split, UnknownName, source_names};
pub use metrics::{
    Bootstrap, CALIBRATION_BINS, Confusion, Intervals, Metric, Metrics, PrecisionRecallCurve, ReliabilityBin, RocCurve,
    Scored, Scores, SourceAuc, VideoScore, balanced_calibration_error, by_source, frame_auc, mean_video_auc,
    source_aucs, video_auc, video_scores,
};
pub use plot::Figure;
pub use prepare::{CropFormat, Detectors, Failure, Preparation, PrepareConfig, PrepareProgress, Prepared};
pub use preview::{preview, preview_blending};
pub use random::Between;
pub use sampler::{Draw, Sampler, SamplerConfig, Source};
pub use schedule::{Plateau, PlateauState, Schedule, ScheduleConfig, ScheduleState, Scheduler, SchedulerName};
pub use split::{SplitBy, SplitConfig, SplitCount, SplitSummary, assign_splits, check_disjoint};
#[cfg(feature = "model")]
pub use step::{
    Batch, BurnStep, FusedStep, LossScale, Noise, Objective, Precision, Step, StepOutput, clip, gradient_norm,
    weighted_sum,
};
pub use tensorboard::EventWriter;
#[cfg(feature = "model")]
pub use trainer::{
    Best, ClassWeights, Ema, Ending, EpochSummary, EventLog, Init, Optimizer, OptimizerState, Outcome, Progress,
    RunOptions, StepSummary, TrainConfig, TrainData, Trainer,
};
