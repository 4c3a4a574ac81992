//! Tests of the analysis from frames to report, with scripted detectors and classifiers.

mod analyzer;
mod coverage;
mod detect_every;
mod ensemble;
mod report;
mod session;
mod stability;
mod stand_ins;
mod threads;
