use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong between a folder of videos and a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("{path}: {action}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, such as `cannot be read`.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A picture cannot be decoded or encoded.
    #[error("{path}: not a picture that can be read", path = path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PictureError,
    },
    /// A setting is outside its range.
    #[error("{name} is {value}: {rule}")]
    Setting {
        /// The setting's name, as on command lines without dashes.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// A batch is not what the step was made for.
    #[error("the batch cannot be used: {what}")]
    Batch {
        /// What is wrong with it.
        what: String,
    },
    /// A device cannot compute in that precision.
    #[error("{precision} cannot be used on {device}: {reason}")]
    Precision {
        /// The precision asked for.
        precision: &'static str,
        /// The backend's name of the device.
        device: String,
        /// Why not.
        reason: &'static str,
    },
    /// The detector, the model file or the network.
    #[error(transparent)]
    Core(#[from] deepsight_core::Error),
    /// The video.
    #[error(transparent)]
    Video(#[from] deepsight_video::VideoError),
}

/// Why a picture cannot be decoded or encoded.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PictureError(image::ImageError);

impl Error {
    pub(crate) fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().to_owned(), action, source }
    }

    pub(crate) fn picture(path: impl AsRef<Path>) -> impl FnOnce(image::ImageError) -> Self {
        move |source| Self::Picture { path: path.as_ref().to_owned(), source: PictureError(source) }
    }

    /// An [`Error::Setting`] unless `holds`.
    pub(crate) fn check(
        name: &'static str,
        value: impl std::fmt::Display,
        holds: bool,
        rule: &'static str,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::Setting { name, value: value.to_string(), rule }) }
    }

    /// What a backend says when it cannot hand out numbers.
    #[cfg(feature = "model")]
    pub(crate) fn backend(error: impl std::fmt::Display) -> Self {
        Self::Core(deepsight_core::Error::Backend { reason: error.to_string() })
    }
}
