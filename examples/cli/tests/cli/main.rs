//! The commands as a user starts them.
#![allow(clippy::unwrap_used)]

mod analyze;
mod convert;
mod device;
mod ensemble;
mod evaluate;
mod inputs;
mod models;
mod preprocess;
mod program;
mod publish;
mod selftest;
mod shards;
mod shell;
mod stability;
mod streams;
mod train;
