mod consult;
mod own_scores;
mod people;
mod segments;

use std::collections::BTreeMap;

pub(crate) use self::consult::Consultation;
pub use self::own_scores::TrackFace;
use self::people::{Defect, People};
use self::segments::{Best, Segments};
pub use self::segments::{Segment, SegmentConfig};
use crate::aggregate::{Weighed, weighed_mean};
use crate::{Aggregation, AnalyzerConfig, Coverage, EnsembleAnswer, FaceQuality, Reason, Reliability, Verdict};

/// The verdict on a clip, its probability and the reasons: see [`AnalyzerConfig::decide`].
#[derive(Debug, Clone, PartialEq)]
#[must_use]
#[non_exhaustive]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// Probability that the clip is forged, `0..=1`; `None` if no face was scored. If a segment decided, it is the
    /// segment's.
    pub fake_probability: Option<f32>,
    /// Distance from the threshold within which the verdict would be uncertain, `0..=0.5`. The more often the deciding
    /// person was looked at, the narrower it is ([`Reliability::band_over`]).
    pub uncertain_band: f32,
    /// The reasons for the verdict, doubts first.
    pub reasons: Vec<Reason>,
    /// The most suspicious seconds of people who are long in view, by track and time.
    pub segments: Vec<Segment>,
    /// The answers of an ensemble's models; `None` for a single model.
    pub ensemble: Option<EnsembleAnswer>,
}

/// A scored face of a track, from which moments are formed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) time: f64,
    pub(crate) shot: u32,
    pub(crate) probability: f32,
    pub(crate) quality: FaceQuality,
}

impl Seen {
    pub(crate) fn weight(&self, reliability: Option<&Reliability>) -> f32 {
        reliability.map_or(1.0, |reliability| reliability.quality.weight(&self.quality))
    }
}

/// A clip's evidence, from which the verdict is decided. Times, probabilities, sizes, detector confidences and
/// qualities are those of the scored faces by which a track is judged as a whole, one list for each track.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    /// All scored faces in order of time, those of a closer look too, one list for each track.
    pub(crate) seen: Vec<Vec<Seen>>,
    /// The part of the clip that was seen.
    pub(crate) coverage: Coverage,
    /// Time of the first frame that was looked at.
    pub(crate) first_time: f64,
    /// Time of the last frame that was looked at.
    pub(crate) last_time: f64,
    pub(crate) times: Vec<Vec<f64>>,
    pub(crate) probabilities: Vec<Vec<f32>>,
    pub(crate) sizes: Vec<Vec<f32>>,
    pub(crate) confidences: Vec<Vec<f32>>,
    pub(crate) qualities: Vec<Vec<FaceQuality>>,
    pub(crate) frames: u64,
    pub(crate) failed_frames: u64,
    pub(crate) failed_faces: u64,
    /// Number and highest confidence of the faces that are not judged because of their confidence, if there are any.
    pub(crate) unsure: Option<(usize, f32)>,
    /// Numbers of the tracks, in the order of the lists; their positions if it is empty.
    pub(crate) ids: Vec<usize>,
    /// Number of judged people who are no longer in the lists.
    pub(crate) forgotten_people: usize,
    /// Number of judged moments that are no longer in the lists.
    pub(crate) forgotten_moments: usize,
}

impl Findings {
    /// Returns empty lists for tracks with these numbers.
    pub(crate) fn of_tracks(ids: Vec<usize>) -> Self {
        let count = ids.len();
        Self {
            seen: vec![Vec::new(); count],
            times: vec![Vec::new(); count],
            probabilities: vec![Vec::new(); count],
            sizes: vec![Vec::new(); count],
            confidences: vec![Vec::new(); count],
            qualities: vec![Vec::new(); count],
            ids,
            ..Self::default()
        }
    }

    /// Adds a scored face to those by which the track at this position is judged as a whole.
    pub(crate) fn judge(&mut self, slot: usize, face: Seen, size: f32, confidence: f32) {
        self.times[slot].push(face.time);
        self.probabilities[slot].push(face.probability);
        self.sizes[slot].push(size);
        self.confidences[slot].push(confidence);
        self.qualities[slot].push(face.quality);
    }

    /// Returns the number of the track at this position.
    fn id(&self, slot: usize) -> usize {
        self.ids.get(slot).copied().unwrap_or(slot)
    }

    /// Decides the verdict by the configured rules and the given threshold. Doubts come first among its reasons.
    pub(crate) fn decide(
        &self,
        config: &AnalyzerConfig,
        threshold: f32,
        reliability: Option<&Reliability>,
    ) -> Decision {
        /// Interval in seconds above which a report says how sparsely a clip was looked at.
        const SPARSE: f64 = 2.0;
        let mut reasons = Vec::new();
        let scored: usize = self.probabilities.iter().map(Vec::len).sum();
        let band = config.band(reliability);
        // A threshold or a band of the analysis holds for any number of looks.
        let measured = reliability.filter(|_| config.threshold.is_none() && config.uncertain_band.is_none());
        let band_over = |looks: f32| measured.map_or(band, |reliability| reliability.band_over(looks, threshold));
        let clearly_fake = |track, faces: &[Weighed]| threshold + band_over(self.looks(track, faces));
        let people = People::among(self, config, &clearly_fake, reliability);
        let person = people.combined.and_then(|combined| combined.track).filter(|_| measured.is_some());
        let looks = person.map_or(1.0, |track| self.looks(track, &people.judged[track]));
        let mut uncertain_band = band_over(looks);
        match people.combined {
            None if self.failed_faces == 0 => {
                reasons.push(Reason::NoFaces { frames: self.frames });
                if let Some((faces, confidence)) = self.unsure {
                    reasons.push(Reason::UnsureFaces { faces, confidence, limit: config.face_confidence });
                }
            }
            None => reasons.push(Reason::TooFewFaces { faces: 0, needed: config.min_faces }),
            Some(combined) => {
                let fake_probability = combined.fake_probability;
                if scored < config.min_faces {
                    reasons.push(Reason::TooFewFaces { faces: scored, needed: config.min_faces });
                } else if config.aggregation == Aggregation::WorstTrack && combined.track.is_none() {
                    let longest = people.judged.iter().map(Vec::len).max().unwrap_or(0);
                    reasons.push(Reason::NoSteadyTrack { longest, needed: config.min_track_faces });
                }
                if people.nobody_is_sure {
                    let confidence = self.confidences.iter().map(|c| median(c.clone())).fold(0.0, f32::max);
                    reasons.push(Reason::DoubtfulFaces { confidence, limit: config.track_confidence });
                }
                let deciding = match combined.track {
                    Some(track) => self.sizes[track].clone(),
                    None => self.sizes.concat(),
                };
                let median = median(deciding);
                if median < config.reliable_face_size {
                    reasons.push(Reason::FacesTooSmall { median, limit: config.reliable_face_size });
                }
                reasons.extend(people.unclear.map(|defect| self.unclear(defect, &people, config, reliability)));
                if Verdict::of_probability(fake_probability, threshold, uncertain_band) == Verdict::Uncertain {
                    reasons.push(Reason::NearThreshold { fake_probability, threshold, band: uncertain_band });
                } else if let (Some(_), Some(reliability), None) = (combined.track, reliability, config.threshold) {
                    // Only the model's own threshold is corrected: its rates were not measured at a configured one.
                    // With one person, the verdict is FAKE from the upper end of the band on.
                    let count = people.able(config) + self.forgotten_people;
                    let alone = (threshold + uncertain_band).min(1.0);
                    // Rates of false alarms were measured on single faces.
                    let of_one_face = reliability.threshold_among(count, (threshold + band).min(1.0));
                    let corrected = reliability.limit_over(looks, of_one_face).max(alone);
                    if fake_probability >= threshold && fake_probability < corrected {
                        reasons.push(Reason::ManyPeople {
                            people: count,
                            fake_probability,
                            threshold: alone,
                            corrected,
                        });
                    }
                }
                reasons.push(match combined.track {
                    Some(slot) => {
                        let track = self.id(slot);
                        Reason::DecidedByTrack { track, faces: combined.faces, fake_probability, threshold }
                    }
                    None => {
                        // A clip without a steady track falls back to all its faces: the reason names that rule.
                        let aggregation = match config.aggregation {
                            Aggregation::WorstTrack => Aggregation::MeanOfFaces,
                            other => other,
                        };
                        Reason::DecidedByFaces { faces: combined.faces, aggregation, fake_probability, threshold }
                    }
                });
                reasons.extend(people.ignored(config, reliability));
            }
        }
        if self.failed_frames > 0 {
            reasons.push(Reason::FrameErrors { failed: self.failed_frames, frames: self.frames });
        }
        if self.failed_faces > 0 {
            let faces = self.failed_faces + scored as u64;
            reasons.push(Reason::FaceErrors { failed: self.failed_faces, faces });
        }
        let mut fake_probability = people.combined.map(|combined| combined.fake_probability);
        let verdict = |reasons: &[Reason], fake_probability: Option<f32>| match fake_probability {
            _ if reasons.iter().any(Reason::is_doubt) => Verdict::Uncertain,
            Some(probability) if probability >= threshold => Verdict::Fake,
            Some(_) => Verdict::Real,
            None => Verdict::Uncertain,
        };
        let alone = (threshold + band).min(1.0);
        let segments = Segments::of(self, &people, config, threshold, reliability);
        let best = segments.best(people.able(config) + self.forgotten_people, alone, config, reliability);
        let best = best.filter(|best| best.segment.fake_probability >= alone);
        if let Some(Best { segment, decides, corrected }) = best
            && verdict(&reasons, fake_probability) != Verdict::Fake
        {
            let Segment { track: slot, start: from, end: to, faces, fake_probability: of_segment } = segment;
            let track = self.id(slot);
            if decides {
                // Reasons about whole tracks do not apply to a segment.
                reasons.retain(|reason| !reason.is_about_wholes());
                let whole = weighed_mean(&people.judged[slot]);
                let decided =
                    Reason::DecidedBySegment { track, from, to, faces, fake_probability: of_segment, threshold, whole };
                reasons.insert(0, decided);
                (fake_probability, uncertain_band) = (Some(of_segment), band);
            } else {
                let moments = segments.moments;
                reasons.push(Reason::SuspiciousSegment {
                    track,
                    from,
                    to,
                    faces,
                    fake_probability: of_segment,
                    moments,
                    corrected,
                });
            }
        }
        let Coverage { seen, duration, share, interval, frames, .. } = self.coverage;
        if let (true, Some(duration), Some(share)) = (self.coverage.is_partial(), duration, share) {
            let uncertain = verdict(&reasons, fake_probability) != Verdict::Fake;
            reasons.push(Reason::PartlySeen { seen, duration, share, uncertain });
        }
        let is_lacking = |reason: &Reason| matches!(reason, Reason::NoFaces { .. } | Reason::NoSteadyTrack { .. });
        if let Some(interval) = interval.filter(|&interval| interval > SPARSE || reasons.iter().any(is_lacking)) {
            reasons.push(Reason::LookedAt { frames, interval });
        }
        // The sort is stable: doubts come first, and each group keeps its order.
        reasons.sort_by_key(|reason| !reason.is_doubt());
        let verdict = verdict(&reasons, fake_probability);
        if let (Verdict::Real, Some(reliability)) = (verdict, reliability)
            && !reliability.missed_fakes.is_empty()
        {
            reasons.push(Reason::MissedFakes { shares: reliability.missed_fakes.clone() });
        }
        let named = |segment: Segment| Segment { track: self.id(segment.track), ..segment };
        let segments = segments.found.into_iter().map(|judged| named(judged.segment)).collect();
        Decision { verdict, fake_probability, uncertain_band, reasons, segments, ensemble: None }
    }

    /// Returns the number of looks at a person: the weight of the faces by which it is judged, at most 1 within half a
    /// second. Faces of neighboring frames are almost the same picture.
    fn looks(&self, track: usize, faces: &[Weighed]) -> f32 {
        const PER_SECOND: f64 = 2.0;
        let mut looks: BTreeMap<i64, f32> = BTreeMap::new();
        for (time, face) in self.times.get(track).into_iter().flatten().zip(faces) {
            // The times of exactly two frames a second may be rounded down.
            *looks.entry((time * PER_SECOND + 0.01).floor() as i64).or_default() += face.weight;
        }
        looks.values().map(|weight| weight.min(1.0)).sum::<f32>().max(1.0)
    }

    /// Returns the faces of a track with their weights. If too few faces of the track can be judged and tracks decide,
    /// all faces get full weight: such a track decides nothing, and its mean should not be that of one face.
    pub(crate) fn weighed(
        &self,
        track: usize,
        config: &AnalyzerConfig,
        reliability: Option<&Reliability>,
    ) -> Vec<Weighed> {
        let probabilities = &self.probabilities[track];
        let full = || probabilities.iter().map(|&probability| Weighed::full(probability)).collect();
        let Some(reliability) = reliability else { return full() };
        let weights = self.qualities[track].iter().map(|quality| reliability.quality.weight(quality));
        let weighed: Vec<Weighed> =
            probabilities.iter().zip(weights).map(|(&probability, weight)| Weighed { probability, weight }).collect();
        let clear = has_enough_weight(total(&weighed), weighed.len(), config.min_track_faces);
        // The other aggregations decide by faces, not by tracks.
        if clear || config.aggregation != Aggregation::WorstTrack { weighed } else { full() }
    }

    /// Returns the reason why faces cannot be judged, with the median quality of the faces whose weight is reduced. The
    /// faces are those of the deciding track if it cannot be judged, or else of all tracks that cannot be judged.
    fn unclear(
        &self,
        defect: Defect,
        people: &People,
        config: &AnalyzerConfig,
        reliability: Option<&Reliability>,
    ) -> Reason {
        let limits = reliability.map(|reliability| reliability.quality).unwrap_or_default();
        let deciding = people.combined.and_then(|combined| combined.track);
        let is_meant = |track: usize| match deciding {
            _ if config.aggregation != Aggregation::WorstTrack => true,
            Some(deciding) if people.defects[deciding].is_some() => track == deciding,
            Some(_) => people.defects[track].is_some(),
            None => true,
        };
        let tracks = self.qualities.iter().enumerate().filter(|&(track, _)| is_meant(track));
        let faces = tracks.flat_map(|(_, faces)| faces).filter(|quality| defect.factor(&limits, quality) < 1.0);
        let median = median(faces.map(|quality| defect.value(quality)).collect());
        defect.doubt(median, &limits)
    }
}

/// Returns whether the weights of `faces` add up to enough to judge them. The sum must reach half of `needed`, so that
/// a single face does not have to be perfect where one is enough, and a quarter of `faces`, so that many bad faces do
/// not make up for good ones.
pub(crate) fn has_enough_weight(weight: f32, faces: usize, needed: usize) -> bool {
    weight >= 0.5 * needed.max(1) as f32 && weight >= 0.25 * faces as f32
}

fn total(faces: &[Weighed]) -> f32 {
    faces.iter().map(|face| face.weight).sum()
}

/// Returns the median: the upper of the two middle values for an even count, and 0 for no values.
pub(crate) fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
