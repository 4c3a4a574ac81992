//! Compares the metrics with scikit-learn's; see `metrics/export.py`.

use deepsight_train::calibrate::fit_temperature;
use deepsight_train::metrics::{Bootstrap, Metric, Metrics, Scores, video_scores};
use deepsight_train::{Label, Scored, frame_auc, video_auc};
use proptest::prelude::*;
use serde_json::Value;

use crate::numbers;

const TOLERANCE: f64 = 1e-9;

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("metrics/expected.json")).unwrap()
}

fn faces(case: &Value) -> Vec<Scored> {
    let videos = case["videos"].as_array().unwrap();
    let logits = numbers(&case["logits"]);
    let labels = numbers(&case["labels"]).into_iter().map(|fake| if fake == 1.0 { Label::Fake } else { Label::Real });
    let face =
        |((video, label), logit): ((&Value, Label), f64)| Scored::from_logit(video.as_str().unwrap(), label, logit);
    videos.iter().zip(labels).zip(logits).map(face).collect()
}

fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= TOLERANCE, "{what}, {place}: {found} is not {expected}");
    }
}

fn assert_agree(found: &Metrics, expected: &Value, what: &str) {
    for (metric, value) in found.iter() {
        let wanted = expected["metrics"].get(metric.name()).and_then(Value::as_f64);
        match (value, wanted) {
            (Some(value), Some(wanted)) => assert_close(&[value], &[wanted], &format!("{what}: {metric}")),
            (None, None) => {}
            _ => panic!("{what}: {metric} is {value:?}, not {wanted:?}"),
        }
    }
    let counts = found.confusion;
    let counts = [[counts.real_as_real, counts.real_as_fake], [counts.fake_as_real, counts.fake_as_fake]];
    assert_eq!(serde_json::json!(counts), expected["confusion"], "{what}");
}

#[test]
fn every_metric_matches_scikit_learns_over_faces_and_over_videos() {
    for case in cases() {
        let (faces, threshold) = (faces(&case), case["threshold"].as_f64().unwrap());
        let name = case["name"].as_str().unwrap();
        assert_agree(&Scores::of_faces(&faces).unwrap().metrics(threshold), &case["of_faces"], name);
        assert_agree(&Scores::of_videos(&faces).unwrap().metrics(threshold), &case["of_videos"], name);
        assert_eq!(video_auc(&faces).unwrap(), Scores::of_videos(&faces).unwrap().auc());
        assert_eq!(frame_auc(&faces).unwrap().is_some(), case.get("roc").is_some());
    }
}

#[test]
fn curves_have_the_points_of_scikit_learns() {
    for case in cases().iter().filter(|case| case.get("roc").is_some()) {
        let name = case["name"].as_str().unwrap();
        let scores = Scores::of_faces(&faces(case)).unwrap();
        let roc = scores.roc_curve().unwrap();
        assert_close(&roc.false_positive_rate, &numbers(&case["roc"]["fpr"]), name);
        assert_close(&roc.true_positive_rate, &numbers(&case["roc"]["tpr"]), name);
        assert_close(&roc.thresholds[1..], &numbers(&case["roc"]["thresholds"]), name);
        let curve = scores.precision_recall_curve().unwrap();
        assert_close(&curve.precision, &numbers(&case["pr"]["precision"]), name);
        assert_close(&curve.recall, &numbers(&case["pr"]["recall"]), name);
        assert_close(&curve.thresholds, &numbers(&case["pr"]["thresholds"]), name);
    }
}

#[test]
fn the_temperature_matches_that_of_a_search_for_the_least_cross_entropy() {
    for case in cases().iter().filter(|case| case.get("temperature").is_some()) {
        let (found, expected) = (fit_temperature(&faces(case)).unwrap(), case["temperature"]["at"].as_f64().unwrap());
        // Golden-section search ends where the loss no longer changes in its last digit.
        assert!((found / expected).ln().abs() < 1e-5, "{}: {found} is not {expected}", case["name"]);
    }
}

#[test]
fn one_class_lacks_only_the_metrics_that_need_both() {
    let faces = [1.0, -2.0].map(|logit| Scored::from_logit("a", Label::Fake, logit));
    let scores = Scores::of_faces(&faces).unwrap();
    let metrics = scores.metrics(0.5);
    assert_eq!(scores.only_class(), Some(Label::Fake));
    for metric in [Metric::Auc, Metric::EqualErrorRate, Metric::TprAtOnePerMille, Metric::BalancedAccuracy] {
        assert_eq!(metrics.get(metric), None, "{metric}");
        assert_eq!(metric.needs(), "it needs reals and fakes");
    }
    assert_eq!(metrics.get(Metric::FalsePositiveRate), None);
    assert_eq!(metrics.get(Metric::Accuracy), Some(0.5));
    assert!(scores.roc_curve().is_none() && scores.precision_recall_curve().is_none());
}

#[test]
fn a_real_and_a_fake_video_of_one_name_are_two() {
    let faces = [("a", Label::Real, -2.0), ("a", Label::Fake, 2.0), ("a", Label::Fake, 0.0)]
        .map(|(video, label, logit)| Scored::from_logit(video, label, logit));
    let videos = video_scores(&faces);
    assert_eq!(videos.iter().map(|video| video.faces).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(video_auc(&faces).unwrap(), Some(1.0));
}

#[test]
fn an_invalid_probability_is_reported_with_its_video_and_frame() {
    for value in [f64::NAN, -0.1, 1.5, f64::INFINITY] {
        let mut face = Scored::from_probability("clip", Label::Real, value);
        face.frame = Some(7);
        let message = Scores::of_faces(&[face]).unwrap_err().to_string();
        assert!(message.contains("video clip, frame 7") && message.contains(&value.to_string()), "{message}");
    }
    assert!(Scores::of_videos(&[]).unwrap_err().to_string().contains("nothing to measure"));
}

fn clips(reals: usize, fakes: usize, faces: usize, seed: u64) -> Vec<Scored> {
    let mut state = seed | 1;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    let mut scored = Vec::new();
    for (label, count, mean) in [(Label::Real, reals, -0.6), (Label::Fake, fakes, 0.6)] {
        for video in 0..count {
            let of_video = mean + 2.0 * noise();
            scored.extend((0..faces).map(|_| Scored::from_logit(video.to_string(), label, of_video + 0.2 * noise())));
        }
    }
    scored
}

#[test]
fn intervals_depend_on_the_seed_contain_the_value_and_narrow_with_more_videos() {
    let bootstrap = Bootstrap::default().with_replicates(400).with_seed(3);
    let width = |videos| {
        let scores = Scores::of_faces(&clips(videos, videos, 4, 5)).unwrap();
        let intervals = scores.intervals(0.5, bootstrap);
        assert_eq!(intervals, scores.intervals(0.5, bootstrap));
        assert_ne!(intervals, scores.intervals(0.5, bootstrap.with_seed(4)));
        let [low, high] = intervals.get(Metric::Auc).unwrap();
        assert!((low..=high).contains(&scores.auc().unwrap()));
        high - low
    };
    assert!(width(160) < 0.7 * width(20));
}

#[test]
fn intervals_do_not_narrow_with_more_faces_of_the_same_videos() {
    let bootstrap = Bootstrap::default().with_replicates(400);
    let width = |faces| {
        let scores = Scores::of_faces(&clips(30, 30, faces, 5)).unwrap();
        let [low, high] = scores.intervals(0.5, bootstrap).get(Metric::Auc).unwrap();
        high - low
    };
    assert!(width(40) > 0.7 * width(2), "40 alike faces of a video must not count as 40 videos");
}

#[test]
fn a_class_of_one_video_gives_no_intervals() {
    let scores = Scores::of_faces(&clips(1, 20, 4, 5)).unwrap();
    let intervals = scores.intervals(0.5, Bootstrap::default().with_replicates(10));
    assert!(Metric::ALL.into_iter().all(|metric| intervals.get(metric).is_none()));
}

proptest! {
    #[test]
    fn the_auc_is_the_share_of_pairs_in_the_right_order(
        logits in prop::collection::vec((-3i8..3, any::<bool>()), 2..40),
    ) {
        let faces: Vec<Scored> = logits
            .iter()
            .map(|(logit, fake)| {
                Scored::from_logit("a", if *fake { Label::Fake } else { Label::Real }, f64::from(*logit))
            })
            .collect();
        let of = |fake| logits.iter().filter(move |face| face.1 == fake).map(|face| face.0);
        let win = |fake: i8, real: i8| f64::from(i8::from(fake > real)) + f64::from(i8::from(fake == real)) / 2.0;
        let wins: Vec<f64> = of(true).flat_map(|fake| of(false).map(move |real| win(fake, real))).collect();
        let expected = (!wins.is_empty()).then(|| wins.iter().sum::<f64>() / wins.len() as f64);
        let found = frame_auc(&faces).unwrap();
        prop_assert_eq!(found.is_some(), expected.is_some());
        prop_assert!((found.unwrap_or(0.0) - expected.unwrap_or(0.0)).abs() < 1e-12);
    }

    #[test]
    fn every_metric_lies_between_0_and_1_but_the_log_loss(
        logits in prop::collection::vec((-50.0..50.0f64, any::<bool>(), 0..9u8), 1..60),
        threshold in 0.0..=1.0,
    ) {
        let face = |(logit, fake, video): &(f64, bool, u8)| {
            Scored::from_logit(video.to_string(), if *fake { Label::Fake } else { Label::Real }, *logit)
        };
        let faces: Vec<Scored> = logits.iter().map(face).collect();
        for scores in [Scores::of_faces(&faces).unwrap(), Scores::of_videos(&faces).unwrap()] {
            for (metric, value) in scores.metrics(threshold).iter().filter(|(metric, _)| *metric != Metric::LogLoss) {
                prop_assert!(value.is_none_or(|value| (0.0..=1.0).contains(&value)), "{} is {:?}", metric, value);
            }
        }
    }
}
