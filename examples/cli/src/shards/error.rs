use std::io;
use std::path::{Path, PathBuf};

use crate::inputs::InputError;
use crate::output::OutputError;

/// The error when a list of clips, or a file of their results, cannot be used. Every message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The command line names something that is not a clip.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A file cannot be written, or a folder cannot be created.
    #[error(transparent)]
    Write(#[from] OutputError),
    /// A list of clips has an unknown format.
    #[error("{}: a manifest ends in .csv or .txt, or is - for standard input", path.display())]
    UnknownManifest {
        /// The list.
        path: PathBuf,
    },
    /// A list of clips is invalid.
    #[error("{path}: {reason}", path = path.display())]
    Manifest {
        /// The list.
        path: PathBuf,
        /// What is invalid, and where.
        reason: String,
    },
    /// A clip is named twice.
    #[error("{file:?} is named twice: as clip {first} and as clip {second}")]
    Twice {
        /// The second of its names.
        file: String,
        /// Its first position among the clips, from 1.
        first: usize,
        /// Its second position.
        second: usize,
    },
    /// A clip's name is not UTF-8, so it cannot be written as JSON.
    #[error("{path:?}: a clip's name must be text in UTF-8")]
    NotText {
        /// The clip.
        path: PathBuf,
    },
    /// Another process writes the file.
    #[error("{}: another run is writing it", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A line is invalid.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: u64,
        /// What is invalid.
        reason: String,
    },
    /// The file was changed while it was read.
    #[error("{}: changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file was made with other settings.
    #[error("{}: made with other settings: {differences}", path.display())]
    OtherSettings {
        /// The file.
        path: PathBuf,
        /// Each setting with its value in the file and its value now.
        differences: String,
    },
}

impl ShardError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write(OutputError::new(&path, source))
    }
}
