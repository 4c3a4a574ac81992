//! Tests of evaluations: their text, JSON and web page, and the input that they refuse.

use std::convert::Infallible;
use std::path::Path;

use deepsight_core::image::{Rgb, RgbImage};
use deepsight_core::{
    Analyzer, BoundingBox, CancelToken, DetectorInfo, Face, FaceClassifier, FaceCrop, FaceDetector, FaceScore,
    ModelInfo, with_causes,
};
use deepsight_train::calibrate::{ThresholdRule, VerdictAim};
use deepsight_train::evaluate::{
    ClipSet, Degradation, EvaluatedData, EvaluatedModel, FittedOn, TestSet, classification_report, recompress_clip,
};
use deepsight_train::metrics::{Bootstrap, Metric, Scores};
use deepsight_train::{Dataset, Error, Evaluation, Label, Manifest, Row, Scored, Split};
use deepsight_video::{DecodeOptions, Sampling, Video};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clips/portraits.mp4");

#[test]
fn the_classification_report_matches_scikit_learns() {
    let cases: Vec<serde_json::Value> = serde_json::from_str(include_str!("metrics/expected.json")).unwrap();
    for case in
        cases.iter().filter(|case| ["spread", "tied", "skewed and too sure"].contains(&case["name"].as_str().unwrap()))
    {
        let values = |key: &str| case[key].as_array().unwrap().clone();
        let faces: Vec<Scored> = values("logits")
            .iter()
            .zip(values("labels"))
            .map(|(logit, fake)| {
                let label = if fake == 1 { Label::Fake } else { Label::Real };
                Scored::from_logit("a", label, logit.as_f64().unwrap())
            })
            .collect();
        let metrics = Scores::of_faces(&faces).unwrap().metrics(case["threshold"].as_f64().unwrap());
        assert_eq!(classification_report(&metrics), case["report"].as_str().unwrap());
    }
}

/// Returns forty videos of three faces each. Fakes score higher. Another `seed` gives other scores.
fn faces(seed: u32) -> Vec<Scored> {
    let face = |n: u32| {
        let (video, label) = (n / 3, if (n / 3).is_multiple_of(2) { Label::Real } else { Label::Fake });
        let noise = f64::from((n + seed) * 7919 % 101) / 20.0 - 2.5;
        Scored::from_logit(format!("v<{video}>"), label, if label == Label::Fake { 1.0 } else { -1.0 } + noise)
    };
    (0..120).map(face).collect()
}

fn evaluation() -> Evaluation {
    let mut model = EvaluatedModel::default();
    (model.name, model.architecture, model.input_size) = ("mine & yours".into(), "efficientnet_b0".into(), 224);
    model.temperature = 1.25;
    let data = EvaluatedData::new("crops/manifest.csv", Some(Split::Test));
    let mut evaluation = Evaluation::new(model, data, Bootstrap::default().with_replicates(50).with_seed(1));
    evaluation.fitted = Some(
        FittedOn::fit(&faces(5), VerdictAim::new(ThresholdRule::FalsePositiveRate(0.1)), Some(Split::Val)).unwrap(),
    );
    evaluation.add_faces(&faces(0), 0.55).unwrap();
    evaluation.add_spoiled_faces("JPEG 50", &faces(3), 0.55).unwrap();
    evaluation
}

#[test]
fn the_text_has_every_metric_with_its_interval() {
    insta::assert_snapshot!(evaluation().to_text());
}

#[test]
fn the_json_has_the_numbers_that_the_text_rounds() {
    let evaluation = evaluation();
    let json: serde_json::Value = serde_json::from_str(&evaluation.to_json().unwrap()).unwrap();
    assert_eq!((&json["schema"], &json["data"]["split"]), (&1.into(), &"test".into()));
    let videos = &json["sections"][0];
    assert_eq!(
        (&videos["name"], &videos["reals"], &videos["metrics"][0]["metric"]),
        (&"videos".into(), &20.into(), &"auc".into())
    );
    let auc = evaluation.get("videos").unwrap().get(Metric::Auc);
    assert_eq!(videos["metrics"][0]["value"].as_f64(), auc.value);
    assert_eq!(videos["metrics"][0]["interval"][1].as_f64(), auc.interval.map(|interval| interval[1]));
    assert_eq!(json["videos"].as_array().unwrap().len(), 40);
    assert_eq!(json["robustness"][0]["videos"]["metrics"].as_array().unwrap().len(), Metric::ALL.len());
    assert_eq!(json["fitted"]["rule"]["false_positive_rate"], 0.1);
}

#[test]
fn the_page_is_self_contained_and_names_are_escaped() {
    let page = evaluation().to_html().unwrap();
    assert!(page.contains("v&lt;1&gt;") && page.contains("mine &amp; yours") && !page.contains("v<1>"));
    for outside in ["<script", "src=", "@import", "url(", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("<figure>").count(), 10);
    for part in ["Robustness", "JPEG 50", "95 % interval", "AUC"] {
        assert!(page.contains(part), "{part}");
    }
    if let Some(path) = std::env::var_os("DEEPSIGHT_KEEP_PAGE") {
        std::fs::write(path, page).unwrap();
    }
}

#[test]
fn one_class_is_measured_as_far_as_possible_and_a_note_says_so() {
    let mut evaluation =
        Evaluation::new(EvaluatedModel::default(), EvaluatedData::default(), Bootstrap::default().with_replicates(20));
    let fakes: Vec<Scored> = faces(0).into_iter().filter(|face| face.label == Label::Fake).collect();
    evaluation.add_faces(&fakes, 0.5).unwrap();
    let videos = evaluation.get("videos").unwrap();
    assert_eq!((videos.get(Metric::Auc).value, videos.roc.is_some()), (None, false));
    assert!(videos.get(Metric::FakeRecall).interval.is_some());
    assert!(
        evaluation.notes[0].starts_with("All 20 videos are fake: without any real there is no AUC"),
        "{:?}",
        evaluation.notes
    );
    assert!(evaluation.to_text().contains("AUC                             -\n"));
    assert_eq!(evaluation.to_html().unwrap().matches("<figure>").count(), 6);
}

/// Returns faces of three sources: an easy one, a hard one whose fakes are of two methods, and one of reals only. All
/// sources use the same video names.
fn faces_of_three_sources() -> Vec<Scored> {
    let easy = faces(0).into_iter().map(|face| {
        let logit = if face.label == Label::Fake { face.logit.abs() } else { -face.logit.abs() };
        Scored::from_logit(face.video, face.label, logit).with_source("easy")
    });
    let hard = faces(1).into_iter().map(|face| {
        let number: u32 = face.video.trim_matches(['v', '<', '>']).parse().unwrap();
        let method = if number % 4 == 1 { "FaceSwap" } else { "Deepfakes" };
        let fake = face.label == Label::Fake;
        // Fakes of this method score like reals.
        let logit = if fake && method == "FaceSwap" { face.logit - 2.0 } else { face.logit };
        let face = Scored::from_logit(face.video, face.label, logit).with_source("hard");
        if fake { face.with_method(method) } else { face }
    });
    let reals = faces(2).into_iter().filter(|face| face.label == Label::Real).map(|face| face.with_source("<reals>"));
    easy.chain(hard).chain(reals).collect()
}

#[test]
fn a_good_source_does_not_hide_a_bad_one_nor_a_good_method() {
    let data = EvaluatedData::new("easy, hard, <reals>", None);
    let mut evaluation = Evaluation::new(EvaluatedModel::default(), data, Bootstrap::default().with_replicates(50));
    let all = faces_of_three_sources();
    evaluation.add_faces(&all, 0.5).unwrap();
    let names: Vec<_> = evaluation.by_source.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["easy", "hard", "<reals>"]);
    assert_eq!(evaluation.get("videos").unwrap().reals, 60, "videos of one name in two sources are two");
    let [easy, hard, reals] = &evaluation.by_source[..] else { panic!("three sources") };
    let methods: Vec<_> = hard.methods.iter().map(|method| (method.name.as_str(), method.videos.reals)).collect();
    assert_eq!(methods, [("Deepfakes", 20), ("FaceSwap", 20)], "each against all reals");
    let auc = |group: &deepsight_train::evaluate::GroupMetrics| group.get(Metric::Auc).value;
    let bad = &hard.methods[1];
    assert!(auc(&bad.videos) < Some(0.6) && auc(&hard.methods[0].videos) > Some(0.95), "{:?}", auc(&bad.videos));
    assert!(bad.faces.get(Metric::Auc).interval.is_some());
    assert_eq!((auc(&easy.videos), auc(&reals.videos)), (Some(1.0), None));
    let rate = reals.videos.get(Metric::FalsePositiveRate);
    assert!(rate.value.is_some() && rate.interval.is_some(), "shares of one class are measured");

    let means = evaluation.source_means.as_ref().unwrap();
    let mean = means.videos[Metric::Auc as usize];
    assert_eq!((mean.sources, mean.value), (2, Some((1.0 + auc(&hard.videos).unwrap()) / 2.0)));
    let [low, high] = mean.interval.unwrap();
    assert!(low < mean.value.unwrap() && mean.value.unwrap() < high);
    assert_eq!(means.videos[Metric::FalsePositiveRate as usize].sources, 3);

    let text = evaluation.to_text();
    let tables = text[text.find("\nBy source, videos").unwrap()..text.find("\nNotes").unwrap()].to_owned();
    insta::assert_snapshot!(tables);
    assert!(
        text.contains("<reals>: all 20 videos are real. Without a fake one there is no AUC, only the share"),
        "{text}"
    );
    let page = evaluation.to_html().unwrap();
    assert!(page.contains("<bdi>&lt;reals&gt;</bdi>") && page.contains("AUC, videos, mean over sources"));
    let json: serde_json::Value = serde_json::from_str(&evaluation.to_json().unwrap()).unwrap();
    assert_eq!(json["by_source"][1]["methods"][1]["name"], "FaceSwap");
    assert_eq!(json["by_source"][2]["videos"]["metrics"][0]["value"], serde_json::Value::Null);
    assert_eq!(json["source_means"]["videos"][0]["sources"], 2);
}

fn picture(path: &Path, value: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_fn(32, 24, |x, y| Rgb([value, (7 * x) as u8, (9 * y) as u8])).save(path).unwrap();
}

/// Returns the red value of each picture's first pixel minus 128 as its logit.
fn redness(pictures: &[RgbImage]) -> Result<Vec<f64>, deepsight_core::Error> {
    Ok(pictures.iter().map(|picture| f64::from(picture.get_pixel(0, 0).0[0]) - 128.0).collect())
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("real/a_frame_1_face_0.png", 100),
        ("real/a_frame_9_face_0.png", 110),
        ("real/b.png", 120),
        ("fake/c/1.png", 200),
        ("fake/c/2.png", 210),
    ] {
        picture(&folder.path().join(name), value);
    }
    folder
}

#[test]
fn pictures_of_a_folder_are_scored_unchanged_and_grouped_into_videos_by_name() {
    let folder = folder();
    let set = TestSet::of_dataset(&Dataset::find(folder.path(), None).unwrap(), None).unwrap();
    let mut seen = Vec::new();
    let scored = set.score(redness, 2.0, None, &CancelToken::new(), |done| seen.push(done)).unwrap();
    let found: Vec<_> = scored.iter().map(|face| (face.video.as_str(), face.label, face.frame, face.logit)).collect();
    let expected = [
        ("a", Label::Real, Some(1), -28.0),
        ("a", Label::Real, Some(9), -18.0),
        ("b", Label::Real, None, -8.0),
        ("c", Label::Fake, None, 72.0),
        ("c", Label::Fake, None, 82.0),
    ];
    assert_eq!((found.as_slice(), seen.as_slice()), (&expected[..], &[5][..]));
    assert!((scored[2].fake_probability - 1.0 / (1.0 + 4f64.exp())).abs() < 1e-12, "the temperature halves the logit");
}

#[test]
fn an_error_names_the_file_that_cannot_be_scored() {
    let folder = folder();
    let set = || TestSet::of_dataset(&Dataset::find(folder.path(), None).unwrap(), None).unwrap();
    type Logits<'a> = &'a dyn Fn(&[RgbImage]) -> Result<Vec<f64>, deepsight_core::Error>;
    let score =
        |logits: Logits<'_>| with_causes(&set().score(logits, 1.0, None, &CancelToken::new(), |_| ()).unwrap_err());
    let not_finite =
        |_: &[RgbImage]| Err(deepsight_core::Error::LogitsNotFinite { index: 2, logits: vec![f32::NAN; 2] });
    let message = score(&not_finite);
    assert!(message.contains("real/b.png") && message.contains("NaN"), "{message}");
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let error = set().score(redness, 1.0, None, &cancelled, |_| ()).unwrap_err();
    assert!(matches!(error, Error::Core(deepsight_core::Error::Cancelled)));
    std::fs::write(folder.path().join("fake/c/2.png"), "not a picture").unwrap();
    let message = score(&redness);
    assert!(message.contains("fake/c/2.png: not a picture"), "{message}");
    std::fs::write(folder.path().join("fake/d.mp4"), "").unwrap();
    let message = TestSet::of_dataset(&Dataset::find(folder.path(), None).unwrap(), None).unwrap_err().to_string();
    assert!(message.contains("d.mp4: a video"), "{message}");
}

#[test]
fn an_empty_split_and_faces_of_another_crop_are_refused_with_what_was_found() {
    let row = |file: &str, label, split| {
        let mut row = Row::new(file, label, file);
        row.split = split;
        row
    };
    let rows = vec![
        row("a", Label::Real, Some(Split::Train)),
        row("b", Label::Fake, Some(Split::Val)),
        row("c", Label::Fake, None),
    ];
    let manifest = Manifest::new("crops", rows).with_crop(FaceCrop::Margin { fraction: 0.25 }, 256);
    let of = |split| TestSet::of_manifest(&manifest, "crops/list.csv", split);
    let message = of(Some(Split::Test)).unwrap_err().to_string();
    assert_eq!(
        message,
        "crops/list.csv: nothing is in split test: there are 1 in train, 1 in val, 0 in test, 1 in none"
    );
    let set = of(Some(Split::Val)).unwrap();
    assert_eq!((set.faces.len(), set.faces[0].path.as_path()), (1, Path::new("crops/b")));
    assert_eq!(of(None).unwrap().faces.len(), 3);
    set.check_crop(FaceCrop::Margin { fraction: 0.25 }).unwrap();
    let message = set.check_crop(FaceCrop::Box).unwrap_err().to_string();
    assert!(
        message.contains("list.csv") && message.contains("Margin { fraction: 0.25 }") && message.contains("wants Box"),
        "{message}"
    );
}

#[test]
fn each_degradation_removes_what_its_name_says() {
    // A checkerboard, which consists of detail only.
    let picture = RgbImage::from_fn(64, 48, |x, y| Rgb([if (x / 2 + y / 2) % 2 == 0 { 230 } else { 20 }; 3]));
    let spread = |image: &RgbImage| {
        let values: Vec<f64> = image.as_raw().iter().map(|value| f64::from(*value)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
    };
    let apply = |degradation: Degradation| degradation.apply(&picture).unwrap();
    assert_eq!(apply(Degradation::Smaller(2)).dimensions(), (32, 24));
    assert_eq!(apply(Degradation::Smaller(4)).dimensions(), (16, 12));
    assert!(spread(&apply(Degradation::Smaller(4))) < 0.2 * spread(&picture));
    assert!(spread(&apply(Degradation::Blur(0.05))) < 0.2 * spread(&picture));
    let difference = |quality| {
        let jpeg = apply(Degradation::Jpeg(quality));
        jpeg.as_raw().iter().zip(picture.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>()
    };
    assert!(difference(30) > difference(70) && difference(70) > 0);
    assert_eq!(Degradation::Blur(0.01).apply(&RgbImage::new(0, 0)).unwrap().dimensions(), (0, 0));
    let names = Degradation::ALL.map(|degradation| degradation.to_string());
    assert_eq!(
        names,
        [
            "JPEG 70",
            "JPEG 50",
            "JPEG 30",
            "half resolution",
            "quarter resolution",
            "resolution 1/8",
            "blur, 1 % of the side"
        ]
    );
}

/// A detector that finds one face in the middle of every frame.
struct Middle;

impl FaceDetector for Middle {
    type Error = Infallible;

    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Infallible> {
        let face = |image: &&RgbImage| {
            let (width, height) = (image.width() as f32, image.height() as f32);
            let middle = BoundingBox::new(0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height);
            vec![Face::new(middle, None, 0.99)]
        };
        Ok(images.iter().map(face).collect())
    }

    fn info(&self) -> DetectorInfo {
        DetectorInfo::new("middle")
    }
}

/// A classifier that calls faces with little detail fake.
struct Detail;

impl FaceClassifier for Detail {
    type Error = Infallible;

    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Infallible> {
        let score = |face: &RgbImage| {
            let steps = face.as_raw().chunks_exact(3).zip(face.as_raw().chunks_exact(3).skip(1));
            let (sum, count) =
                steps.fold((0u64, 0u64), |(sum, n), (a, b)| (sum + u64::from(a[1].abs_diff(b[1])), n + 1));
            FaceScore::new((-(sum as f32) / count as f32).exp())
        };
        Ok(faces.iter().map(score).collect())
    }

    fn info(&self) -> ModelInfo {
        ModelInfo::new("detail")
    }
}

#[test]
fn clips_are_analyzed_before_and_after_recompression_and_broken_ones_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    for (name, label) in [("real/a.mp4", "real"), ("fake/b.mp4", "fake")] {
        std::fs::create_dir_all(folder.path().join(label)).unwrap();
        std::fs::copy(CLIP, folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("fake/broken.mp4"), "no video").unwrap();
    let set = ClipSet::find(folder.path()).unwrap();
    let analyzer = Analyzer::new(Middle, Detail);
    let score = |crf| {
        let decode = DecodeOptions::default();
        set.score(&analyzer, &decode, Sampling::evenly(4), crf, &CancelToken::new(), |_| ()).unwrap()
    };
    let (clips, failures) = score(None);
    let files: Vec<_> = clips.iter().map(|clip| (clip.file.to_str().unwrap(), clip.label, clip.faces)).collect();
    assert_eq!(files, [("real/a.mp4", Label::Real, 4), ("fake/b.mp4", Label::Fake, 4)]);
    assert_eq!(failures.len(), 1);
    assert!(failures[0].file.ends_with("broken.mp4") && !failures[0].reason.is_empty());
    let (spoiled, lost) = score(Some(45));
    assert!(spoiled[0].fake_probability > clips[0].fake_probability, "strong compression takes detail away");

    let mut evaluation =
        Evaluation::new(EvaluatedModel::default(), EvaluatedData::default(), Bootstrap::default().with_replicates(0));
    evaluation.add_clips(clips, failures, 0.5).unwrap();
    evaluation.add_spoiled_clips("H.264 CRF 45", &spoiled, &lost, 0.5).unwrap();
    let text = evaluation.to_text();
    let parts =
        ["Clips: 1 real, 1 fake", "Verdicts", "broken.mp4", "Robustness, clips", "H.264 CRF 45: 1 of 3 clips are not"];
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(evaluation.to_html().unwrap().contains("UNCERTAIN"));
}

#[test]
fn folders_without_clips_or_with_broken_ones_only_are_refused() {
    let folder = folder();
    assert!(ClipSet::find(folder.path()).unwrap_err().to_string().contains("no videos"));
    std::fs::write(folder.path().join("real/broken.mp4"), "no video").unwrap();
    let set = ClipSet::find(folder.path()).unwrap();
    let analyzer = Analyzer::new(Middle, Detail);
    let decode = DecodeOptions::default();
    let error = set.score(&analyzer, &decode, Sampling::evenly(2), None, &CancelToken::new(), |_| ()).unwrap_err();
    assert!(error.to_string().contains("none of 1 clips could be analysed; the first, real/broken.mp4"), "{error}");
}

#[test]
fn a_recompressed_clip_keeps_its_frames_and_is_smaller_at_a_higher_rate_factor() {
    let folder = tempfile::tempdir().unwrap();
    let decode = DecodeOptions::default();
    let bytes = |crf: u8| {
        let path = folder.path().join(format!("{crf}.mp4"));
        recompress_clip(Path::new(CLIP), &path, crf, &decode, &CancelToken::new()).unwrap();
        let (before, after) = (Video::open(CLIP).unwrap(), Video::open(&path).unwrap());
        assert_eq!(after.info().frame_count, before.info().frame_count);
        assert!(before.info().width - after.info().width <= 1 && before.info().height - after.info().height <= 1);
        after.bytes()
    };
    assert!(bytes(40) < bytes(23));
    let missing =
        recompress_clip(Path::new(CLIP), &folder.path().join("no/where.mp4"), 23, &decode, &CancelToken::new());
    let message = missing.unwrap_err().to_string();
    assert!(message.contains("cannot be compressed again") && message.contains("No such file"), "{message}");
}
