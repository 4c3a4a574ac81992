use deepsight_core::{Analyzer, AnalyzerConfig, Error, Input, Job, Report, report::Seconds};

use super::stand_ins::{Act, Classifier, Detector, face, frames};

pub(super) fn report(count: u64, faces: bool) -> Report {
    let detector = if faces { Detector::of(vec![face(20.0, 0.99), face(220.0, 0.5)]) } else { Detector::of(vec![]) };
    let detector = detector.scripted(|number| if number == 2 { Act::Fail } else { Act::Work });
    let classifier = Classifier::of(|number| 0.5 + f32::from(number) / 16.0);
    let analyzer = Analyzer::new(&detector, &classifier);
    let mut input = Input::new("clips/talk.mp4");
    input.duration = Some(0.6);
    let report = analyzer.analyze_job(frames(count), Job::new().with_input(input)).unwrap();
    let mut report = report.with_setting("device", "flex").with_setting("frames", 5).with_sha256("ab".repeat(32));
    report.seconds = Seconds::default();
    report
}

#[test]
fn the_json_keeps_its_keys_and_their_order() {
    insta::assert_snapshot!(report(5, true).to_json_pretty().unwrap());
}

#[test]
fn a_clip_without_faces_has_a_null_probability_in_its_json() {
    let json = report(4, false).to_json().unwrap();
    assert!(json.contains("\"verdict\":\"UNCERTAIN\""), "{json}");
    assert!(json.contains("\"fake_probability\":null,\"tracks\":[]"), "{json}");
    assert!(!json.contains('\n'), "one report is one line");
}

#[test]
fn a_written_report_is_read_back_without_its_evidence() {
    for mut report in [report(5, true), report(4, false)] {
        let read = Report::from_json(&report.to_json().unwrap()).unwrap();
        report.evidence.clear();
        assert_eq!(read, report);
    }
}

#[test]
fn numbers_keep_their_last_digit_when_a_report_is_read_back() {
    let mut report = report(5, true);
    report.evidence.clear();
    // A parser that rounds in between reads ...824 and ...893.
    report.input.duration = Some(0.381_204_237_688_212_43);
    report.frames[1].time = 0.112_878_567_939_289_2;
    report.tracks[0].start = 0.106_674_531_351_793_17;
    let json = report.to_json().unwrap();
    let read = Report::from_json(&json).unwrap();
    assert_eq!(read, report);
    assert_eq!(read.to_json().unwrap(), json);
}

#[test]
fn a_report_of_an_earlier_version_without_qualities_can_be_read() {
    /// Removes a key from every object within a value.
    fn forget(value: &mut serde_json::Value, key: &str) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.remove(key);
                fields.values_mut().for_each(|value| forget(value, key));
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(|value| forget(value, key)),
            _ => {}
        }
    }
    let mut earlier = serde_json::from_str(&report(5, true).to_json().unwrap()).unwrap();
    forget(&mut earlier, "quality");
    let earlier = earlier.to_string();
    assert!(!earlier.contains("quality"), "{earlier}");
    let read = Report::from_json(&earlier).unwrap();
    assert_eq!((read.tracks[0].quality, read.frames[0].faces[0].quality), (None, None));
    assert!(read.to_html().contains("–"));
}

#[test]
fn reports_of_another_schema_and_other_text_are_refused() {
    let json = report(5, true).to_json().unwrap().replace("\"schema\":1", "\"schema\":7");
    assert!(matches!(Report::from_json(&json), Err(Error::ReportSchema { found: 7, supported: 1 })));
    for text in ["", "{}", "[]", "{\"schema\":1}", "{\"schema\":-1}"] {
        assert!(matches!(Report::from_json(text), Err(Error::MalformedReport { .. })), "{text:?}");
    }
}

#[test]
fn a_number_that_single_precision_cannot_hold_is_refused() {
    let json = include_str!("../../../fuzz/seeds/report/snapshot.json");
    assert!(Report::from_json(json).is_ok());
    // The coordinate of a box would be infinite, and null in the JSON that is written.
    for number in ["1e39", "-3.5e38", "1e308"] {
        let large = json.replacen("140.0", number, 1);
        assert_ne!(large, json);
        let error = Report::from_json(&large).unwrap_err();
        assert!(matches!(&error, Error::MalformedReport { reason } if reason.contains("too large")), "{error}");
    }
    let still_finite = json.replacen("140.0", "3.4e38", 1);
    assert!(Report::from_json(&still_finite).is_ok());
}

#[test]
fn the_page_is_self_contained_and_shows_the_report() {
    let page = report(8, true).to_html();
    assert!(page.contains("<title>FAKE: talk.mp4</title>"));
    for part in
        ["At least one face looks forged.", "Person 1", "face detection failed: no eyes for frame 2", "scripted"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains("<svg class=\"chart\"") && page.contains("<polyline"));
    // The page shows three faces, each with its activation map.
    assert_eq!(page.matches("<img src=\"data:image/jpeg;base64,").count(), 6);
    for outside in ["<script", "http:", "https:", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let tags = |tag: &str| (page.matches(&format!("<{tag}")).count(), page.matches(&format!("</{tag}>")).count());
    for tag in ["section", "table", "figure", "ul", "dl", "article", "details", "g ", "div"] {
        let (opened, closed) = tags(tag.trim());
        assert!(tag == "g " || opened == closed, "{tag}: {opened} opened, {closed} closed");
    }
}

#[test]
fn text_from_outside_is_escaped_in_the_page() {
    let evil = "<img src=x onerror=alert(1)>\"'&.mp4";
    let mut report = report(5, true).with_setting(evil, evil);
    report.input = Input::new(evil);
    report.input.codec = Some(evil.into());
    report.model.name = evil.into();
    report.model.terms = evil.into();
    report.settings.detector.name = evil.into();
    report.settings.detector.settings.insert(evil.into(), evil.into());
    report.errors.first[0].message = evil.into();
    let page = report.to_html();
    assert!(!page.contains("<img src=x") && !page.contains("onerror=alert(1)>"));
    assert!(page.matches("&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;.mp4").count() >= 8);
}

#[test]
fn a_page_without_faces_has_no_chart_and_no_probability() {
    let page = report(4, false).to_html();
    assert!(page.contains("No reliable answer can be given."));
    assert!(page.contains("no face was scored"));
    assert!(!page.contains("<svg class=\"chart\"") && !page.contains("<img"));
}

#[test]
fn the_page_of_a_picture_names_no_length() {
    let page = report(1, true).of_still_picture().to_html();
    assert!(page.contains(">1 picture<") && !page.contains("unknown length") && !page.contains(" seen"), "{page}");
}

#[test]
fn the_page_of_a_long_clip_stays_small() {
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|number| f32::from(number) / 255.0));
    let analyzer = Analyzer::new(&detector, &classifier).with_config(AnalyzerConfig::new().with_evidence(0));
    let page = analyzer.analyze(frames(1000)).unwrap().to_html();
    assert!(page.len() < 200_000, "{} bytes", page.len());
}

#[test]
fn a_report_with_extreme_values_still_renders_a_page() {
    let json = report(5, true).to_json().unwrap();
    for (from, to) in [
        ("\"track\":0", "\"track\":18446744073709551615"),
        ("\"id\":0", "\"id\":18446744073709551615"),
        ("\"time\":0.0,", "\"time\":-3e38,"),
        ("\"time\":0.0,", "\"time\":3e38,"),
        ("\"min_track_faces\":3", "\"min_track_faces\":0"),
        ("\"fake_probability\":0.5}", "\"fake_probability\":-3e38}"),
        ("\"threshold\":0.5,", "\"threshold\":3e38,"),
    ] {
        assert!(json.contains(from), "{from} in {json}");
        let page = Report::from_json(&json.replace(from, to)).unwrap().to_html();
        assert!(page.ends_with("</html>\n"), "{to}");
    }
}

#[test]
fn a_page_is_written_to_its_file_or_the_error_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let report = report(5, true);
    report.write_html(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), report.to_html());
    let error = report.write_html(folder.path().join("missing/report.html")).unwrap_err();
    assert!(error.to_string().ends_with("missing/report.html"), "{error}");
}
