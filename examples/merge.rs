//! Joins the results of `analyze --output-dir`, of one machine or many, into one file and a table. See `--help`.

use std::process::ExitCode;

use clap::Parser;
use deepsight_core::CancelToken;
use deepsight_examples::analyze::Failure;
use deepsight_examples::interrupt::cancel_on_interrupt;
use deepsight_examples::merge::{Args, merge};
use deepsight_examples::output::complain;

fn main() -> ExitCode {
    let args = Args::parse();
    let cancel = CancelToken::new();
    let listening = cancel_on_interrupt(&cancel).map_err(|error| Failure::input(&error));
    listening.and_then(|()| merge(&args, &cancel)).unwrap_or_else(|failure| {
        complain(&failure.to_string());
        failure.code()
    })
}
