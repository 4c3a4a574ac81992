#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod aggregate;
mod analyzer;
#[cfg(feature = "model")]
mod classifier;
#[cfg(feature = "model")]
mod conversion;
mod coverage;
mod crop;
mod decide;
#[cfg(any(feature = "model", feature = "signature"))]
mod digest;
#[cfg(feature = "model")]
mod efficientnet;
#[cfg(feature = "model")]
mod eight_bits;
mod ensemble;
mod error;
mod explain;
mod face;
// Shared with the crates that write files. Not a promise.
#[doc(hidden)]
pub mod files;
#[cfg(feature = "model")]
mod foreign;
mod frame;
pub mod fused;
// For the targets in `fuzz/`. Not a promise.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
// Shared with `deepsight-face`. Not a promise.
#[cfg(feature = "model")]
#[doc(hidden)]
pub mod gpu;
mod input;
#[cfg(feature = "model")]
mod model_card;
#[cfg(feature = "model")]
mod model_file;
#[cfg(feature = "model")]
mod network;
#[cfg(feature = "model")]
mod normalization;
mod panics;
mod precision;
#[cfg(feature = "model")]
mod preprocess;
mod quality;
mod reason;
mod reliability;
pub mod report;
#[cfg(feature = "model")]
mod resize;
mod scene;
mod stage;
#[cfg(feature = "model")]
mod state_dict;
mod still;
mod threads;
mod track;
mod variation;
mod verdict;
#[cfg(feature = "model")]
mod vision_transformer;

pub use aggregate::Aggregation;
pub use analyzer::{
    Analyzer, AnalyzerConfig, CancelToken, CloserFrames, History, Job, Progress, ScoredFace, Session, Update,
};
/// The Burn version that this crate follows, 0.21. All backends, devices and tensors that the crate takes or returns
/// are of this version. A program may contain another version too, but cannot pass its types to this crate.
#[cfg(feature = "model")]
pub use burn;
#[cfg(feature = "model")]
pub use classifier::Classifier;
pub use coverage::{CLOSER_FRAMES, Coverage, frames_for};
pub use crop::FaceCrop;
pub use decide::{Decision, Segment, SegmentConfig};
// Parts of a network, for `deepsight-train`, which computes their gradients. Not a promise.
#[cfg(feature = "model")]
#[doc(hidden)]
pub use efficientnet::{
    BATCH_NORM_MOMENTUM, BatchNormAct, Block, Depthwise, DepthwiseSeparable, InvertedResidual, Noise, SqueezeExcitation,
};
pub use ensemble::{
    Combination, Ensemble, EnsembleAnswer, EnsembleConfig, EnsembleFile, EnsembleMember, ModelAnswer, Models,
};
pub use error::{BoxError, Error, with_causes};
pub use explain::ActivationMap;
pub use face::{
    BoundingBox, CombinedScore, DetectorInfo, Face, FaceClassifier, FaceDetector, FaceScore, Landmarks, ModelInfo,
};
pub use frame::Frame;
pub use fused::Engine;
/// The crate that provides `RgbImage`, the type of frames and crops.
pub use image;
pub use input::{Fact, Gap, Input};
pub use precision::Precision;
pub use quality::FaceQuality;
pub use reason::Reason;
pub use reliability::{FalseAlarms, QualityLimits, Reliability};
pub use report::Report;
pub use threads::Threads;
pub use verdict::Verdict;

// Public in the modules `report` and `tracking`.
pub(crate) use aggregate::Combined;
pub(crate) use ensemble::EnsembleInfo;
pub(crate) use stage::{FrameError, Stage};
pub(crate) use track::{Tracker, TrackerConfig};

/// Actions and sources that end when a [`CancelToken`] is cancelled.
pub mod cancel {
    pub use crate::analyzer::{Interruptible, OnCancel};
}

/// EfficientNet, vision transformers, model files, and the import of weights of other programs.
#[cfg(feature = "model")]
pub mod model {
    pub use crate::conversion::{Conversion, ConversionNote};
    pub use crate::efficientnet::{
        Activation, Architecture, EfficientNet, EfficientNetConfig, Padding, TimmName, Variant,
    };
    pub use crate::foreign::{ForeignWeights, Naming, Origin, TransformerChoice, WeightSet};
    pub use crate::model_card::{Golden, ModelCard};
    pub use crate::model_file::{ModelFile, ModelLimits, WeightFormat};
    pub use crate::network::{ModelArchitecture, Network, NetworkConfig, NetworkName, TransformerName};
    pub use crate::resize::ResizeFilter;
    pub use crate::state_dict::{StateDict, Weight};
    pub use crate::vision_transformer::{
        Head, MlpActivation, TransformerSize, VisionTransformer, VisionTransformerConfig,
    };
    // Parts of `VisionTransformer`. Not a promise.
    #[doc(hidden)]
    pub use crate::vision_transformer::{Attention, LayerNorm, LayerScale, Mlp, PatchEmbedding, TransformerBlock};
}

/// Tracks: the tracker that follows faces, and the combination of their scores.
pub mod tracking {
    pub use crate::aggregate::Combined;
    pub use crate::decide::TrackFace;
    pub use crate::track::{Tracker, TrackerConfig};
}
