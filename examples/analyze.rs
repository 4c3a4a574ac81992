//! Judges whether the faces in video clips are forged, and says why: `deepsight analyze` as an example. See `--help`.

use std::process::ExitCode;

use clap::Parser;
use deepsight_cli::analyze::{Args, main as analyze};

fn main() -> ExitCode {
    analyze(&Args::parse())
}
