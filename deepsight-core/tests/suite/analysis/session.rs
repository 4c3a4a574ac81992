//! Frames as they come, through [`Session`].

use std::convert::Infallible;
use std::time::Duration;

use deepsight_core::image::{Rgb, RgbImage};
use deepsight_core::{
    Analyzer, AnalyzerConfig, DetectorInfo, Error, Face, FaceClassifier, FaceDetector, FaceScore, Frame, History,
    Input, ModelInfo, Reason, Session, Verdict, report::Stage,
};

use super::stand_ins::{Act, Classifier, Detector, face, frame, frames};

/// A place with a face in it: its color chooses the place and the score of the face.
#[derive(Clone)]
struct Places;

/// Nobody is there.
const EMPTY: u8 = 0;
/// A real person.
const REAL: u8 = 100;
/// A forged one.
const FORGED: u8 = 200;

impl FaceDetector for Places {
    type Error = Infallible;

    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Infallible> {
        let faces = |image: &&RgbImage| match image.get_pixel(0, 0).0 {
            [EMPTY, ..] => vec![],
            [_, x, _] => vec![face(f32::from(x), 1.0)],
        };
        Ok(images.iter().map(faces).collect())
    }

    fn info(&self) -> DetectorInfo {
        DetectorInfo::new("places")
    }
}

impl FaceClassifier for Places {
    type Error = Infallible;

    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Infallible> {
        Ok(faces.iter().map(|face| FaceScore::new(f32::from(face.get_pixel(0, 0).0[0]) / 250.0)).collect())
    }

    fn info(&self) -> ModelInfo {
        ModelInfo::new("places")
    }
}

/// A source that gives two frames a second, of places by their color and the position of the face.
struct Camera {
    session: Session<Places, Places>,
    frames: u64,
}

impl Camera {
    fn new(history: History) -> Self {
        Self { session: Analyzer::new(Places, Places).session().unwrap().with_history(history), frames: 0 }
    }

    fn show(&mut self, place: u8, x: u8, frames: u64) -> deepsight_core::Update {
        let mut last = None;
        for _ in 0..frames {
            let image = RgbImage::from_pixel(400, 200, Rgb([place, x, 0]));
            last = Some(self.session.push(Frame::new(self.frames, self.frames as f64 / 2.0, image)));
            self.frames += 1;
        }
        last.unwrap()
    }
}

#[test]
fn a_session_reports_what_an_analysis_of_the_same_frames_does() {
    let score = |number: u8| if (40..48).contains(&number) { 0.95 } else { 0.2 };
    let (detector, classifier) = (Detector::two_people(), Classifier::of(score));
    let analyzer = Analyzer::new(&detector, &classifier);
    let expected = analyzer.analyze(frames(200)).unwrap();
    let mut session = analyzer.session().unwrap();
    let mut last = None;
    for number in 0..200 {
        let update = session.push(frame(number));
        assert_eq!((update.index, update.faces.len(), update.unscored), (number * 3, 2, 0));
        last = Some(update);
    }
    let last = last.unwrap();
    let report = session.finish().unwrap();
    assert_eq!((&last.verdict, &last.reasons, &last.tracks), (&report.verdict, &report.reasons, &report.tracks));
    assert_eq!(report.frames, expected.frames);
    assert_eq!((&report.tracks, &report.segments), (&expected.tracks, &expected.segments));
    assert_eq!((&report.verdict, &report.reasons), (&expected.verdict, &expected.reasons));
    assert_eq!((&report.coverage, &report.evidence), (&expected.coverage, &expected.evidence));
    assert!(!report.segments.is_empty() && !report.evidence.is_empty());
}

#[test]
fn an_update_says_when_the_answer_changes() {
    let mut camera = Camera::new(History::new());
    let first = camera.show(REAL, 20, 1);
    assert_eq!((first.verdict, first.changed), (Verdict::Uncertain, true));
    assert_eq!(first.reasons[0], Reason::TooFewFaces { faces: 1, needed: 3 });
    assert!(!camera.show(REAL, 20, 1).changed);
    let third = camera.show(REAL, 20, 1);
    assert_eq!((third.verdict, third.changed, third.fake_probability), (Verdict::Real, true, Some(0.4)));
    assert!(!camera.show(REAL, 20, 10).changed);
    assert_eq!(camera.show(FORGED, 20, 3).verdict, Verdict::Fake);
    assert_eq!(camera.session.finish().unwrap().verdict, Verdict::Fake);
}

#[test]
fn memory_is_bounded_and_a_forged_person_of_long_ago_is_remembered() {
    let history = History::new().with_frames(50).with_faces(10);
    let mut camera = Camera::new(history);
    camera.show(FORGED, 220, 60);
    for _ in 0..5 {
        camera.show(EMPTY, 0, 50);
        camera.show(REAL, 20, 70);
    }
    let update = camera.show(REAL, 20, 40);
    assert_eq!(update.verdict, Verdict::Fake);
    let forged = update.tracks.iter().find(|track| track.id == 0).unwrap();
    assert_eq!((forged.faces, forged.start, forged.first_frame), (20, 0.0, 0), "ten, and ten that look forged");
    let report = camera.session.finish().unwrap();
    // Ten latest and ten telling faces of each person who left, besides the latest frames and a tenth more.
    assert!(report.frames.len() <= 50 + 5 + 5 * 20 + 20, "{} frames", report.frames.len());
    assert!(report.frames.is_sorted_by(|a, b| a.time < b.time));
    assert_eq!((report.coverage.frames, report.coverage.interval), (700, Some(0.5)));
    assert_eq!(report.evidence[0].track, 0, "the most telling faces stay");
    let Reason::DecidedByTrack { track: 0, .. } = report.reasons[0] else { panic!("{:?}", report.reasons) };
}

#[test]
fn people_beyond_the_limit_are_forgotten_by_falling_suspicion_and_keep_their_numbers() {
    let mut camera = Camera::new(History::new().with_frames(40).with_people(5));
    camera.show(FORGED, 220, 6);
    let mut update = camera.show(EMPTY, 0, 1);
    for visitor in 0..60 {
        // The color of the place changes with each visitor, so each is another person.
        update = camera.show(if visitor % 2 == 0 { 20 } else { 120 }, 20, 8);
    }
    let ids: Vec<usize> = update.tracks.iter().map(|track| track.id).collect();
    assert!(ids.len() <= 12 && ids[0] == 0 && *ids.last().unwrap() == 60, "{ids:?}");
    assert!(ids.is_sorted());
    assert_eq!(update.verdict, Verdict::Fake);
    let last = update.faces[0].track;
    assert_eq!(last, Some(60));
    let Reason::DecidedByTrack { track: 0, faces: 6, .. } = update.reasons[0] else { panic!("{:?}", update.reasons) };
}

#[test]
fn frames_that_fail_are_named_and_the_session_goes_on() {
    let detector = Detector::two_people().scripted(|number| if number == 4 { Act::Panic } else { Act::Work });
    let classifier = Classifier::of(|_| 0.1).scripted(|number| if number == 6 { Act::Fail } else { Act::Work });
    let mut session = Analyzer::new(&detector, &classifier).session().unwrap().with_input(Input::new("camera 1"));
    let stage_and_message = |update: deepsight_core::Update| update.error.map(|error| (error.stage, error.message));
    assert_eq!(stage_and_message(session.push(frame(3))), None);
    let panicked = stage_and_message(session.push(frame(4))).unwrap();
    assert_eq!(panicked, (Stage::Detect, "panic: blinded by frame 4".into()));
    let late = stage_and_message(session.push(frame(2))).unwrap();
    assert_eq!(late, (Stage::Decode, "the frame at 0.24 s comes after that at 0.48 s".into()));
    let unscored = stage_and_message(session.push(frame(6))).unwrap();
    assert_eq!(unscored, (Stage::Classify, "no opinion on frame 6".into()));
    let empty = stage_and_message(session.push(Frame::new(21, 0.9, RgbImage::new(0, 0)))).unwrap();
    assert_eq!(empty.0, Stage::Decode);
    for number in 7..12 {
        assert_eq!(stage_and_message(session.push(frame(number))), None);
    }
    let report = session.finish().unwrap();
    assert_eq!((report.frames.len(), report.errors.count, report.input.path.as_str()), (7, 5, "camera 1"));
    assert!(report.reasons.contains(&Reason::FrameErrors { failed: 3, frames: 10 }));
}

#[test]
fn past_the_deadline_one_face_is_scored_of_the_person_who_has_the_fewest() {
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.1));
    let analyzer = Analyzer::new(&detector, &classifier);
    let mut session = analyzer.session().unwrap().with_deadline(Duration::ZERO);
    for number in 0..8 {
        let update = session.push(frame(number));
        assert_eq!((update.faces.len(), update.unscored, update.error), (2, 1, None));
    }
    let report = session.finish().unwrap();
    let scored: Vec<_> = report.tracks.iter().map(|track| (track.faces, track.scored)).collect();
    assert_eq!(scored, [(8, 4), (8, 4)]);
    let mut patient = analyzer.session().unwrap().with_deadline(Duration::MAX);
    assert_eq!(patient.push(frame(0)).unscored, 0);
}

#[test]
fn a_session_without_frames_or_with_wrong_settings_is_refused() {
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.1));
    let analyzer = Analyzer::new(&detector, &classifier);
    assert!(matches!(analyzer.session().unwrap().finish(), Err(Error::NoFrames)));
    let wrong = analyzer.clone().with_config(AnalyzerConfig::new().with_threshold(2.0));
    assert_eq!(wrong.session().unwrap_err().to_string(), "threshold is 2: it must lie in 0..=1");
}
