//! Holds the networks and the resize filters against what timm, OpenCV and PIL compute.
//!
//! `export.py` and `resize.py`, beside this file, made the expected values.

#![cfg(any(feature = "flex", feature = "ndarray"))]
#![allow(clippy::unwrap_used)]

mod formula;
mod network;
mod resize;
