use std::io;
use std::path::{Path, PathBuf};

use crate::analyze::InputError;
use crate::output::OutputError;

/// Why a list of clips, or a file of their results, cannot be used. Every message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The command line names something that is not a clip.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A file cannot be written, or a folder be made.
    #[error(transparent)]
    Write(#[from] OutputError),
    /// A list of clips is neither of those that there are.
    #[error("{}: a manifest ends in .csv or .txt, or is - for standard input", path.display())]
    UnknownManifest {
        /// The list.
        path: PathBuf,
    },
    /// A list of clips cannot be understood.
    #[error("{path}: {reason}", path = path.display())]
    Manifest {
        /// The list.
        path: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A clip is there twice.
    #[error("{file:?} is named twice: as clip {first} and as clip {second}")]
    Twice {
        /// Its name, as it is there the second time.
        file: String,
        /// Its first place among the clips, from 1.
        first: usize,
        /// Its second place.
        second: usize,
    },
    /// A name cannot be written into a line.
    #[error("{path:?}: a clip's name must be text in UTF-8")]
    NotText {
        /// The clip.
        path: PathBuf,
    },
    /// Somebody else writes the file.
    #[error("{}: another run is writing it", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A line is not what it should be.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was written anew while it was read.
    #[error("{}: changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file was made in another way.
    #[error("{}: made with other settings: {differences}", path.display())]
    OtherSettings {
        /// The file.
        path: PathBuf,
        /// Each with its value in the file and now.
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
