//! The analysis from frames to report, on detectors and classifiers made for the purpose.

#![allow(clippy::unwrap_used)]

mod analyzer;
mod detect_every;
mod report;
mod stand_ins;
mod threads;
