#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

/// The model file of the bundled classifier, in the format of `deepsight_core::model::ModelFile`.
pub const EFFICIENTNET_LITE0: &[u8] = include_bytes!("../efficientnet_lite0.safetensors");
