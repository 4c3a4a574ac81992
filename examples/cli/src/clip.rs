//! A clip on its way into an analysis.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::thread::JoinHandle;

use deepsight_core::{CloserFrames, Input, frames_for};
use deepsight_video::{DecodeOptions, Frames, Sampling, Video, VideoError, VideoInfo};

/// Which frames of a clip to look at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Look {
    /// As many frames as its length asks for, and a closer look at suspicious seconds.
    Auto,
    /// This many frames, spread evenly.
    Evenly(u64),
    /// This many frames per second.
    Fps(f64),
}

impl Look {
    pub(crate) fn sampling(self, info: &VideoInfo) -> Sampling {
        match self {
            Self::Auto => Sampling::evenly(frames_for(info.duration)),
            Self::Evenly(frames) => Sampling::evenly(frames),
            Self::Fps(rate) => Sampling::fps(rate),
        }
    }
}

/// The value of `--frames`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameCount {
    /// As many as the length of the clip asks for.
    Auto,
    /// This many.
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

/// A clip that is being decoded while its file is hashed beside it.
#[derive(Debug)]
pub(crate) struct Clip {
    pub(crate) frames: Frames,
    pub(crate) input: Input,
    pub(crate) sha256: Sha256,
    /// The video, if it may be looked at more closely.
    pub(crate) closer: Option<Video>,
}

impl Clip {
    /// Opens a clip and starts decoding it, a few frames ahead of whoever takes them.
    ///
    /// # Errors
    /// When it cannot be opened or decoded.
    pub(crate) fn open(path: &Path, options: &DecodeOptions, look: Look) -> Result<Self, VideoError> {
        let video = Video::open_with(path, options)?;
        let frames = video.frames(look.sampling(video.info()))?;
        let input = described(&video);
        let closer = (look == Look::Auto).then(|| video.clone());
        Ok(Self { frames, input, sha256: Sha256(std::thread::spawn(move || video.sha256())), closer })
    }
}

/// The hash of a file that is being computed.
#[derive(Debug)]
pub(crate) struct Sha256(JoinHandle<Result<String, VideoError>>);

impl Sha256 {
    /// Waits for the hash.
    ///
    /// # Errors
    /// When the file can no longer be read.
    pub(crate) fn wait(self) -> Result<String, VideoError> {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// How a report names the video, with the length that its headers state if the file has less.
fn described(video: &Video) -> Input {
    let (mut input, info) = (video.input(), video.info());
    if input.declared_duration.is_none() {
        let missing = info.declared_frames.map(|declared| declared as f64 / info.frame_count as f64);
        input.declared_duration = missing.map(|times| info.duration * times);
    }
    input
}

/// The frames at these times, which are multiples of half a second in rising order.
pub(crate) fn frames_at(video: &Video, times: &[f64]) -> Result<CloserFrames<'static>, Box<dyn Error + Send + Sync>> {
    /// Frames per second of a closer look.
    const RATE: f64 = 2.0;
    let halves = |seconds: f64| (seconds * RATE).round() as u64;
    let wanted: Vec<u64> = times.iter().map(|&time| halves(time)).collect();
    let last = wanted.last().copied().unwrap_or(0);
    let frames = video.frames(Sampling::fps(RATE).with_max_frames(last + 1))?;
    let frames = frames.filter(move |frame| match frame {
        // The first frame of each half second is given.
        Ok(frame) => wanted.binary_search(&((frame.time * RATE + 1e-3).floor() as u64)).is_ok(),
        Err(_) => true,
    });
    Ok(Box::new(frames.map(|frame| frame.map_err(Into::into))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_closer_look_gives_the_first_frame_of_each_half_second_that_is_asked_for() {
        let video = Video::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../clips/portraits.mp4")).unwrap();
        let times = [0.0, 1.0, 2.5, 6.5, 600.0];
        let frames: Vec<_> = frames_at(&video, &times).unwrap().map(Result::unwrap).collect();
        let indices: Vec<u64> = frames.iter().map(|frame| frame.index).collect();
        // At 25 frames per second, frame 13 is the first one after 0.5 s.
        assert_eq!(indices, [0, 25, 63, 163]);
        assert!(frames.iter().zip(times).all(|(frame, time)| (frame.time - time).abs() < 0.04));
    }

    #[test]
    fn the_length_decides_how_many_frames_auto_looks_at() {
        let video = Video::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../clips/portraits.mp4")).unwrap();
        assert_eq!(Look::Auto.sampling(video.info()), Sampling::evenly(30));
        assert_eq!(Look::Evenly(7).sampling(video.info()), Sampling::evenly(7));
        assert_eq!(Look::Fps(0.5).sampling(video.info()), Sampling::fps(0.5));
        for (text, count) in [("auto", FrameCount::Auto), ("12", FrameCount::Exactly(12))] {
            assert_eq!((text.parse(), count.to_string().as_str()), (Ok(count), text));
        }
    }
}
