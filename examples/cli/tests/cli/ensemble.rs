//! Several models, one answer, from outside: `analyze --model` repeated, and the ensemble files of `convert`.
#![cfg(feature = "flex")]

use std::path::{Path, PathBuf};

use deepsight_core::FaceCrop;
use deepsight_core::model::{ModelFile, WeightFormat};
use serde_json::{Value, json};

use crate::program::{Run, bundled_clip, bundled_model, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes a copy of the bundled model after a change of its card, and returns its path.
fn variant(folder: &Path, name: &str, change: impl FnOnce(&mut ModelFile)) -> PathBuf {
    let mut file = ModelFile::read(bundled_model()).unwrap();
    file.card.name = name.into();
    // The golden score does not match the changed card.
    (file.card.golden, file.golden_input) = (None, None);
    change(&mut file);
    let path = folder.join(format!("{name}.safetensors"));
    file.write(&path).unwrap();
    path
}

/// Writes a model that gives the opposite answer of the bundled one, with a larger crop.
fn opposite(folder: &Path) -> PathBuf {
    variant(folder, "opposite", |file| {
        file.card.labels.swap(0, 1);
        file.card.crop = FaceCrop::Aligned { size: 256, scale: 0.85, down: 0.13 };
        file.card.threshold = 1.0 - file.card.threshold;
    })
}

fn analyze(models: &[&Path], flags: &[&str]) -> Run {
    let clip = bundled_clip();
    let models: Vec<&str> = models.iter().flat_map(|model| ["--model", text(model)]).collect();
    run("analyze", &[&[text(&clip), "--frames", "12"], &models[..], flags].concat())
}

fn report(models: &[&Path]) -> Value {
    let analyzed = analyze(models, &["--json", "-"]);
    assert_eq!((analyzed.code, analyzed.stderr.as_str()), (Some(0), ""), "{analyzed:?}");
    serde_json::from_str(&analyzed.stdout).unwrap()
}

#[test]
fn models_that_agree_give_the_answer_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let twin = variant(folder.path(), "twin", |file| file.format = WeightFormat::F32);
    let bundled = bundled_model();
    let (alone, both) = (report(&[&bundled]), report(&[&bundled, &twin]));
    assert_eq!(both["verdict"], alone["verdict"]);
    let answers = both["ensemble"]["models"].as_array().unwrap();
    assert_eq!(answers.len(), 2);
    assert_eq!((&answers[1]["name"], &answers[1]["verdict"]), (&"twin".into(), &alone["verdict"]));
    let of_bundled = answers[0]["fake_probability"].as_f64().unwrap();
    assert!((of_bundled - alone["fake_probability"].as_f64().unwrap()).abs() < 1e-6);
    assert!(both["ensemble"]["disagreement"].as_f64().unwrap() < 0.01, "{}", both["ensemble"]);
    assert_eq!(both["frames"][0]["faces"][0]["by_model"].as_array().unwrap().len(), 2);
    assert_eq!(both["model"]["ensemble"]["combination"]["kind"], "mean");
    assert!(alone.get("ensemble").is_none() && alone["model"].get("ensemble").is_none());
}

#[test]
fn models_that_disagree_make_the_clip_uncertain_and_each_has_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let (opposite, page) = (opposite(folder.path()), folder.path().join("report.html"));
    let analyzed = analyze(&[&bundled_model(), &opposite], &["--html", text(&page)]);
    assert_eq!((analyzed.code, analyzed.stderr.as_str()), (Some(0), ""), "{analyzed:?}");
    assert!(
        analyzed.stdout.contains("UNCERTAIN") && analyzed.stdout.contains("The models disagree by"),
        "{analyzed:?}"
    );
    let rows: Vec<&str> = analyzed.stdout.lines().skip_while(|line| !line.ends_with("weight  model")).collect();
    assert!(rows[1].contains("REAL") && rows[1].contains("efficientnet-lite0"), "{analyzed:?}");
    assert!(rows[2].contains("FAKE") && rows[2].contains("opposite"), "{analyzed:?}");
    assert!(std::fs::read_to_string(page).unwrap().contains("<h2>Models</h2>"));
}

#[test]
fn an_ensemble_file_is_used_as_a_model_and_is_refused_when_a_member_changes_or_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (opposite, file) = (opposite(folder.path()), folder.path().join("both.json"));
    let members = ["--member", text(&bundled_model()), "--member", text(&opposite)].map(str::to_owned);
    let how = ["--stacking", "1.5,0.25", "--intercept", "-0.25", "--max-disagreement", "1", "--name", "both"];
    let flags = [&["--ensemble", text(&file)], &members.each_ref().map(String::as_str)[..], &how].concat();
    let written = run("convert", &flags);
    assert_eq!((written.code, written.stderr.as_str()), (Some(0), ""), "{written:?}");
    assert!(written.stdout.contains("logistic stacking (weights 1.500, 0.250; intercept -0.250)"), "{written:?}");
    let inspected = run("convert", &["--inspect", text(&file)]);
    assert_eq!((inspected.code, &inspected.stdout), (Some(0), &written.stdout));
    let content: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(content["models"][1]["file"], "opposite.safetensors", "members in its folder move with it");

    let report = report(&[&file]);
    assert_eq!((&report["model"]["name"], &report["verdict"]), (&"both".into(), &"REAL".into()), "{report}");
    assert_eq!(report["ensemble"]["models"][0]["weight"], 1.5);

    variant(folder.path(), "opposite", |file| file.card.threshold = 0.25);
    let changed = analyze(&[&file], &[]);
    changed.assert_refused(&["both.json", "opposite.safetensors has SHA-256", "convert --ensemble"]);
    std::fs::remove_file(&opposite).unwrap();
    analyze(&[&file], &[]).assert_refused(&["both.json", "its model opposite.safetensors is not at"]);
    analyze(&[&bundled_model(), &file], &[]).assert_refused(&["both.json", "it is an ensemble file; give it alone"]);
}

#[test]
fn invalid_ensembles_are_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (bundled, file) = (bundled_model(), folder.path().join("both.json"));
    analyze(&[&bundled, &bundled], &[]).assert_refused(&["is given twice", "SHA-256"]);
    let twin = variant(folder.path(), "twin", |file| file.format = WeightFormat::F32);
    let (bundled, twin) = (text(&bundled), text(&twin));
    let two = ["--member", bundled, "--member", twin];
    for (flags, part) in [
        (vec!["--member", bundled], "an ensemble of 1 model(s)"),
        (vec!["--member", bundled, "--member", bundled], "is given twice"),
        ([&two[..], &["--stacking", "1"]].concat(), "must have one number for each model"),
        ([&two[..], &["--max-disagreement", "2"]].concat(), "--max-disagreement is 2"),
        ([&two[..], &["--threshold", "1"]].concat(), "--threshold is 1"),
        ([&two[..], &["--scores", "a.json"]].concat(), "given 1 times for 2 members"),
    ] {
        run("convert", &[&["--ensemble", text(&file)], &flags[..]].concat()).assert_refused(&[part]);
    }
    let over = run("convert", &[&["--ensemble", twin], &two[..]].concat());
    over.assert_refused(&["is one of the members"]);
    assert!(!file.exists() && ModelFile::read(twin).is_ok());
}

#[test]
fn the_weights_of_stacking_are_fitted_to_the_scores_of_evaluations() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (bundled, twin) = (bundled_model(), variant(folder.path(), "twin", |file| file.format = WeightFormat::F32));
    let evaluation = |name: &str, model: &Path, videos: u32, score: fn(u32) -> f64| {
        let sha256 = ModelFile::read(model).unwrap().sha256;
        let video = |n: u32| {
            let label = if n % 2 == 1 { "fake" } else { "real" };
            json!({ "video": format!("v{n}"), "label": label, "fake_probability": score(n), "faces": 9 })
        };
        let videos: Vec<Value> = (0..videos).map(video).collect();
        std::fs::write(at(name), json!({ "model": { "sha256": sha256 }, "videos": videos }).to_string()).unwrap();
    };
    // One model is right for two of three videos, the other gives all the same score.
    evaluation("bundled.json", &bundled, 60, |n| if (n % 2 == 1) == (n % 3 > 0) { 0.9 } else { 0.1 });
    evaluation("twin.json", &twin, 60, |n| f64::from(n / 2 % 5) / 5.0 + 0.1);
    let file = at("both.json");
    let fit = |first: &str, second: &str| {
        let members = ["--member", text(&bundled), "--member", text(&twin)];
        let (first, second) = (at(first), at(second));
        let scores = ["--scores", text(&first), "--scores", text(&second)];
        run("convert", &[&["--ensemble", text(&file)], &members[..], &scores].concat())
    };
    // The order of the reports does not matter.
    let fitted = fit("twin.json", "bundled.json");
    assert_eq!((fitted.code, fitted.stderr.as_str()), (Some(0), ""), "{fitted:?}");
    let content: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(content["combination"]["kind"], "stacking");
    let weight = |model: usize| content["combination"]["weights"][model].as_f64().unwrap();
    assert!(weight(0) > 0.15 && weight(1).abs() < weight(0) / 2.0, "{content}");

    evaluation("fewer.json", &twin, 59, |_| 0.5);
    fit("bundled.json", "fewer.json").assert_refused(&["are not on the same videos", "v59"]);
    fit("bundled.json", "bundled.json").assert_refused(&["no file of --scores is on the member twin"]);
    std::fs::write(at("odd.json"), "[]").unwrap();
    fit("bundled.json", "odd.json").assert_refused(&["odd.json: it is not a .json report"]);
}
