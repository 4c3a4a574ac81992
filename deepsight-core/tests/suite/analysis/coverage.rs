use std::sync::{Arc, Mutex};

use deepsight_core::image::{Rgb, RgbImage};
use deepsight_core::{
    Analyzer, AnalyzerConfig, CloserFrames, FalseAlarms, Frame, Gap, Input, Job, Reason, Reliability, Report, Verdict,
};

use super::analyzer::or_abort;
use super::stand_ins::{Broken, Classifier, Detector, face, frames};

fn input(seconds: f64, declared: Option<f64>) -> Input {
    let mut input = Input::new("clip.mp4");
    (input.duration, input.declared_duration) = (Some(seconds), declared);
    input
}

fn analyze(frames: impl Iterator<Item = Result<Frame, Broken>> + Send, input: Input) -> Report {
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.1));
    or_abort(|| Analyzer::new(&detector, &classifier).analyze_job(frames, Job::new().with_input(input))).unwrap()
}

#[test]
fn a_clip_that_is_seen_whole_is_real_and_says_so() {
    let report = analyze(frames(20), input(2.4, Some(2.4)));
    assert_eq!(report.verdict, Verdict::Real);
    assert_eq!((report.coverage.share, report.coverage.frames, report.coverage.closer_frames), (Some(1.0), 20, 0));
    assert!(report.coverage.interval.is_some_and(|interval| (interval - 0.12).abs() < 1e-9));
    assert_eq!(report.input.path, "clip.mp4");
}

#[test]
fn a_file_that_is_cut_short_and_a_decode_that_fails_half_way_are_not_real() {
    let cut = analyze(frames(20), input(2.4, Some(10.0)));
    assert_eq!(cut.verdict, Verdict::Uncertain);
    assert!(matches!(cut.reasons[0], Reason::PartlySeen { uncertain: true, .. }), "{:?}", cut.reasons);
    assert!(cut.coverage.share.is_some_and(|share| (share - 0.24).abs() < 0.01), "{:?}", cut.coverage);

    let failing = frames(10).chain([Err(Broken("the disk is gone".into()))]);
    let failed = analyze(failing, input(2.4, None));
    assert_eq!(failed.verdict, Verdict::Uncertain);
    assert!(failed.coverage.share.is_some_and(|share| (share - 0.5).abs() < 0.01), "{:?}", failed.coverage);
}

#[test]
fn without_an_input_the_share_is_unknown_and_the_verdict_stands() {
    let report = analyze(frames(20), Input::default());
    assert_eq!((report.verdict, report.coverage.share, report.coverage.duration), (Verdict::Real, None, None));
}

#[test]
fn a_clip_with_a_hole_is_not_real_whether_its_packets_or_its_decoding_tell() {
    let mut holed = input(2.4, None);
    holed.gaps = vec![Gap::new(0.6, 1.8)];
    let outside = || frames(20).filter(|frame| frame.as_ref().is_ok_and(|frame| !(0.55..1.75).contains(&frame.time)));
    let told = analyze(outside(), holed);
    // The decoder gives an error only at the end, after the frames behind the hole.
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.1));
    let frames = outside().chain([Err(Broken("10 of 20 frames could be decoded".into()))]);
    let job = Job::new().with_input(input(2.4, None)).with_expected(20);
    let noticed = or_abort(|| Analyzer::new(&detector, &classifier).analyze_job(frames, job)).unwrap();
    for (report, share) in [(told, 0.5), (noticed, 0.7)] {
        assert_eq!(report.verdict, Verdict::Uncertain);
        assert!(matches!(report.reasons[0], Reason::PartlySeen { uncertain: true, .. }), "{:?}", report.reasons);
        assert!(report.coverage.share.is_some_and(|seen| (seen - share).abs() < 0.05), "{:?}", report.coverage);
    }
}

#[test]
fn the_stream_and_the_picture_are_explained_in_every_form_of_the_report() {
    let mut odd = input(2.4, None);
    (odd.stream, odd.video_streams, odd.width, odd.height) = (Some(1), Some(2), Some(640), Some(360));
    odd.picture_notes = vec!["The colors look pale.".into()];
    let report = analyze(frames(20), odd.clone());
    assert_eq!(report.verdict, Verdict::Real, "they are no doubts");
    let said = [
        "The file has 2 video streams. Only stream 1 (640 x 360) was analyzed; the others may show something else.",
        "The colors look pale.",
    ];
    let json = report.to_json().unwrap();
    for sentence in said {
        assert!(report.reasons.iter().any(|reason| reason.to_string() == sentence), "{:?}", report.reasons);
        assert!(json.contains(sentence) && report.to_html().contains(sentence), "{sentence}");
    }
    assert!(json.contains(r#""kind":"several_streams""#) && json.contains(r#""kind":"picture_note""#), "{json}");
    assert_eq!(Report::from_json(&json).unwrap().reasons, report.reasons);

    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.1));
    let mut session = Analyzer::new(&detector, &classifier).session().unwrap().with_input(odd);
    let update = frames(20).map(|frame| session.push(frame.unwrap())).last().unwrap();
    assert!(update.reasons.iter().any(|reason| matches!(reason, Reason::PictureNote { .. })), "{:?}", update.reasons);
    // A file with one video stream has nothing to explain.
    let mut plain = input(2.4, None);
    (plain.stream, plain.video_streams) = (Some(0), Some(1));
    assert_eq!(analyze(frames(20), plain).reasons, analyze(frames(20), input(2.4, None)).reasons);
}

/// Creates the frame at a time. All frames show one place. The first pixel of the face has the number by which the face
/// is scored: 200 within the forged seconds.
fn long(second: f64) -> Frame {
    let number = if (300.0..304.0).contains(&second) { 200 } else { 10 };
    let mut image = RgbImage::from_fn(400, 200, |x, y| Rgb([(x / 2) as u8, y as u8, 100]));
    image.put_pixel(20, 40, Rgb([number, 40, 100]));
    Frame::new((second * 30.0).round() as u64, second, image)
}

/// Returns a classifier that calls forged frames 97 % fake and others 10 %, with measured false alarms.
fn measured() -> Classifier {
    let mut reliability = Reliability::new(0.05);
    reliability.false_alarms =
        [(0.5, 0.12), (0.6, 0.06), (0.75, 0.02), (0.9, 0.005)].map(|(p, rate)| FalseAlarms::new(p, rate)).into();
    Classifier { reliability: Some(reliability), ..Classifier::of(|number| if number == 200 { 0.97 } else { 0.1 }) }
}

#[test]
fn a_closer_look_is_taken_at_suspicious_seconds_and_finds_the_forgery() {
    let (detector, classifier) = (Detector::of(vec![face(20.0, 0.99)]), measured());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let times = Arc::clone(&asked);
    let job = Job::new().with_input(input(608.0, None)).with_expected(304).with_closer_look(240, move |times_asked| {
        times.lock().unwrap().extend_from_slice(times_asked);
        let frames: Vec<_> = times_asked.iter().map(|&second| Ok(long(second))).collect();
        Ok(Box::new(frames.into_iter()) as CloserFrames<'_>)
    });
    let source = (0..304).map(|n| Ok::<_, Broken>(long(f64::from(n) * 2.0)));
    let report = Analyzer::new(&detector, &classifier).analyze_job(source, job).unwrap();
    let asked = asked.lock().unwrap().clone();
    assert!(asked.contains(&300.5) && asked.iter().all(|time| (295.0..313.0).contains(time)), "{asked:?}");
    assert_eq!(report.verdict, Verdict::Fake);
    let Reason::DecidedBySegment { track: 0, from, to, faces: 8, .. } = report.reasons[0] else {
        panic!("{:?}", report.reasons)
    };
    assert_eq!((from, to), (300.0, 303.5));
    assert_eq!(report.tracks.len(), 1, "further frames continue the track");
    assert!(report.tracks[0].fake_probability.unwrap() < 0.12, "they do not raise the mean of the person");
    assert!(report.frames.is_sorted_by(|a, b| a.time < b.time), "frames are in order, and none comes twice");
    assert_eq!(report.coverage.closer_frames as usize, report.frames.iter().filter(|f| f.closer_look).count());
    assert_eq!((report.coverage.frames, report.coverage.interval), (304, Some(2.0)));
    assert_eq!(Report::from_json(&report.to_json().unwrap()).unwrap().frames, report.frames);
}

#[test]
fn a_closer_look_that_fails_is_an_error_in_the_report() {
    let (detector, classifier) = (Detector::of(vec![face(20.0, 0.99)]), measured());
    let analyze = |panics: bool| {
        let job = Job::new().with_input(input(608.0, None)).with_closer_look(240, move |_| {
            assert!(!panics, "the file was removed");
            Err("the file was removed".into())
        });
        let source = (0..304).map(|n| Ok::<_, Broken>(long(f64::from(n) * 2.0)));
        Analyzer::new(&detector, &classifier).analyze_job(source, job).unwrap()
    };
    for panics in [false, true] {
        let report = analyze(panics);
        assert_eq!(report.errors.count, 1);
        assert!(report.errors.first[0].message.contains("the file was removed"), "{:?}", report.errors);
        assert_eq!((report.coverage.share, report.frames.len()), (Some(1.0), 304));
    }
}

#[test]
fn a_clip_without_suspicious_faces_is_not_looked_at_closer() {
    let (detector, classifier) = (Detector::of(vec![face(20.0, 0.99)]), measured());
    let job = Job::new().with_closer_look(240, |times| panic!("asked for {times:?}"));
    let source = (0..150).map(|n| Ok::<_, Broken>(long(f64::from(n) * 2.0)));
    let report = Analyzer::new(&detector, &classifier).analyze_job(source, job).unwrap();
    assert_eq!((report.verdict, report.errors.count), (Verdict::Real, 0));
    assert!(AnalyzerConfig::new().validate().is_ok());
}
