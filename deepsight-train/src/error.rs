use std::io;
use std::path::{Path, PathBuf};

use deepsight_core::FaceCrop;

use crate::{Label, Split};

/// An error of preparing data, training or measuring a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("{path}: {action}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The action that failed, such as `cannot be read`.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A picture cannot be decoded or encoded.
    #[error("{path}: not a picture that can be read", path = path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: PictureError,
    },
    /// A manifest is not comma-separated values, or its lines differ in their number of fields.
    #[error("{path}: not a table", path = path.display())]
    ManifestSyntax {
        /// The manifest.
        path: PathBuf,
        /// The position and the cause.
        source: TableError,
    },
    /// A manifest lacks a column.
    #[error("{path}: has no column `{column}`", path = path.display())]
    ManifestColumn {
        /// The manifest.
        path: PathBuf,
        /// The column's name.
        column: &'static str,
    },
    /// A field of a manifest has a value that is not allowed.
    #[error("{path}: row {row}: {column} is `{value}`: {rule}", path = path.display())]
    ManifestField {
        /// The manifest.
        path: PathBuf,
        /// The row, counted from 1 below the header.
        row: usize,
        /// The column's name.
        column: &'static str,
        /// The value found.
        value: String,
        /// The values allowed.
        rule: &'static str,
    },
    /// A manifest has a header and no rows.
    #[error("{path}: has no rows", path = path.display())]
    EmptyManifest {
        /// The manifest.
        path: PathBuf,
    },
    /// A crop named in a manifest does not exist.
    #[error("{path}: row {row}: {file}: there is no such file", path = path.display(), file = file.display())]
    MissingCrop {
        /// The manifest.
        path: PathBuf,
        /// The row, counted from 1 below the header.
        row: usize,
        /// The crop's file, as the manifest names it.
        file: PathBuf,
    },
    /// A file is not JSON, or not of the expected structure.
    #[error("{path}: not the JSON that belongs there", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The position and the cause.
        source: JsonError,
    },
    /// A file has a schema that this version does not know.
    #[error("{path}: schema is {schema}: this version knows {known}", path = path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The schema named in the file.
        schema: u32,
        /// The schema that this version reads.
        known: u32,
    },
    /// A manifest cannot be encoded as Parquet.
    #[cfg(feature = "parquet")]
    #[error("{path}: cannot be encoded as Parquet", path = path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ParquetError,
    },
    /// A folder holds no video or picture in a known layout.
    #[error(
        "{path}: no videos or pictures: looked for real/ and fake/ (also in train/, val/ and test/), manifest.csv, and \
         the layouts of FaceForensics++, DFDC and Celeb-DF; found {}",
        match folders.as_slice() { [] => "no folders".to_owned(), names => names.join("/, ") + "/" },
        path = path.display()
    )]
    NoClips {
        /// The folder.
        path: PathBuf,
        /// Names of the folders in it.
        folders: Vec<String>,
    },
    /// A link leads to a folder that it lies in.
    #[error("{path}: a link to {target}, in which it lies", path = path.display(), target = target.display())]
    LinkLoop {
        /// The link.
        path: PathBuf,
        /// The folder that it leads to.
        target: PathBuf,
    },
    /// An entry of a data set's own list cannot be read.
    #[error("{path}: {entry}: {rule}", path = path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// The entry found.
        entry: String,
        /// What the entry must be.
        rule: &'static str,
    },
    /// A fake clip's name does not begin with a forgery method.
    #[error(
        "{path}: {name}: methods are asked from names, and this one does not begin with a method and `_`",
        path = path.display()
    )]
    NoMethod {
        /// The folder.
        path: PathBuf,
        /// The clip's name.
        name: String,
    },
    /// Two clips of the same label have the same name.
    #[error("{path}: two {label} clips are named {name}", path = path.display())]
    SameName {
        /// The folder.
        path: PathBuf,
        /// Their label.
        label: Label,
        /// Their name.
        name: String,
    },
    /// A clip's name cannot be used as a folder's name.
    #[error("clip {name:?}: its name must be a plain relative path, to be that of a folder of crops")]
    ClipName {
        /// The name.
        name: String,
    },
    /// No face was found in any clip.
    #[error("{path}: no face in {clips} clips: failures.csv says why", path = path.display())]
    NoFaces {
        /// The data set.
        path: PathBuf,
        /// Number of clips in it.
        clips: usize,
    },
    /// The face detector cannot run.
    #[error("face detector: {reason}")]
    Detector {
        /// The detector's message.
        reason: String,
    },
    /// A folder holds the results of a run with other settings.
    #[error("{path}: was begun with other settings: {differences}", path = path.display())]
    OtherSettings {
        /// The folder.
        path: PathBuf,
        /// The settings that differ, with both values.
        differences: String,
    },
    /// Another run is writing to a folder.
    #[error("{path}: another run is writing there", path = path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Two splits share a person, a file or a video.
    #[error(
        "splits overlap: {shared} is in {first} (video {first_video}) and in {second} (video {second_video}){}",
        match more { 0 => String::new(), 1 => "; 1 more is shared".into(), more => format!("; {more} more are shared") }
    )]
    Overlap {
        /// The person, file or video that is shared.
        shared: String,
        /// A split that holds it.
        first: Split,
        /// A video of that split.
        first_video: String,
        /// Another split that holds it.
        second: Split,
        /// A video of that split.
        second_video: String,
        /// Number of further shared persons, files or videos.
        more: usize,
    },
    /// Every video of a label is linked with videos listed for other splits than training.
    #[error(
        "no {label} video is left for train: all share persons, files or originals with videos listed for other \
         parts, such as {listed}"
    )]
    NothingToTrain {
        /// The label without videos.
        label: Label,
        /// One of those videos.
        listed: String,
    },
    /// A setting is outside its range.
    #[error("{name} is {value}: {rule}")]
    Setting {
        /// The name of the setting's field, such as `learning_rate`, with the field that it lies in, such as
        /// `self_blending.donors`.
        name: &'static str,
        /// The value given.
        value: String,
        /// The values allowed.
        rule: &'static str,
    },
    /// A file is not a checkpoint, or it is the checkpoint of another run.
    #[error("{path}: not a checkpoint that this run can go on from: {what}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The difference or defect found.
        what: String,
    },
    /// A checkpoint was written with another value of a setting.
    #[error(
        "{path}: not a checkpoint that this run can go on from: its {name} is {found}, and {asked} is asked for now",
        path = path.display()
    )]
    CheckpointSetting {
        /// The file.
        path: PathBuf,
        /// The setting's name, as in [`Error::Setting`].
        name: String,
        /// The value in the checkpoint, as JSON.
        found: String,
        /// The value of this run, as JSON.
        asked: String,
    },
    /// A model file holds another network than the one to be trained.
    #[cfg(feature = "model")]
    #[error("{path}: the weights are of {found}, and {expected} is to be trained", path = path.display())]
    OtherArchitecture {
        /// The file.
        path: PathBuf,
        /// The network in the file.
        found: String,
        /// The network asked for.
        expected: deepsight_core::model::Architecture,
    },
    /// The loss or its gradients are no longer finite. Files saved earlier are unchanged.
    #[error("{what} is {value} in epoch {epoch}, step {step}: the batch is {files}", files = listed(files))]
    NotFinite {
        /// The quantity that is not finite.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The epoch, from 1.
        epoch: usize,
        /// The step within it, from 1.
        step: usize,
        /// The files of the batch's faces.
        files: Vec<PathBuf>,
    },
    /// A batch does not fit the step.
    #[error("the batch cannot be used: {what}")]
    Batch {
        /// The difference found.
        what: String,
    },
    /// A device cannot compute in that precision.
    #[error("{precision} cannot be used on {device}: {reason}")]
    Precision {
        /// The precision asked for.
        precision: &'static str,
        /// The backend's name for the device.
        device: String,
        /// The cause.
        reason: &'static str,
    },
    /// There is nothing to measure.
    #[error("no face has a score: there is nothing to measure")]
    NothingScored,
    /// A fake probability is not a number in `0..=1`.
    #[error("video {video}{}: the fake probability is {value}: a number from 0 to 1 is needed", at_frame(*frame))]
    ScoreOutOfRange {
        /// The video.
        video: String,
        /// The frame in the video, where it is known.
        frame: Option<u64>,
        /// The value given.
        value: f64,
    },
    /// A computation that needs both classes got faces of one class only.
    #[error("{what} needs real and fake faces, but all {faces} are {label}")]
    OneClass {
        /// The computation.
        what: &'static str,
        /// Number of faces.
        faces: usize,
        /// Their label.
        label: Label,
    },
    /// The requested split is empty.
    #[error("{path}: nothing is in split {split}: there are {there}", path = path.display())]
    EmptySplit {
        /// The manifest, or the folder.
        path: PathBuf,
        /// The split.
        split: Split,
        /// Number of rows or clips in each split.
        there: String,
    },
    /// A clip is a video, where pictures are needed.
    #[error("{path}: a video, where pictures of faces are measured", path = path.display())]
    NotPictures {
        /// The file.
        path: PathBuf,
    },
    /// Faces are cropped in another way than the model expects.
    #[error("{path}: these faces were cut as {found:?}, and the model wants {wanted:?}", path = path.display())]
    OtherCrop {
        /// The manifest.
        path: PathBuf,
        /// The crop of the faces.
        found: FaceCrop,
        /// The crop named in the model's card.
        wanted: FaceCrop,
    },
    /// A face cannot be scored.
    #[error("{path}: this face cannot be scored", path = path.display())]
    Face {
        /// The picture.
        path: PathBuf,
        /// The cause.
        source: deepsight_core::Error,
    },
    /// A clip cannot be recompressed.
    #[error("{path}: cannot be compressed again: {reason}", path = path.display())]
    Recompression {
        /// The clip.
        path: PathBuf,
        /// ffmpeg's message, or how it ended.
        reason: String,
    },
    /// None of the clips could be analyzed.
    #[error(
        "{path}: none of {clips} clips could be analysed; the first, {first}: {reason}",
        path = path.display(),
        first = first.display()
    )]
    NoClipAnalyzed {
        /// The folder.
        path: PathBuf,
        /// Number of clips.
        clips: usize,
        /// The first clip.
        first: PathBuf,
        /// The cause for the first clip.
        reason: String,
    },
    /// A figure cannot be drawn.
    #[error("figure {name} cannot be drawn: {reason}")]
    Figure {
        /// The figure's name.
        name: &'static str,
        /// The cause.
        reason: String,
    },
    /// The sampler has no faces of a class to draw from.
    #[error("{of}: no {label} faces to draw from", label = label.name())]
    NoRows {
        /// The rows that were searched.
        of: String,
        /// The class without faces.
        label: Label,
    },
    /// A face has no landmarks, without which it cannot be blended into itself.
    #[error("{file}: no landmarks in the manifest, which self-blended images need", file = file.display())]
    NoLandmarks {
        /// The crop's file.
        file: PathBuf,
    },
    /// A fake face names its original video, and training has no real face of that video or of its person.
    #[error(
        "{file}: its original `{original}` has no real face in training, nor has its person; add the original's faces \
         to the source, empty the column, or do without pairs",
        file = file.display()
    )]
    NoOriginal {
        /// The fake crop's file.
        file: PathBuf,
        /// The real video that the manifest names.
        original: String,
    },
    /// Pairs of a fake and its original were asked for, and no fake face can be paired.
    #[error(
        "paired: no fake face of training names an original or shares its target_id with a real face of its source"
    )]
    NoPairs,
    /// A face has no landmarks, without which its quality cannot be measured.
    #[error("{file}: no landmarks in the manifest, which measuring its quality needs", file = file.display())]
    UnknownLandmarks {
        /// The crop's file.
        file: PathBuf,
    },
    /// A face's landmarks coincide, are not finite, or lie outside its picture.
    #[error("{file}: the landmarks are no face within the picture", file = file.display())]
    DegenerateLandmarks {
        /// The crop's file.
        file: PathBuf,
    },
    /// Self-blending was asked for a fake face. Only real faces are blended into themselves.
    #[error("{file}: only real faces are blended into themselves, and this one is fake", file = file.display())]
    BlendOfFake {
        /// The crop's file.
        file: PathBuf,
    },
    /// ffmpeg failed.
    #[error("ffmpeg {reason}")]
    Ffmpeg {
        /// ffmpeg's error.
        reason: String,
    },
    /// A row number is out of range.
    #[error("row {row} was asked for and there are {rows}")]
    RowOutOfRange {
        /// The requested row, counted from 0.
        row: usize,
        /// Number of rows.
        rows: usize,
    },
    /// An error of the detector, the model file or the network.
    #[error(transparent)]
    Core(#[from] deepsight_core::Error),
    /// An error of the video.
    #[error(transparent)]
    Video(#[from] deepsight_video::VideoError),
}

fn at_frame(frame: Option<u64>) -> String {
    frame.map_or_else(String::new, |frame| format!(", frame {frame}"))
}

/// The reason why a picture cannot be decoded or encoded.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PictureError(image::ImageError);

/// The reason why a table cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TableError(csv::Error);

/// The reason why JSON cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct JsonError(serde_json::Error);

/// The reason why a manifest cannot be encoded as Parquet.
#[cfg(feature = "parquet")]
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ParquetError(parquet::errors::ParquetError);

impl Error {
    pub(crate) fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.as_ref().to_owned(), action, source }
    }

    pub(crate) fn table(path: impl AsRef<Path>) -> impl FnOnce(csv::Error) -> Self {
        move |source| Self::ManifestSyntax { path: path.as_ref().to_owned(), source: TableError(source) }
    }

    #[cfg(feature = "parquet")]
    pub(crate) fn parquet(path: impl AsRef<Path>) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        move |source| Self::Parquet { path: path.as_ref().to_owned(), source: ParquetError(source) }
    }

    pub(crate) fn json(path: impl AsRef<Path>) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Json { path: path.as_ref().to_owned(), source: JsonError(source) }
    }

    pub(crate) fn picture(path: impl AsRef<Path>) -> impl FnOnce(image::ImageError) -> Self {
        move |source| Self::Picture { path: path.as_ref().to_owned(), source: PictureError(source) }
    }

    /// Returns an [`Error::Checkpoint`] with the defect `what`.
    #[cfg(feature = "model")]
    pub(crate) fn checkpoint(path: &Path, what: impl std::fmt::Display) -> Self {
        Self::Checkpoint { path: path.to_owned(), what: what.to_string() }
    }

    /// Returns an [`Error::Setting`] unless `holds`.
    pub(crate) fn check(
        name: &'static str,
        value: impl std::fmt::Display,
        holds: bool,
        rule: &'static str,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::Setting { name, value: value.to_string(), rule }) }
    }

    /// Converts the error of a backend that cannot return a tensor's values.
    #[cfg(feature = "model")]
    pub(crate) fn backend(error: impl std::fmt::Display) -> Self {
        Self::Core(deepsight_core::Error::Backend { reason: error.to_string() })
    }
}

/// Joins file names with commas on one line.
fn listed(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
