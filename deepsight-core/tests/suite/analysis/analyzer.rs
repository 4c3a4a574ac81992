use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deepsight_core::image::imageops::{FilterType, resize, thumbnail};
use deepsight_core::image::{self, RgbImage};
use deepsight_core::{
    Aggregation, Analyzer, AnalyzerConfig, BoundingBox, BoxError, CancelToken, Error, Face, FaceClassifier, FaceCrop,
    FaceDetector, Frame, Job, Reason, Reliability, Report, Verdict, report::Stage,
};

use super::stand_ins::{Act, Broken, Classifier, Detector, face, frame, frames};

fn analyze(detector: &Detector, classifier: &Classifier, count: u64) -> Result<Report, Error> {
    or_abort(|| Analyzer::new(detector, classifier).analyze(frames(count)))
}

/// Runs a test's analysis. Aborts the tests if it takes ten minutes, which even a busy machine does
/// not need, so that a hang does not go unnoticed.
pub(crate) fn or_abort<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let done = Arc::new(AtomicBool::new(false));
    let watched = done.clone();
    std::thread::spawn(move || {
        for _ in 0..6000 {
            std::thread::sleep(Duration::from_millis(100));
            if watched.load(Ordering::Relaxed) {
                return;
            }
        }
        std::process::abort();
    });
    let result = run();
    done.store(true, Ordering::Relaxed);
    result
}

#[test]
fn two_people_become_two_tracks_with_every_face_scored_in_order() {
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|number| f32::from(number) / 100.0));
    let report = analyze(&detector, &classifier, 20).unwrap();
    assert_eq!(report.tracks.len(), 2);
    assert_eq!(report.frames.len(), 20);
    for (number, frame) in report.frames.iter().enumerate() {
        assert_eq!(frame.index, number as u64 * 3);
        assert_eq!(frame.faces.iter().map(|face| face.track).collect::<Vec<_>>(), [Some(0), Some(1)]);
        assert!(frame.faces.iter().all(|face| face.fake_probability == Some(number as f32 / 100.0)));
    }
    let track = &report.tracks[1];
    assert_eq!((track.faces, track.scored, track.first_frame, track.last_frame), (20, 20, 0, 57));
    assert!((track.fake_probability.unwrap() - 0.095).abs() < 1e-6);
    assert_eq!(track.max_fake_probability, Some(0.19));
    assert_eq!(report.verdict, Verdict::Real);
    assert!(report.seconds.total > 0.0);
}

#[test]
fn batches_are_filled_across_frames_and_their_size_changes_no_score() {
    let detector = Detector::two_people();
    let score = |number: u8| f32::from(number) / 50.0;
    let mut reports = Vec::new();
    for (detect, classify) in [(1, 1), (3, 5), (8, 32), (64, 256)] {
        let classifier = Classifier::of(score);
        let config = AnalyzerConfig::new().with_batches(detect, classify);
        let analyzer = Analyzer::new(&detector, &classifier).with_config(config);
        reports.push(or_abort(|| analyzer.analyze(frames(20))).unwrap());
        let batches = classifier.batches.lock().unwrap().clone();
        assert_eq!(batches.iter().sum::<usize>(), 40);
        assert!(batches[..batches.len() - 1].iter().all(|&size| size == classify), "{batches:?}");
    }
    assert!(detector.batches.lock().unwrap().contains(&3), "frames are detected in batches");
    for report in &reports[1..] {
        assert_eq!(report.frames, reports[0].frames);
        assert_eq!(report.tracks, reports[0].tracks);
    }
}

#[test]
fn a_clip_without_faces_is_uncertain_without_a_probability() {
    let report = analyze(&Detector::of(vec![]), &Classifier::of(|_| 1.0), 5).unwrap();
    assert_eq!((report.verdict, report.fake_probability), (Verdict::Uncertain, None));
    assert_eq!(report.reasons[0], Reason::NoFaces { frames: 5 });
    assert!(report.tracks.is_empty() && report.frames.len() == 5);
}

#[test]
fn faces_of_which_the_detector_is_not_sure_are_mentioned_where_there_are_no_others() {
    let report = analyze(&Detector::of(vec![face(20.0, 0.6), face(220.0, 0.71)]), &Classifier::of(|_| 1.0), 5).unwrap();
    assert_eq!(report.reasons[1], Reason::UnsureFaces { faces: 10, confidence: 0.71, limit: 0.9 });
    assert!(
        !analyze(&Detector::of(vec![face(20.0, 0.6), face(220.0, 0.95)]), &Classifier::of(|_| 0.1), 5)
            .unwrap()
            .reasons
            .iter()
            .any(|reason| matches!(reason, Reason::UnsureFaces { .. }))
    );
}

#[test]
fn the_turn_in_which_most_frames_have_a_face_is_found() {
    /// Sees a face where the red value is 100 or more.
    struct Upright;
    impl FaceDetector for Upright {
        type Error = Broken;
        fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Broken> {
            let sees = |image: &&RgbImage| image.get_pixel(0, 0).0[0] >= 100;
            Ok(images.iter().map(|image| if sees(image) { vec![face(20.0, 0.99)] } else { vec![] }).collect())
        }
        fn info(&self) -> deepsight_core::DetectorInfo {
            deepsight_core::DetectorInfo::new("upright")
        }
    }
    let analyzer = Analyzer::new(Upright, Classifier::of(|_| 0.1));
    // For each turn, the red values of its frames.
    let found = |turned: [&[u64]; 4]| {
        analyzer.find_turn(|turns, _| {
            let frames = turned[turns as usize].to_vec();
            Ok(Box::new(frames.into_iter().map(|red| Ok(frame(red)))) as deepsight_core::CloserFrames<'_>)
        })
    };
    assert_eq!(found([&[0, 100, 0], &[0, 0, 200], &[100, 200, 0], &[0, 0, 0]]), Some(2));
    assert_eq!(found([&[0, 0, 0], &[0, 100, 200], &[100, 0, 0], &[100, 100, 100]]), Some(3));
    assert_eq!(found([&[0, 0, 0], &[0, 0, 200], &[0, 0, 0], &[]]), None, "less than half of the frames");
    assert_eq!(found([&[100, 100, 0], &[100, 100, 0], &[0], &[0]]), None, "no more than without a turn");
    assert_eq!(analyzer.find_turn(|_, _| Err("no such file".into())), None);
}

#[test]
fn where_nearly_every_frame_has_a_face_somebody_was_found() {
    let mut report = analyze(&Detector::two_people(), &Classifier::of(|_| 0.1), 8).unwrap();
    assert!(!report.found_nobody());
    // Each of them was in view for one frame only.
    report.tracks.iter_mut().for_each(|track| track.scored = 1);
    assert!(!report.found_nobody());
    report.frames[6].faces.clear();
    assert!(!report.found_nobody());
    report.frames[7].faces.iter_mut().for_each(|face| face.fake_probability = None);
    assert!(report.found_nobody(), "two of eight frames have no face that counts");
    report.frames.truncate(2);
    assert!(!report.found_nobody(), "fewer frames than a track needs");
}

#[test]
fn faces_of_low_confidence_are_listed_without_track_and_score() {
    let detector = Detector::of(vec![face(20.0, 0.89), face(220.0, 0.95)]);
    let classifier = Classifier::of(|_| 0.9);
    let report = analyze(&detector, &classifier, 6).unwrap();
    assert_eq!(report.verdict, Verdict::Fake);
    for frame in &report.frames {
        assert_eq!((frame.faces[0].track, frame.faces[0].fake_probability), (None, None));
        assert_eq!((frame.faces[1].track, frame.faces[1].fake_probability), (Some(0), Some(0.9)));
    }
    assert_eq!(classifier.batches.lock().unwrap().iter().sum::<usize>(), 6);
}

#[test]
fn detection_that_fails_or_panics_loses_only_its_frame_and_names_it() {
    let detector = Detector::two_people().scripted(|number| match number {
        3 => Act::Fail,
        7 => Act::Panic,
        _ => Act::Work,
    });
    let report = analyze(&detector, &Classifier::of(|_| 0.1), 20).unwrap();
    assert_eq!(report.frames.len(), 18);
    assert_eq!(report.errors.count, 2);
    let [failed, panicked] = &report.errors.first[..] else { panic!("{:?}", report.errors) };
    assert_eq!((failed.stage, failed.index, failed.time), (Stage::Detect, Some(9), Some(0.36)));
    assert_eq!(failed.message, "no eyes for frame 3");
    assert_eq!((panicked.index, panicked.message.as_str()), (Some(21), "panic: blinded by frame 7"));
    assert_eq!(report.verdict, Verdict::Real);
    assert!(report.reasons.contains(&Reason::FrameErrors { failed: 2, frames: 20 }));
}

#[test]
fn classification_that_fails_or_panics_loses_only_its_face() {
    let classifier = Classifier::of(|_| 0.1).scripted(|number| match number {
        2 => Act::Fail,
        5 => Act::Panic,
        _ => Act::Work,
    });
    let report = analyze(&Detector::of(vec![face(20.0, 1.0)]), &classifier, 12).unwrap();
    assert_eq!(report.tracks[0].scored, 10);
    assert_eq!(report.frames[2].faces[0].fake_probability, None);
    assert_eq!(report.errors.first.iter().map(|error| error.index).collect::<Vec<_>>(), [Some(6), Some(15)]);
    assert!(report.reasons.contains(&Reason::FaceErrors { failed: 2, faces: 12 }));
}

#[test]
fn scores_that_are_not_probabilities_are_errors_and_never_reach_the_report() {
    let classifier = Classifier::of(|number| match number {
        1 => f32::NAN,
        2 => 1.5,
        _ => 0.9,
    });
    let report = analyze(&Detector::of(vec![face(20.0, 1.0)]), &classifier, 8).unwrap();
    assert_eq!(report.errors.count, 2);
    assert!(report.errors.first[0].message.contains("NaN"));
    assert_eq!(report.tracks[0].fake_probability, Some(0.9));
}

#[test]
fn faces_with_infinite_coordinates_are_errors() {
    let mut nowhere = face(20.0, 1.0);
    nowhere.bounding_box.x2 = f32::INFINITY;
    let report = analyze(&Detector::of(vec![nowhere, face(220.0, 1.0)]), &Classifier::of(|_| 0.9), 4).unwrap();
    assert_eq!(report.frames[0].faces.len(), 1);
    assert_eq!(report.errors.count, 4);
    assert_eq!(report.errors.first[0].stage, Stage::Detect);
}

#[test]
fn faces_that_cannot_be_cropped_are_crop_errors() {
    let mut flat = face(220.0, 1.0);
    flat.bounding_box.x2 = flat.bounding_box.x1;
    let report = analyze(&Detector::of(vec![face(20.0, 1.0), flat]), &Classifier::of(|_| 0.9), 4).unwrap();
    assert_eq!(report.errors.count, 4);
    assert!(report.errors.first.iter().all(|error| error.stage == Stage::Crop));
    assert_eq!(report.verdict, Verdict::Uncertain, "half of the faces are lost: {:?}", report.reasons);
}

#[test]
fn input_errors_between_frames_are_collected_and_bounded_in_the_report() {
    let input = (0..60).map(|n| if n % 2 == 0 { Ok(frame(n)) } else { Err(Broken(format!("packet {n} is damaged"))) });
    let report = Analyzer::new(&Detector::two_people(), &Classifier::of(|_| 0.1)).analyze(input).unwrap();
    assert_eq!(report.frames.len(), 30);
    assert_eq!((report.errors.count, report.errors.first.len()), (30, 20));
    assert_eq!(report.errors.first[0].message, "packet 1 is damaged");
    assert!(report.reasons.contains(&Reason::FrameErrors { failed: 30, frames: 60 }));
    assert_eq!(report.verdict, Verdict::Uncertain);
}

#[test]
fn input_that_fails_before_its_first_frame_is_refused_with_its_reason() {
    let input = [Err::<Frame, _>(Broken("moov atom not found".into()))];
    let error = Analyzer::new(&Detector::two_people(), &Classifier::of(|_| 0.1)).analyze(input).unwrap_err();
    assert_eq!(error.to_string(), "cannot read any frame: moov atom not found");
}

#[test]
fn input_without_frames_is_refused() {
    let error = analyze(&Detector::two_people(), &Classifier::of(|_| 0.1), 0).unwrap_err();
    assert!(matches!(error, Error::NoFrames));
}

#[test]
fn input_that_keeps_failing_is_abandoned() {
    let endless = std::iter::once(Ok(frame(0))).chain(std::iter::repeat_with(|| Err(Broken("again".into()))));
    let report =
        or_abort(|| Analyzer::new(&Detector::two_people(), &Classifier::of(|_| 0.1)).analyze(endless).unwrap());
    assert_eq!((report.frames.len(), report.errors.count), (1, 101));
}

#[test]
fn a_panic_in_the_input_ends_the_clip() {
    let input =
        (0..20).map(|number| if number == 10 { panic!("the disk is gone") } else { Ok::<_, Broken>(frame(number)) });
    let report = or_abort(|| Analyzer::new(&Detector::two_people(), &Classifier::of(|_| 0.1)).analyze(input).unwrap());
    assert_eq!(report.frames.len(), 10);
    assert_eq!(report.errors.first[0].message, "panic: the disk is gone");
}

#[test]
fn frames_without_pixels_or_time_are_decoding_errors() {
    let empty = Frame::new(1, 0.1, RgbImage::new(0, 0));
    let timeless = Frame::new(2, f64::NAN, frame(0).image);
    let input = [Ok::<_, Broken>(frame(0)), Ok(empty), Ok(timeless)];
    let report = Analyzer::new(&Detector::two_people(), &Classifier::of(|_| 0.1)).analyze(input).unwrap();
    assert_eq!(report.frames.len(), 1);
    assert_eq!(report.errors.first.iter().map(|error| error.index).collect::<Vec<_>>(), [Some(1), Some(2)]);
}

#[test]
fn an_analysis_in_which_everything_failed_is_an_error_with_the_first_cause() {
    let blind = Detector::two_people().scripted(|_| Act::Panic);
    let error = analyze(&blind, &Classifier::of(|_| 0.1), 20).unwrap_err();
    assert_eq!(error.to_string(), "face detection failed for all 20 frames: panic: blinded by frame 0");
    let mute = Classifier::of(|_| 0.1).scripted(|_| Act::Fail);
    let error = analyze(&Detector::two_people(), &mute, 20).unwrap_err();
    assert_eq!(error.to_string(), "classification failed for all 40 faces: no opinion on frame 0");
}

#[test]
fn progress_grows_to_all_frames_and_faces() {
    let mut seen = Vec::new();
    let job = Job::new().with_expected(20).with_progress(|progress| seen.push(*progress));
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.1));
    let _ = Analyzer::new(&detector, &classifier).analyze_job(frames(20), job).unwrap();
    assert!(seen.windows(2).all(|pair| pair[0].frames <= pair[1].frames && pair[0].faces <= pair[1].faces));
    let last = seen.last().unwrap();
    assert_eq!((last.frames, last.faces, last.errors, last.expected), (20, 40, 0, Some(20)));
}

#[test]
fn every_scored_face_reaches_the_callback_once_as_in_the_report() {
    let mut told = Vec::new();
    let job = Job::new().with_scored(|face| {
        assert!(face.image.width() > 0);
        told.push((face.index, face.time, face.face, face.track, face.bounding_box, face.fake_probability));
    });
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|number| f32::from(number) / 100.0));
    let report = Analyzer::new(&detector, &classifier).analyze_job(frames(20), job).unwrap();
    let mut reported = Vec::new();
    for frame in &report.frames {
        for (place, face) in frame.faces.iter().enumerate() {
            let (track, probability) = (face.track.unwrap(), face.fake_probability.unwrap());
            reported.push((frame.index, frame.time, place, track, face.face.bounding_box, probability));
        }
    }
    assert_eq!(told, reported);
}

#[test]
fn one_detector_and_one_classifier_serve_analyzers_of_different_settings() {
    let detector = Arc::new(ARC_DETECTOR.get_or_init(Detector::two_people));
    let classifier = Arc::new(ARC_CLASSIFIER.get_or_init(|| Classifier::of(|_| 0.6)));
    let analyzer = Analyzer::new(Arc::clone(&detector), Arc::clone(&classifier));
    let strict = analyzer.clone().with_config(AnalyzerConfig::new().with_threshold(0.9));
    let (one, other) = or_abort(|| {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| strict.analyze(frames(40)).unwrap());
            (analyzer.analyze(frames(40)).unwrap(), other.join().unwrap())
        })
    });
    assert_eq!((one.verdict, other.verdict), (Verdict::Fake, Verdict::Real));
    assert_eq!(one.frames, other.frames);
}

static ARC_DETECTOR: OnceLock<Detector> = OnceLock::new();
static ARC_CLASSIFIER: OnceLock<Classifier> = OnceLock::new();

#[test]
fn cancelling_stops_an_endless_input_and_releases_it() {
    struct Released(Arc<AtomicBool>);
    impl Drop for Released {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let released = Arc::new(AtomicBool::new(false));
    let guard = Released(released.clone());
    let endless = (0u64..).map(move |number| {
        let _held = &guard;
        Ok::<_, Broken>(frame(number % 200))
    });
    let cancel = CancelToken::new();
    let stop = cancel.clone();
    let job = Job::new().with_cancel(cancel).with_progress(move |progress| {
        if progress.frames >= 25 {
            stop.cancel();
        }
    });
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.1));
    let analyzer = Analyzer::new(&detector, &classifier);
    let error = or_abort(|| analyzer.analyze_job(endless, job)).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    assert!(released.load(Ordering::Relaxed), "the input is dropped before the call returns");
}

#[test]
fn a_cancelled_token_stops_before_the_first_batch() {
    let cancel = CancelToken::new();
    cancel.cancel();
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.1));
    let error =
        Analyzer::new(&detector, &classifier).analyze_job(frames(20), Job::new().with_cancel(cancel)).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    assert!(detector.batches.lock().unwrap().is_empty());
}

#[test]
fn the_input_is_read_only_a_few_batches_ahead_of_the_scores() {
    let read = Arc::new(AtomicU64::new(0));
    let counter = read.clone();
    let input = frames(200).inspect(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let mut lead = 0;
    let job = Job::new().with_progress(|progress| {
        let ahead = read.load(Ordering::Relaxed).saturating_sub(progress.frames);
        lead = lead.max(ahead);
    });
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.1));
    let config = AnalyzerConfig::new().with_batches(4, 8);
    let _ = Analyzer::new(&detector, &classifier).with_config(config).analyze_job(input, job).unwrap();
    // At most, there is one batch in detection, one in the queue before it, one in the queue after it, and one frame
    // held by each stage.
    assert!(lead <= 3 * 4 + 4, "frames pile up in memory");
}

#[test]
fn large_faces_are_scored_in_smaller_batches_than_small_ones() {
    let mut large = face(0.0, 1.0);
    large.bounding_box = BoundingBox::new(0.0, 0.0, 3000.0, 3000.0);
    let input = (0..5).map(|number| Ok::<_, Broken>(Frame::new(number, number as f64, RgbImage::new(3000, 3000))));
    let (detector, classifier) = (Detector::of(vec![large]), Classifier::of(|_| 0.1));
    let config = AnalyzerConfig::new().with_evidence(0);
    let _ = Analyzer::new(&detector, &classifier).with_config(config).analyze(input).unwrap();
    // Three images of 27 million bytes fill 64 MiB.
    assert_eq!(*detector.batches.lock().unwrap(), [3, 2]);
    assert_eq!(*classifier.batches.lock().unwrap(), [3, 2]);
}

#[test]
fn the_model_decides_the_threshold_unless_the_caller_does() {
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.6));
    let report = analyze(&detector, &classifier, 6).unwrap();
    assert_eq!((report.verdict, report.settings.analyzer.threshold), (Verdict::Fake, Some(0.5)));
    let config = AnalyzerConfig::new().with_threshold(0.8).with_aggregation(Aggregation::Median);
    let report = Analyzer::new(&detector, &classifier).with_config(config).analyze(frames(6)).unwrap();
    assert_eq!(report.verdict, Verdict::Real);
    assert!(matches!(report.reasons[0], Reason::DecidedByFaces { faces: 12, .. }));
}

#[test]
fn settings_outside_their_range_are_refused_by_name() {
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.1));
    let refuse =
        |config| Analyzer::new(&detector, &classifier).with_config(config).analyze(frames(1)).unwrap_err().to_string();
    let new = AnalyzerConfig::new;
    assert_eq!(refuse(new().with_threshold(1.5)), "threshold is 1.5: it must lie in 0..=1");
    assert!(refuse(new().with_threshold(f32::NAN)).starts_with("threshold is NaN"));
    assert!(refuse(new().with_face_confidence(-0.1)).contains("face_confidence"));
    assert!(refuse(new().with_uncertain_band(0.6)).contains("uncertain_band"));
    assert!(refuse(new().with_min_faces(0)).contains("min_faces"));
    assert!(refuse(new().with_batches(0, 32)).contains("detect_batch"));
    assert!(refuse(new().with_batches(8, 0)).contains("classify_batch"));
    assert!(refuse(new().with_aggregation(Aggregation::TopK(0))).contains("top-k"));
}

#[test]
fn the_highest_scored_faces_of_each_track_are_kept_and_explained() {
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|number| f32::from(number) / 100.0));
    let report = analyze(&detector, &classifier, 20).unwrap();
    let kept: Vec<_> = report.evidence.iter().map(|evidence| (evidence.track, evidence.index)).collect();
    assert_eq!(kept, [(0, 57), (0, 54), (0, 51), (1, 57), (1, 54), (1, 51)]);
    assert_eq!(report.evidence[0].image.dimensions(), (80, 100));
    assert!(report.evidence[0].activation.is_some());
    assert_eq!(classifier.explained.load(Ordering::Relaxed), 6, "only what is shown is explained");
}

#[test]
fn faces_are_cropped_as_the_classifier_requests() {
    let classifier = Classifier { crop: FaceCrop::Margin { fraction: 0.25 }, ..Classifier::of(|_| 0.1) };
    let report = analyze(&Detector::two_people(), &classifier, 4).unwrap();
    assert_eq!(report.evidence[0].image.dimensions(), (120, 150));
}

/// Returns the report on ten frames of one photograph. The face is scored 0.95, by a model that judges faces from 30
/// pixels of detail on.
fn report_on(photo: &RgbImage) -> Report {
    let mut face = face(0.0, 0.99);
    face.bounding_box = BoundingBox::new(57.0, 68.0, 153.0, 164.0);
    let detector = Detector::of(vec![Face::new(face.bounding_box, face.landmarks, face.confidence)]);
    let mut reliability = Reliability::new(0.2);
    (reliability.quality.min_detail, reliability.quality.full_detail) = (30.0, 50.0);
    let classifier = Classifier { reliability: Some(reliability), ..Classifier::of(|_| 0.95) };
    let frames = (0..10).map(|index| Ok::<_, Broken>(Frame::new(index, index as f64, photo.clone())));
    or_abort(|| Analyzer::new(&detector, &classifier).analyze(frames)).unwrap()
}

#[test]
fn a_face_that_was_shrunk_and_enlarged_is_not_judged_although_its_box_is_large() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deepsight-face/tests/photos/one.png");
    let photo = image::open(path).unwrap().to_rgb8();
    let (width, height) = photo.dimensions();
    let sharp = report_on(&photo);
    assert_eq!(sharp.verdict, Verdict::Fake, "{:?}", sharp.reasons);
    assert_eq!(sharp.settings.analyzer.uncertain_band, Some(0.2), "the model's");
    assert_eq!(sharp.tracks[0].effective_faces, Some(10.0));

    let enlarged = resize(&thumbnail(&photo, width / 6, height / 6), width, height, FilterType::CatmullRom);
    let report = report_on(&enlarged);
    assert_eq!((report.verdict, report.fake_probability), (Verdict::Uncertain, Some(0.95)));
    let Reason::FacesTooBlurred { median, limit: 50.0 } = report.reasons[0] else { panic!("{:?}", report.reasons) };
    assert!((10.0..25.0).contains(&median), "{median}");
    let (track, face) = (&report.tracks[0], &report.frames[3].faces[0]);
    assert_eq!((track.median_face_size, track.effective_faces), (Some(96.0), Some(0.0)));
    assert_eq!(track.quality, face.quality);
    assert_eq!(track.quality.map(|quality| quality.detail), Some(median));
    assert!(report.to_html().contains("(too blurred, dark or turned to count)"));

    let read = Report::from_json(&report.to_json().unwrap()).unwrap();
    assert_eq!((read.tracks, read.frames), (report.tracks, report.frames));
}

#[test]
fn a_model_with_unusable_reliability_settings_is_refused() {
    let classifier = Classifier { reliability: Some(Reliability::new(0.9)), ..Classifier::of(|_| 0.1) };
    let error = analyze(&Detector::two_people(), &classifier, 5).unwrap_err();
    assert!(error.to_string().contains("uncertain_band is 0.9"), "{error}");
}

#[test]
fn trait_objects_boxed_errors_and_a_job_on_another_thread_are_taken() {
    let detector: Box<dyn FaceDetector<Error = Broken>> = Box::new(Detector::two_people());
    let classifier: Arc<dyn FaceClassifier<Error = Broken>> = Arc::new(Classifier::of(|_| 0.1));
    let expected = Analyzer::new(&*detector, &*classifier).analyze(frames(20)).unwrap();

    let unplugged = [Err(BoxError::from("the camera was unplugged"))];
    let input = frames(20).map(|frame| frame.map_err(BoxError::from)).chain(unplugged);
    let job = Job::new().with_progress(|progress| assert!(progress.frames <= 21));
    let analyzer = Analyzer::new(detector, classifier);
    let report = std::thread::spawn(move || analyzer.analyze_job(input, job)).join().unwrap().unwrap();
    assert_eq!((report.frames, report.verdict), (expected.frames, expected.verdict));
    assert_eq!((report.errors.count, report.errors.first[0].message.as_str()), (1, "the camera was unplugged"));
}
