//! `analyze --stability` from outside: the clip again, recompressed, smaller and mirrored.
#![cfg(feature = "flex")]

use std::path::Path;

use serde_json::Value;

use crate::program::{bundled_clip, run};

fn report(flags: &[&str]) -> Value {
    let analyzed = run("analyze", &[flags, &["--json", "-"]].concat());
    assert_eq!((analyzed.code, analyzed.stderr.as_str()), (Some(0), ""), "{analyzed:?}");
    serde_json::from_str(&analyzed.stdout).unwrap()
}

fn kinds(report: &Value) -> Vec<&str> {
    let variations = report["stability"]["variations"].as_array().unwrap();
    variations.iter().map(|score| score["variation"]["kind"].as_str().unwrap()).collect()
}

#[test]
fn a_clip_is_analyzed_again_in_four_variations() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("short.mp4");
    // Two seconds, because the clip is encoded four times.
    let mut cut = std::process::Command::new("ffmpeg");
    cut.args(["-loglevel", "error", "-i"]).arg(bundled_clip());
    assert!(cut.args("-an -t 2 -c copy".split(' ')).arg(&clip).status().unwrap().success());
    let flags = [clip.to_str().unwrap(), "--frames", "8"];
    let (plain, checked) = (report(&flags), report(&[&flags[..], &["--stability"]].concat()));
    assert!(plain.get("stability").is_none());
    assert_eq!(kinds(&checked), ["recompressed", "recompressed", "half_size", "mirrored"]);
    assert_eq!((&checked["verdict"], &checked["frames"]), (&plain["verdict"], &plain["frames"]));
    assert_eq!(checked["settings"]["run"]["stability"], true);
    assert_eq!(checked["stability"]["limit"], plain["settings"]["analyzer"]["uncertain_band"]);
    let of = |variation: usize| checked["stability"]["variations"][variation]["fake_probability"].as_f64().unwrap();
    let original = plain["fake_probability"].as_f64().unwrap();
    assert!((0..4).all(|variation| of(variation) != original), "each is another picture: {}", checked["stability"]);
    assert!(checked["stability"]["largest_change"].as_f64().unwrap() < 0.3, "{}", checked["stability"]);

    let table = run("analyze", &[&flags[..], &["--stability"]].concat());
    for part in ["the clip again, changed", "H.264 of CRF 36", "half size", "mirrored", "differs by"] {
        assert!(table.stdout.contains(part), "{part}: {table:?}");
    }
}

#[test]
fn a_picture_is_not_recompressed_and_a_live_picture_is_refused() {
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deepsight-face/tests/photos/one.png");
    assert_eq!(kinds(&report(&[photo.to_str().unwrap(), "--stability"])), ["half_size", "mirrored"]);
    let live = run("analyze", &["-", "--live", "--stability"]);
    live.assert_refused(&["--live", "--stability", "cannot be used with"]);
}
