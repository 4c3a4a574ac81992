//! Tests that quality limits are found where scores lose their meaning.

use deepsight_core::image::{Rgb, RgbImage};
use deepsight_core::{CancelToken, Landmarks};
use deepsight_train::evaluate::{
    Degradation, EvaluatedData, EvaluatedModel, GradedFace, QualityAim, TestSet, fit_quality,
};
use deepsight_train::metrics::Bootstrap;
use deepsight_train::{Error, Evaluation, Label, Manifest, Row, Scored};

/// Returns noise in `-0.5..0.5` that is the same in every run.
fn noise(n: u32) -> f64 {
    f64::from(n.wrapping_mul(2_654_435_761) >> 8) / f64::from(1_u32 << 24) - 0.5
}

/// Returns faces of two sources at every level. Scores separate the classes above 40 pixels of detail and 0.2 of light.
/// Below that detail both classes score alike, and below that light all faces score as fake.
fn graded() -> Vec<GradedFace> {
    let mut faces = Vec::new();
    let levels = std::iter::once(None).chain(Degradation::LEVELS.map(Some));
    for (place, level) in levels.enumerate() {
        for n in 0..1600_u32 {
            let source = ["a", "b"][(n % 2) as usize];
            let label = if n / 2 % 2 == 0 { Label::Real } else { Label::Fake };
            let (own_detail, turn) = (140.0 + 40.0 * noise(n), 20.0 + 40.0 * noise(3 * n + 1));
            let detail = match level {
                Some(Degradation::Side(side)) => own_detail.min(f64::from(side)),
                Some(Degradation::Blur(share)) => own_detail * (1.0 - 20.0 * f64::from(share)).max(0.1),
                _ => own_detail,
            };
            let light = match level {
                Some(Degradation::Darker(stops)) => 0.6 * (-f64::from(stops) / 2.2).exp2(),
                _ => 0.6 + 0.1 * noise(7 * n),
            };
            let wobble = noise(n * 31 + place as u32 * 7919);
            let center = match label {
                _ if light < 0.2 => 0.8,
                Label::Fake if detail > 40.0 => 0.7,
                _ => 0.3,
            };
            let scored = Scored::from_probability(n.to_string(), label, center + 0.5 * wobble).with_source(source);
            faces.push(GradedFace::new(scored, level, [detail as f32, light as f32, turn as f32]));
        }
    }
    faces
}

#[test]
fn limits_lie_where_scores_no_longer_separate_the_classes() {
    let report = fit_quality(&graded(), 0.56, QualityAim::default()).unwrap();
    let limits = report.limits;
    assert!((36.0..=64.0).contains(&limits.min_detail), "{limits:?}");
    assert!((limits.min_detail..=160.0).contains(&limits.full_detail), "{limits:?}");
    assert!((0.15..=0.35).contains(&limits.min_light), "{limits:?}");
    assert_eq!((limits.max_turn, report.not_reached.len()), (40.0, 0), "no turn that was measured does harm");
    assert_eq!(report.levels.len(), 1 + Degradation::LEVELS.len());
    let auc = |level: usize, source: usize| report.levels[level].figures[source].auc.unwrap();
    assert!(auc(0, 0) > 0.95 && auc(0, 2) > 0.95 && auc(8, 0) < 0.65, "24 pixels a side");
    assert_eq!(report.levels[8].figures[2].source, None);

    let mut evaluation = Evaluation::new(EvaluatedModel::default(), EvaluatedData::default(), Bootstrap::default());
    evaluation.quality = Some(report);
    let text = evaluation.to_text();
    for part in ["Degraded faces, a\n", "24 pixels a side", "5 stops darker", "Faces by detail in pixels", "in full"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(evaluation.to_html().unwrap().contains("<h2>Quality</h2>"));
}

#[test]
fn scores_without_information_give_no_limit_and_one_class_is_refused() {
    let blind: Vec<GradedFace> = graded()
        .into_iter()
        .enumerate()
        .map(|(n, face)| {
            let scored = Scored::from_probability(n.to_string(), face.scored.label, 0.5 + noise(n as u32));
            GradedFace::new(scored, face.level, face.measured)
        })
        .collect();
    let report = fit_quality(&blind, 0.5, QualityAim::default()).unwrap();
    assert_eq!(report.not_reached, ["detail", "light", "turn"]);
    assert_eq!(report.limits, deepsight_core::QualityLimits::default());
    let reals: Vec<GradedFace> = graded().into_iter().filter(|face| face.scored.label == Label::Real).collect();
    assert!(matches!(fit_quality(&reals, 0.5, QualityAim::default()), Err(Error::OneClass { .. })));
}

#[test]
fn every_face_is_measured_and_scored_at_every_level() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = Vec::new();
    for n in 0..10_u32 {
        let file = format!("{n}.png");
        let picture = RgbImage::from_fn(40, 40, |x, y| Rgb([((x / 2 + y / 2 + n) % 2 * 200) as u8; 3]));
        picture.save(folder.path().join(&file)).unwrap();
        let mut row = Row::new(file, if n < 5 { Label::Real } else { Label::Fake }, n.to_string());
        row.landmarks = Some(Landmarks([[n as f32, 0.0]; 5]));
        rows.push(row);
    }
    let manifest = Manifest::new(folder.path(), rows);
    let set = TestSet::of_manifest(&manifest, "list.csv", None).unwrap().spread(4);
    let labels: Vec<_> = set.faces.iter().map(|face| face.label).collect();
    assert_eq!(labels, [Label::Real, Label::Real, Label::Fake, Label::Fake]);
    let mean = |picture: &RgbImage| {
        picture.as_raw().iter().map(|value| f64::from(*value)).sum::<f64>() / picture.as_raw().len() as f64
    };
    let logits = |pictures: &[RgbImage]| Ok(pictures.iter().map(|picture| mean(picture) / 100.0).collect());
    let measure = |picture: &RgbImage, landmarks: &Landmarks| [landmarks.0[0][0], (mean(picture) / 255.0) as f32, 0.0];
    let graded = set.grade(logits, measure, 1.0, &CancelToken::new(), |_| ()).unwrap();
    assert_eq!(graded.len(), 4 * (1 + Degradation::LEVELS.len()));
    assert_eq!((graded[0].level, graded[4].level), (None, Some(Degradation::Side(128))));
    assert_eq!(graded[0].scored.logit, graded[4].scored.logit, "a side of 40 is not enlarged to 128");
    let darkest = graded.last().unwrap();
    assert_eq!(darkest.level, Some(Degradation::Darker(5.0)));
    assert!(darkest.measured[1] < 0.3 * graded[3].measured[1]);
    assert_eq!(darkest.measured[0], set.faces[3].landmarks.unwrap().0[0][0]);

    let bare = Manifest::new(folder.path(), vec![Row::new("0.png", Label::Real, "v")]);
    let set = TestSet::of_manifest(&bare, "list.csv", None).unwrap();
    let error = set.grade(logits, measure, 1.0, &CancelToken::new(), |_| ()).unwrap_err();
    assert!(error.to_string().contains("no landmarks in the manifest"), "{error}");
}
