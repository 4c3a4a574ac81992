//! Inputs of `analyze` other than single videos: still pictures and folders. And refused inputs, with what to do.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::{Run, bundled_clip, program, run};

fn portrait() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deepsight-face/tests/photos/one.png"))
}

fn kinds(report: &Value) -> Vec<&str> {
    report["reasons"].as_array().unwrap().iter().map(|reason| reason["kind"].as_str().unwrap()).collect()
}

#[test]
fn a_still_picture_is_judged_by_its_one_frame_and_the_report_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // The content determines the type of the file, not the name.
    let picture = folder.path().join("portrait.mp4");
    std::fs::copy(portrait(), &picture).unwrap();
    let json = folder.path().join("report.json");
    let run = Run::from(program("analyze").arg(&picture).arg("--json").arg(&json).output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert!(run.stdout.contains("This is a still picture: one look, no time."), "{run:?}");
    assert!(run.stdout.contains("\n  1 picture\n") && !run.stdout.contains(" s seen"), "{run:?}");
    // The row of the person has no times.
    assert!(run.stdout.lines().any(|line| line.split_whitespace().take(4).eq(["1", "1", "-", "-"])), "{run:?}");

    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!((&report["input"]["container"], &report["input"]["frames"]), (&"png".into(), &1.into()));
    assert_eq!(report["input"]["duration"], Value::Null);
    assert_eq!(report["settings"]["analyzer"]["min_faces"], 1);
    assert!(report["fake_probability"].is_f64());
    let kinds = kinds(&report);
    assert_eq!(kinds.last(), Some(&"still_picture"));
    assert!(kinds.contains(&"decided_by_track") && !kinds.contains(&"too_few_faces"), "{kinds:?}");
}

#[test]
fn the_clips_and_pictures_of_a_folder_are_analyzed_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::copy(bundled_clip(), path("b.mp4")).unwrap();
    std::fs::copy(portrait(), path("a.png")).unwrap();
    std::fs::write(path("notes.txt"), "no clip").unwrap();
    std::fs::create_dir(path("sub")).unwrap();
    std::fs::copy(portrait(), path("sub/c.png")).unwrap();
    let names = |flags: &[&str]| -> Vec<String> {
        let run = Run::from(program("analyze").arg(folder.path()).args(flags).output().unwrap());
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
        let reports = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let inside = |report: Value| {
            let path = PathBuf::from(report["input"]["path"].as_str().unwrap());
            path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned()
        };
        reports.map(inside).collect()
    };
    assert_eq!(names(&["--frames", "1", "--json", "-"]), ["a.png", "b.mp4"]);
    assert_eq!(names(&["--frames", "1", "--json", "-", "--recursive"]), ["a.png", "b.mp4", "sub/c.png"]);
    // The settings of the picture do not affect those of the clip.
    let run = Run::from(program("analyze").arg(folder.path()).args(["--frames", "1", "--json", "-"]).output().unwrap());
    let clip: Value = serde_json::from_str(run.stdout.lines().nth(1).unwrap()).unwrap();
    assert_eq!(clip["settings"]["analyzer"]["min_faces"], 3);
    assert!(kinds(&clip).contains(&"too_few_faces"), "{clip}");

    let results = path("results");
    let run = Run::from(
        program("analyze")
            .arg(folder.path())
            .args(["--frames", "1"])
            .arg("--output-dir")
            .arg(&results)
            .output()
            .unwrap(),
    );
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.starts_with("2 of 2 clips"), "{run:?}");
}

#[test]
fn an_address_a_pattern_and_an_empty_folder_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder: &Path = folder.path();
    run("analyze", &["https://example.com/watch?v=1"]).assert_refused(&["is a web address", "yt-dlp -o - 'https"]);
    run("analyze", &["clips/*.mp4"]).assert_refused(&["clips/*.mp4", "the shell did not expand"]);
    run("analyze", &[folder]).assert_refused(&["contains no video or picture", "--recursive"]);
    let results = folder.join("results");
    let flags = ["https://example.com/a", "--output-dir", results.to_str().unwrap()];
    run("analyze", &flags).assert_refused(&["is a web address"]);
}

#[test]
fn a_picture_that_is_not_supported_names_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("photo.heic");
    std::fs::write(&picture, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
    run("analyze", &[&picture]).assert_refused(&["photo.heic", "heif-convert"]);
}

#[test]
fn a_clip_that_is_upside_down_is_turned_and_the_report_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let turned = folder.path().join("turned.mp4");
    let ffmpeg = ["-loglevel", "error", "-t", "3", "-i"];
    let mut command = std::process::Command::new("ffmpeg");
    command.args(ffmpeg).arg(bundled_clip()).args(["-vf", "hflip,vflip", "-q:v", "3"]).arg(&turned);
    assert!(command.stdin(std::process::Stdio::null()).status().unwrap().success());
    let flags = ["--frames", "6", "--min-face-size", "40", "--json", "-"];
    let run: Run = program("analyze").arg(&turned).args(flags).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let reason = report["reasons"].as_array().unwrap().last().unwrap();
    assert_eq!((&reason["kind"], &reason["degrees"]), (&"turned".into(), &180.into()), "{reason}");
    assert_eq!((&report["input"]["rotation"], &report["verdict"]), (&180.into(), &"REAL".into()));
}
