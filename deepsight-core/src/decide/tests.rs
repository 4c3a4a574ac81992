use super::*;
use crate::{FalseAlarms, QualityLimits};

fn findings(tracks: &[(&[f32], f32)]) -> Findings {
    Findings {
        probabilities: tracks.iter().map(|(faces, _)| faces.to_vec()).collect(),
        sizes: tracks.iter().map(|(faces, size)| vec![*size; faces.len()]).collect(),
        confidences: tracks.iter().map(|(faces, _)| vec![0.999; faces.len()]).collect(),
        frames: 30,
        ..Findings::default()
    }
}

/// Returns findings on one shot of one person with a face every `interval` seconds. Each pair is a probability and the
/// number of faces that have it, one after the other.
fn timed(interval: f64, runs: &[(f32, usize)]) -> Findings {
    let probabilities: Vec<f32> = runs.iter().flat_map(|&(p, faces)| vec![p; faces]).collect();
    let quality = clear();
    let seen = probabilities.iter().enumerate();
    let seen = seen.map(|(face, &probability)| Seen { time: face as f64 * interval, shot: 0, probability, quality });
    let mut found = findings(&[(&probabilities, 120.0)]);
    found.qualities = vec![vec![quality; probabilities.len()]];
    found.seen = vec![seen.collect()];
    found.times = vec![found.seen[0].iter().map(|seen| seen.time).collect()];
    found.coverage.interval = Some(interval);
    found.coverage.frames = probabilities.len() as u64;
    found.last_time = (probabilities.len() - 1) as f64 * interval;
    found
}

fn decide(findings: &Findings) -> Decision {
    findings.decide(&AnalyzerConfig::new(), 0.5, None)
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
    assert_eq!(found.decide(&AnalyzerConfig::new().with_uncertain_band(0.0), 0.5, None).verdict, Verdict::Fake);
}

#[test]
fn few_faces_small_faces_and_flickering_faces_make_the_verdict_uncertain() {
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
fn tracks_that_may_show_no_face_do_not_decide() {
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
    assert_eq!(found.decide(&python, 0.5, None).verdict, Verdict::Real, "a mean of faces takes them all");
}

#[test]
fn a_small_face_in_the_background_does_not_hide_a_clear_forgery_but_prevents_the_verdict_real() {
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
fn reasons_use_the_singular_for_one_face_and_the_plural_for_several() {
    let sentence = |tracks: &[(&[f32], f32)]| decide(&findings(tracks)).reasons[1].to_string();
    assert_eq!(sentence(&[(&[0.9], 80.0)]), "1 face (mean-of-faces) gives 90 %, at or above the threshold of 50 %.");
    assert_eq!(
        sentence(&[(&[0.1], 80.0), (&[0.1], 80.0)]),
        "2 faces together (mean-of-faces) give 10 %, below the threshold of 50 %."
    );
}

#[test]
fn failed_frames_are_reported_and_half_of_them_make_the_verdict_uncertain() {
    let lost = |failed_frames| Findings { failed_frames, ..findings(&[(&[0.1; 10], 80.0)]) };
    assert_eq!(decide(&lost(3)).verdict, Verdict::Real);
    assert_eq!(decide(&lost(3)).reasons[1].to_string(), "3 of 30 frames could not be analysed.");
    assert_eq!(decide(&lost(15)).verdict, Verdict::Uncertain);
    assert_eq!(decide(&lost(15)).reasons[0], Reason::FrameErrors { failed: 15, frames: 30 });
}

#[test]
fn faces_that_could_not_be_scored_are_not_reported_as_missing() {
    let decision = decide(&Findings { failed_faces: 4, ..findings(&[]) });
    assert!(matches!(decision.reasons[0], Reason::TooFewFaces { faces: 0, .. }), "{:?}", decision.reasons);
    assert_eq!(decision.fake_probability, None);
}

/// Returns the reliability of a model that judges faces from 40 pixels of detail on, with full weight from 80 on. Real
/// people are called FAKE at the rates given here.
fn reliability() -> Reliability {
    let mut reliability = Reliability::new(0.05);
    reliability.quality = QualityLimits { min_detail: 40.0, full_detail: 80.0, min_light: 0.2, max_turn: 70.0 };
    reliability.false_alarms =
        [(0.5, 0.12), (0.6, 0.06), (0.75, 0.02), (0.9, 0.005)].map(|(p, rate)| FalseAlarms::new(p, rate)).into();
    reliability
}

/// Returns findings whose faces are 120 pixels in size. Each track has one probability and one quality.
fn seen(tracks: &[(f32, usize, FaceQuality)]) -> Findings {
    let probabilities: Vec<Vec<f32>> = tracks.iter().map(|&(p, faces, _)| vec![p; faces]).collect();
    let sized: Vec<(&[f32], f32)> = probabilities.iter().map(|faces| (&faces[..], 120.0)).collect();
    Findings { qualities: tracks.iter().map(|&(_, faces, quality)| vec![quality; faces]).collect(), ..findings(&sized) }
}

fn judge(found: &Findings) -> Decision {
    found.decide(&AnalyzerConfig::new(), 0.6, Some(&reliability()))
}

fn clear() -> FaceQuality {
    FaceQuality::new(120.0, 1.0, 10.0)
}

fn blurred() -> FaceQuality {
    FaceQuality::new(35.0, 1.0, 10.0)
}

#[test]
fn a_blurred_person_alone_is_neither_fake_nor_real() {
    for probability in [0.95, 0.05] {
        let decision = judge(&seen(&[(probability, 30, blurred())]));
        assert_eq!((decision.verdict, decision.fake_probability), (Verdict::Uncertain, Some(probability)));
        assert_eq!(decision.reasons[0], Reason::FacesTooBlurred { median: 35.0, limit: 80.0 });
        assert_eq!(decision.reasons.len(), 2, "{:?}", decision.reasons);
    }
    assert_eq!(
        judge(&seen(&[(0.95, 30, blurred())])).reasons[0].to_string(),
        "The faces are too blurred to judge: they show as much as sharp ones of 35 pixels (median), reliable from 80."
    );
}

#[test]
fn few_clear_faces_are_too_few_and_not_too_blurred() {
    let almost = FaceQuality::new(79.0, 1.0, 10.0);
    for (faces, quality) in [(1, clear()), (2, clear()), (1, almost), (2, almost)] {
        let decision = judge(&seen(&[(0.05, faces, quality)]));
        assert_eq!(decision.verdict, Verdict::Uncertain);
        assert_eq!(decision.reasons[0], Reason::TooFewFaces { faces, needed: 3 });
        let of_quality = |reason: &&Reason| matches!(reason, Reason::FacesTooBlurred { .. });
        assert_eq!(decision.reasons.iter().find(of_quality), None, "{faces} faces");
    }
    // One face of each of several people.
    let crowd = judge(&seen(&[(0.05, 1, clear()), (0.1, 1, clear()), (0.2, 1, clear())]));
    assert!(matches!(crowd.reasons[0], Reason::NoSteadyTrack { longest: 1, needed: 3 }), "{:?}", crowd.reasons);
    assert!(!crowd.reasons.iter().any(|reason| matches!(reason, Reason::FacesTooBlurred { .. })));
    // Few faces that are blurred as well have both defects.
    let both = judge(&seen(&[(0.05, 1, blurred())]));
    assert_eq!(both.reasons[0], Reason::TooFewFaces { faces: 1, needed: 3 });
    assert_eq!(both.reasons[1], Reason::FacesTooBlurred { median: 35.0, limit: 80.0 });
}

#[test]
fn dark_and_turned_faces_are_named_as_such() {
    let dark = judge(&seen(&[(0.95, 30, FaceQuality::new(120.0, 0.1, 0.0))]));
    assert_eq!(dark.reasons[0], Reason::FacesTooDark { median: 0.1, limit: 0.25 });
    let turned = judge(&seen(&[(0.95, 30, FaceQuality::new(120.0, 1.0, 75.0))]));
    assert_eq!(turned.reasons[0], Reason::FacesTurned { median: 75.0, limit: 60.0 });
    assert_eq!((dark.verdict, turned.verdict), (Verdict::Uncertain, Verdict::Uncertain));
}

#[test]
fn a_clear_person_is_found_fake_beside_blurred_ones() {
    for blurred_score in [0.1, 0.99] {
        let found = seen(&[(blurred_score, 30, blurred()), (0.9, 5, clear()), (0.97, 30, blurred())]);
        let decision = judge(&found);
        assert_eq!((decision.verdict, decision.fake_probability), (Verdict::Fake, Some(0.9)));
        assert!(matches!(decision.reasons[0], Reason::DecidedByTrack { track: 1, faces: 5, .. }));
        assert_eq!(
            decision.reasons[1].to_string(),
            "2 tracks have faces that are too blurred to judge (reliable from 80 pixels of detail) and did not count."
        );
    }
}

#[test]
fn a_clip_is_not_real_while_a_more_suspicious_person_with_many_faces_cannot_be_judged() {
    let decision = judge(&seen(&[(0.1, 20, clear()), (0.9, 10, blurred())]));
    assert_eq!((decision.verdict, decision.fake_probability), (Verdict::Uncertain, Some(0.9)));
    assert_eq!(decision.reasons[0], Reason::FacesTooBlurred { median: 35.0, limit: 80.0 });
    let few = judge(&seen(&[(0.1, 20, clear()), (0.9, 5, blurred())]));
    assert_eq!((few.verdict, few.fake_probability), (Verdict::Real, Some(0.1)));
    assert_eq!(few.reasons[1], Reason::BlurredTracksIgnored { tracks: 1, limit: 80.0 });
    let less_suspicious = judge(&seen(&[(0.1, 20, clear()), (0.05, 10, blurred())]));
    assert_eq!(less_suspicious.verdict, Verdict::Real);
    let most = judge(&seen(&[(0.1, 9, clear()), (0.05, 10, blurred())]));
    assert_eq!((most.verdict, most.fake_probability), (Verdict::Uncertain, Some(0.1)));
    assert_eq!(most.reasons[0], Reason::FacesTooBlurred { median: 35.0, limit: 80.0 });
}

#[test]
fn a_person_is_judged_by_the_clear_faces_alone() {
    let mut found = seen(&[(0.95, 30, blurred())]);
    for face in 0..10 {
        (found.probabilities[0][face], found.qualities[0][face]) = (0.1, clear());
    }
    let decision = judge(&found);
    assert_eq!(decision.verdict, Verdict::Real);
    assert!((decision.fake_probability.unwrap_or(1.0) - 0.1).abs() < 1e-6);
    assert!(matches!(decision.reasons[0], Reason::DecidedByTrack { faces: 10, .. }), "{:?}", decision.reasons);
    found.qualities[0][3..].fill(blurred());
    assert_eq!(judge(&found).verdict, Verdict::Uncertain, "a tenth of the faces is too little");
}

#[test]
fn detail_between_the_limits_counts_in_part() {
    let limits = reliability().quality;
    let weight = |detail: f32, light: f32, turn: f32| limits.weight(&FaceQuality::new(detail, light, turn));
    for (detail, light, turn, wanted) in [
        (40.0, 1.0, 0.0, 0.0),
        (60.0, 1.0, 0.0, 0.5),
        (80.0, 1.0, 0.0, 1.0),
        (256.0, 0.225, 0.0, 0.5),
        (256.0, 0.19, 0.0, 0.0),
        (256.0, 1.0, 65.0, 0.5),
        (60.0, 1.0, 65.0, 0.25),
        (256.0, 1.0, 71.0, 0.0),
    ] {
        assert!((weight(detail, light, turn) - wanted).abs() < 1e-5, "{detail}, {light}, {turn}");
    }
    let all = QualityLimits::default();
    assert_eq!(all.weight(&FaceQuality::new(0.0, 0.0, 90.0)), 1.0, "limits that refuse no face");
}

#[test]
fn the_other_aggregations_ignore_unclear_faces_and_are_uncertain_if_most_are_unclear() {
    for how in [Aggregation::MeanOfFaces, Aggregation::Median, Aggregation::TopK(5)] {
        let config = AnalyzerConfig::new().with_aggregation(how);
        let judge = |found: &Findings| found.decide(&config, 0.6, Some(&reliability()));
        let mixed = judge(&seen(&[(0.1, 10, clear()), (0.95, 20, blurred())]));
        assert_eq!((mixed.verdict, mixed.fake_probability), (Verdict::Real, Some(0.1)), "{how}");
        let mostly = judge(&seen(&[(0.1, 2, clear()), (0.95, 20, blurred())]));
        assert_eq!(mostly.verdict, Verdict::Uncertain);
        assert_eq!(mostly.reasons[0], Reason::FacesTooBlurred { median: 35.0, limit: 80.0 });
    }
}

#[test]
fn a_model_without_reliability_judges_blurred_faces_as_all_others() {
    let found = seen(&[(0.9, 10, blurred()), (0.1, 30, clear())]);
    let decision = found.decide(&AnalyzerConfig::new(), 0.6, None);
    assert_eq!((decision.verdict, decision.fake_probability), (Verdict::Fake, Some(0.9)));
}

#[test]
fn the_uncertain_band_is_the_models_unless_the_analysis_sets_one() {
    let found = seen(&[(0.68, 10, clear())]);
    let mut reliability = reliability();
    reliability.uncertain_band = 0.1;
    let verdict = |config: AnalyzerConfig, model| found.decide(&config, 0.6, model).verdict;
    assert_eq!(verdict(AnalyzerConfig::new(), Some(&reliability)), Verdict::Uncertain);
    assert_eq!(verdict(AnalyzerConfig::new().with_uncertain_band(0.02), Some(&reliability)), Verdict::Fake);
    assert_eq!(verdict(AnalyzerConfig::new(), None), Verdict::Fake, "0.05 for a model without one");
}

#[test]
#[allow(clippy::unwrap_used)]
fn the_more_often_a_person_is_seen_the_narrower_is_the_measured_band() {
    let mut reliability = reliability();
    (reliability.uncertain_band, reliability.face_correlation) = (0.29, Some(0.6));
    let decide = |interval: f64, faces: usize, config: &AnalyzerConfig| {
        timed(interval, &[(0.84, faces)]).decide(config, 0.6, Some(&reliability))
    };
    let usual = AnalyzerConfig::new();
    let often = decide(1.0, 12, &usual);
    assert_eq!(often.verdict, Verdict::Fake, "{:?}", often.reasons);
    assert!((0.21..0.24).contains(&often.uncertain_band), "{often:?}");
    for (what, decision) in [
        ("three looks", decide(1.0, 3, &usual)),
        ("half a second", decide(0.04, 12, &usual)),
        ("faces that do not count", {
            // Of half a minute, twelve faces of three seconds count.
            let mut found = timed(0.25, &[(0.84, 120)]);
            found.qualities[0].iter_mut().skip(4).for_each(|quality| quality.detail = 20.0);
            found.qualities[0].iter_mut().take(40).for_each(|quality| quality.detail = 80.0);
            found.times[0].iter_mut().take(40).for_each(|time| *time /= 8.0);
            found.decide(&usual, 0.6, Some(&reliability))
        }),
        ("a band of the analysis", decide(1.0, 12, &usual.clone().with_uncertain_band(0.29))),
    ] {
        assert_eq!(decision.verdict, Verdict::Uncertain, "{what}: {:?}", decision.reasons);
        let Reason::NearThreshold { band, .. } = decision.reasons[0] else { panic!("{what}: {:?}", decision.reasons) };
        assert!(band == decision.uncertain_band && band > 0.24, "{what}: {band}");
    }
    // Among several people FAKE takes more, but less than a single face of each.
    let among = |faces: usize, probability: f32| {
        let mut found = timed(1.0, &[(probability, faces)]);
        let one = timed(1.0, &[(0.1, faces)]);
        for _ in 0..9 {
            found.probabilities.extend(one.probabilities.clone());
            found.sizes.extend(one.sizes.clone());
            found.confidences.extend(one.confidences.clone());
            found.qualities.extend(one.qualities.clone());
            found.seen.extend(one.seen.clone());
            found.times.extend(one.times.clone());
        }
        let decision = found.decide(&usual, 0.6, Some(&reliability));
        let corrected = decision.reasons.iter().find_map(|reason| match reason {
            Reason::ManyPeople { corrected, threshold, .. } => Some((*corrected, *threshold)),
            _ => None,
        });
        (decision.verdict, corrected)
    };
    let (verdict, limits) = among(12, 0.84);
    let (corrected, alone) = limits.unwrap();
    assert!(verdict == Verdict::Uncertain && (0.81..0.84).contains(&alone) && corrected > 0.84, "{limits:?}");
    let (_, of_few) = among(3, 0.92);
    assert!(of_few.unwrap().0 > corrected, "{of_few:?} {limits:?}");
    assert_eq!(among(12, corrected + 0.001).0, Verdict::Fake);
    // A small face in the background does not hide a person who is FAKE over so many looks.
    let mut hidden = timed(1.0, &[(0.84, 12)]);
    hidden.probabilities.push(vec![0.97; 12]);
    hidden.sizes.push(vec![20.0; 12]);
    hidden.confidences.push(vec![0.999; 12]);
    hidden.qualities.push(vec![clear(); 12]);
    hidden.times.push(hidden.times[0].clone());
    hidden.seen.push(Vec::new());
    let decision = hidden.decide(&usual, 0.6, Some(&reliability));
    assert_eq!(decision.verdict, Verdict::Fake, "{:?}", decision.reasons);
    // Blurred faces count less.
    let mut blurred = timed(1.0, &[(0.84, 12)]);
    blurred.qualities[0].iter_mut().for_each(|quality| quality.detail = 55.0);
    let decision = blurred.decide(&usual, 0.6, Some(&reliability));
    assert!(decision.uncertain_band > often.uncertain_band, "{decision:?}");
    reliability.face_correlation = None;
    let decision = timed(1.0, &[(0.84, 12)]).decide(&usual, 0.6, Some(&reliability));
    assert_eq!((decision.verdict, decision.uncertain_band), (Verdict::Uncertain, 0.29));
}

/// Returns 25 real people with a realistic distribution of scores; the highest score is 0.75.
fn gallery() -> Findings {
    let tracks: Vec<_> = (0..25).map(|person| (0.75 * (1.0 - person as f32 / 25.0).powi(3), 8, clear())).collect();
    seen(&tracks)
}

#[test]
fn the_worst_of_many_real_people_is_not_called_fake() {
    let decision = judge(&gallery());
    assert_eq!((decision.verdict, decision.fake_probability), (Verdict::Uncertain, Some(0.75)));
    let Reason::ManyPeople { people: 25, fake_probability: 0.75, threshold, corrected } = decision.reasons[0] else {
        panic!("{:?}", decision.reasons)
    };
    assert!((threshold - 0.65).abs() < 1e-6, "one alone is FAKE above the band: {threshold}");
    assert!((0.9..0.98).contains(&corrected), "{corrected}");
    let sentence = decision.reasons[0].to_string();
    assert!(
        sentence.starts_with(
            "Of 25 people in view one may look forged by chance: the most suspicious has 75 %; FAKE takes 9"
        ),
        "{sentence}"
    );
    assert!(sentence.ends_with("among so many, and 65 % for one alone."), "{sentence}");
}

#[test]
fn one_clear_forgery_among_several_people_is_found() {
    let mut tracks = vec![(0.2, 8, clear()); 4];
    tracks.push((0.97, 8, clear()));
    assert_eq!(judge(&seen(&tracks)).verdict, Verdict::Fake);
}

#[test]
fn a_single_person_is_judged_by_the_uncorrected_threshold() {
    assert_eq!(judge(&seen(&[(0.7, 8, clear())])).verdict, Verdict::Fake);
    let beside_blurred = judge(&seen(&[(0.7, 8, clear()), (0.1, 8, blurred()), (0.1, 8, blurred())]));
    assert_eq!(beside_blurred.verdict, Verdict::Fake, "who cannot be judged is no further chance");
}

#[test]
fn without_a_curve_of_false_alarms_many_people_are_judged_as_one() {
    let mut reliability = reliability();
    reliability.false_alarms.clear();
    let config = AnalyzerConfig::new();
    assert_eq!(gallery().decide(&config, 0.6, Some(&reliability)).verdict, Verdict::Fake);
    assert_eq!(gallery().decide(&config, 0.6, None).verdict, Verdict::Fake);
}

#[test]
fn the_corrected_threshold_keeps_the_rate_of_false_alarms_of_a_clip() {
    let mut reliability = reliability();
    // The rate is 1 in 10 at 0.5 and 1 in 100 at 0.9, and its logarithm is linear in the log-odds of the probability.
    reliability.false_alarms = [(0.5, 0.1), (0.9, 0.01)].map(|(p, rate)| FalseAlarms::new(p, rate)).into();
    for people in [2, 5, 20, 50] {
        let corrected = f64::from(reliability.threshold_among(people, 0.5));
        let rate = 0.1 * 0.1_f64.powf((corrected / (1.0 - corrected)).ln() / 9_f64.ln());
        let of_a_clip = 1.0 - (1.0 - rate).powi(people as i32);
        assert!((of_a_clip - 0.1).abs() < 1e-3, "{people}: {of_a_clip}");
    }
    assert_eq!(reliability.threshold_among(1, 0.5), 0.5);
    assert_eq!(reliability.threshold_among(100_000, 0.5), 0.999);
    assert_eq!(reliability.threshold_among(9, 0.9995), 0.9995);
    for flat in [vec![], vec![(0.5, 0.0)], vec![(0.2, 1.0), (0.9, 1.0)], vec![(0.5, 0.1)], vec![(0.0, 1.0), (1.0, 0.0)]]
    {
        reliability.false_alarms = flat.into_iter().map(|(p, rate)| FalseAlarms::new(p, rate)).collect();
        let corrected = reliability.threshold_among(10, 0.6);
        assert!((0.6..=0.999).contains(&corrected), "{corrected}");
    }
}

#[test]
fn the_verdict_real_names_the_share_of_missed_fakes_where_it_was_measured() {
    let mut reliability = reliability();
    let decide =
        |p, reliability: &Reliability| seen(&[(p, 8, clear())]).decide(&AnalyzerConfig::new(), 0.6, Some(reliability));
    assert_eq!(decide(0.1, &reliability).reasons.len(), 1);
    reliability.missed_fakes = [("celebdf".to_owned(), 0.04), ("dfdc".to_owned(), 0.22)].into();
    let real = decide(0.1, &reliability);
    assert_eq!(real.verdict, Verdict::Real);
    assert_eq!(
        real.reasons[1].to_string(),
        "Of fakes of people it was not trained on, the model calls 4 % (celebdf), 22 % (dfdc) REAL: a REAL is weak \
         evidence."
    );
    for other in [0.9, 0.6] {
        assert_eq!(decide(other, &reliability).reasons.len(), if other == 0.9 { 1 } else { 2 });
    }
}

#[test]
fn a_few_seconds_of_forgery_in_a_long_clip_decide_and_are_named() {
    // Five minutes real, eight seconds forged, five minutes real, looked at every two seconds and closer around the
    // forgery.
    let mut found = timed(2.0, &[(0.1, 150), (0.97, 4), (0.1, 150)]);
    let first = found.seen[0][0];
    for between in 0..16 {
        let (time, probability) = (300.0 + 0.5 * f64::from(between), 0.97);
        found.seen[0].push(Seen { time, probability, ..first });
    }
    found.seen[0].sort_by(|a, b| a.time.total_cmp(&b.time));
    let decision = judge(&found);
    assert_eq!((decision.verdict, decision.fake_probability), (Verdict::Fake, Some(0.97)));
    assert_eq!(
        decision.reasons[0].to_string(),
        "Person 1 looks forged from 5:00 to 5:08: 97 % over 20 faces, at or above the threshold of 60 %. Over the \
         whole clip the person has 11.1 %."
    );
    assert!(!decision.reasons.iter().any(|reason| matches!(reason, Reason::DecidedByTrack { .. })));
    let [segment] = decision.segments[..] else { panic!("{:?}", decision.segments) };
    assert_eq!((segment.track, segment.start, segment.end, segment.faces), (0, 300.0, 307.5, 20));
}

#[test]
fn seconds_that_do_not_stand_out_enough_are_uncertain_and_named() {
    let decision = judge(&timed(2.0, &[(0.3, 150), (0.8, 4), (0.3, 150)]));
    assert_eq!((decision.verdict, decision.fake_probability.map(|p| p < 0.32)), (Verdict::Uncertain, Some(true)));
    assert!(
        matches!(decision.reasons[0], Reason::SuspiciousSegment { track: 0, faces: 4, moments: 101, .. }),
        "{:?}",
        decision.reasons
    );
    assert_eq!(
        decision.reasons[0].to_string(),
        "Person 1 may be forged from 5:00 to 5:06: 80 % over 4 faces. Among 101 such moments of real people one may \
         look so by chance, so FAKE takes 98.4 % there; look at these seconds yourself."
    );
}

#[test]
fn seconds_in_another_shot_are_not_compared_with_the_rest() {
    let mut found = timed(2.0, &[(0.1, 150), (0.97, 4), (0.1, 150)]);
    assert_eq!(judge(&found).verdict, Verdict::Fake);
    found.seen[0][150..154].iter_mut().for_each(|seen| seen.shot = 1);
    assert_eq!(judge(&found).verdict, Verdict::Uncertain, "perhaps another person in the same place");
}

#[test]
fn without_measured_false_alarms_seconds_never_decide() {
    let found = timed(2.0, &[(0.1, 150), (0.97, 4), (0.1, 150)]);
    assert_eq!(found.decide(&AnalyzerConfig::new(), 0.6, None).verdict, Verdict::Uncertain);
    let mean = AnalyzerConfig::new().with_aggregation(Aggregation::MeanOfFaces);
    let decision = found.decide(&mean, 0.6, Some(&reliability()));
    assert_eq!((decision.verdict, decision.segments.len()), (Verdict::Real, 0), "tracks do not decide");
}

#[test]
fn a_short_clip_has_one_moment_and_is_judged_as_before() {
    let found = timed(0.54, &[(0.1, 20), (0.97, 10)]);
    let decision = judge(&found);
    assert_eq!((decision.verdict, decision.segments.len()), (Verdict::Real, 0));
    assert_eq!(decision, judge(&Findings { seen: Vec::new(), ..found }));
}

#[test]
fn a_long_clip_of_a_real_person_names_its_most_suspicious_seconds_and_stays_real() {
    let decision = judge(&timed(2.0, &[(0.1, 200), (0.4, 5), (0.1, 200)]));
    assert_eq!(decision.verdict, Verdict::Real);
    let [segment] = decision.segments[..] else { panic!("{:?}", decision.segments) };
    assert_eq!((segment.start, segment.end), (400.0, 404.0));
    assert!(segment.fake_probability < 0.41);
}

#[test]
fn the_rate_of_false_alarms_by_seconds_does_not_grow_with_the_length() {
    // Persons are drawn from the measured rates, and their moments spread around them as real ones do.
    let reliability = reliability();
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    let log_odds = |p: f64| (p / (1.0 - p)).ln();
    let mut rates = Vec::new();
    for moments in [8, 64, 512] {
        let fake = (0..400).filter(|_| {
            // A person who is not called FAKE as a whole.
            let person = log_odds(0.5 * uniform().max(0.02));
            let mut faces = Vec::new();
            for _ in 0..moments {
                let draw = uniform();
                let strayed = person + 0.5 * (draw / (1.0 - draw)).ln();
                faces.push(((1.0 / (1.0 + (-strayed).exp())) as f32, 8));
            }
            let decision = timed(0.5, &faces).decide(&AnalyzerConfig::new(), 0.6, Some(&reliability));
            decision.verdict == Verdict::Fake
        });
        rates.push(fake.count());
    }
    // One person alone is called FAKE in 5 of 100 cases.
    assert!(rates.iter().all(|&fake| fake <= 20), "{rates:?} of 400");
}

#[test]
fn a_closer_look_is_taken_around_the_highest_faces_of_a_sparse_look() {
    let config = AnalyzerConfig::new();
    let found = timed(2.0, &[(0.1, 150), (0.97, 4), (0.1, 100), (0.7, 1), (0.1, 50)]);
    let times = found.closer_times(&config, 0.6, Some(&reliability()), 240);
    assert!(times.is_sorted() && times.windows(2).all(|pair| pair[1] - pair[0] >= 0.5));
    let around = |time: f64| times.iter().filter(|at| (*at - time).abs() <= 4.0).count();
    assert_eq!((around(300.0), around(304.0), around(508.0)), (17, 17, 17), "{times:?}");
    assert_eq!(times.len(), 17 + 8 + 17);
    assert_eq!(found.closer_times(&config, 0.6, Some(&reliability()), 5).len(), 5);
    assert!(found.closer_times(&config, 0.99, Some(&reliability()), 240).is_empty());
    let dense = timed(0.5, &[(0.1, 150), (0.97, 16), (0.1, 150)]);
    assert!(dense.closer_times(&config, 0.6, Some(&reliability()), 240).is_empty(), "nothing more would be seen");
}

#[test]
fn a_clip_of_which_too_little_was_seen_is_not_real_but_may_be_fake() {
    let cut = |p: f32| {
        let mut found = seen(&[(p, 8, clear())]);
        found.coverage = Coverage { seen: 15.0, duration: Some(58.0), share: Some(15.0 / 58.0), ..Coverage::default() };
        judge(&found)
    };
    let real = cut(0.1);
    assert_eq!((real.verdict, real.fake_probability), (Verdict::Uncertain, Some(0.1)));
    assert_eq!(
        real.reasons[0].to_string(),
        "Only 15 of 58 s (25.9 %) of the clip could be seen; what the rest shows is not known."
    );
    let fake = cut(0.95);
    assert_eq!(fake.verdict, Verdict::Fake);
    assert_eq!(fake.reasons[1].to_string(), "Only 15 of 58 s (25.9 %) of the clip could be seen.");
}

#[test]
fn a_sparse_look_and_a_look_that_found_nobody_say_how_densely_they_looked() {
    let said = |interval: f64, mut found: Findings| {
        found.coverage = Coverage { frames: 30, interval: Some(interval), ..Coverage::default() };
        let sentences: Vec<String> = decide(&found).reasons.iter().map(ToString::to_string).collect();
        sentences.into_iter().find(|sentence| sentence.contains("looked at"))
    };
    let sparse = "30 frames were looked at, one every 21 s: what lasts a shorter time may be missed. More frames show \
                  more (setting fps).";
    assert_eq!(said(21.0, findings(&[(&[0.1; 10], 80.0)])).as_deref(), Some(sparse));
    assert_eq!(said(0.5, findings(&[(&[0.1; 10], 80.0)])), None);
    assert!(said(0.5, findings(&[])).is_some_and(|sentence| sentence.contains("one every 0.5 s")));
    let flicker: Vec<(&[f32], f32)> = vec![(&[0.9], 80.0); 8];
    assert!(said(0.5, findings(&flicker)).is_some());
}
