//! The program `deepsight`. See `deepsight --help`.

use std::process::ExitCode;

use clap::Parser;
use deepsight_cli::Deepsight;

fn main() -> ExitCode {
    Deepsight::parse().run()
}
