//! What a shell and its user want of a program: its version, completions, and manual pages.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use deepsight_core::{Classifier, FaceClassifier, with_causes};
use deepsight_device::{Device, with_backend};

use crate::commands::Deepsight;
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
    /// Folder for deepsight.1, deepsight-analyze.1 and the others; it is made where it is missing
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
    ];
    let features: Vec<_> = features.into_iter().filter(|(_, built)| *built).map(|(name, _)| name).collect();
    // The model is loaded on whichever backend is there, to be described.
    let model = with_backend!(Device::default(), |B, device| {
        Classifier::<B>::pretrained(&device).map(|classifier| {
            let (card, info) = (classifier.card(), classifier.info());
            let sha256 = info.sha256.unwrap_or_default();
            format!("model    {} ({}), SHA-256 {sha256}\nterms    {}", card.name, card.architecture, card.terms)
        })
    });
    let text = model
        .map(|model| format!("deepsight {}\nfeatures {}\n{model}", env!("CARGO_PKG_VERSION"), features.join(", ")));
    let shown = text.map_err(|error| with_causes(&error));
    ended(shown.and_then(|text| print(&text).map(drop).map_err(|error| with_causes(&error))))
}

/// Prints the completions of a shell, and returns the exit code.
pub(crate) fn completions(args: &CompletionArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Deepsight::command(), "deepsight", &mut script);
    let text = String::from_utf8_lossy(&script);
    ended(print(text.trim_end()).map(drop).map_err(|error| with_causes(&error)))
}

/// Writes the manual pages, and returns the exit code.
pub(crate) fn man(args: &ManArgs) -> ExitCode {
    ended(write_pages(args))
}

fn write_pages(args: &ManArgs) -> Result<(), String> {
    create_folder(&args.folder).map_err(|error| with_causes(&error))?;
    let mut program = Deepsight::command();
    program.build();
    let commands = program.get_subcommands().filter(|command| command.get_name() != "help");
    for command in std::iter::once(&program).chain(commands) {
        let name = if command.get_name() == "deepsight" {
            "deepsight".to_owned()
        } else {
            format!("deepsight-{}", command.get_name())
        };
        let page = clap_mangen::Man::new(command.clone()).title(name.to_uppercase());
        let mut text = Vec::new();
        page.render(&mut text).map_err(|error| with_causes(&error))?;
        let file = PendingFile::create(&args.folder.join(format!("{name}.1")));
        file.and_then(|file| file.commit(&text)).map_err(|error| with_causes(&error))?;
    }
    Ok(())
}

/// Reports a failure, and returns the exit code: 0, or 1 where a result cannot be written.
fn ended(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&format!("error: {message}"));
            ExitCode::from(1)
        }
    }
}
