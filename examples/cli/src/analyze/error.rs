//! The errors that end `analyze` and `merge`.

use std::fmt;
use std::process::ExitCode;

use clap::CommandFactory;
use deepsight_core::with_causes;

use crate::flags::describe;
use crate::share_out::Stopped;

/// Why an analysis gave no verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnalyzeError {
    /// Bad input or usage.
    Input(String),
    /// This clip cannot be analysed; others may be.
    Clip(String),
    /// A result cannot be written.
    Output(String),
    /// The user interrupted it.
    Interrupted,
}

impl AnalyzeError {
    /// Creates an error of bad input or usage, with its causes.
    pub fn input(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Input(describe(error, &super::Args::command()))
    }

    /// Creates an error for a result that cannot be written, with its causes.
    pub fn output(error: &dyn std::error::Error) -> Self {
        Self::Output(with_causes(error))
    }

    /// Returns the exit code of the program.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Input(_) | Self::Clip(_) => 2,
            Self::Output(_) => 1,
            Self::Interrupted => 130,
        })
    }
}

/// Formats the last line of the program on standard error.
impl fmt::Display for AnalyzeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) | Self::Clip(message) | Self::Output(message) => write!(f, "error: {message}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl From<Stopped<Self>> for AnalyzeError {
    fn from(stopped: Stopped<Self>) -> Self {
        match stopped {
            Stopped::Cancelled => Self::Interrupted,
            Stopped::Failed(failure) => failure,
        }
    }
}
