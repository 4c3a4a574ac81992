//! The tests of `deepsight-train` through its public interface, in one program, because each program links Burn anew.
#![allow(clippy::unwrap_used)]

mod calibrate;
mod data;
mod evaluate;
#[cfg(feature = "flex")]
mod fused_step;
mod metrics;
mod plot;
mod prepare;
mod quality;
mod schedule;
mod tensorboard;
#[cfg(feature = "flex")]
mod trainer;
#[cfg(feature = "flex")]
mod training;

/// Returns the numbers of a JSON array.
fn numbers(array: &serde_json::Value) -> Vec<f64> {
    array.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}
