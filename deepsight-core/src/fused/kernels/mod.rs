//! The CPU kernels of the fused engine, on NHWC images of `f32`. There is one function per layer. Each is compiled for
//! several instruction sets, and the best available one is chosen at run time.
//!
//! Layers are built once, from weights in PyTorch's order, and packed for an [`InstructionSet`]. They hold no state, so
//! threads can share them. Their results do not depend on how the work is divided. Kernels start no threads: the caller
//! distributes the work.
//!
//! Inside, `unsafe` code reads and writes through pointers. Every public function checks lengths first and panics if
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
