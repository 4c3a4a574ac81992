//! Errors of the crates as exceptions of `deepsight`, which `python/deepsight/_errors.py` defines.

use std::error::Error as StdError;

use deepsight::core::{Error as CoreError, with_causes};
use deepsight::face::Error as FaceError;
use deepsight::video::VideoError;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;

/// An exception of `deepsight`, by the name of its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Analysis,
    Array,
    Cancelled,
    Device,
    Face,
    Ffmpeg,
    Limit,
    MissingFile,
    Model,
    Process,
    Report,
    Setting,
    Video,
    VideoFile,
    Write,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Analysis => "AnalysisError",
            Self::Array => "ArrayError",
            Self::Cancelled => "CancelledError",
            Self::Device => "DeviceError",
            Self::Face => "FaceError",
            Self::Ffmpeg => "FfmpegError",
            Self::Limit => "LimitError",
            Self::MissingFile => "MissingFileError",
            Self::Model => "ModelError",
            Self::Process => "ProcessError",
            Self::Report => "ReportError",
            Self::Setting => "SettingError",
            Self::Video => "VideoError",
            Self::VideoFile => "VideoFileError",
            Self::Write => "WriteError",
        }
    }

    /// Returns the exception with a message of one line.
    pub(crate) fn exception(self, py: Python<'_>, message: impl Into<String>) -> PyErr {
        let message = message.into();
        let class = py.import("deepsight._errors").and_then(|module| module.getattr(self.class()));
        match class.and_then(|class| class.call1((&message,))) {
            Ok(exception) => PyErr::from_value(exception),
            Err(error) => error,
        }
    }
}

/// An error that has a class of exceptions.
pub(crate) trait Fault: StdError + 'static {
    fn kind(&self) -> Kind;
}

impl Fault for deepsight::Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Video(error) => error.kind(),
            Self::Detection(error) => error.kind(),
            Self::Analysis(error) => error.kind(),
            Self::Device(_) | Self::UnknownDevice { .. } | Self::DeviceNotBuilt { .. } => Kind::Device,
            Self::NoModel => Kind::Model,
            _ => Kind::Analysis,
        }
    }
}

impl Fault for FaceError {
    fn kind(&self) -> Kind {
        match self {
            Self::Setting { .. } | Self::InstructionSet(_) => Kind::Setting,
            Self::Weights { .. } => Kind::Model,
            _ => Kind::Device,
        }
    }
}

impl Fault for CoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Setting { .. }
            | Self::CropSetting { .. }
            | Self::UnknownAggregation { .. }
            | Self::InstructionSet(_)
            | Self::Precision { .. } => Kind::Setting,
            Self::CropBox(_)
            | Self::CropTooLarge { .. }
            | Self::NoLandmarks
            | Self::DegenerateLandmarks(_)
            | Self::EmptyFace { .. } => Kind::Face,
            Self::Cancelled => Kind::Cancelled,
            Self::Unreadable { .. } | Self::NoFrames => Kind::Video,
            Self::NothingAnalyzed { .. }
            | Self::Stopped { .. }
            | Self::NoThreads { .. }
            | Self::LogitsNotFinite { .. }
            | Self::EnsembleCrops { .. } => Kind::Analysis,
            Self::Backend { .. } => Kind::Device,
            Self::MalformedReport { .. } | Self::ReportSchema { .. } => Kind::Report,
            Self::Write { .. } | Self::ModelIo { action: "write", .. } => Kind::Write,
            Self::Model { cause, .. } => match cause.kind() {
                Kind::Write => Kind::Write,
                _ => Kind::Model,
            },
            _ => Kind::Model,
        }
    }
}

impl Fault for VideoError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Kind::MissingFile,
            Self::Io { .. }
            | Self::Folder { .. }
            | Self::WebAddress { .. }
            | Self::NotAFile { .. }
            | Self::EmptyFile { .. } => Kind::VideoFile,
            Self::FfmpegMissing { .. } | Self::Spawn { .. } => Kind::Ffmpeg,
            Self::OverLimit { .. }
            | Self::TooLong { .. }
            | Self::TimedOut { .. }
            | Self::SourceSilent { .. }
            | Self::OutOfMemory { .. } => Kind::Limit,
            Self::Stopped { .. } => Kind::Cancelled,
            Self::InvalidSampling { .. }
            | Self::InvalidSize { .. }
            | Self::NoSuchStream { .. }
            | Self::UnknownHwAccel { .. }
            | Self::UnknownPixelFormat { .. } => Kind::Setting,
            _ => Kind::Video,
        }
    }
}

/// Returns the exception for an error. Its message is one line with all causes, and its `__cause__` is the error's
/// cause.
pub(crate) fn exception(py: Python<'_>, error: &impl Fault) -> PyErr {
    let exception = error.kind().exception(py, with_causes(error));
    exception.set_cause(py, error.source().map(|cause| cause_of(py, cause)));
    exception
}

/// Returns the cause of an error. An error of the system becomes an `OSError` with its number, which programs use.
fn cause_of(py: Python<'_>, error: &(dyn StdError + 'static)) -> PyErr {
    let cause = match error.downcast_ref::<std::io::Error>().and_then(|error| Some((error.raw_os_error()?, error))) {
        Some((number, error)) => PyOSError::new_err((number, error.to_string())),
        None => PyRuntimeError::new_err(error.to_string()),
    };
    cause.set_cause(py, error.source().map(|deeper| cause_of(py, deeper)));
    cause
}

/// Raises the exception for an error.
pub(crate) trait OrRaise<T> {
    /// Returns the value, or the exception for the error.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T, E: Fault> OrRaise<T> for Result<T, E> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| exception(py, &error))
    }
}
