//! Thresholds and temperatures do what they are asked to.
#![allow(clippy::unwrap_used)]

use deepsight_train::{Error, Label, Metric, Scored, Scores, ThresholdRule, calibrate, fit_threshold};
use proptest::prelude::*;

fn videos(scores: &[(f64, bool)]) -> Vec<Scored> {
    let label = |fake| if fake { Label::Fake } else { Label::Real };
    let named = scores.iter().enumerate();
    named.map(|(video, (p, fake))| Scored::from_probability(video.to_string(), label(*fake), *p)).collect()
}

#[test]
fn equally_good_thresholds_are_settled_by_the_one_nearest_to_a_half() {
    let apart = videos(&[(0.1, false), (0.2, false), (0.6, true), (0.9, true)]);
    assert_eq!(fit_threshold(&apart, ThresholdRule::BalancedAccuracy).unwrap(), 0.5);
    let high = videos(&[(0.7, false), (0.8, true)]);
    assert_eq!(fit_threshold(&high, ThresholdRule::BalancedAccuracy).unwrap(), f64::from(0.75f32));
}

#[test]
fn faces_of_many_faced_videos_do_not_outvote_the_others() {
    // One real video with a hundred sure faces, one with a single wrong one: the temperature must see two videos.
    let mut faces: Vec<Scored> = (0..100).map(|_| Scored::from_logit("many", Label::Real, -4.0)).collect();
    faces.push(Scored::from_logit("one", Label::Real, 4.0));
    faces.push(Scored::from_logit("a", Label::Fake, 4.0));
    let temperature = calibrate(&faces, ThresholdRule::BalancedAccuracy).unwrap().temperature;
    // Three quarters of the weight are right: the probability that fits is 3 / 4.
    assert!((temperature - 4.0 / 3f64.ln()).abs() < 1e-9, "{temperature}");
}

#[test]
fn one_class_or_an_impossible_rate_is_refused() {
    let fakes = videos(&[(0.7, true), (0.8, true)]);
    let error = calibrate(&fakes, ThresholdRule::BalancedAccuracy).unwrap_err();
    assert_eq!(error.to_string(), "a temperature needs real and fake faces, but all 2 are fake");
    for rate in [-0.1, 1.0, f64::NAN] {
        let error = fit_threshold(&fakes, ThresholdRule::FalsePositiveRate(rate)).unwrap_err();
        assert!(matches!(error, Error::Setting { name: "fpr", .. }), "{error}");
    }
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
            prop_assert!(lower.get(Metric::FalsePositiveRate).unwrap() > rate || lower.get(Metric::FakeRecall) <= found);
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
