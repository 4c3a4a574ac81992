#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(not(any(feature = "flex", feature = "ndarray", feature = "cuda", feature = "wgpu")))]
compile_error!("choose at least one backend: --features flex, ndarray, cuda or wgpu");

pub mod analyze;
mod clip;
mod commands;
pub mod convert;
mod ensemble;
pub mod evaluate;
mod flags;
mod inputs;
mod interrupt;
pub mod keys;
pub mod merge;
pub mod models;
mod output;
pub mod preprocess;
pub mod selftest;
mod shards;
mod share_out;
mod shell;
mod table;
pub mod train;

pub use commands::{Commands, Deepsight};
