//! Tests of thresholds, temperatures, uncertain bands and false-alarm curves.

use deepsight_core::Reliability;
use deepsight_train::calibrate::{
    ThresholdRule, VerdictAim, calibrate, face_correlation, false_alarms, fit_temperature, fit_threshold, fit_verdicts,
    measure_verdicts,
};
use deepsight_train::evaluate::FittedOn;
use deepsight_train::metrics::{Metric, Scores, balanced_calibration_error};
use deepsight_train::{Error, Label, Scored};
use proptest::prelude::*;

fn videos(scores: &[(f64, bool)]) -> Vec<Scored> {
    let label = |fake| if fake { Label::Fake } else { Label::Real };
    let named = scores.iter().enumerate();
    named.map(|(video, (p, fake))| Scored::from_probability(video.to_string(), label(*fake), *p)).collect()
}

#[test]
fn of_equally_good_thresholds_the_one_nearest_to_a_half_is_chosen() {
    let apart = videos(&[(0.1, false), (0.2, false), (0.6, true), (0.9, true)]);
    assert_eq!(fit_threshold(&apart, ThresholdRule::BalancedAccuracy).unwrap(), 0.5);
    let high = videos(&[(0.7, false), (0.8, true)]);
    assert_eq!(fit_threshold(&high, ThresholdRule::BalancedAccuracy).unwrap(), f64::from(0.75f32));
}

#[test]
fn videos_with_many_faces_do_not_outvote_others() {
    // One real video has a hundred confident faces, another a single wrong one. Both must have the same weight.
    let mut faces: Vec<Scored> = (0..100).map(|_| Scored::from_logit("many", Label::Real, -4.0)).collect();
    faces.push(Scored::from_logit("one", Label::Real, 4.0));
    faces.push(Scored::from_logit("a", Label::Fake, 4.0));
    let temperature = calibrate(&faces, ThresholdRule::BalancedAccuracy).unwrap().temperature;
    // Three quarters of the weight are right, so the calibrated probability is 3 / 4.
    assert!((temperature - 4.0 / 3f64.ln()).abs() < 1e-9, "{temperature}");
}

#[test]
fn one_class_or_an_impossible_rate_is_refused() {
    let fakes = videos(&[(0.7, true), (0.8, true)]);
    let error = calibrate(&fakes, ThresholdRule::BalancedAccuracy).unwrap_err();
    assert_eq!(error.to_string(), "a temperature needs real and fake faces, but all 2 are fake");
    for rate in [-0.1, 1.0, f64::NAN] {
        let error = fit_threshold(&fakes, ThresholdRule::FalsePositiveRate(rate)).unwrap_err();
        assert!(matches!(error, Error::Setting { name: "false_positive_rate", .. }), "{error}");
    }
}

#[test]
fn faces_of_a_video_correlate_by_the_share_of_the_variance_between_videos() {
    // Logits of a video lie around 2 or -2 by 1 or -1, and those of its faces around that by 0.5 or -0.5: variances of
    // 1 and 0.25.
    let class = |label: Label, middle: f64, videos: usize| {
        (0..videos).flat_map(move |video| {
            let of_video = middle + if video % 2 == 0 { 1.0 } else { -1.0 };
            let faces = if video % 4 < 2 { 40 } else { 8 };
            (0..faces).map(move |face| {
                let logit = of_video + if face % 2 == 0 { 0.5 } else { -0.5 };
                Scored::from_logit(format!("{video}"), label, logit)
            })
        })
    };
    let mut faces: Vec<Scored> = class(Label::Real, -2.0, 60).chain(class(Label::Fake, 2.0, 60)).collect();
    let correlation = face_correlation(&faces).unwrap();
    assert!((correlation - 0.8).abs() < 0.01, "{correlation}");

    // The mean of many looks is better evidence than one face, so fewer videos are UNCERTAIN.
    let mut reliability = Reliability::new(0.44);
    let decided = |reliability: &Reliability| measure_verdicts(&faces, 0.5, reliability).unwrap().sources[0].decided;
    assert_eq!(decided(&reliability), 0.5);
    reliability.face_correlation = Some(0.1);
    assert_eq!(decided(&reliability), 1.0);

    // The band of videos with several faces suits them already, so only one of single faces is narrowed.
    let stored = |faces: &[Scored]| {
        let fitted = FittedOn::fit(faces, VerdictAim::new(ThresholdRule::BalancedAccuracy), None).unwrap();
        fitted.reliability.face_correlation
    };
    assert_eq!(stored(&faces), None);
    let of_single_faces = ["one", "other"].into_iter().flat_map(|source| {
        videos(&[(0.2, false), (0.7, false), (0.4, true), (0.9, true)]).into_iter().map(move |mut face| {
            face.source = source.into();
            face
        })
    });
    let mixed: Vec<Scored> = faces.iter().cloned().chain(of_single_faces).collect();
    assert_eq!(stored(&mixed), Some(correlation as f32));

    // A source of one face for each video does not count, however much they differ.
    let single = |n: usize| {
        let mut face = Scored::from_logit(format!("{n}"), Label::Real, 50.0 * n as f64);
        face.source = "single".into();
        face
    };
    faces.extend((0..100).map(single));
    assert_eq!(face_correlation(&faces), Some(correlation));
    assert_eq!(
        face_correlation(&class(Label::Real, -2.0, 60).chain(class(Label::Fake, 2.0, 19)).collect::<Vec<_>>()),
        None
    );
    assert_eq!(face_correlation(&[]), None);
}

proptest! {
    #[test]
    fn a_target_rate_is_kept_and_no_lower_threshold_would_keep_it(
        reals in prop::collection::vec(0.0..0.999f64, 1..30),
        fakes in prop::collection::vec(0.0..=1.0f64, 1..30),
        rate in 0.0..0.9f64,
    ) {
        let scores: Vec<_> = reals.iter().map(|p| (*p, false)).chain(fakes.iter().map(|p| (*p, true))).collect();
        let faces = videos(&scores);
        let threshold = fit_threshold(&faces, ThresholdRule::FalsePositiveRate(rate)).unwrap();
        prop_assert_eq!(threshold, f64::from(threshold as f32));
        let scores = Scores::of_videos(&faces).unwrap();
        let metrics = scores.metrics(threshold);
        prop_assert!(metrics.get(Metric::FalsePositiveRate).unwrap() <= rate);
        let found = metrics.get(Metric::FakeRecall);
        for lower in reals.iter().chain(&fakes).filter(|score| **score < threshold) {
            let lower = scores.metrics(*lower);
            let false_positive_rate = lower.get(Metric::FalsePositiveRate).unwrap();
            prop_assert!(false_positive_rate > rate || lower.get(Metric::FakeRecall) <= found);
        }
    }

    #[test]
    fn no_threshold_is_more_balanced_than_the_one_that_is_found(
        scores in prop::collection::vec((0.0..=1.0f64, any::<bool>()), 2..40),
    ) {
        prop_assume!(scores.iter().any(|score| score.1) && scores.iter().any(|score| !score.1));
        let faces = videos(&scores);
        let threshold = fit_threshold(&faces, ThresholdRule::BalancedAccuracy).unwrap();
        let videos = Scores::of_videos(&faces).unwrap();
        let balance = |at: f64| videos.metrics(at).get(Metric::BalancedAccuracy).unwrap();
        for (other, _) in &scores {
            prop_assert!(balance(*other) <= balance(threshold) + 1e-6, "{} beats {}", other, threshold);
        }
    }
}

/// Returns videos of one source. The scores of its reals and of its fakes are each evenly spread over a range.
fn source(name: &str, reals: (usize, f64, f64), fakes: (usize, f64, f64)) -> Vec<Scored> {
    let class = |label: Label, (count, low, high): (usize, f64, f64)| {
        let score = move |n: usize| low + (high - low) * (n as f64 + 0.5) / count as f64;
        (0..count).map(move |n| Scored::from_probability(format!("{n}"), label, score(n)))
    };
    let videos = class(Label::Real, reals).chain(class(Label::Fake, fakes));
    videos.map(|face| face.with_source(name)).collect()
}

#[test]
fn a_source_of_many_videos_does_not_outvote_a_small_one() {
    let face = |source: &str, n: u32, label, logit| Scored::from_logit(n.to_string(), label, logit).with_source(source);
    let mut faces: Vec<Scored> =
        (0..100).flat_map(|n| [face("large", n, Label::Real, -4.0), face("large", n, Label::Fake, 4.0)]).collect();
    faces.extend([face("small", 0, Label::Real, 4.0), face("small", 0, Label::Fake, -4.0)]);
    // Half of the weight is wrong, so the highest temperature fits best.
    assert!(fit_temperature(&faces).unwrap() > 19.0);
    faces.truncate(200);
    assert!(fit_temperature(&faces).unwrap() < 0.06);
}

#[test]
fn a_false_positive_rate_is_kept_in_every_source() {
    let easy = source("easy", (400, 0.0, 0.2), (400, 0.5, 1.0));
    let hard = source("hard", (20, 0.2, 0.8), (20, 0.4, 1.0));
    let rule = ThresholdRule::FalsePositiveRate(0.1);
    let own = fit_threshold(&hard, rule).unwrap();
    let both = [easy.clone(), hard.clone()].concat();
    let threshold = fit_threshold(&both, rule).unwrap();
    assert!(threshold >= own - 0.02 && threshold > fit_threshold(&easy, rule).unwrap(), "{threshold}");
    for faces in [&easy, &hard] {
        let rate = Scores::of_videos(faces).unwrap().metrics(threshold).get(Metric::FalsePositiveRate);
        assert!(rate.unwrap() <= 0.1, "{rate:?}");
    }
}

#[test]
fn the_band_has_the_width_and_place_that_the_worst_source_needs() {
    let easy = source("easy", (200, 0.0, 0.3), (200, 0.7, 1.0));
    // Reals of this source score up to 0.6, and none of its fakes below 0.45.
    let hard = source("hard", (100, 0.0, 0.6), (100, 0.45, 1.0));
    let aim = VerdictAim::new(ThresholdRule::BalancedAccuracy);
    let alone = fit_verdicts(&easy, aim).unwrap();
    assert_eq!((alone.uncertain_band, alone.reached), (0.0, true));
    let faces = [easy, hard].concat();
    let limits = fit_verdicts(&faces, aim).unwrap();
    assert!(limits.reached);
    let measured = measure_verdicts(&faces, limits.threshold, &Reliability::new(limits.uncertain_band as f32)).unwrap();
    for source in &measured.sources {
        assert!(source.right.unwrap() >= 0.9 && source.reals_called_fake.unwrap() <= 0.05, "{source:?}");
        assert!(source.decided > 0.8, "{source:?}");
        assert_eq!(source.reals.iter().sum::<usize>(), if source.name == "easy" { 200 } else { 100 });
    }
    // A stricter aim needs a wider band.
    let mut strict = aim;
    (strict.right, strict.reals_called_fake) = (0.99, 0.0);
    let wider = fit_verdicts(&faces, strict).unwrap();
    assert!(wider.reached && wider.uncertain_band > limits.uncertain_band, "{wider:?} {limits:?}");
}

#[test]
fn scores_without_information_reach_no_aim_and_a_source_of_reals_counts() {
    let blind = source("blind", (50, 0.2, 0.8), (50, 0.2, 0.8));
    let aim = VerdictAim::new(ThresholdRule::BalancedAccuracy);
    let limits = fit_verdicts(&blind, aim).unwrap();
    assert!(!limits.reached && (0.0..=0.5).contains(&limits.uncertain_band), "{limits:?}");

    let easy = source("easy", (100, 0.0, 0.4), (100, 0.5, 1.0));
    let reals = source("reals", (100, 0.0, 0.7), (0, 0.0, 0.0));
    let faces = [easy.clone(), reals].concat();
    let limits = fit_verdicts(&faces, aim).unwrap();
    let upper = limits.threshold + limits.uncertain_band;
    assert!(limits.reached && upper > 0.66 && upper < 0.67, "at most 5 of 100 are called FAKE: {limits:?}");
    let measured = measure_verdicts(&faces, limits.threshold, &Reliability::new(limits.uncertain_band as f32)).unwrap();
    assert_eq!((measured.sources[1].fakes_called_real, measured.sources[1].right_fakes), (None, None));
    assert!(measured.sources[1].right.is_some());
}

#[test]
fn the_false_alarm_curve_is_never_zero_and_passes_validation() {
    let faces = [
        source("a", (400, 0.0, 0.9), (10, 0.5, 1.0)),
        source("b", (100, 0.0, 0.5), (0, 0.0, 0.0)),
        source("fakes", (0, 0.0, 0.0), (10, 0.5, 1.0)),
    ]
    .concat();
    let curve = false_alarms(&faces);
    assert!((12..=20).contains(&curve.len()), "{}", curve.len());
    assert_eq!((curve[0].probability, curve[0].rate), (0.0, 1.0));
    let last = curve.last().unwrap();
    let highest = 0.9 * 399.5 / 400.0;
    assert!((f64::from(last.probability) - highest).abs() < 1e-6);
    assert!((f64::from(last.rate) - (2.0 / 401.0 + 1.0 / 101.0) / 2.0).abs() < 2e-3, "{last:?}");
    let mut reliability = deepsight_core::Reliability::new(0.1);
    reliability.false_alarms = curve;
    reliability.validate().unwrap();
    assert!(reliability.false_alarms.iter().all(|point| point.rate > 0.0));
    assert!(false_alarms(&source("fakes", (0, 0.0, 0.0), (10, 0.5, 1.0))).is_empty());
    assert_eq!(false_alarms(&source("same", (10, 0.25, 0.25), (0, 0.0, 0.0))).len(), 2);
}

#[test]
fn the_calibration_error_weighs_classes_and_sources_equally() {
    let at = |p: f64, label, count: usize, offset: usize| {
        (0..count).map(move |n| Scored::from_probability(format!("{}", n + offset), label, p))
    };
    // A quarter of the scores of 0.25 is fake where both classes are equally frequent.
    let mixed = |reals: usize, fakes: usize| -> Vec<Scored> {
        let reals = at(0.25, Label::Real, 3 * reals, 0).chain(at(0.75, Label::Real, reals, 3 * reals));
        let fakes = at(0.25, Label::Fake, fakes, 0).chain(at(0.75, Label::Fake, 3 * fakes, fakes));
        reals.chain(fakes).collect()
    };
    assert!(balanced_calibration_error(&mixed(10, 10)) < 1e-9);
    assert!(balanced_calibration_error(&mixed(10, 90)) < 1e-9, "more fakes change nothing");
    let skewed = Scores::of_faces(&mixed(10, 90)).unwrap().metrics(0.5).get(Metric::ExpectedCalibrationError);
    assert!(skewed.unwrap() > 0.2, "{skewed:?}");
    let small: Vec<Scored> = at(1.0, Label::Real, 1, 0).chain(at(0.0, Label::Fake, 1, 0)).collect();
    let small = small.into_iter().map(|face| face.with_source("small"));
    let both: Vec<Scored> = mixed(100, 100).into_iter().chain(small).collect();
    assert!((balanced_calibration_error(&both) - 0.5).abs() < 1e-9, "half of the weight is wrong");
}
