//! Videos on standard input.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::program::{Run, bundled_clip, program, run};

/// Runs `analyze` with these bytes on standard input.
fn piped(flags: &[&str], bytes: Vec<u8>) -> Run {
    let mut command = program("analyze");
    command.args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The program may end before it has read all input.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&bytes)));
    let run = child.wait_with_output().unwrap().into();
    writer.join().unwrap();
    run
}

fn ffmpeg(flags: &[&str]) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-loglevel", "error", "-i"]).arg(bundled_clip()).args(flags).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_container_on_standard_input_is_analyzed_as_the_file() {
    let flags = ["--frames", "4", "--min-face-size", "40", "--json", "-"];
    let of_file = run("analyze", &[&[bundled_clip().to_str().unwrap()], &flags[..]].concat());
    let of_pipe = piped(&[&["-"], &flags[..]].concat(), std::fs::read(bundled_clip()).unwrap());
    let (of_file, of_pipe) = (json(&of_file.stdout), json(&of_pipe.stdout));
    assert_eq!(of_pipe["input"]["path"], "standard input");
    for part in ["frames", "tracks", "verdict", "coverage"] {
        assert_eq!(of_pipe[part], of_file[part], "{part}");
    }
    assert_eq!(of_pipe["input"]["sha256"], of_file["input"]["sha256"]);
}

#[test]
fn frames_without_a_container_are_analyzed_as_they_come() {
    let frames = ffmpeg(&["-t", "3", "-vf", "scale=iw/2:-2", "-f", "yuv4mpegpipe", "-"]);
    let run = piped(&["-", "--fps", "2", "--min-face-size", "40", "--json", "-"], frames);
    assert_eq!(run.code, Some(0), "{run:?}");
    let report = json(&run.stdout);
    assert_eq!((report["frames"].as_array().unwrap().len(), &report["verdict"]), (6, &"REAL".into()));
    assert_eq!(report["settings"]["run"]["fps"], 2.0);
    assert_eq!(report["coverage"]["share"], 1.0, "{}", report["coverage"]);
}

#[test]
fn a_live_picture_gets_a_line_when_the_answer_changes_and_then_a_report() {
    let stream = ffmpeg(&["-t", "3", "-c", "copy", "-f", "matroska", "-"]);
    let live = ["-", "--live", "--fps", "2", "--min-face-size", "40"];
    let run = piped(&live, stream.clone());
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].trim_start().starts_with("0.00 s  UNCERTAIN"), "{run:?}");
    assert!(lines.iter().any(|line| line.contains(" s  REAL")), "{run:?}");
    assert!(lines.contains(&"standard input"), "the report follows: {run:?}");

    let run = piped(&[&live[..], &["--json", "-"]].concat(), stream);
    let objects: Vec<_> = run.stdout.lines().map(json).collect();
    let (report, changes) = objects.split_last().unwrap();
    assert!(changes.len() >= 2 && changes.iter().all(|change| change["reasons"][0].is_string()), "{run:?}");
    assert_eq!((&report["schema"], &report["verdict"]), (&1.into(), &changes.last().unwrap()["verdict"]));
}

#[test]
fn a_hole_in_a_live_stream_is_not_seen() {
    let part = |start: &str| ffmpeg(&["-t", "2", "-c", "copy", "-output_ts_offset", start, "-f", "mpegts", "-"]);
    let run = piped(&["-", "--live", "--min-face-size", "40", "--json", "-"], [part("0"), part("7")].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    let report = json(run.stdout.lines().last().unwrap());
    let share = report["coverage"]["share"].as_f64().unwrap();
    assert!((0.4..0.6).contains(&share), "{}", report["coverage"]);
    assert_eq!((&report["verdict"], report["input"]["gaps"].as_array().unwrap().len()), (&"UNCERTAIN".into(), 1));
}

#[test]
fn unusable_standard_input_is_refused_with_what_to_do() {
    let clip = bundled_clip();
    let clip = clip.to_str().unwrap();
    run("analyze", &["-", clip]).assert_refused(&["- reads one video", "give no other clip"]);
    run("analyze", &["-", "--output-dir", "results"]).assert_refused(&["no --output-dir"]);
    run("analyze", &[clip, "--live"]).assert_refused(&["--live", "give - as the clip"]);
    run("analyze", &["-", "--live", "--frames", "30"]).assert_refused(&["--frames 30", "--fps"]);
    piped(&["-"], Vec::new()).assert_refused(&["standard input", "empty"]);
    piped(&["-"], b"not a video, but a text of some length".to_vec()).assert_refused(&["standard input: "]);
    piped(&["-", "--live"], b"not a video, but a text of some length".to_vec()).assert_refused(&["standard input"]);
    piped(&["-"], b"YUV4MPEG2 W0 H0 F25:1\nFRAME\n".to_vec()).assert_refused(&["standard input"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_stream_that_waits_with_the_report_on_what_was_seen() {
    use std::io::{BufRead, BufReader, Read};
    let frames = ffmpeg(&["-t", "2", "-vf", "scale=iw/2:-2", "-f", "yuv4mpegpipe", "-"]);
    let mut command = program("analyze");
    command.args(["-", "--live", "--fps", "2", "--min-face-size", "40"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdin.write_all(&frames).unwrap();
    // The source stays open without further frames. The third frame with a face gives the first verdict.
    let mut line = String::new();
    while !line.contains("REAL") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "it ended without a verdict");
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("standard input\nREAL"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(stdin);
}
