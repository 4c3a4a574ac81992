//! Tests that figures are drawn with their text, whatever the scores. `DEEPSIGHT_KEEP_FIGURES=FOLDER` keeps the
//! figures.

use deepsight_train::metrics::Scores;
use deepsight_train::plot::Figure;
use deepsight_train::{Label, Scored};

/// Returns three hundred scores from a formula, whose classes overlap.
fn faces() -> Vec<Scored> {
    let face = |n: u32| {
        let label = if n.is_multiple_of(3) { Label::Fake } else { Label::Real };
        let noise = f64::from(n * 7919 % 101) / 25.0 - 2.0;
        let logit = if label == Label::Fake { 1.4 + noise } else { -1.4 + noise };
        Scored::from_logit((n / 4).to_string(), label, logit)
    };
    (0..300).map(face).collect()
}

fn figures<'a>(videos: &'a Scores, faces: &'a Scores) -> [Figure<'a>; 5] {
    let (series, threshold) = (vec![("videos", videos), ("faces", faces)], 0.62);
    [
        Figure::Confusion { name: "faces", counts: faces.metrics(threshold).confusion },
        Figure::Roc { series: series.clone(), threshold },
        Figure::PrecisionRecall { series, threshold },
        Figure::Reliability { name: "faces", scores: faces },
        Figure::Histogram { name: "faces", scores: faces, threshold },
    ]
}

#[test]
fn every_figure_is_drawn_as_pixels_and_as_vectors_with_its_numbers() {
    let faces = faces();
    let (videos, faces) = (Scores::of_videos(&faces).unwrap(), Scores::of_faces(&faces).unwrap());
    let words = [
        ["Confusion of faces", "% of fake"],
        ["videos: AUC 0.", "share of reals called fake"],
        ["faces: average precision 0.", "precision: share"],
        ["expected calibration error 0.", "share that is fake"],
        ["fake (100)", "called fake from 0.620"],
    ];
    for (figure, words) in figures(&videos, &faces).iter().zip(words) {
        let (image, svg) = (figure.to_image().unwrap(), figure.to_svg().unwrap());
        assert!(words.iter().all(|word| svg.contains(word)), "{words:?}: {svg}");
        let colored = image.pixels().filter(|pixel| pixel.0 != [255; 3]).count();
        assert!(colored > 2000, "{colored}");
        assert!(figure.to_png().unwrap().starts_with(b"\x89PNG"));
        if let Some(folder) = std::env::var_os("DEEPSIGHT_KEEP_FIGURES") {
            let path = std::path::Path::new(&folder).join(figure.file_stem());
            std::fs::write(path.with_extension("png"), figure.to_png().unwrap()).unwrap();
            std::fs::write(path.with_extension("svg"), svg).unwrap();
        }
    }
}

#[test]
fn text_is_drawn_without_a_font_of_the_system() {
    // Only the words of the legend differ. If text were left out, the pictures would be equal.
    let scores = Scores::of_faces(&faces()).unwrap();
    let named = |name| Figure::Roc { series: vec![(name, &scores)], threshold: 0.5 }.to_image().unwrap();
    assert_ne!(named("aaa"), named("bbb"));
}

#[test]
fn figures_of_one_class_or_one_score_are_drawn_too() {
    for face in [Scored::from_logit("a", Label::Real, 900.0), Scored::from_logit("a", Label::Fake, -900.0)] {
        let scores = Scores::of_faces(&[face]).unwrap();
        for figure in figures(&scores, &scores) {
            figure.to_image().unwrap();
            assert!(figure.to_svg().unwrap().ends_with("</svg>\n"));
        }
    }
}
