//! Preparation of a data set: crops the faces of videos and pictures once, before training.

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

use gather::FaceGatherer;
use journal::Journal;

/// Settings for finding and cropping faces.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PrepareConfig {
    /// Most frames of each video, spread evenly over all of it as in an analysis; 100.
    pub max_frames: u64,
    /// Least confidence of the detector for a face in a frame, `0..=1`; 0.9, as in an analysis.
    pub face_confidence: f32,
    /// How faces are cropped. A model trained on them must be given faces cropped in the same way.
    pub crop: FaceCrop,
    /// Side of the crops in pixels, `16..=2048`. For aligned faces it must be the size in [`FaceCrop::Aligned`], and at
    /// most 1024 as in model files.
    pub size: u32,
    /// File format of the crops.
    pub format: CropFormat,
    /// Number of videos that are decoded at the same time, `1..=256`; by default one for each core.
    pub workers: usize,
    /// Number of images in one call of the detector, `1..=1024`; 16.
    pub batch: usize,
    /// How videos are decoded, and the limits of decoding.
    pub decode: DecodeOptions,
}

impl Default for PrepareConfig {
    fn default() -> Self {
        Self {
            max_frames: 100,
            face_confidence: 0.9,
            // A picture that is cropped tightly around a face, from eyebrows to chin, shows almost all of this square.
            crop: FaceCrop::Aligned { size: 256, scale: 0.8, down: 0.13 },
            size: 256,
            format: CropFormat::Png,
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(256),
            batch: 16,
            decode: DecodeOptions::default(),
        }
    }
}

/// File format of the crops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CropFormat {
    /// PNG, without loss.
    #[default]
    Png,
    /// JPEG of quality 95, in a fifth of the space. It leaves compression artifacts of its own beside the traces of a
    /// forgery.
    Jpeg,
}

impl CropFormat {
    /// Returns `png` or `jpeg`.
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

/// One detector with different settings for different inputs.
#[derive(Debug, Clone)]
pub struct Detectors<D> {
    /// For frames of videos, with the settings of an analysis.
    pub frames: D,
    /// For pictures of one large face, without a search for small ones.
    pub pictures: D,
    /// For pictures in which `pictures` finds nothing, with lower thresholds.
    pub lenient: D,
}

/// Progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PrepareProgress {
    /// Number of finished clips, including failed ones and those of earlier runs.
    pub clips: usize,
    /// Number of all clips.
    pub of: usize,
    /// Number of clips that earlier runs finished.
    pub earlier: usize,
    /// Number of frames and pictures searched in this run.
    pub images: u64,
    /// Number of faces cropped in this run.
    pub faces: u64,
    /// Number of failures so far, including those of earlier runs.
    pub failures: usize,
}

/// A file without a usable face, and the reason: a row of `failures.csv`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileFailure {
    /// The video or picture.
    pub file: PathBuf,
    /// Its label.
    pub label: Label,
    /// The clip's name.
    pub video: String,
    /// The reason.
    pub reason: String,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Prepared {
    /// The crops, sorted by label, clip and frame, with the splits of the data set's own lists where it has any. The
    /// manifest is not written yet.
    pub manifest: Manifest,
    /// The files without a usable face.
    pub failures: Vec<FileFailure>,
}

/// Crops the faces of a data set's videos and pictures, into a folder of crops and a manifest.
///
/// The crops and their order do not depend on the number of workers. The next run on the same folder continues an
/// interrupted one: finished clips are in its `journal.jsonl`, and each file is written completely or not at all.
#[derive(Debug)]
pub struct Preparation<D> {
    detectors: Detectors<D>,
    config: PrepareConfig,
}

impl<D: FaceDetector> Preparation<D> {
    /// Creates a preparation with these detectors and settings.
    ///
    /// # Errors
    /// [`Error::Setting`] for a value outside its range.
    pub fn new(detectors: Detectors<D>, config: PrepareConfig) -> Result<Self, Error> {
        let PrepareConfig { max_frames, face_confidence, crop, size, workers, batch, .. } = config;
        check("max_frames", max_frames, max_frames >= 1, "must be 1 or more")?;
        check("face_confidence", face_confidence, (0.0..=1.0).contains(&face_confidence), "must lie in 0..=1")?;
        check("size", size, (16..=2048).contains(&size), "must lie in 16..=2048")?;
        check("workers", workers, (1..=256).contains(&workers), "must lie in 1..=256")?;
        check("batch", batch, (1..=1024).contains(&batch), "must lie in 1..=1024")?;
        match crop {
            FaceCrop::Aligned { size: side, scale, down } => {
                check("size", size, size == side, "must be that of the aligned crop")?;
                check("size", size, size <= 1024, "must lie in 16..=1024 where faces are aligned")?;
                check("crop.scale", scale, (0.1..=10.0).contains(&scale), "must lie in 0.1..=10")?;
                check("crop.down", down, (-1.0..=1.0).contains(&down), "must lie in -1..=1")?;
            }
            FaceCrop::Margin { fraction } => {
                check("crop.fraction", fraction, (0.0..=4.0).contains(&fraction), "must lie in 0..=4")?;
            }
            _ => {}
        }
        Ok(Self { detectors, config })
    }

    /// Processes the clips that are not finished yet. `output` must lie outside the data set.
    ///
    /// # Errors
    /// - [`Error::OtherSettings`] when the folder holds a run with other settings, [`Error::Busy`] when another run is
    ///   writing to it;
    /// - [`Error::Setting`] when `output` lies inside the data set, [`Error::ClipName`] when a clip's name is not a
    ///   plain relative path;
    /// - [`Error::Detector`] when the detector cannot run, [`Error::Video`] when ffmpeg cannot be started;
    /// - [`Error::Io`] when a file cannot be written;
    /// - [`Error::NoFaces`] when no face was found in any clip;
    /// - [`deepsight_core::Error::Cancelled`], in [`Error::Core`], when the token was cancelled.
    ///
    /// A clip that cannot be read is not an error but a [`FileFailure`], and the next run tries it again.
    pub fn run(
        &self,
        dataset: &Dataset,
        output: &Path,
        cancel: &CancelToken,
        mut progress: impl FnMut(&PrepareProgress),
    ) -> Result<Prepared, Error> {
        let canonical = |path: &Path| path.canonicalize().map_err(Error::io(path, "cannot be read"));
        let root = canonical(&dataset.root)?;
        // A folder that does not exist yet is checked by its nearest existing ancestor.
        let there = std::path::absolute(output).map_err(Error::io(output, "cannot be made"))?;
        let there = there.ancestors().find(|path| path.exists()).map_or(Ok(PathBuf::new()), canonical)?;
        check("output", output.display(), !there.starts_with(&root), "must lie outside the data")?;
        std::fs::create_dir_all(output).map_err(Error::io(output, "cannot be made"))?;

        let mut settings = self.settings();
        settings.insert("data-dir".into(), root.to_string_lossy().into());
        let journal = Journal::open(output, &settings)?;
        let gathered =
            FaceGatherer::new(&self.detectors, &self.config, dataset, output, journal)?.run(cancel, &mut progress)?;
        write_failures(&output.join("failures.csv"), &gathered.failures)?;
        if gathered.rows.is_empty() {
            return Err(Error::NoFaces { path: dataset.root.clone(), clips: dataset.clips.len() });
        }
        let mut manifest = Manifest::new(output, gathered.rows).with_crop(self.config.crop, self.config.size);
        manifest.settings = self.settings();
        // The manifest has fields for `crop` and `size`.
        manifest.settings.retain(|name, _| name != "crop" && name != "size");
        manifest.settings.insert("program".into(), concat!("deepsight-train ", env!("CARGO_PKG_VERSION")).into());
        Ok(Prepared { manifest, failures: gathered.failures })
    }

    /// Returns the settings that determine the crops, by name.
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
            // Faces differ between devices only by rounding, so a run may be continued on another device.
            let named = info.settings.into_iter().filter(|(name, _)| name != "engine");
            settings.extend(named.map(|(name, value)| (format!("detector.{use_}.{name}"), value)));
        }
        settings
    }
}

/// Converts to JSON with the shortest digits of each number: 0.8 in single precision is 0.800000011920929 in double.
fn shortest(value: &impl Serialize) -> Value {
    serde_json::to_string(value).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
}

fn check(name: &'static str, value: impl fmt::Display, holds: bool, rule: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Setting { name, value: value.to_string(), rule }) }
}

fn write_failures(path: &Path, failures: &[FileFailure]) -> Result<(), Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["file", "label", "video", "reason"]).map_err(Error::table(path))?;
    for FileFailure { file, label, video, reason } in failures {
        writer.write_record([&file.to_string_lossy(), label.name(), video, reason]).map_err(Error::table(path))?;
    }
    let bytes = writer.into_inner().map_err(|error| Error::io(path, "cannot be written")(error.into_error()))?;
    write_whole(path, &bytes)
}
