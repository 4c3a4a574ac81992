//! The copy of FaceForensics++ on Kaggle, in compression C23: `original/` and one folder for each method, with a list.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::face_forensics::{Lists, original, persons};
use super::{Clip, ClipMedia, videos, walk};
use crate::{Error, Label};

/// The folder of real videos.
const ORIGINAL: &str = "original";
/// The methods of FaceForensics++ that tell this layout from another one with a folder `original`.
const METHODS: [&str; 6] = ["DeepFakeDetection", "Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures"];
/// The list of all videos, with their labels.
const LIST: &str = "FF++_Metadata.csv";

/// Returns whether a folder has this layout: real videos and those of at least one method, one of which may be missing
/// beside a list.
pub(super) fn is_in(root: &Path) -> bool {
    let methods = METHODS.iter().any(|method| root.join(method).is_dir());
    methods && root.join(ORIGINAL).is_dir() || (methods || root.join(ORIGINAL).is_dir()) && list(root).is_some()
}

fn list(root: &Path) -> Option<PathBuf> {
    [root.join("csv").join(LIST), root.join(LIST)].into_iter().find(|path| path.is_file())
}

/// Returns the videos, named by folder and file: `original/000`, `Deepfakes/000_003`. Persons, originals and splits are
/// those of the official layout.
///
/// The label is that of the list, and that of the folder for videos that it does not name.
///
/// # Errors
/// [`Error::List`] when the list has another label than `REAL` and `FAKE`, [`Error::ManifestSyntax`] and
/// [`Error::ManifestColumn`] when it is not such a list.
pub(super) fn clips(root: &Path) -> Result<Vec<Clip>, Error> {
    let (lists, labels) = (Lists::read(root)?, list(root).map_or_else(|| Ok(HashMap::new()), |path| labels(&path))?);
    let mut clips = Vec::new();
    for folder in walk::folders(root)? {
        let Some(method) = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        for (path, below) in videos(&folder)? {
            let listed = path.strip_prefix(root).ok().and_then(|path| labels.get(&slashed(&path.to_string_lossy())));
            let known = METHODS.contains(&method.as_str()) || method == ORIGINAL;
            let label = match listed {
                Some(label) => *label,
                None if !known => continue,
                None if method == ORIGINAL => Label::Real,
                None => Label::Fake,
            };
            let name = below.rsplit('/').next().unwrap_or(&below);
            let (target_id, source_id) = persons(name, label);
            let original = match label {
                Label::Fake => original(name),
                Label::Real if name.contains("__") => Some(format!("actors/{name}")),
                Label::Real => Some(format!("youtube/{name}")),
            };
            let (split, forgery) = (lists.split(name), (label == Label::Fake).then(|| method.clone()));
            let clip = Clip::new(label, format!("{method}/{below}"), ClipMedia::Video(path));
            clips.push(Clip { target_id, source_id, original, split, method: forgery, ..clip });
        }
    }
    Ok(clips)
}

/// Returns the label of each file in the list, by its path with forward slashes.
fn labels(path: &Path) -> Result<HashMap<String, Label>, Error> {
    let bytes = fs::read(path).map_err(Error::io(path, "cannot be read"))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.as_slice());
    let header = reader.headers().map_err(Error::table(path))?.clone();
    let column = |column: &'static str| {
        let place = header.iter().position(|name| name == column);
        place.ok_or_else(|| Error::ManifestColumn { path: path.to_owned(), column })
    };
    let (file, label) = (column("File Path")?, column("Label")?);
    let mut labels = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(Error::table(path))?;
        let file = record.get(file).unwrap_or_default();
        let known = record.get(label).unwrap_or_default().parse();
        let wrong =
            |_| Error::List { path: path.to_owned(), entry: file.to_owned(), rule: "label must be REAL or FAKE" };
        labels.insert(slashed(file), known.map_err(wrong)?);
    }
    Ok(labels)
}

/// Returns a path with forward slashes, because lists that were written on Windows have backslashes.
fn slashed(path: &str) -> String {
    path.replace('\\', "/")
}
