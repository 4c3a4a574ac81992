//! Limits on what a session remembers of an endless source.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::AnalyzerConfig;

/// Limits on what a [`Session`](crate::Session) remembers. They bound its memory, however long it runs.
///
/// A session remembers the latest frames completely. Of older frames, it remembers the latest scored faces of each
/// person, and those of [segments](crate::Report::segments) that look forged. Forgotten people and moments still count
/// in the number of judged ones, so a long session does not call real people fake more often than a short one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct History {
    /// Number of latest frames that are remembered completely; 600 by default, and 0 counts as 1.
    pub frames: usize,
    /// Number of scored faces of each person that are remembered; 120 by default, and 0 counts as 1. As many more are
    /// remembered if they look forged.
    pub faces: usize,
    /// Number of people who are remembered after they left the latest frames; 64 by default. The least suspicious are
    /// forgotten first.
    pub people: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { frames: 600, faces: 120, people: 64 }
    }
}

impl History {
    /// Creates the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`frames`](Self::frames).
    #[must_use]
    pub fn with_frames(self, frames: usize) -> Self {
        Self { frames, ..self }
    }

    /// Sets [`faces`](Self::faces).
    #[must_use]
    pub fn with_faces(self, faces: usize) -> Self {
        Self { faces, ..self }
    }

    /// Sets [`people`](Self::people).
    #[must_use]
    pub fn with_people(self, people: usize) -> Self {
        Self { people, ..self }
    }
}

/// Counts and first frames of what a session forgot.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// Number of tracks that were forgotten completely.
    pub(super) people: usize,
    /// Number of scored faces that were forgotten.
    pub(super) faces: usize,
    /// Index and time of the first frame of each track of which some faces are remembered.
    pub(super) first: BTreeMap<usize, (u64, f64)>,
    /// Old faces, by frame index and track, that are remembered because they look forged.
    pub(super) telling: Places,
}

/// Faces by the index of their frame and their track.
pub(super) type Places = BTreeSet<(u64, usize)>;

impl Forgotten {
    /// Returns the index and time of a track's first frame, if frames of it were forgotten.
    pub(super) fn first_of(&self, track: usize) -> Option<(u64, f64)> {
        self.first.get(&track).copied()
    }

    /// Returns whether this face was kept because it looks forged, so that it must not raise the mean of the person.
    pub(super) fn is_telling(&self, frame: u64, track: usize) -> bool {
        self.telling.contains(&(frame, track))
    }

    /// Returns the number of moments in the forgotten faces, for frames that are `interval` seconds apart.
    pub(super) fn moments(&self, config: &AnalyzerConfig, interval: Option<f64>) -> usize {
        let per_moment = interval.filter(|&interval| interval > 0.0).map_or(1.0, |i| config.segments.seconds / i);
        self.faces / (per_moment as usize).max(config.min_track_faces).max(1)
    }
}
