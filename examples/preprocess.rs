//! Cuts the faces out of a folder of videos or pictures, for training:
//! `deepsight preprocess` as an example. See `--help`.

use std::process::ExitCode;

use clap::Parser;
use deepsight_cli::preprocess::{Args, main as preprocess};

fn main() -> ExitCode {
    preprocess(&Args::parse())
}
