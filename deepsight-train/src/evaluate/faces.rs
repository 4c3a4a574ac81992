use std::path::{Path, PathBuf};

use deepsight_core::{CancelToken, FaceCrop, FaceDetector, Landmarks};
use image::RgbImage;
use rayon::prelude::*;

use super::Degradation;
use crate::layout::{Clip, ClipMedia};
use crate::manifest::source_names;
use crate::prepare::{FileFailure, PrepareProgress};
use crate::{Dataset, Error, Label, Manifest, Preparation, Scored, Split};

/// Number of pictures that are read and scored together: enough to occupy every core and any GPU, and few enough for
/// any memory.
pub(super) const CHUNK: usize = 128;

/// A face on disk to be scored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TestFace {
    /// The picture.
    pub path: PathBuf,
    /// Whether it is real or fake.
    pub label: Label,
    /// The video it is from.
    pub video: String,
    /// Number of the frame in the video.
    pub frame: Option<u64>,
    /// Number of the tracked person within the video.
    pub track: Option<u32>,
    /// Name of the forgery method, where it is known.
    pub method: Option<String>,
    /// Eyes, nose and corners of the mouth in pixels of the picture, where they are known.
    pub landmarks: Option<Landmarks>,
}

/// Faces on which a model is measured.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TestSet {
    /// Name as a source of faces: the name of their folder.
    pub name: String,
    /// The manifest that lists them, or their folder.
    pub source: PathBuf,
    /// The part of the data that they belong to, where it is divided.
    pub split: Option<Split>,
    /// How they were cropped from their frames; `None` where it is not recorded.
    pub crop: Option<FaceCrop>,
    /// The faces.
    pub faces: Vec<TestFace>,
}

impl TestSet {
    /// Returns the faces of a manifest, or of one split of it. `path` is the manifest's file, for error messages.
    ///
    /// # Errors
    /// [`Error::EmptySplit`] when there is no face in that split.
    pub fn of_manifest(manifest: &Manifest, path: impl AsRef<Path>, split: Option<Split>) -> Result<Self, Error> {
        let path = path.as_ref();
        let wanted = |row: &&crate::Row| split.is_none() || row.split == split;
        let face = |row: &crate::Row| TestFace {
            path: manifest.root.join(&row.file),
            label: row.label,
            video: row.video.clone(),
            frame: row.frame,
            track: row.track,
            method: row.method.clone(),
            landmarks: row.landmarks,
        };
        let faces: Vec<TestFace> = manifest.rows.iter().filter(wanted).map(face).collect();
        if let (true, Some(split)) = (faces.is_empty(), split) {
            return Err(empty(path, split, manifest.rows.iter().map(|row| row.split)));
        }
        Ok(Self { name: named(&manifest.root), source: path.to_owned(), split, crop: manifest.crop, faces })
    }

    /// Returns the pictures of a data set, or of one split of it where its clips are assigned to splits.
    ///
    /// [`Dataset::find`] reads from a picture's name which video it is from: `id0_0001_frame_12_face_0.jpg` is from
    /// `id0_0001`. Other pictures in a folder of their own below `real/` or `fake/` are one video, and each loose
    /// picture is a video of its own.
    ///
    /// # Errors
    /// [`Error::NotPictures`] when a clip is a video, [`Error::EmptySplit`] when there is no clip in that split.
    pub fn of_dataset(dataset: &Dataset, split: Option<Split>) -> Result<Self, Error> {
        let mut faces = Vec::new();
        for clip in part(dataset, split)? {
            let pictures = match &clip.media {
                ClipMedia::Pictures(pictures) => pictures,
                ClipMedia::Video(path) => return Err(Error::NotPictures { path: path.clone() }),
            };
            faces.extend(pictures.iter().map(|picture| TestFace {
                path: picture.path.clone(),
                label: clip.label,
                video: clip.name.clone(),
                frame: picture.frame,
                track: picture.track,
                method: clip.method.clone(),
                landmarks: None,
            }));
        }
        Ok(Self { name: named(&dataset.root), source: dataset.root.clone(), split, crop: None, faces })
    }

    /// Finds and crops the faces of a data set, or of one split of it, into the folder `output`. Also returns the clips
    /// and pictures without a face. Crops that the folder already holds from a run with the same settings are kept, not
    /// cropped again.
    ///
    /// # Errors
    /// [`Error::EmptySplit`] when there is no clip in that split, and the errors of [`Preparation::run`].
    pub fn framed<D: FaceDetector>(
        mut dataset: Dataset,
        split: Option<Split>,
        preparation: &Preparation<D>,
        output: &Path,
        cancel: &CancelToken,
        progress: impl FnMut(&PrepareProgress),
    ) -> Result<(Self, Vec<FileFailure>), Error> {
        dataset.clips = part(&dataset, split)?.into_iter().cloned().collect();
        let prepared = preparation.run(&dataset, output, cancel, progress)?;
        let set = Self::of_manifest(&prepared.manifest, &dataset.root, split)?;
        Ok((Self { name: named(&dataset.root), ..set }, prepared.failures))
    }

    /// Returns the same faces under another source name.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Returns an error if the faces are known to be cropped in another way than the model expects, because their
    /// scores would not be meaningful.
    ///
    /// # Errors
    /// [`Error::OtherCrop`] with both kinds of crop.
    pub fn check_crop(&self, wanted: FaceCrop) -> Result<(), Error> {
        match self.crop {
            Some(found) if found != wanted => Err(Error::OtherCrop { path: self.source.clone(), found, wanted }),
            _ => Ok(()),
        }
    }

    /// Reads and scores every face. `logits` returns, for each picture, the logit of fake minus that of real, before
    /// calibration. `temperature` divides it. `degradation` is applied to the pictures in memory first.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Picture`] for a picture that cannot be read, [`Error::Face`] for one without pixels
    /// or with scores that are not finite, the errors of `logits`, and [`deepsight_core::Error::Cancelled`].
    pub fn score(
        &self,
        logits: impl Fn(&[RgbImage]) -> Result<Vec<f64>, deepsight_core::Error>,
        temperature: f64,
        degradation: Option<Degradation>,
        cancel: &CancelToken,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<Scored>, Error> {
        let mut scored = Vec::with_capacity(self.faces.len());
        for faces in self.faces.chunks(CHUNK) {
            if cancel.is_cancelled() {
                return Err(deepsight_core::Error::Cancelled.into());
            }
            let read = |face: &TestFace| {
                let picture = read(&face.path)?;
                degradation.map_or(Ok(picture.clone()), |degradation| degradation.apply(&picture))
            };
            let pictures = faces.par_iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let logits = logits(&pictures).map_err(|error| at_face(error, faces))?;
            for (face, logit) in faces.iter().zip(logits) {
                let row = Some(scored.len());
                scored.push(Scored { row, ..self.scored(face, logit, temperature) });
            }
            progress(scored.len());
        }
        Ok(scored)
    }

    /// Returns the score of a face of this set.
    pub(super) fn scored(&self, face: &TestFace, logit: f64, temperature: f64) -> Scored {
        let of = Scored::from_logit(face.video.clone(), face.label, logit).calibrated(temperature);
        let (source, method) = (self.name.clone(), face.method.clone());
        Scored { source, method, track: face.track, frame: face.frame, ..of }
    }
}

/// Returns the name of a folder as a source.
fn named(folder: &Path) -> String {
    source_names([folder]).pop().unwrap_or_default()
}

/// Returns the clips of one split, or all clips.
fn part(dataset: &Dataset, split: Option<Split>) -> Result<Vec<&Clip>, Error> {
    let clips: Vec<&Clip> = dataset.clips.iter().filter(|clip| split.is_none() || clip.split == split).collect();
    match split {
        Some(split) if clips.is_empty() => {
            Err(empty(&dataset.root, split, dataset.clips.iter().map(|clip| clip.split)))
        }
        _ => Ok(clips),
    }
}

/// Returns the error for an empty split, with the number of items in every other split.
fn empty(path: &Path, split: Split, splits: impl Iterator<Item = Option<Split>>) -> Error {
    let splits: Vec<Option<Split>> = splits.collect();
    let count = |split| splits.iter().filter(|other| **other == split).count();
    let of = |split: Split| format!("{} in {split}", count(Some(split)));
    let there = [Split::ALL.map(of).join(", "), format!("{} in none", count(None))].join(", ");
    Error::EmptySplit { path: path.to_owned(), split, there }
}

pub(super) fn read(path: &Path) -> Result<RgbImage, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "cannot be read"))?;
    Ok(image::load_from_memory(&bytes).map_err(Error::picture(path))?.into_rgb8())
}

/// Names the face's file in an error of the classifier, which gives only the index within the call.
pub(super) fn at_face(error: deepsight_core::Error, faces: &[TestFace]) -> Error {
    use deepsight_core::Error::{EmptyFace, LogitsNotFinite};
    let index = match &error {
        EmptyFace { index, .. } | LogitsNotFinite { index, .. } => *index,
        _ => return error.into(),
    };
    match faces.get(index) {
        Some(face) => Error::Face { path: face.path.clone(), source: error },
        None => error.into(),
    }
}
