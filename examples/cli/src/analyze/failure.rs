//! Why there is no verdict.

use std::fmt;
use std::process::ExitCode;

use clap::CommandFactory;
use deepsight_core::with_causes;

use crate::flags::describe;
use crate::share_out::Stopped;

/// Why there is no verdict, in the words of whoever failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Bad input or usage.
    Input(String),
    /// This clip is bad; others may be good.
    Clip(String),
    /// A result cannot be written.
    Output(String),
    /// Somebody wants it to end.
    Interrupted,
}

impl Failure {
    /// Bad input or usage, with its causes.
    pub fn input(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Input(describe(error, &super::Args::command()))
    }

    /// A result that cannot be written, with the causes.
    pub fn output(error: &dyn std::error::Error) -> Self {
        Self::Output(with_causes(error))
    }

    /// What the program returns.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Input(_) | Self::Clip(_) => 2,
            Self::Output(_) => 1,
            Self::Interrupted => 130,
        })
    }
}

/// The line that the program ends with.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) | Self::Clip(message) | Self::Output(message) => write!(f, "error: {message}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl From<Stopped<Self>> for Failure {
    fn from(stopped: Stopped<Self>) -> Self {
        match stopped {
            Stopped::Cancelled => Self::Interrupted,
            Stopped::Failed(failure) => failure,
        }
    }
}
