//! The score of a clip after variations of it.

use deepsight_core::report::Variation;
use deepsight_core::{Analyzer, Reason, Report, Verdict};

use super::stand_ins::{Classifier, Detector, face, frames};

fn report(score: fn(u8) -> f32) -> Report {
    Analyzer::new(Detector::of(vec![face(20.0, 0.99)]), Classifier::of(score)).analyze(frames(6)).unwrap()
}

/// A report on a clip in which nobody is large enough to be judged.
fn too_small(score: fn(u8) -> f32) -> Report {
    let mut small = face(20.0, 0.99);
    (small.bounding_box.x2, small.bounding_box.y2) = (small.bounding_box.x1 + 20.0, small.bounding_box.y1 + 20.0);
    Analyzer::new(Detector::of(vec![small]), Classifier::of(score)).analyze(frames(6)).unwrap()
}

const HARSH: Variation = Variation::Recompressed { crf: 36 };

#[test]
fn a_score_that_moves_by_more_than_the_band_is_uncertain_and_says_by_what() {
    let variations = [
        (Variation::Mirrored, Ok(report(|_| 0.88))),
        (HARSH, Ok(report(|_| 0.3))),
        (Variation::HalfSize, Ok(report(|_| 0.8))),
    ];
    let report = report(|_| 0.9).with_stability(variations, 1.5);
    assert_eq!(report.verdict, Verdict::Uncertain);
    assert!(matches!(report.reasons[0], Reason::Unstable { variation: HARSH, .. }), "{:?}", report.reasons);
    assert_eq!(
        report.reasons[0].to_string(),
        "The score is not stable: 90 % for the clip, 30 % for the same clip recompressed (H.264 of CRF 36). A change \
         of up to 5 points is the model's noise."
    );
    let stability = report.stability.as_ref().unwrap();
    assert!((stability.largest_change.unwrap() - 0.6).abs() < 1e-6);
    assert_eq!((stability.limit, stability.seconds, stability.variations.len()), (0.05, 1.5, 3));
    assert_eq!(stability.variations[1].verdict, Some(Verdict::Real));
    let page = report.to_html();
    assert!(page.contains("<h2>Stability</h2>"), "{page}");
    assert!(page.contains("H.264 of CRF 36</th><td>REAL</td><td>30 %</td><td>60 %</td>"), "{page}");
}

#[test]
fn a_score_that_stays_within_the_band_keeps_its_verdict() {
    let variations = [(Variation::Mirrored, Ok(report(|_| 0.88))), (HARSH, Ok(report(|_| 0.94)))];
    let before = report(|_| 0.9);
    let after = before.clone().with_stability(variations, 0.0);
    assert_eq!((after.verdict, &after.reasons), (Verdict::Fake, &before.reasons));
    let mut read = Report::from_json(&after.to_json().unwrap()).unwrap();
    read.evidence.clone_from(&after.evidence);
    assert_eq!(read, after);
    assert!(!before.to_json().unwrap().contains("stability"));
}

#[test]
fn a_variation_that_cannot_be_judged_or_analyzed_says_so_and_does_not_count() {
    let variations = [(Variation::HalfSize, Ok(too_small(|_| 0.1))), (HARSH, Err("no encoder <libx264>".to_owned()))];
    let report = report(|_| 0.9).with_stability(variations, 0.0);
    assert_eq!(report.verdict, Verdict::Fake);
    assert_eq!(
        report.reasons.last().unwrap().to_string(),
        "Whether the score is stable is not known: of 2 variations of the clip, none could be compared with it."
    );
    let stability = report.stability.as_ref().unwrap();
    assert_eq!(stability.largest_change, None);
    assert_eq!((stability.variations[0].fake_probability, stability.variations[0].change), (Some(0.1), None));
    assert_eq!(stability.variations[1].error.as_deref(), Some("no encoder <libx264>"));
    let page = report.to_html();
    assert!(page.contains("not comparable: faces cannot be judged") && page.contains("no encoder &lt;libx264&gt;"));
}

#[test]
fn a_clip_without_a_score_has_nothing_to_compare() {
    let nobody = Analyzer::new(Detector::of(vec![]), Classifier::of(|_| 0.9)).analyze(frames(4)).unwrap();
    let report = nobody.with_stability([(Variation::Mirrored, Ok(report(|_| 0.9)))], 0.0);
    assert_eq!(report.stability.unwrap().largest_change, None);
    assert!(matches!(report.reasons[0], Reason::NoFaces { .. }));
    assert!(!report.reasons.iter().any(|reason| matches!(reason, Reason::StabilityUnknown { .. })));
}
