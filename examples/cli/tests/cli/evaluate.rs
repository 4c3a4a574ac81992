//! The `evaluate` program from outside: what it measures and writes, and what it refuses.
#![cfg(feature = "flex")]

use std::path::{Path, PathBuf};

use deepsight_core::image::{Rgb, RgbImage};
use deepsight_core::{FaceCrop, model::ModelFile};
use deepsight_train::evaluate::Degradation;
use deepsight_train::{Label, Manifest, Row, Split};
use serde_json::Value;

use crate::program::{Run, bundled_clip, bundled_model, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn picture(seed: u32) -> RgbImage {
    RgbImage::from_fn(72, 72, |x, y| {
        let value = |c: u32| ((x * (3 + seed) + y * (5 + 2 * seed) + 40 * c) ^ (x * y / (1 + seed))) as u8;
        Rgb([value(0), value(1), value(2)])
    })
}

/// Crops of eight videos in val and eight in test, listed as `preprocess` lists them.
fn crops(folder: &Path, crop: FaceCrop) -> PathBuf {
    let mut rows = Vec::new();
    for number in 0..32u32 {
        let (label, split) = ([Label::Real, Label::Fake][(number / 2 % 2) as usize], number / 16);
        let mut row = Row::new(format!("{label}/{number}.png"), label, format!("v{}", number / 2));
        row.split = Some([Split::Val, Split::Test][split as usize]);
        std::fs::create_dir_all(folder.join(label.name())).unwrap();
        picture(number).save(folder.join(&row.file)).unwrap();
        rows.push(row);
    }
    let path = folder.join("manifest.csv");
    Manifest::new(folder, rows).with_crop(crop, 72).write(&path).unwrap();
    path
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn evaluate(arguments: &[&str]) -> Run {
    run("evaluate", arguments)
}

#[test]
fn a_manifest_is_measured_into_text_json_and_a_page_with_figures() {
    let folder = tempfile::tempdir().unwrap();
    let list = crops(folder.path(), ModelFile::read(bundled_model()).unwrap().card.crop);
    let at = |name: &str| folder.path().join(name);
    let (as_text, as_json, page) = (at("out.txt"), at("out.json"), at("out.html"));
    let reports =
        ["--output-report", text(&as_text), "--output-report", text(&as_json), "--output-report", text(&page)];
    let flags = ["--manifest", text(&list), "--split", "test", "--bootstrap", "20", "--robustness"];
    let done = evaluate(&[&flags[..], &reports].concat());
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    assert_eq!(std::fs::read_to_string(&as_text).unwrap(), done.stdout);
    assert!(done.stdout.contains("Videos: 4 real, 4 fake") && done.stdout.contains("quarter resolution"), "{done:?}");
    let report = json(&as_json);
    assert_eq!((&report["sections"][1]["name"], &report["sections"][1]["reals"]), (&"faces".into(), &8.into()));
    assert_eq!(report["robustness"].as_array().unwrap().len(), Degradation::ALL.len());
    assert_eq!(report["model"]["sha256"].as_str(), ModelFile::read(bundled_model()).unwrap().sha256.as_deref());
    assert_eq!(std::fs::read_to_string(&page).unwrap().matches("<figure>").count(), 10);
    for figure in ["videos-roc.png", "videos-roc.svg", "faces-reliability.png", "faces-scores.svg"] {
        assert!(at("out-figures").join(figure).is_file(), "{figure}");
    }
    let plain = &flags[..flags.len() - 1];
    let first = evaluate(plain).stdout;
    assert_eq!(evaluate(plain).stdout, first, "the same seed gives the same intervals");
    assert_ne!(evaluate(&[plain, &["--seed", "1"]].concat()).stdout, first);
}

#[test]
fn several_manifests_are_measured_each_by_itself_and_by_method_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let crop = ModelFile::read(bundled_model()).unwrap().card.crop;
    let [first, second] = ["first", "second"].map(|name| {
        let list = crops(&folder.path().join(name), crop);
        let text = std::fs::read_to_string(&list).unwrap();
        std::fs::write(&list, text.replace(",fake,v", ",fake,swap_")).unwrap();
        list
    });
    let report = folder.path().join("r.json");
    let flags = ["--manifest", text(&first), "--manifest", text(&second), "--bootstrap", "10"];
    let more = ["--method-from-name", "second", "--output-report", text(&report)];
    let done = evaluate(&[&flags[..], &more].concat());
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    for part in ["\n  first: ", "\nBy source, videos", "\nmean over sources", "Videos: 8 real, 8 fake"] {
        assert!(done.stdout.contains(part), "{part}: {done:?}");
    }
    let report = json(&report);
    let sources = &report["by_source"];
    assert_eq!((&sources[0]["name"], &sources[0]["methods"]), (&"first".into(), &serde_json::json!([])));
    assert_eq!(
        (&sources[1]["methods"][0]["name"], &sources[1]["methods"][0]["faces"]["reals"]),
        (&"swap".into(), &8.into())
    );
    assert_eq!(report["data"]["sources"][1]["split"], "test");
    evaluate(&[&flags[..], &["--method-from-name", "third"]].concat()).assert_refused(&[
        "method-from-name",
        "third",
        "first, second",
    ]);
}

#[test]
fn calibration_is_written_into_the_model_and_keeps_its_rate() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    std::fs::copy(bundled_model(), &model).unwrap();
    let before = ModelFile::read(&model).unwrap();
    let (list, report) = (crops(folder.path(), before.card.crop), folder.path().join("r.json"));
    let common = ["--model-path", text(&model), "--manifest", text(&list), "--bootstrap", "0"];
    let done = evaluate(&[&common[..], &["--calibrate", "--fpr", "0.25", "--output-report", text(&report)]].concat());
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    assert!(done.stdout.contains("4 real and 4 fake videos of split val, for a false-positive rate of at most 0.25"));

    let after = ModelFile::read(&model).unwrap();
    let report = json(&report);
    assert!(
        after.weights == before.weights && after.golden_input == before.golden_input && after.format == before.format
    );
    assert_ne!((after.card.temperature, after.card.threshold), (before.card.temperature, before.card.threshold));
    assert_eq!(report["fitted"]["calibration"]["temperature"].as_f64().unwrap() as f32, after.card.temperature);
    assert_eq!(report["sections"][0]["threshold"].as_f64().unwrap(), f64::from(after.card.threshold));
    assert_eq!(report["model"]["sha256"].as_str(), after.sha256.as_deref());
    assert!(run("convert", &["--inspect", text(&model)]).stdout.contains(", as promised"));

    let reliability = after.card.reliability.as_ref().unwrap();
    assert_eq!(report["fitted"]["reliability"]["uncertain_band"].as_f64().unwrap() as f32, reliability.uncertain_band);
    assert_eq!(report["video_verdicts"]["uncertain_band"].as_f64().unwrap() as f32, reliability.uncertain_band);
    assert!(reliability.false_alarms.iter().all(|point| point.rate > 0.0) && reliability.missed_fakes.len() == 1);
    assert!(report["fitted"]["before"]["sources"][0]["decided"].is_f64());
    assert!(
        done.stdout.contains("\nBefore calibration: ") && done.stdout.contains("\nAfter calibration: "),
        "{done:?}"
    );

    // The rate holds on the data that it was fitted to.
    let on_val = folder.path().join("val.json");
    let done = evaluate(&[&common[..], &["--split", "val", "--output-report", text(&on_val)]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    let counts = &json(&on_val)["sections"][0]["confusion"];
    assert!(counts["real_as_fake"].as_u64().unwrap() <= 1, "{counts}");
}

#[test]
fn faces_of_another_crop_are_refused_without_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let list = crops(folder.path(), FaceCrop::Margin { fraction: 0.125 });
    let flags = ["--test-dir", text(folder.path()), "--bootstrap", "0"];
    evaluate(&flags).assert_refused(&[text(&list), "Margin { fraction: 0.125 }", "the model wants"]);
    let done = evaluate(&[&flags[..], &["--as-is"]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("split test"), "what a divided list is measured on by default");
}

#[test]
fn pictures_without_a_list_are_searched_for_the_face() {
    let folder = tempfile::tempdir().unwrap();
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deepsight-face/tests/photos/one.png");
    for (name, content) in [("real/a.png", None), ("fake/b.png", None), ("fake/c.png", Some(picture(1)))] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content {
            None => std::fs::copy(&photo, path).map(drop).unwrap(),
            Some(content) => content.save(path).unwrap(),
        }
    }
    let kept = tempfile::tempdir().unwrap();
    let flags = ["--test-dir", text(folder.path()), "--bootstrap", "0", "--framed", text(kept.path())];
    let done = evaluate(&flags);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("Faces: 1 real, 1 fake") && done.stderr.contains("no face in 1 files; the first, "));
    assert!(done.stderr.contains("c.png"), "{done:?}");
    assert!(kept.path().join("all/real").is_dir());
    let as_is = evaluate(&["--test-dir", text(folder.path()), "--bootstrap", "0", "--as-is"]);
    assert!(as_is.stdout.contains("Faces: 1 real, 2 fake"), "{as_is:?}");
    for flags in [&["--split", "val"][..], &["--split", "val", "--as-is"]] {
        let refused = evaluate(&[&["--test-dir", text(folder.path())], flags].concat());
        refused.assert_refused(&["nothing is in split val", "3 in none"]);
    }
}

#[test]
fn whole_clips_are_analyzed_and_a_single_class_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("real")).unwrap();
    std::fs::copy(bundled_clip(), folder.path().join("real/a.mp4")).unwrap();
    std::fs::write(folder.path().join("real/broken.mp4"), "no clip").unwrap();
    let report = folder.path().join("clips.json");
    let flags = ["--videos", text(folder.path()), "--frames", "3", "--output-report", text(&report)];
    let done = evaluate(&flags);
    assert_eq!(done.code, Some(0), "{done:?}");
    let report = json(&report);
    assert_eq!((&report["clips"][0]["file"], &report["clips"][0]["label"]), (&"real/a.mp4".into(), &"real".into()));
    assert!(report["clips"][0]["fake_probability"].is_f64() && report["failures"][0]["file"] == "real/broken.mp4");
    assert_eq!(report["sections"][0]["metrics"][0]["value"], Value::Null, "no AUC, rather than 0");
    for part in ["All 1 clips are real: without any fake there is no AUC", "1 of 2 clips could not be analysed"] {
        assert!(done.stdout.contains(part), "{done:?}");
    }
}

#[test]
fn broken_or_missing_input_gives_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let list = crops(folder.path(), ModelFile::read(bundled_model()).unwrap().card.crop);
    let empty = tempfile::tempdir().unwrap();
    let of_list = ["--manifest", text(&list), "--bootstrap", "0"];
    let nothing = evaluate(&[]);
    assert!(nothing.code == Some(2) && nothing.stderr.contains("--manifest"), "{nothing:?}");
    evaluate(&["--test-dir", text(empty.path())]).assert_refused(&[text(empty.path()), "no videos or pictures"]);
    evaluate(&["--videos", text(empty.path())]).assert_refused(&[text(empty.path()), "no videos or pictures"]);
    evaluate(&[&of_list[..], &["--split", "train"]].concat()).assert_refused(&["split train", "16 in val, 16 in test"]);
    let copy = empty.path().join("model.safetensors");
    std::fs::copy(bundled_model(), &copy).unwrap();
    let unlisted = ["--videos", text(folder.path()), "--model-path", text(&copy), "--calibrate"];
    evaluate(&unlisted).assert_refused(&["--calibrate needs a manifest"]);
    let nowhere = empty.path().join("no/report.json");
    evaluate(&[&of_list[..], &["--output-report", text(&nowhere)]].concat()).assert_refused(&[text(&nowhere)]);
    evaluate(&[&of_list[..], &["--model-path", text(&list)]].concat()).assert_refused(&[text(&list)]);
    std::fs::write(folder.path().join("real/16.png"), "no picture").unwrap();
    evaluate(&of_list).assert_refused(&["real/16.png", "not a picture"]);
    std::fs::remove_file(folder.path().join("real/16.png")).unwrap();
    evaluate(&of_list).assert_refused(&["row 17", "real/16.png", "no such file"]);
}
