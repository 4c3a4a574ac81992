//! The fused engine: inference on the CPU with this crate's own kernels.

#[cfg(feature = "model")]
mod efficientnet;
mod engine;
#[cfg(feature = "model")]
mod fold;
pub mod kernels;
#[cfg(feature = "model")]
mod pool;

#[cfg(feature = "model")]
pub use efficientnet::{Canvas, FusedEfficientNet};
pub use engine::Engine;
