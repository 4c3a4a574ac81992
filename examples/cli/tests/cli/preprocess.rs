//! The `preprocess` program from outside: what it writes, how it is continued, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use deepsight_train::split::{SplitBy, check_disjoint};
use deepsight_train::{Label, Manifest, Split};

use crate::program::{Run, bundled_clip, program, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A data set of the bundled clip: as the real clip, as another file for the fake one, and a portrait from it.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        for (name, bytes) in [("real/id1_0000.mp4", &b""[..]), ("fake/id2_id1_0000.mp4", b"\0")] {
            let path = bench.path("data").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // A byte at the end makes another file of the same video.
            fs::write(path, [&fs::read(bundled_clip()).unwrap(), bytes].concat()).unwrap();
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, output: &str, more: &[&str]) -> Vec<String> {
        let (data, output) = (self.path("data"), self.path(output));
        let folders = ["--data-dir", text(&data), "--output-dir", text(&output), "--size", "64"];
        folders.iter().chain(more).map(|word| (*word).to_owned()).collect()
    }
}

#[test]
fn faces_of_both_clips_are_cut_listed_and_divided() {
    let bench = Bench::new();
    let run = run("preprocess", &bench.arguments("out", &["--max-frames", "4", "--workers", "2"]));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    for part in
        ["manifest.csv: 10 faces", "train: 1 real videos (5 faces), 1 fake videos (5 faces)", "0 failures, see "]
    {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let manifest = Manifest::read(bench.path("out/manifest.csv")).unwrap();
    assert_eq!(manifest.size, Some(64));
    check_disjoint(&manifest.rows, SplitBy::Person).unwrap();
    assert!(
        manifest.rows.iter().all(|row| row.split == Some(Split::Train)),
        "both show id1, so they are one component"
    );
    let fake = manifest.rows.iter().find(|row| row.label == Label::Fake).unwrap();
    assert_eq!((fake.target_id.as_deref(), fake.source_id.as_deref()), (Some("id2"), Some("id1")));
    for row in &manifest.rows {
        assert_eq!(image::open(manifest.root.join(&row.file)).unwrap().into_rgb8().dimensions(), (64, 64));
        // The eyes of the template at scale 0.8, where an aligned face has them.
        let [left, right, ..] = row.landmarks.unwrap().0;
        assert!((left[0] - 18.0).abs() < 6.0 && (right[0] - 44.0).abs() < 6.0, "{:?}", row.landmarks);
    }
    assert_eq!(fs::read_to_string(bench.path("out/failures.csv")).unwrap(), "file,label,video,reason\n");
}

#[test]
fn a_benchmark_whose_list_puts_everything_into_the_test_split_is_prepared() {
    let bench = Bench::new();
    fs::create_dir(bench.path("data/test")).unwrap();
    fs::rename(bench.path("data/real"), bench.path("data/test/Real")).unwrap();
    fs::rename(bench.path("data/fake"), bench.path("data/test/FAKE")).unwrap();
    let run = run("preprocess", &bench.arguments("out", &["--max-frames", "1"]));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    for part in ["train: 0 real videos", "test: 1 real videos", "0 failures, see "] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let manifest = Manifest::read(bench.path("out/manifest.csv")).unwrap();
    assert!(manifest.rows.iter().all(|row| row.split == Some(Split::Test)));
    assert!(manifest.rows.iter().any(|row| row.video == "test/id2_id1_0000"));
}

#[cfg(unix)]
#[test]
fn a_run_that_is_killed_or_interrupted_is_continued_to_the_same_end() {
    let bench = Bench::new();
    let many = ["--max-frames", "24", "--workers", "1"];
    assert_eq!(run("preprocess", &bench.arguments("whole", &many)).code, Some(0));
    for (signal, code) in [("-KILL", None), ("-INT", Some(130)), ("-TERM", Some(130))] {
        let output = bench.path(signal);
        let mut command = program("preprocess");
        command.args(bench.arguments(signal, &many)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        // The crops of the first clip exist, so the run is at work.
        while !output.join("fake").is_dir() && !output.join("real").is_dir() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let kill = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let stopped = Run::from(child.wait_with_output().unwrap());
        assert_eq!(stopped.code, code, "{stopped:?}");
        assert!(!output.join("manifest.csv").exists());

        let resumed = run("preprocess", &bench.arguments(signal, &many));
        assert_eq!(resumed.code, Some(0), "{resumed:?}");
        let read = |folder: &str| fs::read(bench.path(folder).join("manifest.csv")).unwrap();
        assert!(read(signal) == read("whole"), "{signal}");
        let crops = |folder: &str| {
            let manifest = Manifest::read(bench.path(folder).join("manifest.csv")).unwrap();
            manifest.rows.iter().map(|row| fs::read(manifest.root.join(&row.file)).unwrap()).collect::<Vec<_>>()
        };
        assert!(crops(signal) == crops("whole"), "{signal}");
    }
}

#[test]
fn bad_input_and_usage_give_one_line_and_exit_code_2() {
    let bench = Bench::new();
    let few = ["--max-frames", "1"];
    assert_eq!(run("preprocess", &bench.arguments("out", &few)).code, Some(0));
    run("preprocess", &bench.arguments("out", &["--max-frames", "2"]))
        .assert_refused(&["out: was begun with other settings: max-frames was 1 and is 2"]);
    run("preprocess", &bench.arguments("data/out", &few))
        .assert_refused(&["--output-dir is ", "must lie outside the data"]);
    run("preprocess", &bench.arguments("out2", &["--min-face-size", "1"]))
        .assert_refused(&["min_face_size", "4..=16384"]);
    run("preprocess", &bench.arguments("out2", &["--face-confidence", "2"]))
        .assert_refused(&["--face-confidence is 2"]);
    run("preprocess", &bench.arguments("out2", &["--split", "0/1/1"])).assert_refused(&["--split is 0/1/1"]);

    fs::remove_dir_all(bench.path("data/real")).unwrap();
    fs::write(bench.path("data/fake/id2_id1_0000.mp4"), "no film").unwrap();
    run("preprocess", &bench.arguments("out3", &few))
        .assert_refused(&["data: no face in 1 clips: failures.csv says why"]);
    assert!(fs::read_to_string(bench.path("out3/failures.csv")).unwrap().contains("not a video"));
    fs::remove_dir_all(bench.path("data/fake")).unwrap();
    run("preprocess", &bench.arguments("out4", &few))
        .assert_refused(&["data: no videos or pictures: looked for real/"]);
    fs::remove_dir_all(bench.path("data")).unwrap();
    run("preprocess", &bench.arguments("out5", &few)).assert_refused(&["data: cannot be read", "No such file"]);
}
