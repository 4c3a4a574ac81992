//! Evaluation of a model: scores faces, videos and whole clips, and measures the scores.

mod clips;
mod degradation;
mod faces;
mod html;
#[cfg(feature = "model")]
mod model;
mod quality;
mod quality_tables;
mod recompress;
mod report;
mod section;
mod sources;
mod text;

pub use clips::{ClipFailure, ClipScore, ClipSet, TestClip};
pub use degradation::Degradation;
pub use faces::{TestFace, TestSet};
#[cfg(feature = "model")]
pub use model::{calibrated_file, fake_logits};
pub use quality::{GradedFace, QualityAim, QualityBin, QualityFigures, QualityLevel, QualityReport, fit_quality};
pub use recompress::recompress_clip;
pub use report::{
    EVALUATION_SCHEMA, EvaluatedData, EvaluatedModel, EvaluatedSource, Evaluation, FittedOn, RobustnessRow,
};
pub use section::{MeasuredValue, Section};
pub use sources::{GroupMetrics, MeanValue, MethodReport, SourceMeans, SourceReport};
pub use text::classification_report;
