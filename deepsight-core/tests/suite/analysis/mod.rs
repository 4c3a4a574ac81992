//! Tests of the analysis from frames to report, with scripted detectors and classifiers.

mod analyzer;
mod coverage;
mod detect_every;
mod ensemble;
#[cfg(feature = "pdf")]
mod pdf;
mod report;
mod session;
#[cfg(feature = "signature")]
mod signature;
mod stability;
mod stand_ins;
mod threads;
