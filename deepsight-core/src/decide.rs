use crate::{Aggregation, AnalyzerConfig, Combined, Reason, Verdict};

/// What a clip's tracks and failures amount to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decision {
    pub(crate) verdict: Verdict,
    pub(crate) fake_probability: Option<f32>,
    pub(crate) reasons: Vec<Reason>,
}

/// A clip's evidence as the decision needs it; probabilities, sizes and detector confidences are of the scored faces,
/// track by track.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    pub(crate) probabilities: Vec<Vec<f32>>,
    pub(crate) sizes: Vec<Vec<f32>>,
    pub(crate) confidences: Vec<Vec<f32>>,
    pub(crate) frames: u64,
    pub(crate) failed_frames: u64,
    pub(crate) failed_faces: u64,
}

impl Findings {
    /// The verdict under the configured rules and the given threshold, doubts first among its reasons.
    pub(crate) fn decide(&self, config: &AnalyzerConfig, threshold: f32) -> Decision {
        let mut reasons = Vec::new();
        let scored: usize = self.probabilities.iter().map(Vec::len).sum();
        let doubtful = self.doubtful_tracks(config);
        // With nobody else to judge by, they are judged, and the verdict is left open.
        let nobody_else = (0..doubtful.len()).all(|track| doubtful[track] || self.probabilities[track].is_empty());
        let judged = if nobody_else { self.probabilities.clone() } else { without(&self.probabilities, &doubtful) };
        let (combined, small) = self.combine(&judged, config, threshold);
        match combined {
            None if self.failed_faces == 0 => reasons.push(Reason::NoFaces { frames: self.frames }),
            None => reasons.push(Reason::TooFewFaces { faces: 0, needed: config.min_faces }),
            Some(combined) => {
                let fake_probability = combined.fake_probability;
                let longest = judged.iter().map(Vec::len).max().unwrap_or(0);
                if scored < config.min_faces {
                    reasons.push(Reason::TooFewFaces { faces: scored, needed: config.min_faces });
                } else if config.aggregation == Aggregation::WorstTrack && combined.track.is_none() {
                    reasons.push(Reason::NoSteadyTrack { longest, needed: config.min_track_faces });
                }
                if doubtful.contains(&true) && nobody_else {
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
                if (fake_probability - threshold).abs() < config.uncertain_band {
                    let band = config.uncertain_band;
                    reasons.push(Reason::NearThreshold { fake_probability, threshold, band });
                }
                reasons.push(match combined.track {
                    Some(track) => Reason::DecidedByTrack { track, faces: combined.faces, fake_probability, threshold },
                    None => {
                        // A clip without a steady track falls back to all its faces: say what was really done.
                        let aggregation = match config.aggregation {
                            Aggregation::WorstTrack => Aggregation::MeanOfFaces,
                            other => other,
                        };
                        Reason::DecidedByFaces { faces: combined.faces, aggregation, fake_probability, threshold }
                    }
                });
                if small > 0 {
                    reasons.push(Reason::SmallTracksIgnored { tracks: small, limit: config.reliable_face_size });
                }
                if combined.track.is_some() {
                    let short = |faces: &&Vec<f32>| !faces.is_empty() && faces.len() < config.min_track_faces;
                    let tracks = judged.iter().filter(short).count();
                    if tracks > 0 {
                        reasons.push(Reason::ShortTracksIgnored { tracks, needed: config.min_track_faces });
                    }
                }
                let tracks = doubtful.iter().filter(|&&doubtful| doubtful).count();
                if tracks > 0 && !nobody_else {
                    reasons.push(Reason::DoubtfulTracksIgnored { tracks, limit: config.track_confidence });
                }
            }
        }
        if self.failed_frames > 0 {
            reasons.push(Reason::FrameErrors { failed: self.failed_frames, frames: self.frames });
        }
        if self.failed_faces > 0 {
            let faces = self.failed_faces + scored as u64;
            reasons.push(Reason::FaceErrors { failed: self.failed_faces, faces });
        }
        // Stable: doubts come first, each group in the order found.
        reasons.sort_by_key(|reason| !reason.is_doubt());

        let fake_probability = combined.map(|combined| combined.fake_probability);
        let verdict = match fake_probability {
            _ if reasons.iter().any(Reason::is_doubt) => Verdict::Uncertain,
            Some(probability) if probability >= threshold => Verdict::Fake,
            Some(_) => Verdict::Real,
            None => Verdict::Uncertain,
        };
        Decision { verdict, fake_probability, reasons }
    }

    /// For each track, whether it is perhaps no face at all. The other aggregations ask faces, not tracks.
    fn doubtful_tracks(&self, config: &AnalyzerConfig) -> Vec<bool> {
        let doubtful = |faces: &Vec<f32>| !faces.is_empty() && median(faces.clone()) < config.track_confidence;
        self.confidences.iter().map(|faces| config.aggregation == Aggregation::WorstTrack && doubtful(faces)).collect()
    }

    /// The clip's probability, and how many tracks were left out of it for their size.
    ///
    /// A face in the background that is too small to judge leaves the verdict open when it is the most suspicious one;
    /// but it must not hide that somebody large enough is clearly fake.
    fn combine(&self, judged: &[Vec<f32>], config: &AnalyzerConfig, threshold: f32) -> (Option<Combined>, usize) {
        let combine = |tracks: &[Vec<f32>]| config.aggregation.combine(tracks, config.min_track_faces);
        let worst = combine(judged);
        let small: Vec<bool> =
            self.sizes.iter().map(|sizes| median(sizes.clone()) < config.reliable_face_size).collect();
        if worst.and_then(|worst| worst.track).is_some_and(|track| small[track]) {
            let worst_large = combine(&without(judged, &small))
                .filter(|worst| worst.track.is_some() && worst.fake_probability >= threshold + config.uncertain_band);
            if worst_large.is_some() {
                let left_out = |(faces, small): &(&Vec<f32>, &bool)| **small && faces.len() >= config.min_track_faces;
                return (worst_large, judged.iter().zip(&small).filter(left_out).count());
            }
        }
        (worst, 0)
    }
}

/// The tracks with those that are left out emptied, so that each keeps its place.
fn without(tracks: &[Vec<f32>], left_out: &[bool]) -> Vec<Vec<f32>> {
    tracks.iter().zip(left_out).map(|(faces, &out)| if out { Vec::new() } else { faces.clone() }).collect()
}

/// Median; the upper one of an even number, 0 of none.
pub(crate) fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(tracks: &[(&[f32], f32)]) -> Findings {
        Findings {
            probabilities: tracks.iter().map(|(faces, _)| faces.to_vec()).collect(),
            sizes: tracks.iter().map(|(faces, size)| vec![*size; faces.len()]).collect(),
            confidences: tracks.iter().map(|(faces, _)| vec![0.999; faces.len()]).collect(),
            frames: 30,
            ..Findings::default()
        }
    }

    fn decide(findings: &Findings) -> Decision {
        findings.decide(&AnalyzerConfig::new(), 0.5)
    }

    #[test]
    fn a_clip_without_faces_is_uncertain_and_has_no_probability() {
        let decision = decide(&findings(&[]));
        assert_eq!(decision.verdict, Verdict::Uncertain);
        assert_eq!(decision.fake_probability, None);
        assert_eq!(decision.reasons, [Reason::NoFaces { frames: 30 }]);
    }

    #[test]
    fn the_most_suspicious_person_decides_and_is_named() {
        let decision = decide(&findings(&[(&[0.1; 10], 80.0), (&[0.9; 10], 80.0), (&[1.0], 80.0)]));
        assert_eq!(decision.verdict, Verdict::Fake);
        assert_eq!(decision.reasons.len(), 2, "{:?}", decision.reasons);
        assert_eq!(
            decision.reasons[0].to_string(),
            "Person 2 is the most suspicious: 90 % over 10 faces, at or above the threshold of 50 %."
        );
        assert_eq!(decision.reasons[1], Reason::ShortTracksIgnored { tracks: 1, needed: 3 });
    }

    #[test]
    fn probabilities_on_the_threshold_are_fake_without_a_band_and_uncertain_with_one() {
        let found = findings(&[(&[0.5; 10], 80.0)]);
        assert_eq!(decide(&found).verdict, Verdict::Uncertain);
        assert!(matches!(decide(&found).reasons[0], Reason::NearThreshold { .. }));
        assert_eq!(found.decide(&AnalyzerConfig::new().with_uncertain_band(0.0), 0.5).verdict, Verdict::Fake);
    }

    #[test]
    fn few_faces_small_faces_and_flickering_faces_leave_it_open() {
        let reason = |found: &Findings| {
            let decision = decide(found);
            assert_eq!(decision.verdict, Verdict::Uncertain);
            assert!(decision.fake_probability.is_some());
            decision.reasons[0].clone()
        };
        assert_eq!(reason(&findings(&[(&[0.9, 0.9], 80.0)])), Reason::TooFewFaces { faces: 2, needed: 3 });
        assert_eq!(reason(&findings(&[(&[0.9; 5], 20.0)])), Reason::FacesTooSmall { median: 20.0, limit: 32.0 });
        let flicker: Vec<(&[f32], f32)> = vec![(&[0.9], 80.0); 8];
        assert_eq!(reason(&findings(&flicker)), Reason::NoSteadyTrack { longest: 1, needed: 3 });
    }

    #[test]
    fn something_that_is_perhaps_no_face_neither_accuses_nor_clears_anybody() {
        let mut found = findings(&[(&[0.1; 10], 80.0), (&[0.9; 6], 80.0)]);
        found.confidences[1] = vec![0.92; 6];
        let decision = decide(&found);
        assert_eq!(decision.verdict, Verdict::Real);
        assert_eq!(decision.reasons[1], Reason::DoubtfulTracksIgnored { tracks: 1, limit: 0.95 });

        found.confidences[0] = vec![0.94; 10];
        let decision = decide(&found);
        assert_eq!(decision.verdict, Verdict::Uncertain);
        assert_eq!(decision.reasons[0], Reason::DoubtfulFaces { confidence: 0.94, limit: 0.95 });
        assert_eq!(decision.fake_probability, Some(0.9));

        let python = AnalyzerConfig::new().with_aggregation(Aggregation::MeanOfFaces);
        assert_eq!(found.decide(&python, 0.5).verdict, Verdict::Real, "a mean of faces takes them all");
    }

    #[test]
    fn a_small_face_in_the_background_does_not_hide_a_clear_forgery_but_keeps_a_clip_from_being_called_real() {
        let crowd: [(&[f32], f32); 2] = [(&[0.9; 10], 200.0), (&[0.97; 10], 20.0)];
        let decision = decide(&findings(&crowd));
        assert_eq!((decision.verdict, decision.fake_probability), (Verdict::Fake, Some(0.9)));
        assert!(matches!(decision.reasons[0], Reason::DecidedByTrack { track: 0, .. }), "{:?}", decision.reasons);
        assert_eq!(decision.reasons[1].to_string(), "1 track has faces smaller than 32 pixels and did not count.");
        for large in [0.1, 0.52] {
            let crowd: [(&[f32], f32); 2] = [(&[large; 10], 200.0), (&[0.97; 10], 20.0)];
            let decision = decide(&findings(&crowd));
            assert_eq!(decision.verdict, Verdict::Uncertain);
            assert_eq!(decision.reasons[0], Reason::FacesTooSmall { median: 20.0, limit: 32.0 });
        }
    }

    #[test]
    fn one_face_and_several_are_spoken_of_as_such() {
        let sentence = |tracks: &[(&[f32], f32)]| decide(&findings(tracks)).reasons[1].to_string();
        assert_eq!(
            sentence(&[(&[0.9], 80.0)]),
            "1 face (mean-of-faces) gives 90 %, at or above the threshold of 50 %."
        );
        assert_eq!(
            sentence(&[(&[0.1], 80.0), (&[0.1], 80.0)]),
            "2 faces together (mean-of-faces) give 10 %, below the threshold of 50 %."
        );
    }

    #[test]
    fn lost_frames_are_told_and_half_of_them_are_too_many() {
        let lost = |failed_frames| Findings { failed_frames, ..findings(&[(&[0.1; 10], 80.0)]) };
        assert_eq!(decide(&lost(3)).verdict, Verdict::Real);
        assert_eq!(decide(&lost(3)).reasons[1].to_string(), "3 of 30 frames could not be analysed.");
        assert_eq!(decide(&lost(15)).verdict, Verdict::Uncertain);
        assert_eq!(decide(&lost(15)).reasons[0], Reason::FrameErrors { failed: 15, frames: 30 });
    }

    #[test]
    fn faces_that_could_not_be_scored_are_not_called_absent() {
        let decision = decide(&Findings { failed_faces: 4, ..findings(&[]) });
        assert!(matches!(decision.reasons[0], Reason::TooFewFaces { faces: 0, .. }), "{:?}", decision.reasons);
        assert_eq!(decision.fake_probability, None);
    }
}
