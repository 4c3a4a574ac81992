#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod augment;
pub mod blend;
pub mod calibrate;
#[cfg(feature = "model")]
mod checkpoint;
pub mod dataset;
mod error;
pub mod evaluate;
mod exact;
// For the target in `fuzz/`. Not a promise.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod label_noise;
pub mod layout;
mod locked;
pub mod manifest;
pub mod metrics;
pub mod plot;
pub mod prepare;
pub mod preview;
mod random;
pub mod sampler;
pub mod schedule;
pub mod split;
#[cfg(feature = "model")]
pub mod step;
pub mod tensorboard;
#[cfg(feature = "model")]
pub mod trainer;
mod whole_file;

pub use augment::Augmentation;
/// The crate that defines `RgbImage`, the type of a sample's picture.
pub use deepsight_core::image;
#[cfg(feature = "parquet")]
pub use error::ParquetError;
pub use error::{Error, JsonError, PictureError, TableError};
pub use evaluate::Evaluation;
pub use layout::Dataset;
pub use manifest::{Label, Manifest, Row, Split};
pub use metrics::{Scored, frame_auc, video_auc};
pub use prepare::{Preparation, PrepareConfig};
pub use split::{SplitConfig, assign_splits};
#[cfg(feature = "model")]
pub use trainer::{Init, Outcome, Progress, RunOptions, TrainConfig, TrainData, Trainer};

// Short names for the modules of this crate. The trainer alone uses some of them, and it needs Burn.
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use augment::{ClipCompression, recompress};
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use blend::SelfBlending;
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use calibrate::{
    Calibration, MeasuredVerdicts, ThresholdRule, VerdictAim, VerdictLimits, VerdictRates, calibrate, false_alarms,
    fit_temperature, fit_verdicts, measure_verdicts,
};
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use dataset::{DatasetConfig, FaceDataset, Sample};
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use layout::{Clip, Media};
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use manifest::source_names;
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use metrics::{
    Bootstrap, CALIBRATION_BINS, Confusion, Intervals, Metric, Metrics, PrecisionRecallCurve, ReliabilityBin, RocCurve,
    Scores, SourceAuc, VideoScore, by_source, mean_video_auc, source_aucs, video_scores,
};
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use plot::Figure;
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use prepare::{Failure, PrepareProgress};
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use preview::preview;
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use sampler::{Draw, Sampler, SamplerConfig, Source};
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use schedule::{Plateau, Schedule, ScheduleConfig, ScheduleState, Scheduler, SchedulerName};
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use split::{SplitBy, check_disjoint};
#[cfg(feature = "model")]
pub(crate) use step::{
    Batch, BurnStep, FusedStep, LossScale, Objective, Precision, Step, StepOutput, clip, gradient_norm, weighted_sum,
};
#[cfg_attr(not(feature = "model"), allow(unused_imports))]
pub(crate) use tensorboard::EventWriter;
