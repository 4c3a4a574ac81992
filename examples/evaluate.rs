//! Measures a model on faces and on whole clips, and calibrates it: `deepsight evaluate` as an example. See `--help`.

use std::process::ExitCode;

use clap::Parser;
use deepsight_cli::evaluate::{Args, main as evaluate};

fn main() -> ExitCode {
    evaluate(&Args::parse())
}
