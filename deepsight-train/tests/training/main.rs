//! Holds training steps and the optimizer against what timm and PyTorch compute.
//!
//! `training.py`, beside this file, made the expected values.

#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used)]

mod formula;
mod optimizer;
mod step;
