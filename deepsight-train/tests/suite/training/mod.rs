//! Compares training steps with timm's, and the optimizer with PyTorch's.
//!
//! The expected values come from `training.py`, beside this file.

mod formula;
mod optimizer;
mod step;
// `training.py` has the same formula as core's `export.py`.
#[path = "../../../../deepsight-core/tests/suite/parity/uniform.rs"]
mod uniform;
