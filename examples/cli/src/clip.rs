//! A clip on its way into an analysis.

use std::path::Path;
use std::thread::JoinHandle;

use deepsight_core::Input;
use deepsight_video::{DecodeOptions, Frames, Sampling, Video, VideoError};

/// A clip that is being decoded while its file is hashed beside it.
#[derive(Debug)]
pub(crate) struct Clip {
    frames: Frames,
    input: Input,
    sha256: JoinHandle<Result<String, VideoError>>,
}

impl Clip {
    /// Opens a clip and starts decoding it, a few frames ahead of whoever takes them.
    ///
    /// # Errors
    /// When it cannot be opened or decoded.
    pub(crate) fn open(path: &Path, options: &DecodeOptions, sampling: Sampling) -> Result<Self, VideoError> {
        let video = Video::open_with(path, options)?;
        let frames = video.frames(sampling)?;
        let input = video.input();
        Ok(Self { frames, input, sha256: std::thread::spawn(move || video.sha256()) })
    }

    /// The frames, and what is asked when they have been analysed: how a report names the clip, hash included.
    pub(crate) fn split(self) -> (Frames, impl FnOnce() -> Result<Input, VideoError>) {
        let Self { frames, mut input, sha256 } = self;
        let named = || {
            let hash = sha256.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            input.sha256 = Some(hash);
            Ok(input)
        };
        (frames, named)
    }
}
