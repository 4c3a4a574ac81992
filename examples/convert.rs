//! Turns a timm state dict into a model file, or shows what a model file holds:
//! `deepsight convert` as an example. See `--help`.

use std::process::ExitCode;

use clap::Parser;
use deepsight_cli::convert::{Args, main as convert};

fn main() -> ExitCode {
    convert(&Args::parse())
}
