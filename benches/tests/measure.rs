//! Answers of `measure`, the program that alternates with the compared programs.
#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Returns the answers to requests, one for each line of output.
fn answers(requests: &[String]) -> Vec<Value> {
    answers_with(&[], requests)
}

fn answers_with(flags: &[&str], requests: &[String]) -> Vec<Value> {
    let mut measure = Command::new(env!("CARGO_BIN_EXE_measure"))
        .args(["--device", "flex", "--threads", "2"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = measure.stdin.take().unwrap();
    stdin.write_all(requests.join("\n").as_bytes()).unwrap();
    drop(stdin);
    let output = measure.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn network(tensor: &Path, shape: [usize; 4]) -> String {
    json!({ "do": "network", "tensor": tensor, "shape": shape }).to_string()
}

#[test]
fn an_invalid_request_is_answered_with_an_error_and_the_next_one_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let (tensor, missing) = (folder.path().join("faces.f32"), folder.path().join("missing"));
    std::fs::write(&tensor, vec![0; 2 * 3 * 32 * 32 * 4]).unwrap();
    let requests = [
        ("{".into(), "EOF"),
        (json!({ "do": "dance" }).to_string(), "unknown variant `dance`"),
        (json!({ "do": "run", "repeat": 1 }).to_string(), "nothing is prepared"),
        (json!({ "do": "run", "repeat": 1, "fast": true }).to_string(), "unknown field `fast`"),
        (json!({ "do": "picture", "height": 480, "faces": 3, "path": missing }).to_string(), "only of 1 and 5"),
        (json!({ "do": "picture", "height": 1, "faces": 1, "path": missing }).to_string(), "height 1 is not in"),
        (network(&missing, [2, 3, 32, 32]), "missing: No such file"),
        (network(&tensor, [2, 3, 32, 33]), "24576 bytes, 25344 are needed"),
        (network(&tensor, [0, 3, 32, 32]), "shape [0, 3, 32, 32] is not"),
        (network(&tensor, [usize::MAX, 3, usize::MAX, 32]), "is not [1..=4096"),
    ];
    let mut lines: Vec<String> = requests.iter().map(|(line, _)| line.clone()).collect();
    lines.extend([network(&tensor, [2, 3, 32, 32]), json!({ "do": "run", "repeat": 3 }).to_string()]);
    let answers = answers(&lines);
    assert_eq!(answers.len(), lines.len());
    for (answer, (line, reason)) in answers.iter().zip(&requests) {
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(reason)), "{line}: {answer}");
    }
    let [prepared, ran] = &answers[requests.len()..] else { panic!("{answers:?}") };
    let logits = prepared["output"].as_array().unwrap();
    assert_eq!(logits.len(), 2, "{prepared}");
    assert_eq!(logits[0], logits[1], "the same face twice");
    assert_eq!(ran["seconds"].as_array().unwrap().len(), 3);
}

#[test]
fn a_training_step_answers_with_its_loss_and_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grey.rgb");
    std::fs::write(&path, [127; 32 * 32 * 3]).unwrap();
    let image = json!({ "path": path, "width": 32, "height": 32 });
    let step = |images| json!({ "do": "train_step", "network": "efficientnet_lite0", "images": images }).to_string();
    let answers =
        answers(&[step(vec![]), step(vec![image.clone(), image]), json!({ "do": "run", "repeat": 2 }).to_string()]);
    assert!(answers[0]["error"].as_str().unwrap().contains("needs pictures"), "{}", answers[0]);
    // The same face once as real and once as fake: the mean loss is at least ln 2, whatever the logits are.
    let loss = answers[1]["output"].as_f64().unwrap();
    assert!((0.69..3.0).contains(&loss), "{loss}");
    assert_eq!(answers[2]["seconds"].as_array().unwrap().len(), 2, "{}", answers[2]);
}

#[test]
fn a_precision_that_the_engine_does_not_support_is_refused_and_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = folder.path().join("faces.f32");
    std::fs::write(&tensor, vec![0; 3 * 32 * 32 * 4]).unwrap();
    let answers = answers_with(&["--precision", "bf16"], &[network(&tensor, [1, 3, 32, 32])]);
    let error = answers[0]["error"].as_str().unwrap();
    assert!(error.contains("unavailable") && error.contains("bf16"), "{error}");
}

#[test]
fn five_faces_are_detected_in_a_picture_of_five_faces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("five.rgb");
    let picture = json!({ "do": "picture", "height": 480, "faces": 5, "path": path }).to_string();
    let image = json!({ "path": path, "width": 854, "height": 480 });
    let answers = answers(&[picture, json!({ "do": "detect", "images": [image] }).to_string()]);
    assert_eq!(answers[0], json!({ "width": 854, "height": 480 }));
    assert_eq!(answers[1]["output"][0].as_array().unwrap().len(), 5, "{}", answers[1]);
}
