mod people;

use self::people::{Defect, People};
use crate::aggregate::Weighed;
use crate::{Aggregation, AnalyzerConfig, FaceQuality, Reason, Reliability, Verdict};

/// The verdict on a clip, its probability and the reasons.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decision {
    pub(crate) verdict: Verdict,
    pub(crate) fake_probability: Option<f32>,
    pub(crate) reasons: Vec<Reason>,
}

/// A clip's evidence, from which the verdict is decided. Probabilities, sizes, detector confidences and qualities are
/// those of the scored faces, one list for each track.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    pub(crate) probabilities: Vec<Vec<f32>>,
    pub(crate) sizes: Vec<Vec<f32>>,
    pub(crate) confidences: Vec<Vec<f32>>,
    pub(crate) qualities: Vec<Vec<FaceQuality>>,
    pub(crate) frames: u64,
    pub(crate) failed_frames: u64,
    pub(crate) failed_faces: u64,
}

impl Findings {
    /// Decides the verdict by the configured rules and the given threshold. Doubts come first among its reasons.
    pub(crate) fn decide(
        &self,
        config: &AnalyzerConfig,
        threshold: f32,
        reliability: Option<&Reliability>,
    ) -> Decision {
        let mut reasons = Vec::new();
        let scored: usize = self.probabilities.iter().map(Vec::len).sum();
        let band = config.band(reliability);
        let people = People::among(self, config, threshold + band, reliability);
        match people.combined {
            None if self.failed_faces == 0 => reasons.push(Reason::NoFaces { frames: self.frames }),
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
                if Verdict::of_probability(fake_probability, threshold, band) == Verdict::Uncertain {
                    reasons.push(Reason::NearThreshold { fake_probability, threshold, band });
                } else if let (Some(_), Some(reliability), None) = (combined.track, reliability, config.threshold) {
                    // Only the model's own threshold is corrected: its rates were not measured at a configured one.
                    // With one person, the verdict is FAKE from the upper end of the band on.
                    let (count, alone) = (people.able(config), (threshold + band).min(1.0));
                    let corrected = reliability.threshold_among(count, alone);
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
                    Some(track) => Reason::DecidedByTrack { track, faces: combined.faces, fake_probability, threshold },
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
        // The sort is stable: doubts come first, and each group keeps its order.
        reasons.sort_by_key(|reason| !reason.is_doubt());

        let fake_probability = people.combined.map(|combined| combined.fake_probability);
        let verdict = match fake_probability {
            _ if reasons.iter().any(Reason::is_doubt) => Verdict::Uncertain,
            Some(probability) if probability >= threshold => Verdict::Fake,
            Some(_) => Verdict::Real,
            None => Verdict::Uncertain,
        };
        if let (Verdict::Real, Some(reliability)) = (verdict, reliability)
            && !reliability.missed_fakes.is_empty()
        {
            reasons.push(Reason::MissedFakes { shares: reliability.missed_fakes.clone() });
        }
        Decision { verdict, fake_probability, reasons }
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
