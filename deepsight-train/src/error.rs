use std::io;
use std::path::{Path, PathBuf};

use deepsight_core::FaceCrop;

use crate::{Label, Split};

/// What can go wrong between a folder of videos and a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("{path}: {action}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, such as `cannot be read`.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A picture cannot be decoded or encoded.
    #[error("{path}: not a picture that can be read", path = path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PictureError,
    },
    /// A manifest is not a table of commas and lines, or its lines differ in length.
    #[error("{path}: not a table", path = path.display())]
    ManifestSyntax {
        /// The manifest.
        path: PathBuf,
        /// Where and why.
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
    /// A field of a manifest cannot be what it is.
    #[error("{path}: row {row}: {column} is `{value}`: {rule}", path = path.display())]
    ManifestField {
        /// The manifest.
        path: PathBuf,
        /// The row, counted from 1 below the header.
        row: usize,
        /// The column's name.
        column: &'static str,
        /// What is there.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// A manifest has a header and nothing below it.
    #[error("{path}: has no rows", path = path.display())]
    EmptyManifest {
        /// The manifest.
        path: PathBuf,
    },
    /// A crop that a manifest names is not there.
    #[error("{path}: row {row}: {file}: there is no such file", path = path.display(), file = file.display())]
    MissingCrop {
        /// The manifest.
        path: PathBuf,
        /// The row, counted from 1 below the header.
        row: usize,
        /// The crop's file, as the manifest names it.
        file: PathBuf,
    },
    /// A file is not the JSON that it should be.
    #[error("{path}: not the JSON that belongs there", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: JsonError,
    },
    /// A file was written by a later version.
    #[error("{path}: schema is {schema}: this version knows {known}", path = path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The schema it names.
        schema: u32,
        /// The schema that is understood.
        known: u32,
    },
    /// A manifest cannot be encoded as Parquet.
    #[cfg(feature = "parquet")]
    #[error("{path}: cannot be encoded as Parquet", path = path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ParquetError,
    },
    /// A folder holds no video or picture that is understood.
    #[error(
        "{path}: no videos or pictures: looked for real/ and fake/, manifest.csv, and the layouts of FaceForensics++, DFDC and \
         Celeb-DF",
        path = path.display()
    )]
    NoClips {
        /// The folder.
        path: PathBuf,
    },
    /// A data set's own list cannot be understood.
    #[error("{path}: {entry}: {rule}", path = path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// What is there.
        entry: String,
        /// What should be.
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
    /// Two clips of one label have one name.
    #[error("{path}: two {label} clips are named {name}", path = path.display())]
    SameName {
        /// The folder.
        path: PathBuf,
        /// Their label.
        label: Label,
        /// Their name.
        name: String,
    },
    /// A clip's name is no name for a folder.
    #[error("clip {name:?}: its name must be a plain relative path, to be that of a folder of crops")]
    ClipName {
        /// The name.
        name: String,
    },
    /// No clip gave a face.
    #[error("{path}: no face in {clips} clips: failures.csv says why", path = path.display())]
    NoFaces {
        /// The data set.
        path: PathBuf,
        /// Clips in it.
        clips: usize,
    },
    /// The face detector cannot run.
    #[error("face detector: {reason}")]
    Detector {
        /// What it says.
        reason: String,
    },
    /// A folder was begun with other settings.
    #[error("{path}: was begun with other settings: {differences}", path = path.display())]
    OtherSettings {
        /// The folder.
        path: PathBuf,
        /// What differs, and how.
        differences: String,
    },
    /// Another run is at work in a folder.
    #[error("{path}: another run is writing there", path = path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Two parts of the data share what they must not share.
    #[error(
        "splits overlap: {shared} is in {first} (video {first_video}) and in {second} (video {second_video}){}",
        match more { 0 => String::new(), 1 => "; 1 more is shared".into(), more => format!("; {more} more are shared") }
    )]
    Overlap {
        /// What is shared.
        shared: String,
        /// A part that it is in.
        first: Split,
        /// A video of that part.
        first_video: String,
        /// Another part that it is in.
        second: Split,
        /// A video of that part.
        second_video: String,
        /// How many other things are shared.
        more: usize,
    },
    /// Everything of a label hangs together with videos that are listed for other parts than training.
    #[error(
        "no {label} video is left for train: all share persons, files or originals with videos listed for other parts, such as {listed}"
    )]
    NothingToTrain {
        /// What is missing.
        label: Label,
        /// One of those videos.
        listed: String,
    },
    /// A setting is outside its range.
    #[error("{name} is {value}: {rule}")]
    Setting {
        /// The setting's name, as on command lines without dashes.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// A file is no checkpoint of a run, or of another one.
    #[error("{path}: not a checkpoint that this run can go on from: {what}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A model file is for another network than the one to be trained.
    #[cfg(feature = "model")]
    #[error("{path}: the weights are of {found}, and {expected} is to be trained", path = path.display())]
    OtherArchitecture {
        /// The file.
        path: PathBuf,
        /// The network in it.
        found: deepsight_core::Architecture,
        /// The network asked for.
        expected: deepsight_core::Architecture,
    },
    /// The loss or its gradients are no numbers any more. What was saved before is untouched.
    #[error("{what} is {value} in epoch {epoch}, step {step}: the batch is {files}", files = listed(files))]
    NotFinite {
        /// What it is that is no number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The epoch, from 1.
        epoch: usize,
        /// The step within it, from 1.
        step: usize,
        /// The faces of the batch.
        files: Vec<PathBuf>,
    },
    /// A batch is not what the step was made for.
    #[error("the batch cannot be used: {what}")]
    Batch {
        /// What is wrong with it.
        what: String,
    },
    /// A device cannot compute in that precision.
    #[error("{precision} cannot be used on {device}: {reason}")]
    Precision {
        /// The precision asked for.
        precision: &'static str,
        /// The backend's name of the device.
        device: String,
        /// Why not.
        reason: &'static str,
    },
    /// There is nothing to measure.
    #[error("no face has a score: there is nothing to measure")]
    NothingScored,
    /// What should be a probability is none.
    #[error("video {video}{}: the fake probability is {value}: a number from 0 to 1 is needed", at_frame(*frame))]
    ScoreOutOfRange {
        /// The video.
        video: String,
        /// The frame in it, where it is known.
        frame: Option<u64>,
        /// What was given.
        value: f64,
    },
    /// Something that needs both classes was asked of one.
    #[error("{what} needs real and fake faces, but all {faces} are {label}")]
    OneClass {
        /// What was asked.
        what: &'static str,
        /// How many faces there are.
        faces: usize,
        /// What all of them are.
        label: Label,
    },
    /// There is nothing in the part of the data that was asked for.
    #[error("{path}: nothing is in split {split}: there are {there}", path = path.display())]
    EmptySplit {
        /// The manifest, or the folder.
        path: PathBuf,
        /// The part.
        split: Split,
        /// How many rows or clips are in which part.
        there: String,
    },
    /// Something that should be a picture is a video.
    #[error("{path}: a video, where pictures of faces are measured", path = path.display())]
    NotPictures {
        /// The file.
        path: PathBuf,
    },
    /// Faces were cut in another way than the model wants them.
    #[error("{path}: these faces were cut as {found:?}, and the model wants {wanted:?}", path = path.display())]
    OtherCrop {
        /// The manifest.
        path: PathBuf,
        /// How they were cut.
        found: FaceCrop,
        /// How the model's card says that they must be.
        wanted: FaceCrop,
    },
    /// A face cannot be scored.
    #[error("{path}: this face cannot be scored", path = path.display())]
    Face {
        /// The picture.
        path: PathBuf,
        /// Why.
        source: deepsight_core::Error,
    },
    /// A clip cannot be compressed anew.
    #[error("{path}: cannot be compressed anew: {reason}", path = path.display())]
    Recompression {
        /// The clip.
        path: PathBuf,
        /// What ffmpeg said, or what became of it.
        reason: String,
    },
    /// Of all clips none could be analysed.
    #[error("{path}: none of {clips} clips could be analysed; the first, {first}: {reason}", path = path.display(), first = first.display())]
    NoClipAnalyzed {
        /// The folder.
        path: PathBuf,
        /// How many there are.
        clips: usize,
        /// The first clip.
        first: PathBuf,
        /// Why it could not.
        reason: String,
    },
    /// A figure cannot be drawn.
    #[error("figure {name} cannot be drawn: {reason}")]
    Figure {
        /// Which.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// There is nothing of a class to draw from.
    #[error("{of}: no {label} faces to draw from", label = match label { Label::Real => "real", Label::Fake => "fake" })]
    NoRows {
        /// The rows that were looked through.
        of: String,
        /// The class that is missing.
        label: Label,
    },
    /// A face has no landmarks, without which it cannot be blended into itself.
    #[error("{file}: no landmarks in the manifest, which self-blended images need", file = file.display())]
    NoLandmarks {
        /// The crop's file.
        file: PathBuf,
    },
    /// A fake face names the real video that it was made of, and training has no face of it, nor of its person.
    #[error(
        "{file}: its original `{original}` has no real face in training, nor has its person; add the original's faces to the \
         source, empty the column, or do without pairs",
        file = file.display()
    )]
    NoOriginal {
        /// The fake crop's file.
        file: PathBuf,
        /// The real video that the manifest names.
        original: String,
    },
    /// Fakes are to be shown beside what they were made of, and none can be.
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
    /// A face's landmarks fall together, are no numbers, or lie outside its picture.
    #[error("{file}: the landmarks are no face within the picture", file = file.display())]
    DegenerateLandmarks {
        /// The crop's file.
        file: PathBuf,
    },
    /// A fake face cannot be made from a fake one.
    #[error("{file}: only real faces are blended into themselves, and this one is fake", file = file.display())]
    BlendOfFake {
        /// The crop's file.
        file: PathBuf,
    },
    /// ffmpeg did not do what it was asked for.
    #[error("ffmpeg {reason}")]
    Ffmpeg {
        /// What it did instead.
        reason: String,
    },
    /// There is no row of this number.
    #[error("row {row} was asked for and there are {rows}")]
    RowOutOfRange {
        /// The row that was asked for, counted from 0.
        row: usize,
        /// How many there are.
        rows: usize,
    },
    /// The detector, the model file or the network.
    #[error(transparent)]
    Core(#[from] deepsight_core::Error),
    /// The video.
    #[error(transparent)]
    Video(#[from] deepsight_video::VideoError),
}

fn at_frame(frame: Option<u64>) -> String {
    frame.map_or_else(String::new, |frame| format!(", frame {frame}"))
}

/// Why a picture cannot be decoded or encoded.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PictureError(image::ImageError);

/// Why a table cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TableError(csv::Error);

/// Why JSON cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct JsonError(serde_json::Error);

/// Why a manifest cannot be encoded as Parquet.
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

    /// An [`Error::Checkpoint`] with what is wrong.
    #[cfg(feature = "model")]
    pub(crate) fn checkpoint(path: &Path, what: impl std::fmt::Display) -> Self {
        Self::Checkpoint { path: path.to_owned(), what: what.to_string() }
    }

    /// An [`Error::Setting`] unless `holds`.
    pub(crate) fn check(
        name: &'static str,
        value: impl std::fmt::Display,
        holds: bool,
        rule: &'static str,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::Setting { name, value: value.to_string(), rule }) }
    }

    /// What a backend says when it cannot hand out numbers.
    #[cfg(feature = "model")]
    pub(crate) fn backend(error: impl std::fmt::Display) -> Self {
        Self::Core(deepsight_core::Error::Backend { reason: error.to_string() })
    }
}

/// Names of files on one line.
fn listed(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
