use std::path::{Path, PathBuf};

use deepsight_core::{Analyzer, CancelToken, FaceClassifier, FaceDetector, Job, Verdict, with_causes};
use deepsight_video::{DecodeOptions, Sampling, Video};
use serde::Serialize;

use super::recompress_clip;
use crate::layout::{ClipMedia, no_clips};
use crate::{Dataset, Error, Label};

/// A clip to be analyzed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TestClip {
    /// The video.
    pub path: PathBuf,
    /// Whether it is real or fake.
    pub label: Label,
}

/// Clips for a measurement of the whole analysis, from the file to the verdict.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ClipSet {
    /// The folder.
    pub root: PathBuf,
    /// The clips, real ones first.
    pub clips: Vec<TestClip>,
}

/// The result of a clip's analysis.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClipScore {
    /// The video, relative to the folder.
    pub file: PathBuf,
    /// Whether it is real or fake.
    pub label: Label,
    /// The analysis's verdict.
    pub verdict: Verdict,
    /// Probability that it is forged; `None` where no face was scored.
    pub fake_probability: Option<f32>,
    /// Number of faces that were scored.
    pub faces: usize,
}

/// A clip that could not be analyzed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClipFailure {
    /// The video, relative to the folder.
    pub file: PathBuf,
    /// Whether it is real or fake.
    pub label: Label,
    /// The cause.
    pub reason: String,
}

impl ClipSet {
    /// Finds the videos of a folder with `real/` and `fake/`, or in another layout that [`Dataset::find`] knows.
    ///
    /// # Errors
    /// The errors of [`Dataset::find`], and [`Error::NoClips`] when the folder holds pictures only.
    pub fn find(root: impl AsRef<Path>) -> Result<Self, Error> {
        let dataset = Dataset::find(root, None)?;
        let clip = |clip: crate::layout::Clip| match clip.media {
            ClipMedia::Video(path) => Some(TestClip { path, label: clip.label }),
            ClipMedia::Pictures(_) => None,
        };
        let clips: Vec<TestClip> = dataset.clips.into_iter().filter_map(clip).collect();
        if clips.is_empty() {
            return Err(no_clips(&dataset.root));
        }
        Ok(Self { root: dataset.root, clips })
    }

    /// Analyzes every clip. With `crf`, each clip is first recompressed as H.264 of that constant rate factor, in a
    /// temporary folder.
    ///
    /// Clips that cannot be analyzed are returned as failures in the second list.
    ///
    /// # Errors
    /// [`Error::NoClipAnalyzed`] when no clip can be analyzed without recompression, [`Error::Io`] when no temporary
    /// folder can be created, and [`deepsight_core::Error::Cancelled`].
    pub fn score<D: FaceDetector, C: FaceClassifier>(
        &self,
        analyzer: &Analyzer<D, C>,
        decode: &DecodeOptions,
        sampling: Sampling,
        crf: Option<u8>,
        cancel: &CancelToken,
        mut progress: impl FnMut(usize),
    ) -> Result<(Vec<ClipScore>, Vec<ClipFailure>), Error> {
        let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "cannot be written in"))?;
        let (mut scores, mut failures) = (Vec::new(), Vec::new());
        for (place, clip) in self.clips.iter().enumerate() {
            let analyzed = || -> Result<_, Error> {
                let spoiled = folder.path().join("clip.mp4");
                let path = match crf {
                    Some(crf) => recompress_clip(&clip.path, &spoiled, crf, decode, cancel).map(|()| &spoiled)?,
                    None => &clip.path,
                };
                let video = Video::open_with(path, decode)?;
                let frames = video.frames(sampling.clone())?;
                // As in an analysis, a clip of which too little was seen is not called real.
                let job = Job::new().with_input(video.input()).with_cancel(cancel.clone());
                Ok(analyzer.analyze_job(frames, job)?)
            };
            let outcome = analyzed();
            if cancel.is_cancelled() {
                return Err(deepsight_core::Error::Cancelled.into());
            }
            let (file, label) = (clip.path.strip_prefix(&self.root).unwrap_or(&clip.path).to_owned(), clip.label);
            match outcome {
                Ok(report) => scores.push(ClipScore {
                    file,
                    label,
                    verdict: report.verdict,
                    fake_probability: report.fake_probability,
                    faces: report.tracks.iter().map(|track| track.scored).sum(),
                }),
                Err(error) => failures.push(ClipFailure { file, label, reason: with_causes(&error) }),
            }
            progress(place + 1);
        }
        match failures.first() {
            Some(first) if scores.is_empty() && crf.is_none() => Err(Error::NoClipAnalyzed {
                path: self.root.clone(),
                clips: self.clips.len(),
                first: first.file.clone(),
                reason: first.reason.clone(),
            }),
            _ => Ok((scores, failures)),
        }
    }
}
