#![cfg_attr(feature = "flex", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "flex"), doc = "What the example programs share.")]
#![deny(unsafe_code)]

#[cfg(not(any(feature = "flex", feature = "ndarray", feature = "cuda", feature = "wgpu")))]
compile_error!("choose at least one backend: --features flex, ndarray, cuda or wgpu");

pub mod analyze;
pub mod clip;
pub mod device;
pub mod evaluate;
pub mod interrupt;
pub mod merge;
pub mod output;
pub mod preprocess;
pub mod shards;
pub mod share_out;
pub mod table;
pub mod train;
pub mod warnings;

/// The crate whose backends [`with_backend!`] picks from.
pub use burn;

// The README's example of the libraries belongs to no one crate; this one depends on all that it uses.
#[cfg(all(doctest, feature = "flex"))]
#[doc = include_str!("../../README.md")]
struct Readme;
