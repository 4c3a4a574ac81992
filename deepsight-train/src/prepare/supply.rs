//! Frames and pictures of many clips, read beside the detector.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, SyncSender};

use deepsight_core::image::{self, RgbImage};
use deepsight_core::{CancelToken, Frame, with_causes};
use deepsight_video::{DecodeOptions, Sampling, Video, VideoError};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::layout::{Clip, Media, Picture};

/// What was read of the clip of this number. Arrivals of one clip come in order.
pub(super) struct Arrival {
    pub(super) clip: usize,
    pub(super) item: Item,
}

pub(super) enum Item {
    /// The next sampled frame of a video.
    Frame(Frame),
    /// A picture by its number in the clip, and the SHA-256 of its file.
    Picture(usize, RgbImage, String),
    /// A picture that cannot be read, and why.
    Unreadable(usize, String),
    /// The clip is read; of a video, the SHA-256 of its file, or why it failed.
    End(Result<Option<String>, String>),
    /// Nothing can be read, for want of ffmpeg.
    Fatal(VideoError),
}

impl Item {
    /// Bytes of its pixels.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.image.as_raw().len(),
            Self::Picture(_, image, _) => image.as_raw().len(),
            Self::Unreadable(..) | Self::End(_) | Self::Fatal(_) => 0,
        }
    }
}

/// What the workers share.
pub(super) struct Supply<'a> {
    pub(super) clips: &'a [Clip],
    /// Numbers of the clips that are to be read.
    pub(super) open: &'a [usize],
    /// How many of them were taken.
    pub(super) taken: &'a AtomicUsize,
    pub(super) max_frames: u64,
    pub(super) decode: &'a DecodeOptions,
    pub(super) cancel: &'a CancelToken,
}

impl Supply<'_> {
    /// Reads clip after clip until none is left, the run is cancelled or nobody listens.
    pub(super) fn work(&self, out: &SyncSender<Arrival>) {
        while let Some(&clip) = self.open.get(self.taken.fetch_add(1, Ordering::Relaxed)) {
            if self.cancel.is_cancelled() {
                return;
            }
            let send = |item| out.send(Arrival { clip, item });
            let sent = match &self.clips[clip].media {
                Media::Video(path) => self.video(path, send),
                Media::Pictures(pictures) => self.pictures(pictures, send),
            };
            if sent.is_err() {
                return;
            }
        }
    }

    fn video(&self, path: &Path, send: impl Fn(Item) -> Sent) -> Sent {
        let opened = Video::open_with(path, self.decode)
            .and_then(|video| Ok((video.frames(Sampling::evenly(self.max_frames))?, video)));
        let (frames, video) = match opened {
            Ok(opened) => opened,
            Err(error @ (VideoError::FfmpegMissing { .. } | VideoError::Spawn { .. })) => {
                return send(Item::Fatal(error));
            }
            Err(error) => return send(Item::End(Err(reason(path, &error)))),
        };
        for frame in frames {
            match frame {
                _ if self.cancel.is_cancelled() => return Ok(()),
                Ok(frame) => send(Item::Frame(frame))?,
                // A part of a clip is not what was asked for, and may be what somebody is still copying.
                Err(error) => return send(Item::End(Err(reason(path, &error)))),
            }
        }
        send(Item::End(video.sha256().map(Some).map_err(|error| reason(path, &error))))
    }

    fn pictures(&self, pictures: &[Picture], send: impl Fn(Item) -> Sent) -> Sent {
        for (number, picture) in pictures.iter().enumerate() {
            if self.cancel.is_cancelled() {
                return Ok(());
            }
            send(match read(&picture.path) {
                Ok((image, sha256)) => Item::Picture(number, image, sha256),
                Err(error) => Item::Unreadable(number, reason(&picture.path, &error)),
            })?;
        }
        send(Item::End(Ok(None)))
    }
}

type Sent = Result<(), SendError<Arrival>>;

/// Most pixels of a picture along a side; it may come from anywhere.
const MAX_SIDE: u32 = 16_384;

fn read(path: &Path) -> Result<(RgbImage, String), Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "cannot be read"))?;
    let mut reader = image::ImageReader::new(std::io::Cursor::new(&bytes));
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    reader.limits(limits);
    // By its bytes: downloads are often named for another format than they are in.
    let reader = reader.with_guessed_format().map_err(Error::io(path, "cannot be read"))?;
    let image = reader.decode().map_err(Error::picture(path))?.into_rgb8();
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((image, sha256))
}

/// The error and its causes; the path in front of it, of which the table has a column, is left out.
fn reason(path: &Path, error: &dyn std::error::Error) -> String {
    let text = with_causes(error);
    let named = format!("{}: ", path.display());
    text.strip_prefix(&named).unwrap_or(&text).to_owned()
}
