//! Stretches of a video between key frames.

/// A part of a video that is decoded in one go. Frames are numbered in order of presentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The frame from which all frames are exact. 0 is the beginning of the file.
    pub(crate) first: usize,
    /// Whether a seek to the first frame also decodes frames before it, without those that they refer to.
    pub(crate) open: bool,
    /// The wanted frames, at least one, in ranges.
    pub(crate) wanted: Vec<(usize, usize)>,
    /// Number of frames on each side of a wanted one that have to be decoded for it.
    pub(crate) reach: usize,
}

impl Stretch {
    /// Returns the last wanted frame.
    pub(crate) fn last(&self) -> usize {
        self.wanted.last().map_or(self.first, |&(_, last)| last)
    }

    /// Returns the last frame that has to be decoded, unless the video ends before it.
    pub(crate) fn end(&self) -> usize {
        self.last() + self.reach
    }

    /// Returns the frames that have to be decoded exactly, in ranges that may overlap, of a video of `frames` frames.
    pub(super) fn needed(&self, frames: usize) -> impl Iterator<Item = (usize, usize)> {
        let around = move |&(first, last): &(usize, usize)| {
            (first.saturating_sub(self.reach), (last + self.reach).min(frames.saturating_sub(1)))
        };
        self.wanted.iter().map(around)
    }

    pub(super) fn frames(&self) -> usize {
        self.end() - self.first + 1
    }

    /// Adds a frame after the last wanted one.
    pub(super) fn push(&mut self, frame: usize) {
        match self.wanted.last_mut() {
            Some((_, last)) if *last + 1 == frame => *last = frame,
            _ => self.wanted.push((frame, frame)),
        }
    }
}
