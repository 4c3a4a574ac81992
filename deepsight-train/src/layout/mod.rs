//! Data sets on disk: finds their clips, with labels, persons, originals and official splits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::manifest::method_in_name;
use crate::{Error, Label, Split};

mod celeb_df;
mod dfdc;
mod face_forensics;
mod folders;
mod kaggle;
mod listed;
mod names;
mod walk;

use walk::files;

/// A data set in a folder.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Dataset {
    /// The folder.
    pub root: PathBuf,
    /// Its layout.
    pub layout: Layout,
    /// Its clips, sorted by label and name.
    pub clips: Vec<Clip>,
}

/// The folder structure of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// Videos or pictures in `real/` and `fake/`, in any case, or in one folder with a given label. Both may lie in
    /// `train/`, `val/` and `test/`, which then are the splits.
    Folders,
    /// Pictures of faces that are listed in a `manifest.csv`.
    Listed,
    /// FaceForensics++ (Rössler et al., ICCV 2019): `original_sequences` and
    /// `manipulated_sequences/METHOD/COMPRESSION/videos`. The lists `train.json`, `val.json` and `test.json` are
    /// optional, in the same folder or in `splits`. Also its copy on Kaggle, with videos in `original/` and in one
    /// folder for each method, and the list `csv/FF++_Metadata.csv`.
    FaceForensics,
    /// The Deepfake Detection Challenge (Dolhansky et al., 2020): videos beside a `metadata.json`, in the folder itself
    /// or up to two folders deeper.
    Dfdc,
    /// Celeb-DF v2 (Li et al., CVPR 2020): `Celeb-real`, `Celeb-synthesis`, `YouTube-real`,
    /// `List_of_testing_videos.txt`.
    CelebDf,
}

/// A video, or the pictures of one video, with its label and origin.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Clip {
    /// Whether its faces are real.
    pub label: Label,
    /// Its name, unique within the data set together with the label; may hold `/`.
    pub name: String,
    /// Its file or files.
    pub media: ClipMedia,
    /// The person whose body and scene are seen.
    pub target_id: Option<String>,
    /// The person whose face is seen, where it is not that of the body.
    pub source_id: Option<String>,
    /// Name of the real video that it was made from. Where that video exists in several compressions, this is the name
    /// that they share.
    pub original: Option<String>,
    /// The split that the data set's own list assigns.
    pub split: Option<Split>,
    /// Name of the forgery method of a fake clip, where the layout names it.
    pub method: Option<String>,
}

/// The files of a clip.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ClipMedia {
    /// One video file, with frames to be decoded.
    Video(PathBuf),
    /// Pictures, of one face each.
    Pictures(Vec<Picture>),
}

/// A picture of one face.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Picture {
    /// The file.
    pub path: PathBuf,
    /// Number of the frame that it was cut from, where its name or a list gives it.
    pub frame: Option<u64>,
    /// Seconds from the video's start, where a list gives it.
    pub time: Option<f64>,
    /// Number of the tracked person within the video.
    pub track: Option<u32>,
}

impl Dataset {
    /// Finds the clips in a folder and its layout. `label` is the label of all clips, for a folder without `real/` and
    /// `fake/`.
    ///
    /// A folder that holds nothing but one other folder, as an unpacked archive does, is read as that folder. Links to
    /// folders are followed, and a folder that several links lead to is read once.
    ///
    /// Persons have the names that the data set gives them, with `ff` before the numbers of FaceForensics++, so that
    /// persons of different data sets have different names. Official splits are taken over where their lists exist.
    ///
    /// # Errors
    /// [`Error::Io`] when a folder cannot be read; [`Error::NoClips`] when it holds no clip in a known layout;
    /// [`Error::LinkLoop`] when a link leads to a folder that it lies in;
    /// [`Error::SameName`] when two clips have the same label and name; [`Error::List`] and [`Error::Json`] when a list
    /// of the data set is not valid; the errors of [`Manifest::read`](crate::Manifest::read) for a `manifest.csv`.
    pub fn find(root: impl AsRef<Path>, label: Option<Label>) -> Result<Self, Error> {
        /// Archives hold a folder or two around the data. Links could lead on without end.
        const DEEPEST: usize = 4;
        let root = root.as_ref();
        let mut folder = root.to_owned();
        for _ in 0..DEEPEST {
            if let Some(dataset) = Self::in_folder(root, &folder, label)? {
                return Ok(dataset);
            }
            match walk::only_folder(&folder)? {
                Some(only) => folder = only,
                None => break,
            }
        }
        Err(no_clips(&folder))
    }

    /// Finds the clips in `folder`, which is `root` or the only folder in it. Returns `None` if it holds no clip in a
    /// known layout.
    fn in_folder(root: &Path, folder: &Path, label: Option<Label>) -> Result<Option<Self>, Error> {
        let (layout, clips) = if let Some(label) = label {
            (Layout::Folders, folders::of_label(folder, label)?)
        } else if folder.join(listed::FILE).is_file() {
            return Self::listed(folder.join(listed::FILE)).map(Some);
        } else if face_forensics::FOLDERS.iter().any(|name| folder.join(name).is_dir()) {
            (Layout::FaceForensics, face_forensics::clips(folder)?)
        } else if kaggle::is_in(folder) {
            (Layout::FaceForensics, kaggle::clips(folder)?)
        } else if celeb_df::FOLDERS.iter().any(|(name, _)| folder.join(name).is_dir()) {
            (Layout::CelebDf, celeb_df::clips(folder)?)
        } else {
            let labelled = folders::find(folder)?;
            let lists = if labelled.is_empty() { dfdc::lists(folder)? } else { Vec::new() };
            match lists.as_slice() {
                [] => (Layout::Folders, folders::clips(labelled)?),
                lists => (Layout::Dfdc, dfdc::clips(lists)?),
            }
        };
        if clips.is_empty() {
            return Ok(None);
        }
        let clips = unique(clips);
        match clips.windows(2).find(|pair| (pair[0].label, &pair[0].name) == (pair[1].label, &pair[1].name)) {
            None => Ok(Some(Self { root: root.to_owned(), layout, clips })),
            Some(pair) => {
                Err(Error::SameName { path: root.to_owned(), label: pair[0].label, name: pair[0].name.clone() })
            }
        }
    }

    /// Fills the empty methods of fake clips from their names: the part up to the first `_`, such as `Deepfakes` for
    /// `Deepfakes_train_roi_282`.
    ///
    /// # Errors
    /// [`Error::NoMethod`] for a fake clip whose name has no `_`, or nothing before it.
    pub fn name_methods(&mut self) -> Result<(), Error> {
        for clip in self.clips.iter_mut().filter(|clip| clip.label == Label::Fake && clip.method.is_none()) {
            let method = method_in_name(&clip.name);
            let none = || Error::NoMethod { path: self.root.clone(), name: clip.name.clone() };
            clip.method = Some(method.ok_or_else(none)?.to_owned());
        }
        Ok(())
    }

    /// Returns the pictures listed in a manifest, which may have any file name, as one clip for each of its videos.
    ///
    /// # Errors
    /// The errors of [`Manifest::read`](crate::Manifest::read), and [`Error::ManifestField`] when one video has two
    /// splits or two methods.
    pub fn listed(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let manifest = crate::Manifest::read(path)?;
        let root = manifest.root.clone();
        let clips = unique(listed::clips(path, manifest)?);
        Ok(Self { root, layout: Layout::Listed, clips })
    }
}

impl Clip {
    pub(crate) fn new(label: Label, name: impl Into<String>, media: ClipMedia) -> Self {
        let name = name.into();
        Self { label, name, media, target_id: None, source_id: None, original: None, split: None, method: None }
    }
}

impl Picture {
    fn new(path: PathBuf) -> Self {
        Self { path, frame: None, time: None, track: None }
    }
}

/// Returns the error for a folder without clips, or the error of reading it.
pub(crate) fn no_clips(folder: &Path) -> Error {
    let name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    match walk::folders(folder) {
        Ok(found) => Error::NoClips { path: folder.to_owned(), folders: found.iter().filter_map(name).collect() },
        Err(error) => error,
    }
}

/// Gives the clips of training no split if no clip is for validation, so that a part of them can be.
fn open_training(clips: &mut [Clip]) {
    if clips.iter().all(|clip| clip.split != Some(Split::Val)) {
        clips.iter_mut().filter(|clip| clip.split == Some(Split::Train)).for_each(|clip| clip.split = None);
    }
}

/// Sorts by label and name. Videos that differ only in extension (`a.mp4`, `a.mkv`) get it appended to their names.
fn unique(mut clips: Vec<Clip>) -> Vec<Clip> {
    let mut counts: BTreeMap<(Label, String), usize> = BTreeMap::new();
    for clip in &clips {
        *counts.entry((clip.label, clip.name.clone())).or_default() += 1;
    }
    for clip in &mut clips {
        let shared = counts.get(&(clip.label, clip.name.clone())).is_some_and(|&count| count > 1);
        if let (true, ClipMedia::Video(path)) = (shared, &clip.media) {
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            clip.name = format!("{}.{extension}", clip.name);
        }
    }
    clips.sort_by(|a, b| (a.label, &a.name).cmp(&(b.label, &b.name)));
    clips
}

/// The kind of a file, by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Video,
    Picture,
}

impl FileKind {
    fn of(path: &Path) -> Option<Self> {
        const VIDEOS: &[&str] = &[
            "mp4", "avi", "mov", "mkv", "webm", "m4v", "mpg", "mpeg", "ts", "mts", "m2ts", "wmv", "flv", "3gp", "ogv",
        ];
        const PICTURES: &[&str] = &["jpg", "jpeg", "png"];
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        let among = |names: &[&str]| names.contains(&extension.as_str());
        if among(VIDEOS) { Some(Self::Video) } else { among(PICTURES).then_some(Self::Picture) }
    }
}

/// Returns all videos below a folder, with their names relative to it; none if the folder does not exist.
fn videos(folder: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let videos = files(folder)?.into_iter().filter(|(_, kind)| *kind == FileKind::Video);
    Ok(videos.map(|(path, _)| (path.clone(), name(folder, &path))).collect())
}

/// Returns a path relative to `root` without its extension, with `/` between its parts.
fn name(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path).with_extension("");
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests;
