//! The tests of `deepsight-core` through its public interface, in one program, because each program links Burn anew.
#![allow(clippy::unwrap_used)]

mod analysis;
mod crop_golden;
mod crop_properties;
#[cfg(feature = "model")]
mod fused;
#[cfg(feature = "flex")]
mod imports;
#[cfg(feature = "flex")]
mod model;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod parity;
mod quality;
