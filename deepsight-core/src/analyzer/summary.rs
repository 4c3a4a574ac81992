//! Tracks of the collected frames, and the findings from which the verdict is decided.

use std::collections::BTreeMap;

use super::collect::Collector;
use crate::aggregate::weighed_mean;
use crate::decide::{Findings, Seen, median};
use crate::{
    Coverage, Error, FaceQuality, Input, Reliability, Stage,
    report::{ReportFace, ReportFrame, Track},
};

impl<C> Collector<C> {
    /// Returns the tracks in order of appearance, and the findings from which the verdict is decided. `probability` is
    /// that of a scored face: the combined one, or that of one model of an ensemble.
    pub(super) fn tracks(
        &self,
        input: &Input,
        reliability: Option<&Reliability>,
        probability: impl Fn(&ReportFace) -> Option<f32>,
    ) -> (Vec<Track>, Findings) {
        let slots = self.slots();
        let mut tracks: Vec<Track> = slots.keys().map(|&id| Track { id, ..Track::default() }).collect();
        let mut findings = Findings {
            coverage: Coverage::of(input, &self.frames, self.losses),
            first_time: self.frames.first().map_or(0.0, |frame| frame.time),
            last_time: self.frames.last().map_or(0.0, |frame| frame.time),
            frames: self.losses.forgotten + self.frames.len() as u64 + self.failed_frames,
            failed_frames: self.failed_frames,
            failed_faces: self.failed_faces,
            forgotten_people: self.forgotten.people,
            unsure: self.unsure(),
            ..Findings::of_tracks(slots.keys().copied().collect())
        };
        findings.forgotten_moments = self.forgotten.moments(&self.config, findings.coverage.interval);
        // A closer look adds frames where faces are suspicious. They must not raise the mean of a person, so they count
        // only for people of whom the other frames show too few faces.
        let mut regular = vec![0; slots.len()];
        let is_extra = |frame: &ReportFrame, id| frame.closer_look || self.forgotten.is_telling(frame.index, id);
        for frame in &self.frames {
            for face in frame.faces.iter().filter(|face| probability(face).is_some()) {
                let Some(id) = face.track.filter(|&id| !is_extra(frame, id)) else { continue };
                regular[slots[&id]] += 1;
            }
        }
        for (frame, &(shot, _)) in self.frames.iter().zip(&self.places) {
            for face in &frame.faces {
                let Some(id) = face.track else { continue };
                let slot = slots[&id];
                let track = &mut tracks[slot];
                if track.faces == 0 {
                    let first = self.forgotten.first_of(id).unwrap_or((frame.index, frame.time));
                    (track.first_frame, track.start) = first;
                }
                (track.last_frame, track.end) = (frame.index, frame.time);
                track.faces += 1;
                let Some(fake_probability) = probability(face) else { continue };
                // A scored face was cut out, so it always has a quality.
                let quality = face.quality.unwrap_or(FaceQuality::new(0.0, 0.0, 0.0));
                let seen = Seen { time: frame.time, shot, probability: fake_probability, quality };
                findings.seen[slot].push(seen);
                track.scored += 1;
                let highest = track.max_fake_probability.get_or_insert(fake_probability);
                *highest = highest.max(fake_probability);
                if !is_extra(frame, id) || regular[slot] < self.config.min_track_faces {
                    findings.judge(slot, seen, face.face.size(), face.face.confidence);
                }
            }
        }
        for (slot, track) in tracks.iter_mut().enumerate() {
            let scores = &findings.probabilities[slot];
            if !scores.is_empty() {
                let weighed = findings.weighed(slot, &self.config, reliability);
                let qualities = &findings.qualities[slot];
                let middle = |value: fn(&FaceQuality) -> f32| median(qualities.iter().map(value).collect());
                track.fake_probability = Some(weighed_mean(&weighed));
                track.quality = Some(FaceQuality::new(middle(|q| q.detail), middle(|q| q.light), middle(|q| q.turn)));
                track.effective_faces =
                    reliability.map(|_| findings.seen[slot].iter().map(|seen| seen.weight(reliability)).sum());
                track.median_face_size = Some(median(findings.sizes[slot].clone()));
                track.median_confidence = Some(median(findings.confidences[slot].clone()));
            }
        }
        (tracks, findings)
    }

    /// Puts all frames in order of presentation.
    pub(super) fn sort_frames(&mut self) {
        let mut order: Vec<usize> = (0..self.frames.len()).collect();
        // The sort is stable, so frames that came in order keep it.
        order.sort_by(|&a, &b| self.frames[a].time.total_cmp(&self.frames[b].time));
        if order.is_sorted() {
            return;
        }
        let mut frames: Vec<Option<ReportFrame>> = std::mem::take(&mut self.frames).into_iter().map(Some).collect();
        let places = std::mem::take(&mut self.places);
        self.frames = order.iter().filter_map(|&frame| frames[frame].take()).collect();
        self.places = order.iter().map(|&frame| (places[frame].0, None)).collect();
    }

    /// Returns the number and the highest confidence of the faces without a track, if there are any.
    fn unsure(&self) -> Option<(usize, f32)> {
        let faces = self.frames.iter().flat_map(|frame| &frame.faces);
        let unsure = faces.filter(|face| face.track.is_none()).map(|face| face.face.confidence);
        unsure.fold(None, |all: Option<(usize, f32)>, confidence| {
            let (count, highest) = all.unwrap_or_default();
            Some((count + 1, highest.max(confidence)))
        })
    }

    /// Returns the position of each track in the report's list. They are numbered from 0 without a gap, unless a
    /// session forgot some.
    fn slots(&self) -> BTreeMap<usize, usize> {
        let faces = self.frames.iter().flat_map(|frame| &frame.faces);
        let mut slots: BTreeMap<usize, usize> = faces.filter_map(|face| Some((face.track?, 0))).collect();
        slots.values_mut().enumerate().for_each(|(position, slot)| *slot = position);
        slots
    }

    /// Returns an error if no frame could be analyzed, or if there were faces and none could be scored.
    pub(super) fn refuse_nothing(&self) -> Result<(), Error> {
        if self.frames.is_empty() {
            return Err(match &self.first_frame_error {
                None => Error::NoFrames,
                Some(error) if error.stage == Stage::Decode => Error::Unreadable { reason: error.message.clone() },
                Some(error) => Error::NothingAnalyzed {
                    stage: error.stage,
                    count: self.failed_frames,
                    what: "frames",
                    reason: error.message.clone(),
                },
            });
        }
        match &self.first_face_error {
            Some(error) if self.progress.faces == 0 => Err(Error::NothingAnalyzed {
                stage: error.stage,
                count: self.failed_faces,
                what: "faces",
                reason: error.message.clone(),
            }),
            _ => Ok(()),
        }
    }
}
