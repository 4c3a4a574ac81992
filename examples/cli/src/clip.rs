//! A clip or picture on its way into an analysis.

use std::path::Path;
use std::thread::JoinHandle;

use deepsight_core::Input;
use deepsight_video::{DecodeOptions, Media, MediaFrames, Sampling, VideoError};

/// A file that is being decoded while it is hashed on another thread.
#[derive(Debug)]
pub(crate) struct Clip {
    frames: MediaFrames,
    input: Input,
    is_still: bool,
    sha256: JoinHandle<Result<String, VideoError>>,
}

impl Clip {
    /// Opens a file and starts to decode it, a few frames ahead of the reader.
    ///
    /// # Errors
    /// Returns an error if it cannot be opened or decoded.
    pub(crate) fn open(path: &Path, options: &DecodeOptions, sampling: Sampling) -> Result<Self, VideoError> {
        let media = Media::open_with(path, options)?;
        let (frames, input, is_still) = (media.frames(sampling)?, media.input(), media.is_still());
        Ok(Self { frames, input, is_still, sha256: std::thread::spawn(move || media.sha256()) })
    }

    /// Returns whether the file is a still picture.
    pub(crate) fn is_still(&self) -> bool {
        self.is_still
    }

    /// Returns the frames, and a function to call after the analysis. It returns the description of the file for the
    /// report, with the hash.
    pub(crate) fn split(self) -> (MediaFrames, impl FnOnce() -> Result<Input, VideoError>) {
        let Self { frames, mut input, sha256, .. } = self;
        let named = || {
            let hash = sha256.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            input.sha256 = Some(hash);
            Ok(input)
        };
        (frames, named)
    }
}
