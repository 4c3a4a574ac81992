//! Joins the results of `analyze --output-dir`, of one machine or many, into one file and a table:
//! `deepsight merge` as an example. See `--help`.

use std::process::ExitCode;

use clap::Parser;
use deepsight_cli::merge::{Args, main as merge};

fn main() -> ExitCode {
    merge(&Args::parse())
}
