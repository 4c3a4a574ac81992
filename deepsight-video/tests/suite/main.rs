//! The tests of `deepsight-video` through its public interface.
#![allow(clippy::unwrap_used)]

mod clips;
mod facts;
mod frames;
mod hostile;
#[cfg(target_os = "linux")]
mod hwaccel;
mod piped;
mod players;
mod stills;
