use std::collections::VecDeque;
use std::time::{Duration, Instant};

use image::RgbImage;
use rayon::prelude::*;

use super::crops::Crops;
use super::evidence::{EvidenceBook, Exhibit};
use super::history::Forgotten;
use super::queue::Receiver;
use super::shared_batcher::{Scored, SharedBatcher};
use super::stages::{Cut, Detected, bytes_of_crops};
use super::{AnalyzerConfig, BATCH_BYTES, CancelToken, Job, Progress, ScoredFace};
use crate::coverage::Losses;
use crate::error::described;
use crate::panics::guarded;
use crate::scene::Scene;
use crate::track::LinkedFrame;
use crate::{
    CombinedScore, FaceClassifier, FrameError, Stage, Threads,
    report::{ErrorLog, Evidence, ReportFace, ReportFrame},
};

/// The last stage. It scores faces in batches across frames and collects the data for the report.
pub(super) struct Collector<C> {
    classifier: C,
    pub(super) config: AnalyzerConfig,
    threads: Threads,
    batcher: SharedBatcher,
    pending: VecDeque<Pending>,
    /// Bytes of the faces in `pending`.
    pending_bytes: usize,
    book: EvidenceBook,
    pub(super) progress: Progress,
    pub(super) frames: Vec<ReportFrame>,
    /// The shot of each frame, and its scene if it is kept.
    pub(super) places: Vec<(u32, Option<Scene>)>,
    /// Whether the next frames are those of a closer look.
    looks_closer: bool,
    pub(super) losses: Losses,
    pub(super) forgotten: Forgotten,
    /// Number of frames at which old ones are forgotten next.
    pub(super) forgotten_at: usize,
    pub(super) errors: ErrorLog,
    pub(super) failed_frames: u64,
    pub(super) failed_faces: u64,
    /// The first failure of each kind, which becomes the error if nothing could be analyzed.
    pub(super) first_frame_error: Option<FrameError>,
    pub(super) first_face_error: Option<FrameError>,
    /// The first error since it was last taken.
    pub(super) new_error: Option<FrameError>,
    pub(super) spent: Duration,
}

/// A face that waits for the classifier.
struct Pending {
    /// Index of its frame in `frames`.
    frame: usize,
    /// Index of the face in the frame's list.
    face: usize,
    track: usize,
    crops: Vec<RgbImage>,
}

impl<C: FaceClassifier> Collector<C> {
    pub(super) fn new(classifier: C, config: &AnalyzerConfig, threads: &Threads, batcher: &SharedBatcher) -> Self {
        Self {
            classifier,
            config: config.clone(),
            threads: threads.clone(),
            batcher: batcher.clone(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            book: EvidenceBook::new(config.evidence),
            progress: Progress::default(),
            frames: Vec::new(),
            places: Vec::new(),
            looks_closer: false,
            losses: Losses::default(),
            forgotten: Forgotten::default(),
            forgotten_at: 0,
            errors: ErrorLog::default(),
            failed_frames: 0,
            failed_faces: 0,
            first_frame_error: None,
            first_face_error: None,
            new_error: None,
            spent: Duration::ZERO,
        }
    }

    /// Returns whether faces wait for the classifier.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Puts the faces that wait in the order of `rank`, lowest first. Faces of one rank keep their order.
    pub(super) fn rank_pending(&mut self, rank: impl Fn(usize) -> usize) {
        self.pending.make_contiguous().sort_by_key(|pending| rank(pending.track));
    }

    /// Removes the waiting faces, which stay without a score. Returns their number.
    pub(super) fn skip_pending(&mut self) -> usize {
        self.pending_bytes = 0;
        self.pending.drain(..).count()
    }

    /// Sets the number of frames that are expected.
    pub(super) fn expect(&mut self, frames: Option<u64>) {
        self.progress.expected = frames;
        self.losses.expected = frames;
    }

    /// Prepares for a closer look at `frames` frames. Returns the frames that were seen, to which they are linked, and
    /// the numbers of tracks and shots.
    pub(super) fn look_closer(&mut self, frames: usize) -> (Vec<LinkedFrame>, usize, u32) {
        self.looks_closer = true;
        self.progress.expected = self.progress.expected.map(|expected| expected + frames as u64);
        let mut tracks = 0;
        let mut linked = Vec::with_capacity(self.frames.len());
        for (frame, (shot, scene)) in self.frames.iter().zip(&mut self.places) {
            let faces: Vec<_> =
                frame.faces.iter().filter_map(|face| Some((face.track?, face.face.bounding_box))).collect();
            tracks = faces.iter().fold(tracks, |tracks, &(track, _)| tracks.max(track + 1));
            if let Some(scene) = scene.take() {
                linked.push(LinkedFrame { time: frame.time, shot: *shot, scene, faces });
            }
        }
        let shots = self.places.iter().map(|&(shot, _)| shot + 1).max().unwrap_or(0);
        (linked, tracks, shots)
    }

    /// Returns the indices of the frames that were seen.
    pub(super) fn indices(&self) -> std::collections::HashSet<u64> {
        self.frames.iter().map(|frame| frame.index).collect()
    }

    /// Processes everything that detection sends, until it ends or the analysis is cancelled.
    pub(super) fn run(&mut self, detected: Receiver<Result<Detected, FrameError>>, job: &mut Job<'_>) {
        let cancel = job.cancel.clone();
        while let Some(message) = detected.receive() {
            if cancel.is_cancelled() {
                return;
            }
            match message {
                Ok(frame) => self.take(frame),
                Err(error) => self.lose_frame(error),
            }
            self.tell(job);
            while self.has_full_batch() && !cancel.is_cancelled() {
                self.score_batch(job);
                self.tell(job);
            }
        }
        while !self.pending.is_empty() && !cancel.is_cancelled() {
            self.score_batch(job);
            self.tell(job);
        }
    }

    pub(super) fn take(&mut self, detected: Detected) {
        let Detected { index, time, faces, malformed, shot, scene } = detected;
        for _ in 0..malformed {
            let message = "the detector gave a face whose numbers are not finite".into();
            self.lose_face(FrameError { stage: Stage::Detect, index: Some(index), time: Some(time), message });
        }
        let frame = self.frames.len();
        let mut listed = Vec::with_capacity(faces.len());
        for (position, found) in faces.into_iter().enumerate() {
            let track = found.followed.as_ref().map(|(track, _)| *track);
            let quality = found.followed.as_ref().and_then(|(_, cut)| Some(cut.as_ref().ok()?.quality));
            listed.push(ReportFace { face: found.face, track, quality, fake_probability: None, by_model: Vec::new() });
            match found.followed {
                Some((track, Ok(Cut { crops, .. }))) => {
                    self.pending_bytes += bytes_of_crops(&crops);
                    self.pending.push_back(Pending { frame, face: position, track, crops });
                }
                Some((_, Err(message))) => {
                    self.lose_face(FrameError { stage: Stage::Crop, index: Some(index), time: Some(time), message });
                }
                None => {}
            }
        }
        self.frames.push(ReportFrame { index, time, faces: listed, closer_look: self.looks_closer });
        self.places.push((shot, scene));
    }

    /// Returns whether enough faces wait for a batch. This depends on the faces alone, so batches are the same on each
    /// run.
    fn has_full_batch(&self) -> bool {
        self.pending.len() >= self.config.classify_batch || self.pending_bytes >= BATCH_BYTES
    }

    /// Scores the oldest pending faces, at most one batch.
    fn score_batch(&mut self, job: &mut Job<'_>) {
        self.score(self.config.classify_batch, job);
    }

    /// Scores the first pending faces, at most `most` of them.
    pub(super) fn score(&mut self, most: usize, job: &mut Job<'_>) {
        let (mut crops, mut places, mut bytes) = (Crops::default(), Vec::new(), 0);
        while crops.len() < most && bytes < BATCH_BYTES {
            let Some(Pending { frame, face, track, crops: of_face }) = self.pending.pop_front() else { break };
            bytes += bytes_of_crops(&of_face);
            crops.push(of_face);
            places.push((frame, face, track));
        }
        self.pending_bytes -= bytes;
        let started = Instant::now();
        let Scored { crops, scores } = self.batcher.score(&self.classifier, &self.threads, crops);
        self.spent += started.elapsed();
        for ((crop, (frame, face, track)), score) in crops.into_first().into_iter().zip(places).zip(scores) {
            let (index, time) = (self.frames[frame].index, self.frames[frame].time);
            match score {
                Ok(CombinedScore { fake_probability, by_model }) => {
                    self.progress.faces += 1;
                    let listed = &mut self.frames[frame].faces[face];
                    (listed.fake_probability, listed.by_model) = (Some(fake_probability), by_model);
                    if let Some(scored) = &mut job.scored {
                        let ReportFace { face: ref found, quality, .. } = self.frames[frame].faces[face];
                        let bounding_box = found.bounding_box;
                        let image = &crop;
                        scored(&ScoredFace {
                            index,
                            time,
                            face,
                            track,
                            bounding_box,
                            quality,
                            fake_probability,
                            image,
                        });
                    }
                    self.book.offer(Exhibit { track, index, time, face, fake_probability, crop });
                }
                Err(message) => {
                    self.lose_face(FrameError {
                        stage: Stage::Classify,
                        index: Some(index),
                        time: Some(time),
                        message,
                    });
                }
            }
        }
    }

    pub(super) fn lose_frame(&mut self, error: FrameError) {
        self.failed_frames += 1;
        if !self.looks_closer {
            match error.stage {
                Stage::Decode => self.losses.decoding = true,
                _ => self.losses.frames += 1,
            }
        }
        // An error of a later stage replaces a decoding error, because it says more about the frames that were read.
        if self
            .first_frame_error
            .as_ref()
            .is_none_or(|first| first.stage == Stage::Decode && error.stage != first.stage)
        {
            self.first_frame_error = Some(error.clone());
        }
        self.log(error);
    }

    fn lose_face(&mut self, error: FrameError) {
        self.failed_faces += 1;
        self.first_face_error.get_or_insert_with(|| error.clone());
        self.log(error);
    }

    fn log(&mut self, error: FrameError) {
        self.progress.errors += 1;
        self.new_error.get_or_insert_with(|| error.clone());
        self.errors.add(error, self.config.max_errors);
    }

    fn tell(&mut self, job: &mut Job<'_>) {
        self.progress.frames = self.frames.len() as u64 + self.failed_frames;
        if let Some(progress) = &mut job.progress {
            progress(&self.progress);
        }
    }

    /// Computes the activation maps of the kept faces. Returns the faces by track and falling probability.
    pub(super) fn explain(&mut self, cancel: &CancelToken) -> Vec<Evidence> {
        let started = Instant::now();
        let classifier = &self.classifier;
        let explain = |exhibit: Exhibit| {
            if cancel.is_cancelled() {
                return None;
            }
            let map = guarded(|| classifier.explain(&exhibit.crop).map_err(described));
            Some((exhibit, map))
        };
        let exhibits = std::mem::take(&mut self.book).into_exhibits();
        let explained: Vec<_> = self.threads.install(|| exhibits.into_par_iter().filter_map(explain).collect());
        let mut evidence = Vec::with_capacity(explained.len());
        for (exhibit, map) in explained {
            let (index, time) = (exhibit.index, exhibit.time);
            let activation = map.unwrap_or_else(|message| {
                self.log(FrameError { stage: Stage::Explain, index: Some(index), time: Some(time), message });
                None
            });
            evidence.push(Evidence {
                track: exhibit.track,
                index,
                time,
                face: exhibit.face,
                fake_probability: exhibit.fake_probability,
                image: exhibit.crop,
                activation,
            });
        }
        self.spent += started.elapsed();
        evidence
    }
}
