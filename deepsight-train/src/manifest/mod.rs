//! Manifests: lists of face crops on disk, with their labels and their origin.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use deepsight_core::{BoundingBox, FaceCrop, Landmarks};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;
use crate::whole_file::write_whole;

#[cfg(feature = "parquet")]
mod columns;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod table;

/// The class of a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Unchanged since it was recorded.
    Real,
    /// Generated or changed by a forgery method.
    Fake,
}

impl Label {
    /// Both labels, real first.
    pub const ALL: [Self; 2] = [Self::Real, Self::Fake];

    /// Returns `real` or `fake`, as manifests and folders name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Fake => "fake",
        }
    }
}

/// The part of the data that a face belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Faces that the network is trained on.
    Train,
    /// Faces on which the best epoch, the temperature and the threshold are chosen.
    Val,
    /// Faces that are used for measurement only.
    Test,
}

impl Split {
    /// All parts, in the order of [`SplitConfig::shares`](crate::SplitConfig::shares).
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// Returns `train`, `val` or `test`, as manifests name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

/// The error for a name that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownName(&'static str);

impl FromStr for Label {
    type Err = UnknownName;

    /// Parses a label. Case is ignored, because DFDC writes labels in capitals.
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = Self::ALL.into_iter().find(|label| label.name().eq_ignore_ascii_case(name));
        known.ok_or(UnknownName("must be real or fake"))
    }
}

impl FromStr for Split {
    type Err = UnknownName;

    /// Parses a split. Case is ignored.
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = Self::ALL.into_iter().find(|split| split.name().eq_ignore_ascii_case(name));
        known.ok_or(UnknownName("must be train, val or test"))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One face crop on disk and its origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Row {
    /// The crop's file, relative to the manifest's folder.
    pub file: PathBuf,
    /// Whether the face is real.
    pub label: Label,
    /// Name of the video, unique within the manifest together with the label.
    pub video: String,
    /// The person whose body and scene are seen, where the layout names them.
    pub target_id: Option<String>,
    /// The person whose face is seen, where it is not that of the body.
    pub source_id: Option<String>,
    /// Number of the frame in the video, counted from 0.
    pub frame: Option<u64>,
    /// Seconds from the video's start.
    pub time: Option<f64>,
    /// Number of the tracked person within the video.
    pub track: Option<u32>,
    /// The detector's box in pixels of the frame.
    pub bounds: Option<BoundingBox>,
    /// Eyes, nose and corners of the mouth in pixels of the crop.
    pub landmarks: Option<Landmarks>,
    /// The detector's confidence, `0..=1`.
    pub confidence: Option<f32>,
    /// SHA-256 of the video or picture in which the face was found, in hexadecimal digits.
    pub sha256: Option<String>,
    /// The part of the data, where it is assigned.
    pub split: Option<Split>,
    /// Name of the real video that a fake one was made from, where the layout names it. Where the video exists in
    /// several compressions, this is the name that they share.
    pub original: Option<String>,
    /// Name of the forgery method of a fake face, such as `Deepfakes`, where it is known; `None` for a real face.
    #[serde(default)]
    pub method: Option<String>,
}

impl Row {
    /// Creates a row in which every other field is `None`.
    pub fn new(file: impl Into<PathBuf>, label: Label, video: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            label,
            video: video.into(),
            target_id: None,
            source_id: None,
            frame: None,
            time: None,
            track: None,
            bounds: None,
            landmarks: None,
            confidence: None,
            sha256: None,
            split: None,
            original: None,
            method: None,
        }
    }
}

/// Returns the forgery method that a video's name begins with: the last part of the name up to its first `_`, such as
/// `Deepfakes` for `Deepfakes_train_roi_282`. Returns `None` for a name without `_`, or with nothing before it.
pub(crate) fn method_in_name(video: &str) -> Option<&str> {
    let name = video.rsplit('/').next().unwrap_or(video);
    name.split_once('_').map(|(method, _)| method).filter(|method| !method.is_empty())
}

/// Returns the name of each manifest as a source of faces: the name of its folder. A second folder of the same name
/// gets `-2` appended, a third `-3`.
///
/// ```
/// use deepsight_train::manifest::source_names;
///
/// assert_eq!(source_names(["crops/dfdc", "crops/ffpp", "old/dfdc"]), ["dfdc", "ffpp", "dfdc-2"]);
/// ```
pub fn source_names<P: AsRef<Path>>(folders: impl IntoIterator<Item = P>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for folder in folders {
        let folder = folder.as_ref();
        // `.` and `..` have a name only after they are resolved.
        let absolute = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = absolute.file_name().map_or_else(|| "faces".into(), |name| name.to_string_lossy().into_owned());
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let unused = std::iter::once(name.clone()).chain(numbered).find(|name| !names.contains(name));
        names.push(unused.unwrap_or(name));
    }
    names
}

/// A list of face crops (CSV), and how they were cropped (JSON beside it).
///
/// The CSV has the following columns. Only the first three must exist and be filled:
/// `file,label,video,target_id,source_id,frame,time,track,x0,y0,x1,y1,left_eye_x,left_eye_y,right_eye_x,right_eye_y,`
/// `nose_x,nose_y,mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y,confidence,sha256,split,original,method`.
/// A column of another name is ignored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// The folder that the rows' file names are relative to.
    pub root: PathBuf,
    /// One row for each crop.
    pub rows: Vec<Row>,
    /// How faces were cropped from their frames; `None` where that is not known, as for crops made by other programs.
    pub crop: Option<FaceCrop>,
    /// Side of the crops in pixels; `None` where they differ.
    pub size: Option<u32>,
    /// Other settings of the preparation, such as the detector and its thresholds.
    pub settings: Map<String, Value>,
}

/// The content of the JSON beside the CSV.
#[derive(Serialize, Deserialize)]
struct Sidecar {
    schema: u32,
    crop: Option<FaceCrop>,
    size: Option<u32>,
    #[serde(default)]
    settings: Map<String, Value>,
}

/// Version of the JSON beside the CSV.
const SCHEMA: u32 = 1;

impl Manifest {
    /// Creates a manifest of crops in the folder `root`. The way in which they were cropped stays unknown.
    pub fn new(root: impl Into<PathBuf>, rows: Vec<Row>) -> Self {
        Self { root: root.into(), rows, crop: None, size: None, settings: Map::new() }
    }

    /// Sets how the crops were cropped, and their side in pixels.
    #[must_use]
    pub fn with_crop(self, crop: FaceCrop, size: u32) -> Self {
        Self { crop: Some(crop), size: Some(size), ..self }
    }

    /// Fills the empty methods of fake faces from their videos' names: the part up to the first `_`, such as
    /// `Deepfakes` for `Deepfakes_train_roi_282`. `path` is the manifest's file, for error messages.
    ///
    /// # Errors
    /// [`Error::ManifestField`] for a fake face whose video's name has no `_`, or nothing before it.
    pub fn name_methods(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let unnamed = |row: &Row| row.label == Label::Fake && row.method.is_none();
        for (index, row) in self.rows.iter_mut().enumerate().filter(|(_, row)| unnamed(row)) {
            let Some(method) = method_in_name(&row.video) else {
                let rule = "must begin with the method and `_`, because methods are asked from names";
                let (path, value) = (path.as_ref().to_owned(), row.video.clone());
                return Err(Error::ManifestField { path, row: index + 1, column: "video", value, rule });
            };
            row.method = Some(method.to_owned());
        }
        Ok(())
    }

    /// Reads the CSV and, where it exists, the JSON beside it, and checks that every crop's file exists.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read; [`Error::ManifestSyntax`], [`Error::ManifestColumn`] and
    /// [`Error::ManifestField`] when the CSV is not valid; [`Error::Json`] and [`Error::Schema`] when the JSON is not;
    /// [`Error::EmptyManifest`] for a CSV without rows; [`Error::MissingCrop`] for a row without its file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io(path, "cannot be read"))?;
        let mut rows = table::read(&bytes, path)?;
        // The parent of a bare file name is an empty path, which cannot be opened.
        let root = path.parent().filter(|root| !root.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        for (index, row) in rows.iter_mut().enumerate().filter(|(_, row)| !root.join(&row.file).is_file()) {
            // Written on Windows, a list has backslashes.
            let slashed = PathBuf::from(row.file.to_string_lossy().replace('\\', "/"));
            if !root.join(&slashed).is_file() {
                return Err(Error::MissingCrop { path: path.to_owned(), row: index + 1, file: row.file.clone() });
            }
            row.file = slashed;
        }
        let Sidecar { crop, size, settings, .. } = Sidecar::read(&path.with_extension("json"))?;
        Ok(Self { root, rows, crop, size, settings })
    }

    /// Writes the CSV, and the JSON beside it. Each file is written completely or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written; [`Error::ManifestSyntax`] and [`Error::Json`] when one cannot be
    /// encoded.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let json = path.with_extension("json");
        let sidecar = Sidecar { schema: SCHEMA, crop: self.crop, size: self.size, settings: self.settings.clone() };
        let mut bytes = serde_json::to_vec_pretty(&sidecar).map_err(|error| Error::json(&json)(error))?;
        bytes.push(b'\n');
        write_whole(&json, &bytes)?;
        write_whole(path, &table::write(&self.rows, path)?)
    }

    /// Writes the rows as Parquet, for other programs: the CSV's columns, typed, with null for absent values.
    ///
    /// # Errors
    /// [`Error::Parquet`] when the rows cannot be encoded, [`Error::Io`] when the file cannot be written.
    #[cfg(feature = "parquet")]
    pub fn write_parquet(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        write_whole(path, &columns::encode(&self.rows).map_err(Error::parquet(path))?)
    }
}

impl Sidecar {
    fn read(path: &Path) -> Result<Self, Error> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { schema: SCHEMA, crop: None, size: None, settings: Map::new() });
            }
            Err(error) => return Err(Error::io(path, "cannot be read")(error)),
        };
        let sidecar: Self = serde_json::from_slice(&bytes).map_err(Error::json(path))?;
        if sidecar.schema == SCHEMA {
            return Ok(sidecar);
        }
        Err(Error::Schema { path: path.to_owned(), schema: sidecar.schema, known: SCHEMA })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    fn full() -> Row {
        let mut row = Row::new("fake/a, \"b\"/000010_0.png", Label::Fake, "a, \"b\"");
        (row.target_id, row.source_id, row.original) = (Some("id1".into()), Some("id2".into()), Some("a".into()));
        (row.frame, row.time, row.track) = (Some(10), Some(0.1 + 0.2), Some(3));
        row.bounds = Some(BoundingBox::new(-1.5, 2.25, 100.1, 120.7));
        row.landmarks = Some(Landmarks([[1.0, 2.1], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.3]]));
        (row.confidence, row.sha256, row.split) = (Some(0.9871), Some("ab".repeat(32)), Some(Split::Val));
        row.method = Some("Face2Face".into());
        row
    }

    #[test]
    fn what_is_written_is_read_again_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::new(folder.path(), vec![full(), Row::new("real/x.jpg", Label::Real, "x")])
            .with_crop(FaceCrop::Aligned { size: 64, scale: 0.8, down: 0.0 }, 64);
        manifest.settings.insert("face_confidence".into(), 0.9.into());
        for row in &manifest.rows {
            write_whole(&folder.path().join(&row.file), b"").unwrap();
        }
        let path = folder.path().join("manifest.csv");
        manifest.write(&path).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), manifest);
    }

    #[test]
    fn a_list_written_by_hand_needs_three_columns_only_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.csv");
        fs::write(folder.path().join("a.jpg"), "").unwrap();
        fs::write(&path, "label,note,file,video,split\r\nREAL,nice,a.jpg,v,\r\n").unwrap();
        let manifest = Manifest::read(&path).unwrap();
        assert_eq!(manifest.rows, [Row::new("a.jpg", Label::Real, "v")]);
        assert_eq!((manifest.crop, manifest.size), (None, None));
    }

    #[test]
    fn errors_name_the_file_row_column_and_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.csv");
        fs::write(folder.path().join("a.jpg"), "").unwrap();
        for (text, parts) in [
            ("file,label\na.jpg,real\n", &["list.csv: has no column `video`"][..]),
            ("file,label,video\n", &["list.csv: has no rows"]),
            ("file,label,video\na.jpg,true,v\n", &["row 1: label is `true`: must be real or fake"]),
            ("file,label,video\na.jpg,real,\n", &["row 1: video is ``: must not be empty"]),
            ("file,label,video,split\na.jpg,real,v,dev\n", &["split is `dev`: must be train, val or test"]),
            ("file,label,video,frame\na.jpg,real,v,-1\n", &["row 1: frame is `-1`: must be a whole number"]),
            ("file,label,video,time\na.jpg,real,v,NaN\n", &["row 1: time is `NaN`: must be a finite number"]),
            ("file,label,video,x0\na.jpg,real,v,1\n", &["row 1: y1 is ``: must be given where its neighbours are"]),
            ("file,label,video\na.jpg,real,v\nb.jpg,fake,w\n", &["list.csv: row 2: b.jpg: there is no such file"]),
            ("file,label,video\na.jpg,real\n", &["list.csv: not a table"]),
            (
                "file,label,video,method\na.jpg,real,v,FaceSwap\n",
                &["row 1: method is `FaceSwap`: must be empty for a real face"],
            ),
        ] {
            fs::write(&path, text).unwrap();
            let message = Manifest::read(&path).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
        }
        assert!(Manifest::read(folder.path().join("no.csv")).unwrap_err().to_string().contains("no.csv"));
    }

    #[test]
    fn methods_are_read_from_names_only_where_the_column_is_empty_and_the_name_has_one() {
        let mut known = Row::new("c.jpg", Label::Fake, "id0_id1_0001");
        known.method = Some("face swap".into());
        let fake = |video: &str| Row::new("a.jpg", Label::Fake, video);
        let rows = vec![fake("c23/NeuralTextures_roi_3"), known, Row::new("b.jpg", Label::Real, "youtube_roi_1")];
        let mut manifest = Manifest::new("ffpp", rows);
        manifest.name_methods("ffpp/list.csv").unwrap();
        let methods: Vec<_> = manifest.rows.iter().map(|row| row.method.as_deref()).collect();
        assert_eq!(methods, [Some("NeuralTextures"), Some("face swap"), None]);
        for video in ["kligyzlcuk", "_roi_3", "a_b/c"] {
            let message = Manifest::new("x", vec![fake(video)]).name_methods("list.csv").unwrap_err().to_string();
            assert!(message.contains("list.csv: row 1: video is") && message.contains("begin with"), "{message}");
        }
    }

    #[test]
    fn a_source_is_named_by_its_folder_and_every_name_is_used_once() {
        assert_eq!(source_names(["a/x", "x-2", "b/x", "y"]), ["x", "x-2", "x-3", "y"]);
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("inside");
        fs::create_dir(&inside).unwrap();
        let name = folder.path().canonicalize().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(source_names([inside.join("..")]), [name]);
    }

    #[test]
    fn json_of_a_later_version_or_broken_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.jpg"), "").unwrap();
        fs::write(folder.path().join("list.csv"), "file,label,video\na.jpg,real,v\n").unwrap();
        for (json, part) in [("{\"schema\": 2}", "schema is 2"), ("{", "not the JSON")] {
            fs::write(folder.path().join("list.json"), json).unwrap();
            let message = Manifest::read(folder.path().join("list.csv")).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
