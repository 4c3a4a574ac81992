use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use image::RgbImage;
use rayon::prelude::*;

use super::failure::guarded;
use super::{AnalyzerConfig, CancelToken, FrameError, Stage};
use crate::{BoundingBox, Face, FaceCrop, FaceDetector, Frame, Tracker, with_causes};

/// Errors in a row after which an input is given up: an iterator that fails forever must not run forever.
const MAX_ERRORS_IN_A_ROW: usize = 100;

/// A frame after detection.
pub(super) struct Detected {
    pub(super) index: u64,
    pub(super) time: f64,
    pub(super) faces: Vec<DetectedFace>,
    /// Faces left out because their numbers are not finite.
    pub(super) malformed: usize,
}

pub(super) struct DetectedFace {
    pub(super) face: Face,
    /// Track and crop; `None` for a face that the detector is not sure enough of.
    pub(super) followed: Option<(usize, Result<RgbImage, String>)>,
}

/// Pulls frames out of the input until it ends, the receiver is gone or the run is cancelled.
/// Returns the time spent waiting for frames.
pub(super) fn decode<I, E>(frames: I, out: SyncSender<Result<Frame, FrameError>>, cancel: &CancelToken) -> Duration
where
    I: IntoIterator<Item = Result<Frame, E>>,
    E: std::error::Error,
{
    let failed = |index, message| FrameError { stage: Stage::Decode, index, time: None, message };
    let started = Instant::now();
    let mut iterator = match guarded(|| Ok(frames.into_iter())) {
        Ok(iterator) => iterator,
        Err(message) => {
            // Nobody listens any more when the run was cancelled.
            let _ = out.send(Err(failed(None, message)));
            return started.elapsed();
        }
    };
    let mut spent = started.elapsed();
    let mut errors_in_a_row = 0;
    while !cancel.is_cancelled() {
        let started = Instant::now();
        let next = guarded(|| Ok(iterator.next().map(|item| item.map_err(|error| with_causes(&error)))));
        spent += started.elapsed();
        let (item, last) = match next {
            Ok(None) => break,
            Ok(Some(Ok(frame))) if !frame.time.is_finite() => {
                (Err(failed(Some(frame.index), format!("presentation time is {}", frame.time))), false)
            }
            Ok(Some(Ok(frame))) if frame.image.is_empty() => {
                (Err(failed(Some(frame.index), "the frame has no pixels".into())), false)
            }
            Ok(Some(Ok(frame))) => (Ok(frame), false),
            Ok(Some(Err(message))) => (Err(failed(None, message)), false),
            // After a panic the iterator may be in any state: its end is the only safe reading.
            Err(message) => (Err(failed(None, message)), true),
        };
        errors_in_a_row = if item.is_ok() { 0 } else { errors_in_a_row + 1 };
        if out.send(item).is_err() || last {
            break;
        }
        if errors_in_a_row == MAX_ERRORS_IN_A_ROW {
            let _ = out.send(Err(failed(None, format!("gave up after {MAX_ERRORS_IN_A_ROW} errors in a row"))));
            break;
        }
    }
    // A child process that the iterator owns is to end with it; its panic is not worth more than its frames.
    let _ = guarded(|| {
        drop(iterator);
        Ok(())
    });
    spent
}

/// Finds, follows and cuts out the faces of the frames, batch by batch and in their order.
/// Returns the time spent on it, waiting excluded.
pub(super) fn detect<D: FaceDetector>(
    detector: &D,
    crop: FaceCrop,
    config: &AnalyzerConfig,
    mut tracker: Tracker,
    frames: Receiver<Result<Frame, FrameError>>,
    out: SyncSender<Result<Detected, FrameError>>,
    cancel: &CancelToken,
) -> Duration {
    let mut spent = Duration::ZERO;
    loop {
        let mut batch = Vec::with_capacity(config.detect_batch);
        // Batches are filled, not taken as they come: their size, and with it every score, is the same on each run.
        while batch.len() < config.detect_batch {
            match frames.recv() {
                Ok(Ok(frame)) => batch.push(frame),
                Ok(Err(error)) => {
                    if out.send(Err(error)).is_err() {
                        return spent;
                    }
                }
                Err(_) => break,
            }
            if cancel.is_cancelled() {
                return spent;
            }
        }
        if batch.is_empty() {
            return spent;
        }
        let started = Instant::now();
        let found = detect_batch(detector, &batch);
        let results: Vec<_> = batch
            .into_iter()
            .zip(found)
            .map(|(frame, faces)| match faces {
                Ok(faces) => Ok(follow(&frame, faces, crop, config, &mut tracker)),
                Err(message) => {
                    Err(FrameError { stage: Stage::Detect, index: Some(frame.index), time: Some(frame.time), message })
                }
            })
            .collect();
        spent += started.elapsed();
        for result in results {
            if cancel.is_cancelled() || out.send(result).is_err() {
                return spent;
            }
        }
    }
}

/// The faces of each frame; a batch that fails is repeated frame by frame, so that only the culprit is lost.
fn detect_batch<D: FaceDetector>(detector: &D, batch: &[Frame]) -> Vec<Result<Vec<Face>, String>> {
    let attempt = |frames: &[Frame]| {
        guarded(|| {
            let images: Vec<&RgbImage> = frames.iter().map(|frame| &frame.image).collect();
            let lists = detector.detect(&images).map_err(|error| with_causes(&error))?;
            if lists.len() == images.len() {
                Ok(lists)
            } else {
                Err(format!("the detector gave {} lists of faces for {} images", lists.len(), images.len()))
            }
        })
    };
    match attempt(batch) {
        Ok(lists) => lists.into_iter().map(Ok).collect(),
        Err(message) if batch.len() == 1 => vec![Err(message)],
        Err(_) => batch.iter().map(|frame| attempt(std::slice::from_ref(frame)).map(|mut one| one.remove(0))).collect(),
    }
}

/// Links a frame's faces to their tracks and cuts out those that the detector is sure of.
fn follow(frame: &Frame, faces: Vec<Face>, crop: FaceCrop, config: &AnalyzerConfig, tracker: &mut Tracker) -> Detected {
    let found = faces.len();
    // A face that is nowhere cannot be listed: JSON has no infinity.
    let faces: Vec<Face> = faces.into_iter().filter(is_finite).collect();
    let malformed = found - faces.len();
    let sure = |face: &Face| face.confidence >= config.face_confidence;
    let boxes: Vec<BoundingBox> = faces.iter().filter(|face| sure(face)).map(|face| face.bounding_box).collect();
    let mut tracks = tracker.link(frame.time, &frame.image, &boxes).into_iter();
    let followed: Vec<(Face, Option<usize>)> =
        faces.into_iter().map(|face| if sure(&face) { (face, tracks.next()) } else { (face, None) }).collect();
    let faces = followed
        .into_par_iter()
        .map(|(face, track)| {
            let cut = |track| (track, guarded(|| crop.cut(&frame.image, &face).map_err(|error| with_causes(&error))));
            let followed = track.map(cut);
            DetectedFace { face, followed }
        })
        .collect();
    Detected { index: frame.index, time: frame.time, faces, malformed }
}

fn is_finite(face: &Face) -> bool {
    let edges: [f32; 4] = face.bounding_box.into();
    let mut points = face.landmarks.iter().flat_map(|landmarks| landmarks.0.iter().flatten());
    edges.iter().all(|edge| edge.is_finite()) && points.all(|point| point.is_finite()) && face.confidence.is_finite()
}
