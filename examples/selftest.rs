//! Runs checks on a device that the tests run on a CPU; all reference data is part of the program:
//! `deepsight selftest` as an example. See `--help`.

use std::process::ExitCode;

use clap::Parser;
use deepsight_cli::selftest::{Args, main as selftest};

fn main() -> ExitCode {
    selftest(&Args::parse())
}
