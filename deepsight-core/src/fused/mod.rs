//! The fused engine: inference on the CPU by kernels of our own.
pub mod kernels;
