//! The CPU kernels of the fused engine: NHWC, `f32`, one function per layer, compiled for several instruction sets of which
//! the best one is chosen when the program runs.
//!
//! Layers are built once, from weights in PyTorch's order, and packed for an [`InstructionSet`]; they hold no state and can be
//! shared between threads. What they compute does not depend on how the work is cut up. Nothing here starts a thread: who
//! calls them spreads the work.
//!
//! Inside, `unsafe` code reads and writes through pointers; every public function checks lengths first and panics when
//! they do not fit, as slices do.
#![allow(unsafe_code)]

mod activation;
mod aligned;
mod area;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod convolution;
mod depthwise;
mod instruction_set;
mod matmul;
mod pointwise;
mod pool;
mod portable;
mod simd;
pub mod training;

pub use activation::{Activation, sigmoid_in_place};
#[cfg(feature = "model")]
pub(crate) use aligned::Aligned;
pub use area::{AreaResize, Region};
pub use convolution::Convolution;
pub use depthwise::{Border, ExpandDepthwise, Expansion, Geometry};
pub use instruction_set::InstructionSet;
#[cfg(feature = "model")]
pub(crate) use matmul::Rows;
pub use pointwise::Pointwise;
pub use pool::MaxPool;
