use serde::{Deserialize, Serialize};

use crate::Reason;

/// Description of the analyzed input in a report. Every field but `path` may be unknown: a camera has no file hash.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Input {
    /// Path or name as the user gave it.
    pub path: String,
    /// SHA-256 of the file in hexadecimal.
    pub sha256: Option<String>,
    /// Size of the file in bytes.
    pub bytes: Option<u64>,
    /// Container format, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: Option<String>,
    /// Video codec, such as `h264`.
    pub codec: Option<String>,
    /// Width in pixels as displayed, rotation applied.
    pub width: Option<u32>,
    /// Height in pixels as displayed, rotation applied.
    pub height: Option<u32>,
    /// Clockwise rotation in degrees that was applied: 0, 90, 180 or 270.
    pub rotation: Option<u32>,
    /// Average frames per second.
    pub frame_rate: Option<f64>,
    /// Whether the frames are spaced unevenly in time.
    pub variable_frame_rate: Option<bool>,
    /// Length in seconds of the frames in the file.
    pub duration: Option<f64>,
    /// Length in seconds that the file's headers state, where it is known. It is more than `duration` if the file is
    /// cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_duration: Option<f64>,
    /// Stretches of time, in seconds from the start of the video, in which the file has no frames although it should:
    /// a part of it is damaged or missing. In order, without overlaps. Nobody saw these seconds
    /// ([`Coverage`](crate::Coverage)).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// Frames in the whole video.
    pub frames: Option<u64>,
    /// Index of the video stream that was analyzed, counted over all streams of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<u32>,
    /// Number of video streams in the file. Cover art and thumbnails do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_streams: Option<u32>,
    /// Sentences on how the analyzed pictures differ from those that a player shows, such as colors that could not be
    /// converted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub picture_notes: Vec<String>,
    /// Facts that the file states about itself, such as the program that wrote it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
}

/// A stretch of a video in which its file has no frames although it should.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gap {
    /// End of the last frame before it, in seconds.
    pub start: f64,
    /// Time of the first frame after it, in seconds.
    pub end: f64,
}

impl Gap {
    /// Creates a gap between two times in seconds.
    pub fn new(start: f64, end: f64) -> Self {
        Self { start, end }
    }

    /// Returns how many seconds of the gap lie between two times. This is 0 for a gap whose times are not finite.
    pub(crate) fn within(&self, from: f64, to: f64) -> f64 {
        let seconds = self.end.min(to) - self.start.max(from);
        if self.start.is_finite() && self.end.is_finite() { seconds.max(0.0) } else { 0.0 }
    }
}

/// A fact that a file states about itself. Anyone can change it, so it is evidence for a person and never changes the
/// verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fact {
    /// Its name, such as `Written by`.
    pub name: String,
    /// Its value, as untrusted text on one line.
    pub value: String,
}

impl Fact {
    /// Creates a fact.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl Input {
    /// Creates an input with this name and no other information.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// Returns what the report has to say about this input: which of several video streams was analyzed, and how the
    /// pictures differ from those of a player.
    pub(crate) fn reasons(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if let (Some(stream), Some(streams @ 2..)) = (self.stream, self.video_streams) {
            reasons.push(Reason::SeveralStreams { stream, streams, width: self.width, height: self.height });
        }
        reasons.extend(self.picture_notes.iter().map(|note| Reason::PictureNote { note: note.clone() }));
        reasons
    }
}
