#![doc = include_str!("../README.md")]

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
mod transformer;

pub use activation::{Activation, sigmoid_in_place};
pub use aligned::Aligned;
pub use area::{AreaResize, Region};
pub use convolution::Convolution;
pub use depthwise::{Border, ExpandDepthwise, Expansion, Geometry};
pub use instruction_set::{InstructionSet, UnknownInstructionSet};
pub use pointwise::{Pointwise, StridedRows};
pub use pool::MaxPool;
pub use transformer::{gelu_in_place, quick_gelu_in_place, softmax_in_place};
