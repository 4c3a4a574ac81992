//! Tests of the networks and the resize filters against timm, OpenCV and PIL.
//!
//! `export.py`, `paddings.py` and `resize.py`, next to this file, wrote the expected values.

mod formula;
mod network;
mod resize;
mod uniform;
mod vit;
