//! The frames of a clip or picture, as input of an analysis.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::thread::JoinHandle;

use deepsight_core::Input;
use deepsight_video::{DecodeOptions, Media, MediaFrames, Sampling, Video, VideoError};

/// The frames of a clip to sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Look {
    /// A number that depends on the length of the clip, and more frames around suspicious faces.
    Auto,
    /// This number of frames, spread evenly.
    Evenly(u64),
    /// This number of frames per second.
    Fps(f64),
}

impl Look {
    /// Returns the sampling of a clip of `duration` seconds.
    pub(crate) fn sampling(self, duration: f64) -> Sampling {
        match self {
            Self::Auto => Sampling::auto(duration),
            Self::Evenly(frames) => Sampling::evenly(frames),
            Self::Fps(rate) => Sampling::fps(rate),
        }
    }
}

/// The value of `--frames`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameCount {
    /// A number that depends on the length of the clip.
    Auto,
    /// Exactly this number.
    Exactly(u64),
}

impl fmt::Display for FrameCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Exactly(count) => count.fmt(f),
        }
    }
}

impl FromStr for FrameCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(count)) if count > 0 => Ok(Self::Exactly(count)),
            _ => Err("must be auto, or a whole number of 1 or more".into()),
        }
    }
}

/// An open clip. Its file is decoded while another thread computes its SHA-256.
#[derive(Debug)]
pub(crate) struct Clip {
    pub(crate) frames: MediaFrames,
    pub(crate) input: Input,
    pub(crate) is_still: bool,
    /// Whether the file is a video rather than a still picture or an animation.
    pub(crate) is_video: bool,
    pub(crate) sha256: Sha256,
    /// The video to sample again around suspicious faces; `None` if the frames are fixed.
    pub(crate) closer: Option<Video>,
}

impl Clip {
    /// Opens a file and starts decoding, a few frames ahead of the reader.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened or decoded.
    pub(crate) fn open(path: &Path, options: &DecodeOptions, look: Look) -> Result<Self, VideoError> {
        let media = Media::open_with(path, options)?;
        let frames = media.frames(look.sampling(media.duration()))?;
        let (input, is_still) = (media.input(), media.is_still());
        let closer = match &media {
            Media::Video(video) if look == Look::Auto && !is_still => Some((**video).clone()),
            _ => None,
        };
        let is_video = matches!(&media, Media::Video(_)) && !is_still;
        Ok(Self {
            frames,
            input,
            is_still,
            is_video,
            sha256: Sha256(std::thread::spawn(move || media.sha256())),
            closer,
        })
    }
}

/// The SHA-256 of a file, computed on another thread.
#[derive(Debug)]
pub(crate) struct Sha256(JoinHandle<Result<String, VideoError>>);

impl Sha256 {
    /// Waits for the hash.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub(crate) fn wait(self) -> Result<String, VideoError> {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_closer_look_gives_the_frame_at_each_time_that_is_asked_for() {
        let video = Video::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../clips/portraits.mp4")).unwrap();
        let times = [0.0, 1.0, 2.5, 6.5];
        let frames: Vec<_> = video.frames(Sampling::times(times)).unwrap().boxed().map(Result::unwrap).collect();
        assert_eq!(frames.len(), times.len());
        assert!(frames.iter().zip(times).all(|(frame, time)| (frame.time - time).abs() < 0.041));
    }

    #[test]
    fn the_length_decides_how_many_frames_auto_looks_at() {
        assert_eq!(Look::Auto.sampling(8.0), Sampling::evenly(30));
        assert_eq!(Look::Evenly(7).sampling(8.0), Sampling::evenly(7));
        assert_eq!(Look::Fps(0.5).sampling(8.0), Sampling::fps(0.5));
        for (text, count) in [("auto", FrameCount::Auto), ("12", FrameCount::Exactly(12))] {
            assert_eq!((text.parse(), count.to_string().as_str()), (Ok(count), text));
        }
    }
}
