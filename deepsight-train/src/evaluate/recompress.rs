use std::path::Path;

use deepsight_core::CancelToken;
use deepsight_video::{DecodeOptions, VideoError};

use crate::Error;

/// Encodes a clip's pictures again as H.264 of a constant rate factor (`0..=51`, 23 is x264's default), without sound:
/// [`deepsight_video::recompress_clip`].
///
/// # Errors
/// [`Error::Video`] when the clip cannot be decoded, [`Error::Recompression`] when it cannot be encoded, and
/// [`deepsight_core::Error::Cancelled`].
pub fn recompress_clip(
    clip: &Path,
    output: &Path,
    crf: u8,
    decode: &DecodeOptions,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let stop = || cancel.is_cancelled();
    deepsight_video::recompress_clip(clip, output, crf, decode, &stop).map_err(|error| match error {
        VideoError::Recompression { .. } if cancel.is_cancelled() => deepsight_core::Error::Cancelled.into(),
        VideoError::Recompression { path, reason } => Error::Recompression { path, reason },
        error => error.into(),
    })
}
