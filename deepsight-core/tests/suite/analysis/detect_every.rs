//! Tests of which frames are searched as a whole, and which only around known faces.

use std::sync::Mutex;

use deepsight_core::image::{Rgb, RgbImage};
use deepsight_core::{Analyzer, AnalyzerConfig, DetectorInfo, Face, FaceDetector, Frame, Report, report::Stage};

use super::stand_ins::{Broken, Classifier, face};

/// How a frame was searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    /// Only around this many known faces.
    Around(usize),
    Whole,
}
use Call::{Around, Whole};

/// A detector that finds two people and something that is hardly a face. All of them drift to the right. The script
/// says what goes wrong when they are found again.
#[derive(Debug)]
struct Follower {
    script: fn(u8) -> Trouble,
    calls: Mutex<Vec<(u8, Call)>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    Lost,
    Error,
    Panic,
}

impl Follower {
    fn of(script: fn(u8) -> Trouble) -> Self {
        Self { script, calls: Mutex::default() }
    }

    fn faithful() -> Self {
        Self::of(|_| Trouble::None)
    }

    fn faces(number: u8) -> Vec<Face> {
        let drift = f32::from(number);
        vec![face(20.0 + drift, 0.99), face(220.0 + drift, 0.95), face(140.0, 0.3)]
    }

    fn note(&self, number: u8, call: Call) {
        self.calls.lock().unwrap().push((number, call));
    }

    /// Returns the recorded calls, in the order of the frames.
    fn calls(&self) -> Vec<(u8, Call)> {
        let mut calls = std::mem::take(&mut *self.calls.lock().unwrap());
        calls.sort_unstable();
        calls
    }
}

impl FaceDetector for &Follower {
    type Error = Broken;

    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Broken> {
        let numbers: Vec<u8> = images.iter().map(|image| image.get_pixel(0, 0).0[0]).collect();
        numbers.iter().for_each(|&number| self.note(number, Whole));
        Ok(numbers.into_iter().map(Follower::faces).collect())
    }

    fn find_again(&self, image: &RgbImage, earlier: &[Face]) -> Result<Vec<Face>, Broken> {
        let number = image.get_pixel(0, 0).0[0];
        self.note(number, Around(earlier.len()));
        let before = Follower::faces(number - 1);
        assert!(earlier.iter().all(|face| before[..2].contains(face)), "the faces of the frame before, if followed");
        let mut faces = Follower::faces(number);
        match (self.script)(number) {
            Trouble::None => {}
            Trouble::Lost => faces.truncate(1),
            Trouble::Error => return Err(Broken(format!("lost sight in frame {number}"))),
            Trouble::Panic => panic!("blinded by frame {number}"),
        }
        Ok(faces)
    }

    fn info(&self) -> DetectorInfo {
        DetectorInfo::new("follower")
    }
}

/// Creates frames of one gray, and of another gray from `cut` on.
fn frames(count: u8, cut: u8) -> impl Iterator<Item = Result<Frame, Broken>> + Send {
    (0..count).map(move |number| {
        let shade = if number < cut { 100 } else { 250 };
        let image = RgbImage::from_pixel(400, 200, Rgb([number, shade, shade]));
        Ok(Frame::new(number.into(), f64::from(number) * 0.04, image))
    })
}

fn analyze(detector: &Follower, every: usize, detect_batch: usize, count: u8, cut: u8) -> Report {
    let config = AnalyzerConfig::new().with_detect_every(every).with_batches(detect_batch, 32);
    let classifier = Classifier::of(|number| f32::from(number) / 100.0);
    Analyzer::new(detector, &classifier).with_config(config).analyze(frames(count, cut)).unwrap()
}

#[test]
fn every_frame_is_searched_whole_by_default() {
    let detector = Follower::faithful();
    let classifier = Classifier::of(|_| 0.1);
    let report = Analyzer::new(&detector, &classifier).analyze(frames(10, 10)).unwrap();
    assert_eq!(detector.calls(), (0..10).map(|number| (number, Whole)).collect::<Vec<_>>());
    assert_eq!(report.settings.analyzer.detect_every, 1);
}

#[test]
fn between_full_searches_faces_are_found_again_at_any_batch_size() {
    for batch in [1, 2, 3, 8, 64] {
        let detector = Follower::faithful();
        let report = analyze(&detector, 3, batch, 11, 11);
        let expected: Vec<_> = (0..11).map(|n| (n, if n % 3 == 0 { Whole } else { Around(2) })).collect();
        assert_eq!(detector.calls(), expected, "batches of {batch}");
        assert_eq!(report.settings.analyzer.detect_every, 3);
    }
}

#[test]
fn following_every_face_gives_the_same_report_as_searching_every_frame() {
    let whole = analyze(&Follower::faithful(), 1, 8, 40, 23);
    assert_eq!(whole.tracks.len(), 4, "two people, and two after the cut");
    for (every, batch) in [(2, 8), (3, 4), (7, 8), (1000, 8)] {
        let report = analyze(&Follower::faithful(), every, batch, 40, 23);
        assert_eq!(report.frames, whole.frames);
        assert_eq!(report.tracks, whole.tracks);
        assert_eq!(report.fake_probability, whole.fake_probability);
    }
}

#[test]
fn a_lost_face_is_searched_in_the_whole_frame() {
    for batch in [1, 4, 8] {
        let detector = Follower::of(|number| if number == 4 { Trouble::Lost } else { Trouble::None });
        let report = analyze(&detector, 5, batch, 8, 8);
        let expected = [
            (0, Whole),
            (1, Around(2)),
            (2, Around(2)),
            (3, Around(2)),
            (4, Around(2)),
            (4, Whole),
            (5, Whole),
            (6, Around(2)),
            (7, Around(2)),
        ];
        assert_eq!(detector.calls(), expected, "batches of {batch}");
        assert!(report.frames.iter().all(|frame| frame.faces.len() == 3));
    }
}

#[test]
fn the_first_frame_after_a_cut_is_searched_whole() {
    for batch in [1, 5, 8] {
        let detector = Follower::faithful();
        let _ = analyze(&detector, 10, batch, 8, 5);
        let expected: Vec<_> = (0..8).map(|n| (n, if n == 0 || n == 5 { Whole } else { Around(2) })).collect();
        assert_eq!(detector.calls(), expected, "batches of {batch}");
    }
}

#[test]
fn finding_again_that_fails_or_panics_loses_only_its_frame_and_the_next_one_is_searched_whole() {
    for (trouble, message) in [(Trouble::Error, "lost sight in frame 4"), (Trouble::Panic, "panic: blinded by frame 4")]
    {
        let script = match trouble {
            Trouble::Error => |number| if number == 4 { Trouble::Error } else { Trouble::None },
            _ => |number| if number == 4 { Trouble::Panic } else { Trouble::None },
        };
        let detector = Follower::of(script);
        let report = analyze(&detector, 10, 8, 8, 8);
        assert_eq!(report.frames.len(), 7);
        let [error] = &report.errors.first[..] else { panic!("{:?}", report.errors) };
        assert_eq!((error.stage, error.index, error.message.as_str()), (Stage::Detect, Some(4), message));
        let calls = detector.calls();
        assert_eq!(calls[4..6], [(4, Around(2)), (5, Whole)]);
    }
}

#[test]
fn a_detector_that_cannot_find_faces_again_searches_every_frame() {
    let detector = super::stand_ins::Detector::two_people();
    let classifier = Classifier::of(|_| 0.1);
    let config = AnalyzerConfig::new().with_detect_every(4);
    let analyzer = Analyzer::new(&detector, &classifier).with_config(config);
    let report = analyzer.analyze(frames(9, 9)).unwrap();
    assert!(report.frames.iter().all(|frame| frame.faces.len() == 2));
    assert_eq!(detector.batches.lock().unwrap().iter().sum::<usize>(), 9, "each picture once");
}

#[test]
fn detect_every_outside_its_range_is_refused_by_name() {
    for (every, shown) in [(0, "0"), (1001, "1001")] {
        let (detector, classifier) = (Follower::faithful(), Classifier::of(|_| 0.1));
        let config = AnalyzerConfig::new().with_detect_every(every);
        let error =
            Analyzer::new(&detector, &classifier).with_config(config).analyze(frames(1, 1)).unwrap_err().to_string();
        assert_eq!(error, format!("detect_every is {shown}: it must lie in 1..=1000 frames"));
    }
}
