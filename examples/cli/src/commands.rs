//! The commands of the program `deepsight`.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::{analyze, convert, evaluate, keys, merge, models, preprocess, selftest, shell, train};

/// Detects forged faces in videos, and trains and measures the models for it.
#[derive(Debug, Parser)]
#[command(
    name = "deepsight",
    arg_required_else_help = true,
    after_help = "`deepsight COMMAND --help` lists the flags and exit codes of a command. A verdict is a reason to \
look closer, not proof. The bundled model is for research use only."
)]
pub struct Deepsight {
    /// Print the version, the features of this build, and the bundled model
    #[arg(short = 'V', long)]
    pub version: bool,
    /// The command to run
    #[command(subcommand)]
    pub command: Option<Commands>,
}

/// A command of `deepsight`, with its flags.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Commands {
    /// Find the faces in clips and pictures, and judge whether they are forged
    Analyze(Box<analyze::Args>),
    /// Merge the results of analyze --output-dir into one file and a table
    Merge(Box<merge::Args>),
    /// Check the signatures of reports
    Verify(Box<keys::VerifyArgs>),
    /// Make a key that signs reports
    NewKey(keys::NewKeyArgs),
    /// Turn a timm state dict into a model file, or inspect a model file
    Convert(Box<convert::Args>),
    /// List models that others published, and download one when asked
    Models(Box<models::Args>),
    /// Cut the faces out of a folder of videos or pictures, for training
    Preprocess(Box<preprocess::Args>),
    /// Train a network that tells real faces from fake ones
    Train(Box<train::Args>),
    /// Measure a model on faces and clips, and calibrate it
    Evaluate(Box<evaluate::Args>),
    /// Check that a device computes the same results as the references
    Selftest(Box<selftest::Args>),
    /// List the devices that this build can use
    Devices,
    /// Print the completions of a shell
    Completions(shell::CompletionArgs),
    /// Write the manual pages, one for each command
    Man(shell::ManArgs),
}

impl Deepsight {
    /// Runs the command, and returns the exit code of the process.
    pub fn run(&self) -> ExitCode {
        let Some(command) = self.command.as_ref().filter(|_| !self.version) else { return shell::version() };
        match command {
            Commands::Analyze(args) => analyze::main(args),
            Commands::Merge(args) => merge::main(args),
            Commands::Verify(args) => keys::verify_reports(args),
            Commands::NewKey(args) => keys::new_key(args),
            Commands::Convert(args) => convert::main(args),
            Commands::Models(args) => models::main(args),
            Commands::Preprocess(args) => preprocess::main(args),
            Commands::Train(args) => train::main(args),
            Commands::Evaluate(args) => evaluate::main(args),
            Commands::Selftest(args) => selftest::main(args),
            Commands::Devices => shell::devices(),
            Commands::Completions(args) => shell::completions(args, Self::command()),
            Commands::Man(args) => shell::man(args, Self::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_and_their_flags_fit_together() {
        Deepsight::command().debug_assert();
    }
}
