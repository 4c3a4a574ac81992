//! Searches the frames and pictures that the workers read in batches, crops the faces and writes the crops.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, sync_channel};

use deepsight_core::tracking::{Tracker, TrackerConfig};
use deepsight_core::{CancelToken, Face, FaceDetector, Frame};
use image::RgbImage;
use rayon::prelude::*;

use super::crops::{CropTask, check_name, crop_file, row, write};
use super::cut::Outside;
use super::journal::{FinishedClip, Journal, state_of};
use super::portrait;
use super::supply::{ClipPart, Supply, WorkerMessage};
use super::{Detectors, FileFailure, PrepareConfig, PrepareProgress};
use crate::layout::{Clip, ClipMedia, Dataset, Picture};
use crate::whole_file::remove_unfinished;
use crate::{Error, Row};

/// Bytes of pixels from which a batch is full: about 18 frames of 720p.
const BATCH_BYTES: usize = 48 << 20;

pub(super) struct FaceGatherer<'a, D> {
    detectors: &'a Detectors<D>,
    config: &'a PrepareConfig,
    clips: &'a [Clip],
    output: &'a Path,
    journal: Journal,
    /// Clips in progress, by number.
    open: BTreeMap<usize, OpenClip>,
    /// Failures of clips that failed as a whole.
    failed: Vec<FileFailure>,
    progress: PrepareProgress,
}

pub(super) struct GatheredFaces {
    pub(super) rows: Vec<Row>,
    pub(super) failures: Vec<FileFailure>,
}

/// A clip in progress.
struct OpenClip {
    tracker: Tracker,
    rows: Vec<Row>,
    failures: Vec<FileFailure>,
    images: u64,
    /// Names of its crops, without extension.
    names: HashSet<String>,
}

impl<'a, D: FaceDetector> FaceGatherer<'a, D> {
    pub(super) fn new(
        detectors: &'a Detectors<D>,
        config: &'a PrepareConfig,
        dataset: &'a Dataset,
        output: &'a Path,
        mut journal: Journal,
    ) -> Result<Self, Error> {
        for clip in &dataset.clips {
            check_name(&clip.name)?;
        }
        journal.forget_stale(output, &dataset.clips)?;
        let progress = PrepareProgress { of: dataset.clips.len(), ..PrepareProgress::default() };
        let (open, failed) = (BTreeMap::new(), Vec::new());
        Ok(Self { detectors, config, clips: &dataset.clips, output, journal, open, failed, progress })
    }

    pub(super) fn run(
        mut self,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(&PrepareProgress),
    ) -> Result<GatheredFaces, Error> {
        let is_open = |clip: &Clip| !self.journal.done.contains_key(&(clip.label, clip.name.clone()));
        let open: Vec<usize> = (0..self.clips.len()).filter(|&clip| is_open(&self.clips[clip])).collect();
        self.progress.earlier = self.clips.len() - open.len();
        self.progress.clips = self.progress.earlier;
        self.progress.failures = self.journal.done.values().map(|entry| entry.failures.len()).sum();
        progress(&self.progress);

        let workers = self.config.workers.min(open.len().max(1));
        let decode = self.decode_options(workers);
        let (taken, stop) = (AtomicUsize::new(0), cancel.clone());
        let supply = Supply {
            clips: self.clips,
            open: &open,
            taken: &taken,
            max_frames: self.config.max_frames,
            decode: &decode,
            cancel: &stop,
        };
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(2 * workers);
            for _ in 0..workers {
                let (sender, supply) = (sender.clone(), &supply);
                scope.spawn(move || supply.work(&sender));
            }
            drop(sender);
            // The workers end when the receiver is dropped, also after an error.
            self.gather(receiver, cancel, progress)
        })?;
        Ok(self.gathered())
    }

    /// Returns decode options that share the cores among the decoders: together they start about as many threads as one
    /// decoder alone would.
    fn decode_options(&self, workers: usize) -> deepsight_video::DecodeOptions {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let limits = self.config.decode.limits.clone();
        let threads = limits.max_threads.min(cores.div_ceil(workers) as u32);
        self.config.decode.clone().with_limits(limits.with_max_threads(threads))
    }

    fn gather(
        &mut self,
        messages: Receiver<WorkerMessage>,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(&PrepareProgress),
    ) -> Result<(), Error> {
        loop {
            let (mut batch, mut images, mut bytes) = (Vec::new(), 0, 0);
            while images < self.config.batch && bytes < BATCH_BYTES {
                let Ok(message) = messages.recv() else { break };
                match &message.part {
                    ClipPart::Frame(_) | ClipPart::Picture(..) => images += 1,
                    ClipPart::Unreadable(..) | ClipPart::End(_) | ClipPart::Fatal(_) => {}
                }
                bytes += message.part.bytes();
                batch.push(message);
            }
            if cancel.is_cancelled() {
                return Err(deepsight_core::Error::Cancelled.into());
            }
            if batch.is_empty() {
                return Ok(());
            }
            self.search(&batch)?;
            self.conclude(batch)?;
            progress(&self.progress);
        }
    }

    /// Detects, tracks and crops the faces of a batch.
    fn search(&mut self, batch: &[WorkerMessage]) -> Result<(), Error> {
        let (mut frames, mut pictures): (Vec<(usize, &Frame)>, Vec<_>) = (Vec::new(), Vec::new());
        for WorkerMessage { clip, part } in batch {
            match part {
                ClipPart::Frame(frame) => frames.push((*clip, frame)),
                ClipPart::Picture(number, image, sha256) => pictures.push((*clip, *number, image, sha256)),
                ClipPart::Unreadable(..) | ClipPart::End(_) | ClipPart::Fatal(_) => {}
            }
        }
        let mut tasks = Vec::new();
        let images: Vec<&RgbImage> = frames.iter().map(|(_, frame)| &frame.image).collect();
        let found = portrait::detect(&self.detectors.frames, &images)?;
        for ((clip, frame), faces) in frames.into_iter().zip(found) {
            tasks.extend(self.track_faces(clip, frame, faces)?);
        }
        let images: Vec<&RgbImage> = pictures.iter().map(|(_, _, image, _)| *image).collect();
        let found = portrait::find(self.detectors, self.config.crop, self.config.face_confidence, &images)?;
        for ((clip, number, image, sha256), face) in pictures.into_iter().zip(found) {
            tasks.extend(self.portrait(clip, number, image, sha256, face)?);
        }

        let (config, output) = (self.config, self.output);
        let done: Vec<_> = tasks.into_par_iter().map(|task| (task.clip, write(config, output, task))).collect();
        for (clip, written) in done {
            let open = self.open(clip)?;
            match written? {
                Ok(row) => {
                    open.rows.push(row);
                    self.progress.faces += 1;
                }
                Err(reason) => {
                    let failure = self.failure(clip, None, reason);
                    self.open(clip)?.failures.push(failure);
                }
            }
        }
        Ok(())
    }

    /// Returns the faces of a frame with enough confidence, each with its track.
    fn track_faces<'f>(&mut self, clip: usize, frame: &'f Frame, faces: Vec<Face>) -> Result<Vec<CropTask<'f>>, Error> {
        let sure = self.config.face_confidence;
        let faces: Vec<Face> = faces.into_iter().filter(|face| face.confidence >= sure && is_finite(face)).collect();
        let boxes: Vec<_> = faces.iter().map(|face| face.bounding_box).collect();
        let extension = self.config.format.extension();
        let known = &self.clips[clip];
        let open = self.open(clip)?;
        open.images += 1;
        let tracks = open.tracker.link(frame.time, &frame.image, &boxes);
        let task = |(face, track): (Face, usize)| {
            let file = crop_file(known, &format!("{:06}_{track}.{extension}", frame.index));
            let mut row = row(known, file, &face);
            (row.frame, row.time, row.track) = (Some(frame.index), Some(frame.time), u32::try_from(track).ok());
            CropTask { clip, image: &frame.image, face, outside: Outside::Black, row }
        };
        Ok(faces.into_iter().zip(tracks).map(task).collect())
    }

    /// Returns the face of a picture. Records a failure if there is none.
    fn portrait<'f>(
        &mut self,
        clip: usize,
        number: usize,
        image: &'f RgbImage,
        sha256: &str,
        face: Option<Face>,
    ) -> Result<Option<CropTask<'f>>, Error> {
        self.open(clip)?.images += 1;
        let Some(face) = face else {
            let failure = self.failure(clip, Some(number), "no face".into());
            self.open(clip)?.failures.push(failure);
            return Ok(None);
        };
        let known = &self.clips[clip];
        let ClipMedia::Pictures(pictures) = &known.media else { return Ok(None) };
        let name = self.open(clip)?.name(&pictures[number], number);
        let extension = self.config.format.extension();
        // The crop of a loose picture needs no folder of its own.
        let alone = pictures.len() == 1 && known.name.rsplit('/').next() == Some(&name);
        let file = if alone {
            PathBuf::from(known.label.name()).join(format!("{}.{extension}", known.name))
        } else {
            crop_file(known, &format!("{name}.{extension}"))
        };
        let Picture { frame, time, track, .. } = pictures[number];
        let row = Row { frame, time, track, sha256: Some(sha256.to_owned()), ..row(known, file, &face) };
        Ok(Some(CropTask { clip, image, face, outside: Outside::Mirrored, row }))
    }

    /// Records pictures that cannot be read, and finishes clips that are read to their end.
    fn conclude(&mut self, batch: Vec<WorkerMessage>) -> Result<(), Error> {
        for WorkerMessage { clip, part } in batch {
            match part {
                ClipPart::Frame(_) | ClipPart::Picture(..) => self.progress.images += 1,
                ClipPart::Unreadable(number, reason) => {
                    let failure = self.failure(clip, Some(number), reason);
                    self.open(clip)?.failures.push(failure);
                }
                ClipPart::End(outcome) => self.end(clip, outcome)?,
                ClipPart::Fatal(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn end(&mut self, clip: usize, outcome: Result<Option<String>, String>) -> Result<(), Error> {
        self.open(clip)?;
        let Some(mut open) = self.open.remove(&clip) else { return Ok(()) };
        let known = &self.clips[clip];
        self.progress.clips += 1;
        match outcome {
            Ok(sha256) if !open.rows.is_empty() => {
                for row in &mut open.rows {
                    row.sha256 = row.sha256.take().or_else(|| sha256.clone());
                }
                self.progress.failures += open.failures.len();
                let OpenClip { rows, failures, .. } = open;
                let media = state_of(&known.media);
                self.journal.finish(FinishedClip {
                    label: known.label,
                    clip: known.name.clone(),
                    media,
                    rows,
                    failures,
                })
            }
            outcome => {
                if let Some(reason) = self.reason(&open, outcome) {
                    open.failures.insert(0, self.failure(clip, None, reason));
                }
                self.progress.failures += open.failures.len();
                self.failed.append(&mut open.failures);
                for row in &open.rows {
                    let path = self.output.join(&row.file);
                    fs::remove_file(&path).map_err(Error::io(&path, "cannot be removed"))?;
                }
                // The folder stays if it holds other files.
                let _ = fs::remove_dir(self.output.join(crop_file(known, "")));
                Ok(())
            }
        }
    }

    /// Returns the reason why a clip failed; `None` if the failures of its pictures already state it.
    fn reason(&self, open: &OpenClip, outcome: Result<Option<String>, String>) -> Option<String> {
        match outcome {
            Err(reason) => Some(reason),
            Ok(_) if open.failures.is_empty() => {
                Some(format!("no face in {} frames at confidence {}", open.images, self.config.face_confidence))
            }
            Ok(_) => None,
        }
    }

    /// Returns the state of a clip in progress, which its first message creates.
    fn open(&mut self, clip: usize) -> Result<&mut OpenClip, Error> {
        match self.open.entry(clip) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(place) => {
                remove_unfinished(&self.output.join(crop_file(&self.clips[clip], "")), None)?;
                let tracker = TrackerConfig::default().init()?;
                Ok(place.insert(OpenClip {
                    tracker,
                    rows: Vec::new(),
                    failures: Vec::new(),
                    images: 0,
                    names: HashSet::new(),
                }))
            }
        }
    }

    fn failure(&self, clip: usize, picture: Option<usize>, reason: String) -> FileFailure {
        let Clip { label, name, media, .. } = &self.clips[clip];
        let file = match (media, picture) {
            (ClipMedia::Video(path), _) => path.clone(),
            (ClipMedia::Pictures(pictures), number) => pictures[number.unwrap_or(0)].path.clone(),
        };
        FileFailure { file, label: *label, video: name.clone(), reason }
    }

    /// Returns the rows and failures of this run and of earlier ones, in the order of the clips.
    fn gathered(mut self) -> GatheredFaces {
        let (mut rows, mut failures) = (Vec::new(), Vec::new());
        for clip in self.clips {
            if let Some(entry) = self.journal.done.remove(&(clip.label, clip.name.clone())) {
                // Takes these fields from the data set again, because its lists may have been added after the crops
                // were made.
                rows.extend(entry.rows.into_iter().map(|row| Row {
                    target_id: clip.target_id.clone(),
                    source_id: clip.source_id.clone(),
                    original: clip.original.clone(),
                    split: clip.split,
                    method: clip.method.clone(),
                    ..row
                }));
                failures.extend(entry.failures);
            }
        }
        failures.append(&mut self.failed);
        failures.sort_by(|a, b| (a.label, &a.video, &a.file).cmp(&(b.label, &b.video, &b.file)));
        GatheredFaces { rows, failures }
    }
}

impl OpenClip {
    /// Returns the name of a picture's crop: the picture's name, with its number appended if the name is already used.
    fn name(&mut self, picture: &Picture, number: usize) -> String {
        let name = picture.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if self.names.insert(name.clone()) {
            return name;
        }
        let numbered = format!("{name}-{number}");
        self.names.insert(numbered.clone());
        numbered
    }
}

fn is_finite(face: &Face) -> bool {
    let edges: [f32; 4] = face.bounding_box.into();
    let points = face.landmarks.iter().flat_map(|landmarks| landmarks.0.iter().flatten());
    edges.iter().chain(points).all(|number| number.is_finite())
}
