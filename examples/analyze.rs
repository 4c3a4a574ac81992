//! Says of video clips whether the faces in them are real, and why: `deepsight analyze` as an example. See `--help`.

use std::process::ExitCode;

use clap::Parser;
use deepsight_cli::analyze::{Args, main as analyze};

fn main() -> ExitCode {
    analyze(&Args::parse())
}
