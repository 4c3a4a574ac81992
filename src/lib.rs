//! Finds forged faces in videos. One [`Detector`] goes from a file to an explained verdict: it decodes the clip, finds
//! and follows every face, scores the faces with an EfficientNet, and answers REAL, FAKE or UNCERTAIN with its reasons.
//!
//! ```
//! use deepsight::Detector;
//!
//! # fn main() -> Result<(), deepsight::Error> {
//! # let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/clips/portraits.mp4");
//! let detector = Detector::open()?; // the bundled model, on the CPU
//! let report = detector.analyze(clip)?;
//! println!("{}: {:?}", report.verdict, report.fake_probability);
//! for reason in &report.reasons {
//!     println!("  {reason}");
//! }
//! # assert_eq!(report.verdict, deepsight::Verdict::Real);
//! # Ok(())
//! # }
//! ```
//! ```toml
//! [dependencies]
//! deepsight = "0.1"
//! ```
//!
//! The program `ffmpeg` must be installed: it decodes the clips. [`Detector::builder`] chooses a device, a model and
//! the settings. A detector is cheap to clone and may be shared between threads.
//!
//! A verdict is evidence to look closer, not proof, and the bundled model is for research use only.
//!
//! # Features
//! | feature | |
//! | --- | --- |
//! | `weights` (default) | the bundled model, 7 MB; without it, every detector needs [`DetectorBuilder::model`] |
//! | `cuda` | NVIDIA GPUs, as [`Device::Cuda`] |
//! | `wgpu` | other GPUs, as [`Device::Wgpu`] |
//! | `pdf` | reports as PDF: `core::report::ReportPdf` |
//! | `c2pa` | content credentials are checked; 213 more crates |
//! | `signature` | signed reports: `Report::sign` and `core::report::verify` |
//! | `train` | the module `train` |
//!
//! # The crates below
//! The modules [`core`], [`face`], [`video`] and `train` are the crates that this one joins. They are generic over
//! Burn's `Backend` and serve those who bring a backend, a detector or a classifier of their own; [`burn`] is the
//! version that they are built on. This crate's own types do not mention Burn, so a program may use another version of
//! it beside.
//!
//! | `deepsight` | `burn` |
//! | --- | --- |
//! | 0.1 | 0.21 |
#![forbid(unsafe_code)]

mod boxed;
mod detector;
mod device;
mod error;
mod many;
pub mod prelude;
mod session;

pub use burn;
pub use deepsight_core as core;
pub use deepsight_core::image;
pub use deepsight_face as face;
#[cfg(feature = "train")]
pub use deepsight_train as train;
pub use deepsight_video as video;

pub use deepsight_core::{
    AnalyzerConfig, CancelToken, Face, FaceScore, Frame, History, Job, Reason, Report, Threads, Update, Verdict,
};
pub use deepsight_video::{DecodeOptions, Sampling};
pub use detector::{Detector, DetectorBuilder};
pub use device::Device;
pub use error::Error;
pub use many::Analyses;
pub use session::Session;

/// The README's example, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
