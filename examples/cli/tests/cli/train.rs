//! The train program: from crops to a model that analyze loads, interrupted and resumed; and refused inputs.

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};

use crate::program::{Run, bundled_clip, run};

/// Creates three videos of each class with two tiny faces each.
fn crops(folder: &Path) -> PathBuf {
    let mut csv = "file,label,video,split\n".to_owned();
    for (label, grid) in [("real", 0_u8), ("fake", 60)] {
        for video in 0..3 {
            for face in 0..2 {
                let file = format!("{label}{video}_{face}.png");
                let pixel =
                    |x: u32, y: u32| Rgb([(x * 3 + 9 * video) as u8 + grid * ((x + y) % 2) as u8, (y * 2) as u8, 90]);
                RgbImage::from_fn(32, 32, pixel).save(folder.join(&file)).unwrap();
                let split = if video == 2 { "val" } else { "train" };
                csv.push_str(&format!("{file},{label},{label}{video},{split}\n"));
            }
        }
    }
    let path = folder.join("manifest.csv");
    fs::write(&path, csv).unwrap();
    path
}

fn train(folder: &Path, output: &Path, more: &[&str]) -> Run {
    let mut arguments = vec!["--data-dir", folder.to_str().unwrap(), "--output-dir", output.to_str().unwrap()];
    for (flag, value) in [("--input-size", "32"), ("--batch-size", "4"), ("--epochs", "2"), ("--crop", "margin:0.3")] {
        if !more.contains(&flag) {
            arguments.extend([flag, value]);
        }
    }
    arguments.extend(more);
    run("train", &arguments)
}

#[test]
fn crops_become_a_model_that_analyze_loads() {
    let folder = tempfile::tempdir().unwrap();
    crops(folder.path());
    let (output, sheet) = (folder.path().join("out"), folder.path().join("sheet.png"));
    let settings = ["--ema", "--drop-path", "0.1", "--clip-compression", "0.5"];
    let done = train(folder.path(), &output, &[&settings[..], &["--preview", sheet.to_str().unwrap()]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("4 real faces of 2 videos, 4 fake faces of 2 videos"), "{done:?}");
    assert!(done.stdout.contains("epoch 2/2") && done.stdout.contains("best.safetensors is of epoch"), "{done:?}");
    assert!(sheet.is_file());
    let events: Vec<_> = fs::read_dir(output.join("events")).unwrap().collect();
    assert_eq!(events.len(), 1);

    let model = output.join("best.safetensors");
    let clip = bundled_clip();
    let said = run("analyze", &[clip.to_str().unwrap(), "--model", model.to_str().unwrap(), "--frames", "2"]);
    assert_eq!(said.code, Some(0), "{said:?}");

    // The run is complete, so resuming does nothing; a new run into the same folder is refused.
    let resumed = train(folder.path(), &output, &[&settings[..], &["--resume"]].concat());
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert!(!resumed.stdout.contains("epoch 1/2"), "{resumed:?}");
    train(folder.path(), &output, &[]).assert_refused(&["output-dir", "holds a run already"]);
    train(folder.path(), &output, &["--resume"])
        .assert_refused(&["checkpoint.safetensors", "its --clip-compression is"]);
}

#[test]
fn every_manifest_is_a_source_with_its_own_figures() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["first", "second", "real-only"] {
        fs::create_dir(at(name)).unwrap();
        crops(&at(name));
    }
    let list = at("real-only/manifest.csv");
    let text = fs::read_to_string(&list).unwrap();
    let reals: String = text.lines().filter(|line| !line.contains(",fake,")).map(|line| format!("{line}\n")).collect();
    fs::write(list, reals).unwrap();
    let (output, [second, reals]) = (at("out"), [at("second"), at("real-only")]);
    let more = ["--data-dir", second.to_str().unwrap(), "--data-dir", reals.to_str().unwrap()];
    let done = train(&at("first"), &output, &more);
    assert_eq!(done.code, Some(0), "{done:?}");
    for part in [
        "mean over sources",
        "\n  first: face AUC ",
        "\n  second: face AUC ",
        "\n  real-only: no AUC, because it has one class only (1 real, 0 fake videos)",
        ", mean video AUC ",
    ] {
        assert!(done.stdout.contains(part), "{part}: {done:?}");
    }
    let history = fs::read_to_string(output.join("history.json")).unwrap();
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    let epoch = &history[1];
    let auc = |name: &str| epoch["sources"][name]["video_auc"].as_f64();
    let mean = (auc("first").unwrap() + auc("second").unwrap()) / 2.0;
    assert!((epoch["val_mean_video_auc"].as_f64().unwrap() - mean).abs() < 1e-12, "{epoch}");
    assert_eq!((auc("real-only"), &epoch["sources"]["real-only"]["real_videos"]), (None, &1.into()));
}

#[test]
fn bad_input_is_one_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let csv = crops(folder.path());
    let output = folder.path().join("out");
    train(folder.path(), &output, &["--epochs", "0"]).assert_refused(&["epochs is 0: 1 to 1000000"]);
    train(folder.path(), &output, &["--device", "tpu"]).assert_refused(&["tpu"]);
    train(folder.path(), &output, &["--model-name", "resnet50"]).assert_refused(&["resnet50", "efficientnet_b0"]);
    train(folder.path(), &output, &["--use-amp"]).assert_refused(&["bf16", "CPUs compute in f32 only"]);
    train(folder.path(), &output, &["--init", "no.pth"]).assert_refused(&["no.pth"]);
    train(folder.path(), &output, &["--clip-compression", "2"]).assert_refused(&["clip-compression is 2"]);
    train(folder.path(), &output, &["--self-blended", "0.5"]).assert_refused(&["no landmarks"]);
    train(folder.path(), &output, &["--batch-size", "64"]).assert_refused(&["batch-size", "8 draws"]);

    train(&output, &output, &[]).assert_refused(&["data-dir", "preprocess makes one"]);

    let text = fs::read_to_string(&csv).unwrap();
    fs::write(&csv, text.replace(",val", ",train")).unwrap();
    train(folder.path(), &output, &[]).assert_refused(&["split is train for all faces", "preprocess"]);
    fs::write(&csv, text.replace("real,real2,val", "real,real2,test")).unwrap();
    train(folder.path(), &output, &[]).assert_refused(&["split val", "no real faces"]);
    fs::write(&csv, text.replace("real0_0.png,real,real0,train", "real0_0.png,real,real0,val")).unwrap();
    train(folder.path(), &output, &[]).assert_refused(&["real0"]);
    fs::write(&csv, text.replace("real0_0.png", "gone.png")).unwrap();
    train(folder.path(), &output, &[]).assert_refused(&["manifest.csv", "gone.png"]);
    assert!(!output.exists(), "nothing is left of a run that never began");
}
