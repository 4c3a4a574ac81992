use std::time::{Duration, Instant};

use image::RgbImage;
use rayon::prelude::*;

use super::queue::{Receiver, Sender};
use super::search::{Found, Search};
use super::{AnalyzerConfig, BATCH_BYTES, CancelToken};
use crate::error::described;
use crate::panics::guarded;
use crate::scene::Scene;
use crate::track::Insertion;
use crate::{
    BoundingBox, BoxError, Face, FaceCrop, FaceDetector, FaceQuality, Frame, FrameError, Stage, Threads, Tracker,
};

/// Number of consecutive errors after which decoding stops, because an iterator may return errors forever.
const MAX_ERRORS_IN_A_ROW: usize = 100;

/// A frame after detection.
pub(super) struct Detected {
    pub(super) index: u64,
    pub(super) time: f64,
    pub(super) faces: Vec<DetectedFace>,
    /// Number of faces left out because they are not finite.
    pub(super) malformed: usize,
    /// Number of its shot.
    pub(super) shot: u32,
    /// Its scene, if further frames may be linked to it.
    pub(super) scene: Option<Scene>,
}

impl Detected {
    /// Returns the bytes of its crops.
    fn bytes(&self) -> usize {
        let crops = self.faces.iter().filter_map(|face| face.followed.as_ref()?.1.as_ref().ok());
        crops.map(|cut| bytes_of_crops(&cut.crops)).sum()
    }
}

pub(super) struct DetectedFace {
    pub(super) face: Face,
    /// Track and crop; `None` if the detector's confidence in the face is too low.
    pub(super) followed: Option<(usize, Result<Cut, String>)>,
}

/// The crops of a face, one for each that the classifier needs, and the quality of the first.
pub(super) struct Cut {
    pub(super) crops: Vec<RgbImage>,
    pub(super) quality: FaceQuality,
}

/// Returns the bytes of pixels of a face's crops.
pub(super) fn bytes_of_crops(crops: &[RgbImage]) -> usize {
    crops.iter().map(|crop| crop.as_raw().len()).sum()
}

/// Reads frames from the input until it ends, the receiver is dropped or the analysis is cancelled. Returns the time
/// spent waiting for frames.
pub(super) fn decode<I, E>(frames: I, out: Sender<Result<Frame, FrameError>>, cancel: &CancelToken) -> Duration
where
    I: IntoIterator<Item = Result<Frame, E>>,
    E: Into<BoxError>,
{
    let failed = |index, message| FrameError { stage: Stage::Decode, index, time: None, message };
    let started = Instant::now();
    let mut iterator = match guarded(|| Ok(frames.into_iter())) {
        Ok(iterator) => iterator,
        Err(message) => {
            // The receiver may be dropped already if the analysis was cancelled.
            let _ = out.send(Err(failed(None, message)), 0);
            return started.elapsed();
        }
    };
    let mut spent = started.elapsed();
    let mut errors_in_a_row = 0;
    while !cancel.is_cancelled() {
        let started = Instant::now();
        let next = guarded(|| Ok(iterator.next().map(|item| item.map_err(described))));
        spent += started.elapsed();
        let (item, last) = match next {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => (usable(frame), false),
            Ok(Some(Err(message))) => (Err(failed(None, message)), false),
            // After a panic, the iterator may be in any state, so it is not used again.
            Err(message) => (Err(failed(None, message)), true),
        };
        errors_in_a_row = if item.is_ok() { 0 } else { errors_in_a_row + 1 };
        let bytes = item.as_ref().map_or(0, bytes_of);
        if out.send(item, bytes).is_err() || last {
            break;
        }
        if errors_in_a_row == MAX_ERRORS_IN_A_ROW {
            let message = format!("gave up after {MAX_ERRORS_IN_A_ROW} errors in a row");
            let _ = out.send(Err(failed(None, message)), 0);
            break;
        }
    }
    // Dropped here so that a child process that the iterator owns ends. A panic of the drop is ignored: the frames were
    // already read.
    let _ = guarded(|| {
        drop(iterator);
        Ok(())
    });
    spent
}

/// Returns the frame if it has a time and pixels.
pub(super) fn usable(frame: Frame) -> Result<Frame, FrameError> {
    let message = if !frame.time.is_finite() {
        format!("presentation time is {}", frame.time)
    } else if frame.image.is_empty() {
        "the frame has no pixels".into()
    } else {
        return Ok(frame);
    };
    Err(FrameError { stage: Stage::Decode, index: Some(frame.index), time: None, message })
}

/// The way in which faces get their tracks and frames their shots.
pub(super) enum Linker {
    /// Frames in order of presentation.
    InOrder {
        tracker: Tracker,
        shot: u32,
        /// Whether frames keep their scenes, for [`Linker::Between`] later.
        keeps_scenes: bool,
    },
    /// Further frames between those of an earlier pass.
    Between(Insertion),
}

impl Linker {
    pub(super) fn in_order(tracker: Tracker, keeps_scenes: bool) -> Self {
        Self::InOrder { tracker, shot: 0, keeps_scenes }
    }

    /// Returns the frame's shot, its scene if it is kept, and the tracks of its faces.
    fn link(&mut self, time: f64, scene: Scene, faces: &[BoundingBox]) -> (u32, Option<Scene>, Vec<usize>) {
        match self {
            Self::InOrder { tracker, shot, keeps_scenes } => {
                if tracker.previous().is_some_and(|previous| !previous.is_same_shot(&scene)) {
                    *shot += 1;
                }
                let kept = keeps_scenes.then(|| scene.clone());
                (*shot, kept, tracker.link_scene(time, scene, faces))
            }
            Self::Between(insertion) => {
                let (shot, tracks) = insertion.link(time, scene, faces);
                (shot, None, tracks)
            }
        }
    }
}

/// The second stage. It finds, follows and cuts out the faces of the frames, in batches and in the frames' order.
pub(super) struct Detection<D> {
    search: Search<D>,
    linker: Linker,
    crops: Vec<FaceCrop>,
    config: AnalyzerConfig,
    threads: Threads,
    cancel: CancelToken,
}

impl<D: FaceDetector> Detection<D> {
    pub(super) fn new(
        detector: D,
        linker: Linker,
        crops: &[FaceCrop],
        config: &AnalyzerConfig,
        threads: &Threads,
        cancel: &CancelToken,
    ) -> Self {
        let search = Search::new(detector, config);
        let (crops, config) = (crops.to_vec(), config.clone());
        Self { search, linker, crops, config, threads: threads.clone(), cancel: cancel.clone() }
    }

    /// Processes frames until there are no more, the receiver is dropped or the analysis is cancelled. Returns the time
    /// spent, without the time spent waiting.
    pub(super) fn run(
        mut self,
        frames: Receiver<Result<Frame, FrameError>>,
        out: Sender<Result<Detected, FrameError>>,
    ) -> Duration {
        let mut spent = Duration::ZERO;
        loop {
            let mut batch = Vec::with_capacity(self.config.detect_batch);
            let mut bytes = 0;
            // Waits for full batches, so that the size of each batch, and with it every score, is the same on each run.
            while batch.len() < self.config.detect_batch && bytes < BATCH_BYTES {
                match frames.receive() {
                    Some(Ok(frame)) => {
                        bytes += bytes_of(&frame);
                        batch.push(frame);
                    }
                    Some(Err(error)) => {
                        if out.send(Err(error), 0).is_err() {
                            return spent;
                        }
                    }
                    None => break,
                }
                if self.cancel.is_cancelled() {
                    return spent;
                }
            }
            if batch.is_empty() {
                return spent;
            }
            let started = Instant::now();
            let threads = self.threads.clone();
            let searched = threads.install(|| self.search(&batch));
            spent += started.elapsed();
            for (frame, (scene, found)) in batch.into_iter().zip(searched) {
                let started = Instant::now();
                // One frame after the other, so that the crops of a whole batch are never in memory at once.
                let result = threads.install(|| self.link(&frame, scene, found));
                spent += started.elapsed();
                let bytes = result.as_ref().map_or(0, Detected::bytes);
                if self.cancel.is_cancelled() || out.send(result, bytes).is_err() {
                    return spent;
                }
            }
        }
    }

    /// Processes one frame.
    pub(super) fn one(&mut self, frame: &Frame) -> Result<Detected, FrameError> {
        let threads = self.threads.clone();
        threads.install(|| {
            let mut searched = self.search(std::slice::from_ref(frame));
            let (scene, found) = searched.remove(0);
            self.link(frame, scene, found)
        })
    }

    fn search(&mut self, batch: &[Frame]) -> Vec<(Scene, Found)> {
        let scenes: Vec<Scene> = batch.par_iter().map(|frame| Scene::of(&frame.image)).collect();
        let found = self.search.batch(batch, &scenes);
        scenes.into_iter().zip(found).collect()
    }

    /// Links a frame's faces to tracks and cuts out those that reach the configured confidence.
    fn link(&mut self, frame: &Frame, scene: Scene, found: Found) -> Result<Detected, FrameError> {
        let (index, time) = (frame.index, frame.time);
        let faces = found.map_err(|message| FrameError {
            stage: Stage::Detect,
            index: Some(index),
            time: Some(time),
            message,
        })?;
        let count = faces.len();
        // Faces that are not finite cannot be listed in the report, because JSON has no infinity.
        let faces: Vec<Face> = faces.into_iter().filter(Face::is_finite).collect();
        let malformed = count - faces.len();
        let sure = |face: &Face| face.confidence >= self.config.face_confidence;
        let boxes: Vec<BoundingBox> = faces.iter().filter(|face| sure(face)).map(|face| face.bounding_box).collect();
        let (shot, scene, tracks) = self.linker.link(time, scene, &boxes);
        let mut tracks = tracks.into_iter();
        let followed: Vec<(Face, Option<usize>)> =
            faces.into_iter().map(|face| if sure(&face) { (face, tracks.next()) } else { (face, None) }).collect();
        let cut = |face: &Face| {
            guarded(|| {
                let cut = self.crops.iter().map(|crop| crop.cut(&frame.image, face));
                let crops = cut.collect::<Result<Vec<_>, _>>().map_err(described)?;
                let quality = FaceQuality::of_face(&crops[0], face);
                Ok(Cut { crops, quality })
            })
        };
        let faces = followed
            .into_par_iter()
            .map(|(face, track)| {
                let followed = track.map(|track| (track, cut(&face)));
                DetectedFace { face, followed }
            })
            .collect();
        Ok(Detected { index, time, faces, malformed, shot, scene })
    }
}

fn bytes_of(frame: &Frame) -> usize {
    frame.image.as_raw().len()
}
