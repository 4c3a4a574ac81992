//! Checks on a device what the tests check on a CPU, with everything it needs within the program:
//! `deepsight selftest` as an example. See `--help`.

use std::process::ExitCode;

use clap::Parser;
use deepsight_cli::selftest::{Args, main as selftest};

fn main() -> ExitCode {
    selftest(&Args::parse())
}
