//! The rules by which a session forgets old frames.

use std::collections::{BTreeMap, BTreeSet};

use super::collect::Collector;
use super::history::{History, Places};
use crate::{
    Segment,
    report::{ReportFrame, Track},
};

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
        // Waits until a tenth of the frames is new, so that the cost is spread over many frames.
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
        // The sort is stable: of two equally suspicious tracks, the earlier one is forgotten.
        gone.sort_by(|a, b| of(a).total_cmp(&of(b)));
        gone.into_iter().take(surplus).collect()
    }
}

/// Returns the track of each scored face of a frame.
fn scored_tracks(frame: &ReportFrame) -> impl Iterator<Item = usize> {
    frame.faces.iter().filter(|face| face.fake_probability.is_some()).filter_map(|face| face.track)
}
