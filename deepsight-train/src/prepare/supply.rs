//! Reads frames and pictures of many clips, concurrently with the detector.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, SyncSender};

use deepsight_core::image::{self, RgbImage};
use deepsight_core::{CancelToken, Frame, with_causes};
use deepsight_video::{DecodeOptions, Sampling, Video, VideoError};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::layout::{Clip, ClipMedia, Picture};

/// A message of a worker on the clip with this number. The messages of one clip arrive in order.
pub(super) struct WorkerMessage {
    pub(super) clip: usize,
    pub(super) part: ClipPart,
}

pub(super) enum ClipPart {
    /// The next sampled frame of a video.
    Frame(Frame),
    /// A picture, by its number in the clip, and the SHA-256 of its file.
    Picture(usize, RgbImage, String),
    /// A picture that cannot be read, by its number in the clip, and the reason.
    Unreadable(usize, String),
    /// The end of the clip: for a video the SHA-256 of its file, or the reason why it failed.
    End(Result<Option<String>, String>),
    /// No video can be read, because ffmpeg is missing or cannot be started.
    Fatal(VideoError),
}

impl ClipPart {
    /// Returns the number of bytes of its pixels.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.image.as_raw().len(),
            Self::Picture(_, image, _) => image.as_raw().len(),
            Self::Unreadable(..) | Self::End(_) | Self::Fatal(_) => 0,
        }
    }
}

/// The state shared by the workers.
pub(super) struct Supply<'a> {
    pub(super) clips: &'a [Clip],
    /// Numbers of the clips to be read.
    pub(super) open: &'a [usize],
    /// How many of `open` have been taken by a worker.
    pub(super) taken: &'a AtomicUsize,
    pub(super) max_frames: u64,
    pub(super) decode: &'a DecodeOptions,
    pub(super) cancel: &'a CancelToken,
}

impl Supply<'_> {
    /// Reads one clip after the other until none is left, the run is cancelled or the receiver is dropped.
    pub(super) fn work(&self, out: &SyncSender<WorkerMessage>) {
        while let Some(&clip) = self.open.get(self.taken.fetch_add(1, Ordering::Relaxed)) {
            if self.cancel.is_cancelled() {
                return;
            }
            let send = |part| out.send(WorkerMessage { clip, part });
            let sent = match &self.clips[clip].media {
                ClipMedia::Video(path) => self.video(path, send),
                ClipMedia::Pictures(pictures) => self.pictures(pictures, send),
            };
            if sent.is_err() {
                return;
            }
        }
    }

    fn video(&self, path: &Path, send: impl Fn(ClipPart) -> Sent) -> Sent {
        let opened = Video::open_with(path, self.decode)
            .and_then(|video| Ok((video.frames(Sampling::evenly(self.max_frames))?, video)));
        let (frames, video) = match opened {
            Ok(opened) => opened,
            Err(error @ (VideoError::FfmpegMissing { .. } | VideoError::Spawn { .. })) => {
                return send(ClipPart::Fatal(error));
            }
            Err(error) => return send(ClipPart::End(Err(reason(path, &error)))),
        };
        for frame in frames {
            match frame {
                _ if self.cancel.is_cancelled() => return Ok(()),
                Ok(frame) => send(ClipPart::Frame(frame))?,
                // A clip that is readable only in part counts as failed: it may still be being copied.
                Err(error) => return send(ClipPart::End(Err(reason(path, &error)))),
            }
        }
        send(ClipPart::End(video.sha256().map(Some).map_err(|error| reason(path, &error))))
    }

    fn pictures(&self, pictures: &[Picture], send: impl Fn(ClipPart) -> Sent) -> Sent {
        for (number, picture) in pictures.iter().enumerate() {
            if self.cancel.is_cancelled() {
                return Ok(());
            }
            send(match read(&picture.path) {
                Ok((image, sha256)) => ClipPart::Picture(number, image, sha256),
                Err(error) => ClipPart::Unreadable(number, reason(&picture.path, &error)),
            })?;
        }
        send(ClipPart::End(Ok(None)))
    }
}

type Sent = Result<(), SendError<WorkerMessage>>;

/// Largest side of a picture in pixels, because pictures may come from anywhere.
const MAX_SIDE: u32 = 16_384;

fn read(path: &Path) -> Result<(RgbImage, String), Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "cannot be read"))?;
    let mut reader = image::ImageReader::new(std::io::Cursor::new(&bytes));
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    reader.limits(limits);
    // Detects the format from the content: downloaded files often have the extension of another format.
    let reader = reader.with_guessed_format().map_err(Error::io(path, "cannot be read"))?;
    let image = reader.decode().map_err(Error::picture(path))?.into_rgb8();
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((image, sha256))
}

/// Returns the error and its causes, without the path in front, because the table has a column for it.
fn reason(path: &Path, error: &dyn std::error::Error) -> String {
    let text = with_causes(error);
    let named = format!("{}: ", path.display());
    text.strip_prefix(&named).unwrap_or(&text).to_owned()
}
