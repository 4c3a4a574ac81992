//! The front door, on the bundled clip and photographs.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::OnceLock;
use std::thread;

use deepsight::prelude::*;
use deepsight::{DecodeOptions, image};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/clips/portraits.mp4");
const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deepsight-face/tests/photos/one.png");

/// One detector for all tests, as a program would have it.
fn detector() -> &'static Detector {
    static SHARED: OnceLock<Detector> = OnceLock::new();
    SHARED.get_or_init(|| Detector::builder().sampling(Sampling::evenly(6)).min_face_size(40).build().unwrap())
}

fn photo() -> RgbImage {
    image::open(PHOTO).unwrap().into_rgb8()
}

#[test]
fn a_file_and_its_frames_have_the_same_verdict() {
    let of_file = detector().analyze(CLIP).unwrap();
    assert_eq!((of_file.frames.len(), of_file.input.path.as_str()), (6, CLIP));
    let frames = deepsight::video::Video::open(CLIP).unwrap().frames(Sampling::evenly(6)).unwrap();
    let of_frames = detector().analyze_frames(frames, Job::new()).unwrap();
    assert_eq!((of_file.tracks, of_file.frames), (of_frames.tracks, of_frames.frames));
}

#[test]
fn clones_work_on_several_threads_and_give_the_same() {
    let reports: Vec<Report> = thread::scope(|scope| {
        let start = |_| {
            let detector = detector().clone();
            scope.spawn(move || detector.analyze(CLIP).unwrap())
        };
        let threads: Vec<_> = (0..3).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(reports.windows(2).all(|pair| pair[0].frames == pair[1].frames));
}

#[test]
fn a_picture_is_judged_from_one_frame_and_by_hand_alike() {
    let photo = photo();
    let report = detector().analyze_image(&photo).unwrap();
    let faces = detector().faces(&photo).unwrap();
    assert_eq!((report.frames.len(), faces.len()), (1, 1));
    let face = detector().cut(&photo, &faces[0]).unwrap();
    let score = detector().score(std::slice::from_ref(&face)).unwrap()[0];
    assert_eq!(report.frames[0].faces[0].fake_probability, Some(score.fake_probability));
    let map = detector().explain(&face).unwrap().unwrap();
    assert_eq!((map.width, map.height), face.dimensions());
}

#[test]
fn several_models_give_one_answer_and_that_of_each() {
    use deepsight::core::model::{ModelFile, WeightFormat};

    let folder = tempfile::tempdir().unwrap();
    let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/deepsight-core/weights/efficientnet_lite0.safetensors");
    let (mut file, twin) = (ModelFile::read(bundled).unwrap(), folder.path().join("twin.safetensors"));
    file.format = WeightFormat::F32;
    file.write(&twin).unwrap();
    let several = Detector::builder().models([Path::new(bundled), &twin]).min_face_size(40).build().unwrap();
    let (alone, both) = (detector().analyze_image(&photo()).unwrap(), several.analyze_image(&photo()).unwrap());
    assert_eq!(both.verdict, alone.verdict);
    let answer = both.ensemble.unwrap();
    assert_eq!(answer.models[0].fake_probability, alone.fake_probability);
    assert!(answer.disagreement.unwrap() < 0.01, "{answer:?}");
    let twice = Detector::builder().models([&twin, &twin]).build().unwrap_err();
    assert!(twice.to_string().contains("is given twice"), "{twice}");
}

#[test]
fn many_files_are_answered_each_and_the_rest_is_cancelled_by_a_drop() {
    let missing = Path::new("missing.mp4");
    let mut results: Vec<_> = detector().analyze_many([Path::new(CLIP), missing, Path::new(CLIP)], 2).collect();
    results.sort_by_key(|(path, _)| path.clone());
    assert_eq!(results.len(), 3);
    let errors: Vec<_> = results.iter().filter_map(|(_, result)| result.as_ref().err()).collect();
    assert!(matches!(errors[..], [Error::Video(_)]), "{errors:?}");

    let mut many = detector().analyze_many(vec![CLIP; 1000], 2);
    assert!(many.next().is_some());
    drop(many);
    assert_eq!(detector().analyze_many(Vec::<String>::new(), 0).count(), 0);
}

#[test]
fn progress_reaches_the_caller_and_a_cancelled_job_says_so() {
    let mut last = None;
    let job = Job::new().with_progress(|progress| last = Some((progress.frames, progress.expected)));
    let report = detector().analyze_job(CLIP, job).unwrap();
    assert_eq!(report.frames.len(), 6);
    assert_eq!(last, Some((6, Some(6))));

    let cancel = CancelToken::new();
    cancel.cancel();
    let error = detector().analyze_job(CLIP, Job::new().with_cancel(cancel)).unwrap_err();
    assert!(matches!(error, Error::Analysis(deepsight::core::Error::Cancelled)), "{error}");
}

#[test]
fn a_model_of_ones_own_is_taken_from_a_file_and_from_bytes() {
    let bytes = include_bytes!("../deepsight-core/weights/efficientnet_lite0.safetensors");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let bundled = detector().model();
    for built in [Detector::builder().model(&path).build(), Detector::builder().model_bytes(&bytes[..]).build()] {
        assert_eq!(built.unwrap().model().sha256, bundled.sha256);
    }
}

#[test]
fn a_detector_with_other_threads_and_frames_shares_the_networks_and_gives_the_same() {
    let threads = deepsight::Threads::new(1).unwrap();
    let other = detector().with_threads(threads.clone()).with_sampling(Sampling::evenly(3));
    let (first, second) = (other.analyze(CLIP).unwrap(), detector().with_sampling(Sampling::evenly(3)).analyze(CLIP));
    assert_eq!((first.frames.len(), &first.frames), (3, &second.unwrap().frames));
    assert!(detector().with_sampling(None).analyze(CLIP).unwrap().frames.len() > 6);
    let decoding = DecodeOptions::default().with_max_side(0);
    assert!(matches!(other.with_decoding(decoding).analyze(CLIP), Err(Error::Video(_))));
}

#[test]
fn what_cannot_be_built_is_named() {
    let message = |builder: deepsight::DetectorBuilder| builder.build().unwrap_err().to_string();
    assert!(message(Detector::builder().model("nowhere.safetensors")).contains("nowhere.safetensors"));
    assert!(message(Detector::builder().min_face_size(0)).contains("min_face_size"));
    assert!(message(Detector::builder().threads(0)).contains("threads"));
    let settings = deepsight::AnalyzerConfig::new().with_min_faces(0);
    assert!(message(Detector::builder().analyzer(settings)).contains("min_faces"));
    let decoding = DecodeOptions::default().with_max_side(0);
    let error = Detector::builder().decoding(decoding).build().unwrap().analyze(CLIP).unwrap_err();
    assert!(matches!(error, Error::Video(_)), "{error}");
}

#[test]
fn the_types_may_be_sent_and_shared() {
    fn both<T: Send + Sync + Clone + std::fmt::Debug>() {}
    fn sendable<T: Send>() {}
    both::<Detector>();
    both::<Device>();
    sendable::<Job<'static>>();
    sendable::<Error>();
    sendable::<deepsight::Analyses>();
}

#[test]
fn a_session_answers_as_the_frames_come_and_then_as_an_analysis() {
    let frames = || deepsight::video::Video::open(CLIP).unwrap().frames(Sampling::evenly(6)).unwrap();
    let mut session = detector().session().unwrap();
    let updates: Vec<_> = frames().map(|frame| session.push(frame.unwrap())).collect();
    assert!(updates[0].changed && updates[0].verdict == Verdict::Uncertain);
    let report = session.finish().unwrap();
    let expected = detector().analyze_frames(frames(), Job::new()).unwrap();
    assert_eq!((report.verdict, &report.frames), (expected.verdict, &expected.frames));
    assert_eq!(updates.last().unwrap().tracks, report.tracks);
}
