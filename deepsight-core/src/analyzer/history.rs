//! What a session remembers of an endless source.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::collect::Collector;
use crate::{
    AnalyzerConfig, Segment,
    report::{ReportFrame, Track},
};

/// How much a [`Session`](crate::Session) remembers, so that its memory is bounded however long it runs.
///
/// The latest frames are remembered whole. Of older frames, only the latest scored faces of each person are, and those
/// of [segments](crate::Report::segments) that look forged. What is forgotten still counts in the number of people and
/// moments that were judged, so a long session does not call real people fake more often than a short one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct History {
    /// Latest frames that are remembered whole; 600 by default, and 0 counts as 1.
    pub frames: usize,
    /// Scored faces of each person that are remembered; 120 by default, and 0 counts as 1. As many again are
    /// remembered if they look forged.
    pub faces: usize,
    /// People who are remembered after they left the latest frames; 64 by default. The least suspicious are forgotten
    /// first.
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

/// What is still known of what a session forgot.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// Tracks of which nothing is left.
    pub(super) people: usize,
    /// Scored faces.
    faces: usize,
    /// Index and time of the first frame of each track of which something is left.
    first: BTreeMap<usize, (u64, f64)>,
    /// Old faces, by frame index and track, that are remembered because they look forged.
    telling: Places,
}

/// Faces by the index of their frame and their track.
type Places = BTreeSet<(u64, usize)>;

impl Forgotten {
    /// Returns the index and time of a track's first frame, if frames of it were forgotten.
    pub(super) fn first_of(&self, track: usize) -> Option<(u64, f64)> {
        self.first.get(&track).copied()
    }

    /// Returns whether this face was kept because it looks forged, so that it must not raise the mean of the person.
    pub(super) fn is_telling(&self, frame: u64, track: usize) -> bool {
        self.telling.contains(&(frame, track))
    }

    /// Returns how many moments the forgotten faces were, for frames that are `interval` seconds apart.
    pub(super) fn moments(&self, config: &AnalyzerConfig, interval: Option<f64>) -> usize {
        let per_moment = interval.filter(|&interval| interval > 0.0).map_or(1.0, |i| config.segments.seconds / i);
        self.faces / (per_moment as usize).max(config.min_track_faces).max(1)
    }
}

impl<C> Collector<C> {
    /// Forgets old frames, if there are enough of them to be worth the time. `suspicious` are the segments that look
    /// forged, and `tracks` are all tracks.
    pub(super) fn forget(&mut self, history: &History, suspicious: &[Segment], tracks: &[Track]) {
        let recent = self.recent(history);
        if recent == 0 || self.frames.len() < self.forgotten_at {
            return;
        }
        let unimportant = self.unimportant(recent, history, tracks);
        let (latest, telling) = self.important(recent, history, suspicious);
        let mut lost = BTreeSet::new();
        for frame in &mut self.frames[..recent] {
            let (index, time) = (frame.index, frame.time);
            let forgotten = &mut self.forgotten;
            frame.faces.retain(|face| {
                let Some(id) = face.track.filter(|_| face.fake_probability.is_some()) else { return false };
                forgotten.first.entry(id).or_insert((index, time));
                let is_important = latest.contains(&(index, id)) || telling.contains(&(index, id));
                let keeps = is_important && !unimportant.contains(&id);
                if !keeps {
                    forgotten.faces += 1;
                    lost.insert(id);
                }
                keeps
            });
        }
        let before = self.frames.len();
        let both = std::mem::take(&mut self.frames).into_iter().zip(std::mem::take(&mut self.places));
        let kept = both.enumerate().filter(|(at, (frame, _))| *at >= recent || !frame.faces.is_empty());
        (self.frames, self.places) = kept.map(|(_, both)| both).unzip();
        self.losses.forgotten += (before - self.frames.len()) as u64;
        let left: BTreeSet<usize> = self.frames.iter().flat_map(scored_tracks).collect();
        self.forgotten.people += lost.iter().filter(|id| !left.contains(id)).count();
        self.forgotten.first.retain(|id, _| left.contains(id));
        self.forgotten.telling = telling;
        // The next time only when a tenth of the frames is new, so that the time for it is spread over many frames.
        self.forgotten_at = self.frames.len() + (history.frames / 10).max(1);
    }

    /// Returns the position of the first of the latest frames.
    fn recent(&self, history: &History) -> usize {
        self.frames.len().saturating_sub(history.frames.max(1))
    }

    /// Returns the scored faces that are remembered of each track before the latest frames: the latest ones, and those
    /// that look forged, by falling probability.
    fn important(&self, recent: usize, history: &History, suspicious: &[Segment]) -> (Places, Places) {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for id in self.frames[recent..].iter().flat_map(scored_tracks) {
            *counts.entry(id).or_default() += 1;
        }
        let most = history.faces.max(1);
        let mut latest = Places::new();
        let mut telling: BTreeMap<usize, Vec<(f32, u64)>> = BTreeMap::new();
        for frame in self.frames[..recent].iter().rev() {
            for face in &frame.faces {
                let (Some(id), Some(probability)) = (face.track, face.fake_probability) else { continue };
                let is_suspicious =
                    |segment: &Segment| segment.track == id && (segment.start..=segment.end).contains(&frame.time);
                let count = counts.entry(id).or_default();
                if *count < most {
                    *count += 1;
                    latest.insert((frame.index, id));
                } else if self.forgotten.is_telling(frame.index, id) || suspicious.iter().any(is_suspicious) {
                    telling.entry(id).or_default().push((probability, frame.index));
                }
            }
        }
        let telling = telling.into_iter().flat_map(|(id, mut faces)| {
            faces.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            faces.into_iter().take(most).map(move |(_, frame)| (frame, id))
        });
        (latest, telling.collect())
    }

    /// Returns the tracks that are forgotten because there are too many: of those that are not in the latest frames,
    /// the least suspicious.
    fn unimportant(&self, recent: usize, history: &History, tracks: &[Track]) -> BTreeSet<usize> {
        let here: BTreeSet<usize> = self.frames[recent..].iter().flat_map(scored_tracks).collect();
        let gone: BTreeSet<usize> =
            self.frames[..recent].iter().flat_map(scored_tracks).filter(|id| !here.contains(id)).collect();
        let surplus = gone.len().saturating_sub(history.people);
        let mut gone: Vec<usize> = gone.into_iter().collect();
        let track = |id: usize| tracks.iter().find(|track| track.id == id);
        let of = |&id: &usize| track(id).and_then(|track| track.fake_probability).unwrap_or(0.0);
        // The sort is stable: of two who are equally suspicious, the earlier one is forgotten.
        gone.sort_by(|a, b| of(a).total_cmp(&of(b)));
        gone.into_iter().take(surplus).collect()
    }
}

/// Returns the track of each scored face of a frame.
fn scored_tracks(frame: &ReportFrame) -> impl Iterator<Item = usize> {
    frame.faces.iter().filter(|face| face.fake_probability.is_some()).filter_map(|face| face.track)
}
