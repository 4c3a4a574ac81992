//! Trains a network to tell real faces from fake ones: `deepsight train` as an example. See `--help`.

use std::process::ExitCode;

use clap::Parser;
use deepsight_cli::train::{Args, main as train};

fn main() -> ExitCode {
    train(&Args::parse())
}
