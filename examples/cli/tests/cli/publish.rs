//! Reports as they are published: `analyze --pdf --sign --contact-sheet`, `new-key` and `verify`.
#![cfg(feature = "flex")]

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::{bundled_clip, run};

/// A folder with a key, the analysis of the bundled clip signed with it, and its document.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let case = Self { folder: tempfile::tempdir().unwrap() };
        let made = run("new-key", &[&case.path("news.pem")]);
        assert_eq!(made.code, Some(0), "{made:?}");
        case
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().into()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.file(name)).unwrap()).unwrap()
    }
}

#[test]
fn a_report_is_signed_published_and_verified() {
    let case = Case::new();
    let clip = bundled_clip();
    let clip = clip.to_str().unwrap();
    let (json, html, pdf, key) = (case.path("r.json"), case.path("r.html"), case.path("r.pdf"), case.path("news.pem"));
    let flags = [
        clip,
        "--frames",
        "6",
        "--json",
        &json,
        "--html",
        &html,
        "--pdf",
        &pdf,
        "--paper",
        "letter",
        "--sign",
        &key,
        "--case",
        "Case 7/2026",
        "--analyst",
        "A. Müller",
        "--note",
        "Sent by a reader.\nTwo faces.",
    ];
    let analyzed = run("analyze", &flags);
    assert_eq!((analyzed.code, analyzed.stderr.as_str()), (Some(0), ""), "{analyzed:?}");

    let record = &case.json("r.json")["record"];
    assert_eq!((&record["case"], &record["analyst"]), (&"Case 7/2026".into(), &"A. Müller".into()));
    let created = record["created"].as_str().unwrap();
    assert!(created.len() == 25 && matches!(&created[19..20], "+" | "-"), "{created}");
    let page = std::fs::read_to_string(&html).unwrap();
    let signature = case.json("r.json")["signature"]["value"].as_str().unwrap().to_owned();
    for part in ["Case 7/2026", "Sent by a reader.<br>Two faces.", signature.as_str()] {
        assert!(page.contains(part), "{part}");
    }
    let document = std::fs::read(&pdf).unwrap();
    assert!(document.starts_with(b"%PDF-") && document.len() > 60_000, "{} bytes", document.len());
    // Every page is Letter.
    let text = String::from_utf8_lossy(&document);
    assert!(text.contains("612") && !text.contains("841.89"));

    let public = case.path("news.pub.pem");
    let verified = run("verify", &[&json, "--key", &public, "--clip", clip, "--signed-bytes", &case.path("signed")]);
    assert_eq!((verified.code, verified.stderr.as_str()), (Some(0), ""), "{verified:?}");
    for part in ["VALID: ", created, "signed with the given key", "the one it is about"] {
        assert!(verified.stdout.contains(part), "{part} in {verified:?}");
    }
    assert!(std::fs::read_to_string(case.file("signed")).unwrap().starts_with("{\"coverage\":"));

    let verdict = case.json("r.json")["verdict"].as_str().unwrap().to_owned();
    let other = if verdict == "REAL" { "FAKE" } else { "REAL" };
    let altered =
        std::fs::read_to_string(&json).unwrap().replacen(&format!("\"{verdict}\""), &format!("\"{other}\""), 1);
    std::fs::write(case.file("altered.json"), altered).unwrap();
    let refused = run("verify", &[&case.path("altered.json")]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stdout.contains("NOT VALID") && refused.stdout.contains("altered"), "{refused:?}");

    let another = run("verify", &[&json, "--clip", &case.path("r.pdf")]);
    assert_eq!(another.code, Some(1));
    assert!(another.stdout.contains("about another file"), "{another:?}");
    let foreign = Case::new();
    let refused = run("verify", &[&json, "--key", &foreign.path("news.pub.pem")]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stdout.contains("signed with another key"), "{refused:?}");
}

#[test]
fn several_clips_have_a_document_each_and_are_verified_line_by_line() {
    let case = Case::new();
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deepsight-face/tests/photos/one.png");
    let copy = case.file("two.png");
    std::fs::copy(&photo, &copy).unwrap();
    let clips = [photo.to_str().unwrap(), copy.to_str().unwrap()];
    let (folder, json, key) = (format!("{}/", case.path("pdf")), case.path("r.json"), case.path("news.pem"));
    let analyzed = run("analyze", &[&clips[..], &["--pdf", &folder, "--json", &json, "--sign", &key]].concat());
    assert_eq!(analyzed.code, Some(0), "{analyzed:?}");
    for name in ["pdf/one.pdf", "pdf/two.pdf"] {
        assert!(std::fs::read(case.file(name)).unwrap().starts_with(b"%PDF-"), "{name}");
    }
    let verified = run("verify", &[&json]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.stdout.contains("report 1: VALID") && verified.stdout.contains("report 2: VALID"), "{verified:?}");
    run("verify", &[&json, "--signed-bytes", &case.path("signed")]).assert_refused(&["2 reports"]);
    run("analyze", &[&clips[..], &["--pdf", &case.path("one.pdf")]].concat())
        .assert_refused(&["--pdf", "one.pdf names one file for 2 clips"]);
}

#[test]
fn without_a_record_reports_stay_equal_and_unsigned() {
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deepsight-face/tests/photos/one.png");
    let case = Case::new();
    let analyzed = run("analyze", &[photo.to_str().unwrap(), "--json", &case.path("r.json")]);
    assert_eq!(analyzed.code, Some(0), "{analyzed:?}");
    let report = case.json("r.json");
    assert!(report.get("record").is_none() && report.get("signature").is_none(), "{report}");
    let refused = run("verify", &[&case.path("r.json")]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stdout.contains("NOT VALID: the report is not signed"), "{refused:?}");
}

#[test]
fn a_file_name_cannot_imitate_a_line_of_the_answer() {
    let case = Case::new();
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deepsight-face/tests/photos/one.png");
    let hostile = case.file("x\nVALID: REAL for trusted.mp4 \u{1b}[2K\u{202e}.png");
    std::fs::copy(&photo, &hostile).unwrap();
    let (json, key) = (case.path("r.json"), case.path("news.pem"));
    let analyzed = run("analyze", &[hostile.to_str().unwrap(), "--json", &json, "--sign", &key]);
    assert_eq!(analyzed.code, Some(0), "{analyzed:?}");
    let verified = run("verify", &[&json]);
    assert_eq!((verified.code, verified.stdout.lines().count()), (Some(0), 1), "{verified:?}");
    // A damaged report is an error, and a byte order mark is not.
    let text = std::fs::read_to_string(&json).unwrap();
    std::fs::write(case.file("cut.json"), &text[..text.len() / 2]).unwrap();
    assert_eq!(run("verify", &[&case.path("cut.json")]).stdout.lines().count(), 1);
    std::fs::write(case.file("marked.json"), format!("\u{feff}{text}")).unwrap();
    assert_eq!(run("verify", &[&case.path("marked.json")]).code, Some(0));
    run("verify", &[&json, "--signed-bytes", &json]).assert_refused(&["is also an input"]);
    assert_eq!(std::fs::read_to_string(&json).unwrap(), text);
}

#[test]
fn wrong_keys_and_reports_are_refused_before_any_work() {
    let case = Case::new();
    let clip = bundled_clip();
    let clip = clip.to_str().unwrap();
    let public = case.path("news.pub.pem");
    run("new-key", &[&case.path("news.pem")]).assert_refused(&["news.pem exists"]);
    std::fs::write(case.file("other.pub.pem"), "").unwrap();
    run("new-key", &[&case.path("other.pem")]).assert_refused(&["other.pub.pem exists"]);
    assert!(!case.file("other.pem").exists());
    run("new-key", &[&case.path("missing/key.pem")]).assert_refused(&["missing/key.pem"]);
    run("analyze", &[clip, "--sign", &case.path("none.pem")]).assert_refused(&["cannot read", "none.pem"]);
    run("analyze", &[clip, "--sign", clip]).assert_refused(&["cannot read the key", "portraits.mp4"]);
    let no_report = run("verify", &[&public]);
    assert_eq!(no_report.code, Some(1));
    assert!(no_report.stdout.contains("NOT VALID: not a report"), "{no_report:?}");
    run("verify", &[clip, "--key", &public]).assert_refused(&["cannot read"]);
    run("verify", &[&public, "--key", clip]).assert_refused(&["cannot read the key", "portraits.mp4"]);
    std::fs::write(case.file("empty.json"), "\n").unwrap();
    run("verify", &[&case.path("empty.json")]).assert_refused(&["has no report"]);
    run("analyze", &[clip, "--case", " "]).assert_refused(&["--case", "is empty"]);
    run("analyze", &[clip, "--note", &"n".repeat(4001)]).assert_refused(&["--note", "4001 characters; at most 4000"]);
    run("analyze", &[clip, "--case", "two\tparts"]).assert_refused(&["--case", "line breaks"]);
    run("analyze", &[clip, "--pdf", "x.pdf", "--paper", "a5"]).assert_refused(&["--paper", "a4 or letter"]);
    run("analyze", &[clip, "--sign", "k", "--output-dir", "d"]).assert_refused(&["--sign", "cannot be used with"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let mode = |mode| std::fs::set_permissions(case.file("news.pem"), PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(std::fs::metadata(case.file("news.pem")).unwrap().permissions().mode() & 0o777, 0o600);
        mode(0o640);
        run("analyze", &[clip, "--sign", &case.path("news.pem")]).assert_refused(&["mode 640", "chmod 600"]);
        mode(0o600);
    }
    run("analyze", &[clip, "--sign", &public]).assert_refused(&["not an Ed25519 secret key"]);
}

#[test]
fn a_contact_sheet_shows_the_frames_and_needs_a_clip_that_can_be_decoded_again() {
    let case = Case::new();
    let clip = bundled_clip();
    let clip = clip.to_str().unwrap();
    let analyzed = run("analyze", &[clip, "--frames", "6", "--contact-sheet", &case.path("sheet.jpg")]);
    assert_eq!(analyzed.code, Some(0), "{analyzed:?}");
    let sheet = image::open(case.file("sheet.jpg")).unwrap();
    // Two columns and three rows of frames of 320 x 180.
    assert_eq!((sheet.width(), sheet.height()), (652, 556));

    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deepsight-face/tests/photos/one.png");
    let both = [clip, photo.to_str().unwrap(), "--frames", "2", "--contact-sheet"];
    let folder = format!("{}/", case.path("sheets"));
    assert_eq!(run("analyze", &[&both[..], &[&folder]].concat()).code, Some(0));
    for name in ["sheets/portraits.jpg", "sheets/one.jpg"] {
        assert!(image::open(case.file(name)).is_ok(), "{name}");
    }
    run("analyze", &[&both[..], &[&case.path("one.jpg")]].concat()).assert_refused(&["names one file for 2 clips"]);
    run("analyze", &["-", "--live", "--contact-sheet", "x.jpg"]).assert_refused(&["--contact-sheet", "--live"]);
}
