use image::RgbImage;
use rayon::prelude::*;

use super::AnalyzerConfig;
use crate::error::described;
use crate::panics::guarded;
use crate::scene::Scene;
use crate::{Face, FaceDetector, Frame};

/// A search for faces in consecutive frames. It searches the whole image only if necessary, and otherwise the
/// surroundings of the known faces.
pub(super) struct Search<D> {
    detector: D,
    config: AnalyzerConfig,
    /// Number of frames searched so far.
    searched: usize,
    /// The scene of the previous frame.
    previous: Option<Scene>,
    /// The faces followed in the previous frame. `None` if they are not known, as at the start and after a failure.
    earlier: Option<Vec<Face>>,
}

/// Consecutive frames of which at most the first is searched as a whole image in advance.
struct Run<'a> {
    /// The faces followed before the first of `frames`, or the result of the search in its whole image.
    start: Start,
    frames: &'a [Frame],
}

enum Start {
    Earlier(Option<Vec<Face>>),
    Whole(Found),
}

/// The faces of one frame, or the message of the failed search.
pub(super) type Found = Result<Vec<Face>, String>;

impl<D: FaceDetector> Search<D> {
    pub(super) fn new(detector: D, config: &AnalyzerConfig) -> Self {
        Self { detector, config: config.clone(), searched: 0, previous: None, earlier: None }
    }

    /// Finds the faces of each frame; `scenes` are the frames' scenes. How frames are divided into batches does not
    /// change which of them are searched as a whole.
    pub(super) fn batch(&mut self, frames: &[Frame], scenes: &[Scene]) -> Vec<Found> {
        let whole = self.whole(scenes);
        let picked: Vec<&Frame> =
            frames.iter().zip(&whole).filter(|(_, whole)| **whole).map(|(frame, _)| frame).collect();
        let found = self.detect(&picked);
        // A run does not depend on other runs, so all of them are processed in parallel.
        let runs = self.runs(frames, &whole, found);
        let found: Vec<Found> = runs.into_par_iter().flat_map_iter(|run| self.search_run(run)).collect();
        if let Some(last) = found.last() {
            self.earlier = self.followed(last);
        }
        found
    }

    /// Returns which frames are searched as a whole in any case, independent of the faces found in other frames.
    fn whole(&mut self, scenes: &[Scene]) -> Vec<bool> {
        let mut whole = Vec::with_capacity(scenes.len());
        for scene in scenes {
            let cut = self.previous.as_ref().is_some_and(|previous| self.config.tracker.is_cut(previous, scene));
            whole.push(cut || self.searched.is_multiple_of(self.config.detect_every));
            self.searched += 1;
            self.previous = Some(scene.clone());
        }
        whole
    }

    /// Finds the faces in whole images. A batch that fails is repeated frame by frame, so that only the frame that
    /// causes the failure is lost.
    fn detect(&self, frames: &[&Frame]) -> Vec<Found> {
        if frames.is_empty() {
            return Vec::new();
        }
        let attempt = |frames: &[&Frame]| {
            guarded(|| {
                let images: Vec<&RgbImage> = frames.iter().map(|frame| &frame.image).collect();
                let lists = self.detector.detect(&images).map_err(described)?;
                if lists.len() == images.len() {
                    Ok(lists)
                } else {
                    Err(format!("the detector gave {} lists of faces for {} images", lists.len(), images.len()))
                }
            })
        };
        match attempt(frames) {
            Ok(lists) => lists.into_iter().map(Ok).collect(),
            Err(message) if frames.len() == 1 => vec![Err(message)],
            Err(_) => frames.iter().map(|&frame| attempt(&[frame]).map(|mut one| one.remove(0))).collect(),
        }
    }

    /// Splits the frames into runs, before each frame that was searched as a whole.
    fn runs<'f>(&mut self, frames: &'f [Frame], whole: &[bool], found: Vec<Found>) -> Vec<Run<'f>> {
        let starts = (0..frames.len()).filter(|&index| index == 0 || whole[index]);
        let ends = starts.clone().skip(1).chain([frames.len()]);
        let mut found = found.into_iter();
        starts
            .zip(ends)
            .map(|(start, end)| {
                let whole = if whole[start] { found.next() } else { None };
                let start_with = whole.map_or_else(|| Start::Earlier(self.earlier.take()), Start::Whole);
                Run { start: start_with, frames: &frames[start..end] }
            })
            .collect()
    }

    /// Finds the faces of each frame of a run, from the faces of the previous frame.
    fn search_run(&self, run: Run<'_>) -> Vec<Found> {
        let mut all: Vec<Found> = Vec::with_capacity(run.frames.len());
        let mut earlier = match run.start {
            Start::Earlier(earlier) => earlier,
            Start::Whole(found) => {
                let earlier = self.followed(&found);
                all.push(found);
                earlier
            }
        };
        for frame in &run.frames[all.len()..] {
            let found = self.find_again(frame, earlier.as_deref());
            earlier = self.followed(&found);
            all.push(found);
        }
        all
    }

    /// Finds the faces in the surroundings of those of the previous frame. If one of them is lost or none are known,
    /// searches the whole image.
    fn find_again(&self, frame: &Frame, earlier: Option<&[Face]>) -> Found {
        if let Some(earlier) = earlier {
            let found = guarded(|| {
                let found = self.detector.find_again(&frame.image, earlier);
                found.map_err(described)
            })?;
            if found.iter().filter(|face| self.is_followed(face)).count() >= earlier.len() {
                return Ok(found);
            }
        }
        self.detect(&[frame]).remove(0)
    }

    fn followed(&self, found: &Found) -> Option<Vec<Face>> {
        let faces = found.as_ref().ok()?;
        Some(faces.iter().filter(|face| self.is_followed(face)).cloned().collect())
    }

    fn is_followed(&self, face: &Face) -> bool {
        face.is_finite() && face.confidence >= self.config.face_confidence
    }
}
