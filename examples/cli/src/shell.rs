//! The version, devices, completions and manual pages of the program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;
use deepsight_core::{model::ModelFile, with_causes};

use crate::output::{PendingFile, complain, create_folder, print};

/// Flags of `deepsight completions`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// Shell to complete commands in
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Flags of `deepsight man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for deepsight.1, deepsight-analyze.1 and the other pages; it is created if it is missing
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// Prints the version, the features of this build, and the bundled model, and returns the exit code.
pub(crate) fn version() -> ExitCode {
    let features = [
        ("flex", cfg!(feature = "flex")),
        ("ndarray", cfg!(feature = "ndarray")),
        ("cuda", cfg!(feature = "cuda")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("parquet", cfg!(feature = "parquet")),
        ("c2pa", cfg!(feature = "c2pa")),
        ("fetch", cfg!(feature = "fetch")),
    ];
    let features: Vec<_> = features.into_iter().filter(|(_, built)| *built).map(|(name, _)| name).collect();
    let file = ModelFile::from_bytes(deepsight_weights::EFFICIENTNET_LITE0).map_err(|error| with_causes(&error));
    ended(file.and_then(|ModelFile { card, sha256, .. }| {
        print_line(&format!(
            "deepsight {}\nfeatures {}\nmodel    {} ({}), SHA-256 {}\nterms    {}",
            env!("CARGO_PKG_VERSION"),
            features.join(", "),
            card.name,
            card.architecture,
            sha256.unwrap_or_default(),
            card.terms,
        ))
    }))
}

/// Prints the completions of a shell for `program`, and returns the exit code.
pub(crate) fn completions(args: &CompletionArgs, mut program: Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "deepsight", &mut script);
    let text = String::from_utf8_lossy(&script);
    ended(print_line(text.trim_end()))
}

/// Lists the devices of this build, with a description or the reason why each cannot be used, and returns the exit
/// code.
pub(crate) fn devices() -> ExitCode {
    ended(print_line(&deepsight_device::list()))
}

/// Writes the manual pages of `program` and its commands, and returns the exit code.
pub(crate) fn man(args: &ManArgs, program: Command) -> ExitCode {
    ended(write_pages(args, program))
}

fn write_pages(args: &ManArgs, mut program: Command) -> Result<(), String> {
    create_folder(&args.folder).map_err(|error| with_causes(&error))?;
    program.build();
    let commands = program.get_subcommands().filter(|command| command.get_name() != "help");
    for command in std::iter::once(&program).chain(commands) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        let page = clap_mangen::Man::new(command.clone()).title(name.to_uppercase());
        let mut text = Vec::new();
        page.render(&mut text).map_err(|error| with_causes(&error))?;
        let file = PendingFile::create(&args.folder.join(format!("{name}.1")));
        file.and_then(|file| file.commit(&text)).map_err(|error| with_causes(&error))?;
    }
    Ok(())
}

fn print_line(text: &str) -> Result<(), String> {
    print(text).map(drop).map_err(|error| with_causes(&error))
}

/// Prints the error, and returns the exit code: 0, or 1 if a result cannot be written.
fn ended(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&format!("error: {message}"));
            ExitCode::from(1)
        }
    }
}
