//! The fused engine: inference on the CPU with the kernels of `deepsight-kernels`.

#[cfg(feature = "model")]
mod efficientnet;
mod engine;
#[cfg(feature = "model")]
mod fold;
#[cfg(feature = "model")]
mod network;
#[cfg(feature = "model")]
mod pool;
#[cfg(feature = "model")]
mod rounds;
#[cfg(feature = "model")]
mod vision_transformer;

/// The instructions that the kernels use.
#[cfg(feature = "model")]
pub use deepsight_kernels::InstructionSet;
#[cfg(feature = "model")]
pub use efficientnet::{Canvas, FusedEfficientNet};
pub use engine::Engine;
#[cfg(feature = "model")]
pub use network::FusedNetwork;
#[cfg(feature = "model")]
pub use vision_transformer::FusedVisionTransformer;
