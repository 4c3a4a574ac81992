//! Faces cut out of videos and pictures, once, before training.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use deepsight_core::{CancelToken, FaceCrop, FaceDetector};
use deepsight_video::DecodeOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::layout::Dataset;
use crate::whole_file::write_whole;
use crate::{Error, Label, Manifest};

mod border;
mod crops;
mod cut;
mod gather;
mod journal;
mod portrait;
mod supply;

use gather::Gathering;
use journal::Journal;

/// How faces are found and cut out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PrepareConfig {
    /// Frames of each video, spread over the whole of it as in analysis; 100.
    pub max_frames: u64,
    /// The detector's confidence from which a face of a frame counts, `0..=1`; 0.9, as in analysis.
    pub face_confidence: f32,
    /// How faces are cut; the model that learns from them must be given faces cut alike.
    pub crop: FaceCrop,
    /// Side of the crops in pixels, `16..=2048`; where faces are aligned that of [`FaceCrop::Aligned`], at most 1024 as in model
    /// files.
    pub size: u32,
    /// How crops are stored.
    pub format: CropFormat,
    /// Videos that are decoded at the same time, `1..=256`; one for each core.
    pub workers: usize,
    /// Images in one call of the detector, `1..=1024`; 16.
    pub batch: usize,
    /// How videos are decoded, and what one may cost.
    pub decode: DecodeOptions,
}

impl Default for PrepareConfig {
    fn default() -> Self {
        Self {
            max_frames: 100,
            face_confidence: 0.9,
            // What a picture cut tightly around a face, from eyebrows to chin, shows nearly all of.
            crop: FaceCrop::Aligned { size: 256, scale: 0.8, down: 0.13 },
            size: 256,
            format: CropFormat::Png,
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(256),
            batch: 16,
            decode: DecodeOptions::default(),
        }
    }
}

/// How crops are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CropFormat {
    /// Without loss.
    #[default]
    Png,
    /// A fifth of the space, at quality 95; it leaves traces of its own beside those of a forgery.
    Jpeg,
}

impl CropFormat {
    /// `png` or `jpeg`, as command lines name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
        }
    }
}

impl fmt::Display for CropFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CropFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let known = [Self::Png, Self::Jpeg].into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| Error::Setting { name: "format", value: name.into(), rule: "must be png or jpeg" })
    }
}

/// One method of detection, set up for what it is used for.
#[derive(Debug, Clone)]
pub struct Detectors<D> {
    /// For frames of videos, as the analysis runs it.
    pub frames: D,
    /// For pictures of one large face: small ones need not be looked for.
    pub pictures: D,
    /// For pictures in which that one finds nothing: with lower thresholds.
    pub lenient: D,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PrepareProgress {
    /// Clips that are finished, failed ones and those of earlier runs included.
    pub clips: usize,
    /// Clips that there are.
    pub of: usize,
    /// Clips that earlier runs had finished.
    pub earlier: usize,
    /// Frames and pictures that were searched in this run.
    pub images: u64,
    /// Faces that were cut out in this run.
    pub faces: u64,
    /// Failures that are known of, earlier runs included.
    pub failures: usize,
}

/// What did not give a face, and why: a row of `failures.csv`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The video or picture.
    pub file: PathBuf,
    /// What it is labelled.
    pub label: Label,
    /// The clip's name.
    pub video: String,
    /// Why.
    pub reason: String,
}

/// What a run made.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Prepared {
    /// The crops, by label, clip and frame, with those splits that the data set's own lists give. It is not written yet.
    pub manifest: Manifest,
    /// What gave no face.
    pub failures: Vec<Failure>,
}

/// Cuts the faces out of a data set's videos and pictures, into a folder of crops and a manifest.
///
/// What is written, and which faces, does not depend on the number of workers. A run that ends early is continued by the next one
/// on the same folder: finished clips are in its `journal.jsonl`, and files appear whole or not at all.
#[derive(Debug)]
pub struct Preparation<D> {
    detectors: Detectors<D>,
    config: PrepareConfig,
}

impl<D: FaceDetector> Preparation<D> {
    /// A preparation with these detectors and settings.
    ///
    /// # Errors
    /// [`Error::Setting`] for a value outside its range.
    pub fn new(detectors: Detectors<D>, config: PrepareConfig) -> Result<Self, Error> {
        let PrepareConfig { max_frames, face_confidence, crop, size, workers, batch, .. } = config;
        check("max-frames", max_frames, max_frames >= 1, "must be 1 or more")?;
        check("face-confidence", face_confidence, (0.0..=1.0).contains(&face_confidence), "must lie in 0..=1")?;
        check("size", size, (16..=2048).contains(&size), "must lie in 16..=2048")?;
        check("workers", workers, (1..=256).contains(&workers), "must lie in 1..=256")?;
        check("batch", batch, (1..=1024).contains(&batch), "must lie in 1..=1024")?;
        match crop {
            FaceCrop::Aligned { size: side, scale, down } => {
                check("size", size, size == side, "must be that of the aligned crop")?;
                check("size", size, size <= 1024, "must lie in 16..=1024 where faces are aligned")?;
                check("scale", scale, (0.1..=10.0).contains(&scale), "must lie in 0.1..=10")?;
                check("down", down, (-1.0..=1.0).contains(&down), "must lie in -1..=1")?;
            }
            FaceCrop::Margin { fraction } => {
                check("margin", fraction, (0.0..=4.0).contains(&fraction), "must lie in 0..=4")?;
            }
            _ => {}
        }
        Ok(Self { detectors, config })
    }

    /// Cuts out what is not cut out yet. `output` must lie outside the data set.
    ///
    /// # Errors
    /// - [`Error::OtherSettings`] when the folder was begun with other settings, [`Error::Busy`] when another run is at work in it;
    /// - [`Error::Detector`] when the detector cannot run, [`Error::Video`] when ffmpeg cannot be started;
    /// - [`Error::Io`] when a file cannot be written;
    /// - [`Error::NoFaces`] when no clip gave one;
    /// - [`deepsight_core::Error::Cancelled`], in [`Error::Core`], when the token was cancelled.
    ///
    /// A clip that cannot be read is none of these: it is a [`Failure`], and tried again by the next run.
    pub fn run(
        &self,
        dataset: &Dataset,
        output: &Path,
        cancel: &CancelToken,
        mut progress: impl FnMut(&PrepareProgress),
    ) -> Result<Prepared, Error> {
        let canonical = |path: &Path| path.canonicalize().map_err(Error::io(path, "cannot be read"));
        let root = canonical(&dataset.root)?;
        // Of a folder that is yet to be made, where it would be.
        let there = std::path::absolute(output).map_err(Error::io(output, "cannot be made"))?;
        let there = there.ancestors().find(|path| path.exists()).map_or(Ok(PathBuf::new()), canonical)?;
        check("output-dir", output.display(), !there.starts_with(&root), "must lie outside the data")?;
        std::fs::create_dir_all(output).map_err(Error::io(output, "cannot be made"))?;

        let mut settings = self.settings();
        settings.insert("data-dir".into(), root.to_string_lossy().into());
        let journal = Journal::open(output, &settings)?;
        let gathered =
            Gathering::new(&self.detectors, &self.config, dataset, output, journal)?.run(cancel, &mut progress)?;
        write_failures(&output.join("failures.csv"), &gathered.failures)?;
        if gathered.rows.is_empty() {
            return Err(Error::NoFaces { path: dataset.root.clone(), clips: dataset.clips.len() });
        }
        let mut manifest = Manifest::new(output, gathered.rows).with_crop(self.config.crop, self.config.size);
        manifest.settings = self.settings();
        // The manifest has fields for them.
        manifest.settings.retain(|name, _| name != "crop" && name != "size");
        manifest.settings.insert("program".into(), concat!("deepsight-train ", env!("CARGO_PKG_VERSION")).into());
        Ok(Prepared { manifest, failures: gathered.failures })
    }

    /// What decides which crops there are, by name.
    fn settings(&self) -> Map<String, Value> {
        let PrepareConfig { max_frames, face_confidence, crop, size, format, .. } = self.config;
        let mut settings = Map::new();
        settings.insert("max-frames".into(), max_frames.into());
        settings.insert("face-confidence".into(), shortest(&face_confidence));
        settings.insert("crop".into(), shortest(&crop));
        settings.insert("size".into(), size.into());
        settings.insert("format".into(), format.name().into());
        let Detectors { frames, pictures, lenient } = &self.detectors;
        for (use_, detector) in [("frames", frames), ("pictures", pictures), ("lenient", lenient)] {
            let info = detector.info();
            settings.insert(format!("detector.{use_}"), info.name.into());
            // On another device faces are the same but for rounding, so a run may be continued there.
            let named = info.settings.into_iter().filter(|(name, _)| name != "engine");
            settings.extend(named.map(|(name, value)| (format!("detector.{use_}.{name}"), value)));
        }
        settings
    }
}

/// JSON with numbers as they were typed: 0.8 in single precision is 0.800000011920929 in double.
fn shortest(value: &impl Serialize) -> Value {
    serde_json::to_string(value).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
}

fn check(name: &'static str, value: impl fmt::Display, holds: bool, rule: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Setting { name, value: value.to_string(), rule }) }
}

fn write_failures(path: &Path, failures: &[Failure]) -> Result<(), Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["file", "label", "video", "reason"]).map_err(Error::table(path))?;
    for Failure { file, label, video, reason } in failures {
        writer.write_record([&file.to_string_lossy(), label.name(), video, reason]).map_err(Error::table(path))?;
    }
    let bytes = writer.into_inner().map_err(|error| Error::io(path, "cannot be written")(error.into_error()))?;
    write_whole(path, &bytes)
}
