//! The `analyze` program from outside: exit codes, and what goes to standard output, to standard error and to files.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::{Run, bundled_clip, bundled_model, program, run};

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    // Features that other crates enable decide whether serde_json keeps the order.
    keys.sort_unstable();
    keys
}

fn reports(run: &Run) -> Vec<Value> {
    run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn json_on_standard_output_is_one_object_and_nothing_else() {
    let clip = bundled_clip();
    let flags = ["--frames", "3", "--threads", "2", "--max-side", "2000", "--json", "-"];
    let run = run("analyze", &[&[text(&clip)], &flags[..]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let top = ["schema", "input", "model", "settings", "verdict", "reasons", "fake_probability", "tracks", "frames"];
    let mut expected = [&top[..], &["segments", "coverage", "errors", "seconds"]].concat();
    expected.sort_unstable();
    assert_eq!(keys(&report), expected);
    assert_eq!(report["schema"], 1);
    assert!(["REAL", "FAKE", "UNCERTAIN"].contains(&report["verdict"].as_str().unwrap()));
    assert!((0.0..=1.0).contains(&report["fake_probability"].as_f64().unwrap()));

    assert_eq!(report["input"]["path"], text(&clip));
    assert_eq!(report["input"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(report["settings"]["run"], serde_json::json!({"device": "flex", "frames": 3, "threads": 2}));
    assert_eq!(report["settings"]["analyzer"]["detect_every"], 1);
    assert_eq!(report["settings"]["detector"]["settings"]["max_side"], 2000);
    assert_eq!(keys(&report["seconds"]), ["classify", "decode", "detect", "total"]);

    let frames = report["frames"].as_array().unwrap();
    let indices: Vec<_> = frames.iter().map(|frame| frame["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 89, 179]);
    let faces: Vec<_> = frames.iter().map(|frame| frame["faces"].as_array().unwrap().len()).collect();
    assert_eq!(faces, [1, 2, 1]);
    for frame in frames {
        assert_eq!(keys(frame), ["faces", "index", "time"]);
        assert!((frame["time"].as_f64().unwrap() - frame["index"].as_f64().unwrap() / 25.0).abs() < 1e-6);
        for face in frame["faces"].as_array().unwrap() {
            assert_eq!(keys(face), ["box", "confidence", "fake_probability", "landmarks", "quality", "track"]);
            let corner = |index: usize| face["box"][index].as_f64().unwrap();
            assert!(corner(0) < corner(2) && corner(1) < corner(3), "{face}");
            assert_eq!(face["landmarks"].as_array().unwrap().len(), 5);
            let track = &face["track"];
            assert!(report["tracks"].as_array().unwrap().iter().any(|known| known["id"] == *track), "{face}");
        }
    }
}

#[test]
fn without_a_clip_the_bundled_one_is_shown_as_a_table_and_results_go_where_the_flags_say() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (json, page, pictures) = (at("report.json"), at("report.html"), at("pictures"));
    let flags = ["--json", text(&json), "--html", text(&page), "--heatmaps", text(&pictures)];
    let run = run("analyze", &[&["--frames", "3", "--verbose"], &flags[..]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    for part in ["portraits.mp4\n", "% fake", "person", "model efficientnet-lite0", "3 frames, 4 faces found"] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["frames"].as_array().unwrap().len(), 3);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains(report["input"]["sha256"].as_str().unwrap()));
    let pictures: Vec<_> = std::fs::read_dir(pictures).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!pictures.is_empty() && pictures.iter().all(|path| image::open(path).is_ok()), "{pictures:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");
}

#[test]
fn a_file_that_is_cut_short_says_how_much_was_seen_and_is_not_real() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole.mp4"), folder.path().join("cut.mp4"));
    // The index is at the start, so that the beginning of the file can be played.
    let clip = bundled_clip();
    let arguments = ["-loglevel", "error", "-i", text(&clip), "-c", "copy", "-movflags", "+faststart", text(&whole)];
    assert!(std::process::Command::new("ffmpeg").args(arguments).status().unwrap().success());
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() * 6 / 10]).unwrap();

    let run = run("analyze", &[text(&cut), "--json", text(&folder.path().join("cut.json"))]);
    assert_eq!(run.code, Some(0));
    let report: Value = serde_json::from_slice(&std::fs::read(folder.path().join("cut.json")).unwrap()).unwrap();
    let share = report["coverage"]["share"].as_f64().unwrap();
    assert!((0.3..0.8).contains(&share), "{}", report["coverage"]);
    assert!((report["coverage"]["duration"].as_f64().unwrap() - 7.2).abs() < 0.3, "{}", report["coverage"]);
    assert_eq!(report["verdict"], "UNCERTAIN");
    let kinds: Vec<_> = report["reasons"].as_array().unwrap().iter().map(|reason| &reason["kind"]).collect();
    assert!(kinds.contains(&&Value::from("partly_seen")), "{kinds:?}");
    assert!(run.stdout.contains("of the clip could be seen") && run.stdout.contains(" s seen ("), "{}", run.stdout);
}

/// Runs ffmpeg on the bundled clip, and returns the path of its result.
fn made(folder: &Path, name: &str, words: &str) -> PathBuf {
    let path = folder.join(name);
    let clip = bundled_clip();
    let arguments = ["-loglevel", "error", "-i", text(&clip)].into_iter().chain(words.split_whitespace());
    assert!(std::process::Command::new("ffmpeg").args(arguments).arg(&path).status().unwrap().success());
    path
}

fn report_of(path: &Path, flags: &[&str]) -> Value {
    let run = run("analyze", &[&[text(path), "--json", "-"][..], flags].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap()
}

fn messages(report: &Value) -> Vec<&str> {
    report["reasons"].as_array().unwrap().iter().map(|reason| reason["message"].as_str().unwrap()).collect()
}

#[test]
fn a_hole_in_the_middle_of_a_file_is_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let words = "-an -c:v libx264 -g 25 -sc_threshold 0 -cluster_time_limit 1000";
    let whole = std::fs::read(made(folder.path(), "whole.mkv", words)).unwrap();
    let mut holed = whole.clone();
    holed[whole.len() * 3 / 10..whole.len() * 8 / 10].fill(0);
    let path = folder.path().join("holed.mkv");
    std::fs::write(&path, holed).unwrap();
    let report = report_of(&path, &["--frames", "12"]);
    let share = report["coverage"]["share"].as_f64().unwrap();
    assert!((0.2..0.8).contains(&share), "{}", report["coverage"]);
    assert_ne!(report["verdict"], "REAL", "{}", report["reasons"]);
    assert_eq!(report_of(&folder.path().join("whole.mkv"), &["--frames", "12"])["coverage"]["share"], 1.0);
}

#[test]
fn one_of_several_streams_is_analyzed_and_another_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let pattern = "-f lavfi -i testsrc2=s=320x180:r=10:d=5 -map 1:v -map 0:v -c:v libx264 -disposition:v:0 default \
                   -disposition:v:1 0";
    let path = made(folder.path(), "two.mkv", pattern);
    let said = |report: &Value, part: &str| messages(report).iter().any(|message| message.contains(part));
    let shown = report_of(&path, &["--frames", "5"]);
    assert!(said(&shown, "2 video streams. Only stream 0 (320 x 180)"), "{:?}", messages(&shown));
    assert!(said(&shown, "No face was found"), "{:?}", messages(&shown));
    let chosen = report_of(&path, &["--frames", "5", "--stream", "1"]);
    assert!(said(&chosen, "2 video streams. Only stream 1"), "{:?}", messages(&chosen));
    assert!(!chosen["tracks"].as_array().unwrap().is_empty());
    assert_eq!(chosen["settings"]["run"]["stream"], 1);
    let refused = run("analyze", &[text(&path), "--stream", "2"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("choose from 0, 1") && refused.stderr.contains("--stream"), "{}", refused.stderr);
}

#[test]
fn a_picture_that_differs_from_a_players_is_explained_in_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let path = made(folder.path(), "odd.mkv", "-an -vf setsar=40/1 -c:v libx264");
    let report = report_of(&path, &["--frames", "3"]);
    assert!(messages(&report).iter().any(|message| message.contains("pixels of 40:1")), "{:?}", messages(&report));
    assert!(run("analyze", &[text(&path), "--frames", "3"]).stdout.contains("pixels of 40:1"));
}

#[test]
fn limits_of_time_and_length_are_those_of_the_flags() {
    let clip = bundled_clip();
    let run = run("analyze", &[text(&clip), "--max-duration", "5"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("longer than the limit of 5 s; raise --max-duration"), "{}", run.stderr);
}

#[test]
fn a_broken_clip_among_several_is_named_and_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (broken, missing, json) =
        (folder.path().join("broken.mp4"), folder.path().join("missing.mp4"), folder.path().join("all.json"));
    std::fs::write(&broken, "no film").unwrap();
    let clip = bundled_clip();
    let clips = [text(&clip), text(&broken), text(&missing), text(&clip)];
    let both = run("analyze", &[&clips, &["--frames", "1", "--json", "-"][..]].concat());
    assert_eq!(both.code, Some(2));
    assert_eq!(reports(&both).len(), 2, "{both:?}");
    assert!(reports(&both).iter().all(|report| report["input"]["path"] == text(&clip)));
    let lines: Vec<_> = both.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{both:?}");
    for (line, name) in lines.iter().zip(["broken.mp4: not a video", "missing.mp4: No such file"]) {
        assert!(line.starts_with("error: ") && line.contains(name), "{line}");
    }

    let filed = run("analyze", &[&clips, &["--frames", "1", "--json", text(&json)][..]].concat());
    assert_eq!(filed.code, Some(2));
    assert_eq!(std::fs::read_to_string(&json).unwrap().lines().count(), 2);
    assert!(filed.stdout.contains("UNCERTAIN"), "the table is on standard output: {filed:?}");
}

#[test]
fn results_do_not_depend_on_the_number_of_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let clips = ["a.mp4", "broken.mp4", "b.mp4", "c.mp4"].map(|name| folder.path().join(name));
    for clip in &clips {
        std::fs::copy(bundled_clip(), clip).unwrap();
    }
    std::fs::write(&clips[1], "no film").unwrap();
    let clips = clips.each_ref().map(|clip| text(clip));
    let several = |jobs: &str| {
        let mut run = run("analyze", &[&clips[..], &["--frames", "2", "--json", "-", "--jobs", jobs]].concat());
        assert_eq!(run.code, Some(2), "{run:?}");
        let mut reports = reports(&run);
        reports.iter_mut().for_each(|report| drop(report.as_object_mut().unwrap().remove("seconds")));
        run.stdout.clear();
        (reports, run.stderr)
    };
    let (one, complaint) = several("1");
    let paths: Vec<_> = one.iter().map(|report| report["input"]["path"].as_str().unwrap()).collect();
    assert_eq!(paths, [clips[0], clips[2], clips[3]], "in the order of the clips");
    assert_eq!(several("4"), (one, complaint));
}

#[cfg(all(feature = "flex", feature = "ndarray"))]
#[test]
fn devices_of_two_kinds_and_one_device_twice_are_refused() {
    run("analyze", &["--device", "flex", "--device", "ndarray"]).assert_refused(&[
        "device ndarray",
        "of one kind",
        "the first is flex",
    ]);
    run("analyze", &["--device", "flex", "--device", "flex"])
        .assert_refused(&["--device flex is given twice", "--jobs"]);
}

#[test]
fn bad_input_and_usage_give_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (empty, garbage, four) = (at("empty.mp4", b""), at("garbage.mp4", &[7; 5000]), at("four.safetensors", b"abcd"));
    let model = std::fs::read(bundled_model()).unwrap();
    let cut = at("cut.safetensors", &model[..model.len() / 2]);
    let (clip, folder) = (bundled_clip(), text(folder.path()));
    let nothing = format!("{folder}/nothing");
    std::fs::create_dir(&nothing).unwrap();
    let (clip, nowhere) = (text(&clip), format!("{folder}/missing/report"));
    let cases: [(&[&str], &[&str]); 14] = [
        (&[&empty, "--json", "-"], &["empty.mp4", "empty"]),
        (&[&garbage, "--json", "-"], &["garbage.mp4", "not a video"]),
        (&[&nothing], &["nothing", "contains no video or picture"]),
        (&["missing.mp4"], &["missing.mp4", "No such file"]),
        (&[clip, "--model", &four], &["four.safetensors", "4 bytes"]),
        (&[clip, "--model", &cut], &["cut.safetensors", "not a safetensors file"]),
        (&[clip, "--model", &nowhere], &["missing/report", "No such file"]),
        (&[clip, "--json", &nowhere], &["cannot write", "missing/report"]),
        (&[clip, "--heatmaps", &empty], &["cannot write", "empty.mp4"]),
        (&[&empty, "--json", &empty], &["--json", "empty.mp4", "also an input"]),
        (&[clip, clip, "--html", &nowhere], &["--html", "2 clips", "name a folder"]),
        (&[clip, "--device", "tpu"], &["--device", "\"tpu\"", "there is flex"]),
        (&[clip, "--min-face-size", "2"], &["--min-face-size", "4..=16384"]),
        (&[clip, "--speed"], &["--speed"]),
    ];
    for (arguments, parts) in cases {
        run("analyze", arguments).assert_refused(parts);
    }
}

#[test]
fn instructions_forced_by_the_environment_give_the_verdict_of_the_fastest_ones() {
    let report = |instructions: Option<&str>| -> Value {
        let mut program = program("analyze");
        program.args(["--frames", "3", "--json", "-"]).env_remove("DEEPSIGHT_CPU");
        if let Some(name) = instructions {
            program.env("DEEPSIGHT_CPU", name);
        }
        let run = Run::from(program.output().unwrap());
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{instructions:?}");
        serde_json::from_str(&run.stdout).unwrap()
    };
    let fastest = report(None);
    let probability = |report: &Value| report["fake_probability"].as_f64().unwrap();
    // An empty variable counts as unset.
    for name in ["portable", ""] {
        let forced = report(Some(name));
        assert_eq!(forced["verdict"], fastest["verdict"], "{name:?}");
        assert!((probability(&forced) - probability(&fastest)).abs() < 1e-3, "{name:?}: {forced} {fastest}");
    }
}

#[test]
fn instructions_that_are_not_there_are_refused_and_the_variable_named() {
    let run = Run::from(program("analyze").args(["--frames", "1"]).env("DEEPSIGHT_CPU", "nonsense").output().unwrap());
    run.assert_refused(&["DEEPSIGHT_CPU is \"nonsense\": this processor and build have ", "portable"]);
}

#[cfg(all(feature = "flex", feature = "ndarray"))]
#[test]
fn every_cpu_backend_gives_the_same_scores() {
    let scores = |device: &str| -> Vec<f64> {
        let run = run("analyze", &["--device", device, "--frames", "2", "--json", "-"]);
        assert_eq!(run.code, Some(0), "{run:?}");
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(report["settings"]["run"]["device"], device);
        let frames = report["frames"].as_array().unwrap().iter();
        let faces = frames.flat_map(|frame| frame["faces"].as_array().unwrap());
        faces.map(|face| face["fake_probability"].as_f64().unwrap()).collect()
    };
    let (flex, ndarray) = (scores("flex"), scores("ndarray"));
    assert_eq!((flex.len(), ndarray.len()), (2, 2));
    assert!(flex.iter().zip(&ndarray).all(|(a, b)| (a - b).abs() < 1e-3), "{flex:?} {ndarray:?}");
}

#[cfg(unix)]
#[test]
fn a_closed_reader_is_no_error_and_a_full_disk_is_one() {
    let arguments = ["--frames", "1", "--json", "-"];
    let mut child = program("analyze").args(arguments).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));

    #[cfg(target_os = "linux")]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let run = Run::from(program("analyze").args(arguments).stdout(full).output().unwrap());
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.stderr.starts_with("error: cannot write standard output"), "{run:?}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_or_a_request_to_end_leaves_nothing_half_done() {
    for signal in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        let json = folder.path().join("report.json");
        let mut command = program("analyze");
        command.args(["--fps", "25", "--json", text(&json)]);
        let piped = std::process::Stdio::piped;
        let child = command.stdout(piped()).stderr(piped()).spawn().unwrap();
        // The handler is installed before the program opens its results.
        while files() == 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let kill = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let run = Run::from(child.wait_with_output().unwrap());
        assert_eq!((run.code, run.stderr.as_str()), (Some(130), "interrupted\n"), "{run:?}");
        assert_eq!((run.stdout.as_str(), files()), ("", 0), "{signal}");
    }
}
