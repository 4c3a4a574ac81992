use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Clip, ClipMedia, FileKind, Picture, files, name, names, open_training, walk};
use crate::{Error, Label, Split};

/// A folder of clips of one label.
pub(super) struct LabelFolder {
    path: PathBuf,
    label: Label,
    /// The split of its clips, if it lies in a folder of a split.
    split: Option<Split>,
}

/// Returns the label that a folder is named by, in any case.
fn label_of(folder: &Path) -> Option<Label> {
    folder.file_name()?.to_str()?.parse().ok()
}

/// Returns the split that a folder is named by, in any case.
fn split_of(folder: &Path) -> Option<Split> {
    match folder.file_name()?.to_str()?.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "val" | "valid" | "validation" => Some(Split::Val),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

/// Returns the folders `real/` and `fake/` in a folder, and those in its folders `train/`, `val/` and `test/`.
pub(super) fn find(root: &Path) -> Result<Vec<LabelFolder>, Error> {
    let mut found = Vec::new();
    for path in walk::folders(root)? {
        if let Some(label) = label_of(&path) {
            found.push(LabelFolder { path, label, split: None });
        } else if let Some(split) = split_of(&path) {
            let inner = walk::folders(&path)?.into_iter();
            let labelled = inner.filter_map(|path| Some((label_of(&path)?, path)));
            found.extend(labelled.map(|(label, path)| LabelFolder { path, label, split: Some(split) }));
        }
    }
    Ok(found)
}

/// Returns the clips in the folders of labels. The names of clips in a folder of a split begin with the split.
pub(super) fn clips(folders: Vec<LabelFolder>) -> Result<Vec<Clip>, Error> {
    let mut clips = Vec::new();
    for LabelFolder { path, label, split } in folders {
        let mut found = of_label(&path, label)?;
        if let Some(split) = split {
            for clip in &mut found {
                (clip.name, clip.split) = (format!("{split}/{}", clip.name), Some(split));
            }
        }
        clips.append(&mut found);
    }
    open_training(&mut clips);
    Ok(clips)
}

/// Returns the clips below one folder. Each video is a clip. Pictures whose names contain a video and a frame form the
/// clips of those videos. Other pictures in a folder of their own form one clip, and each loose picture is a clip.
pub(super) fn of_label(folder: &Path, label: Label) -> Result<Vec<Clip>, Error> {
    let mut clips = Vec::new();
    let mut pictures: BTreeMap<String, Vec<Picture>> = BTreeMap::new();
    for (path, kind) in files(folder)? {
        let name = name(folder, &path);
        match kind {
            FileKind::Video => clips.push(with_persons(Clip::new(label, name, ClipMedia::Video(path)))),
            FileKind::Picture => {
                let (video, frame) = video_of(&name);
                let picture = Picture { frame, ..Picture::new(path) };
                pictures.entry(video).or_default().push(picture);
            }
        }
    }
    let pictures = pictures.into_iter();
    clips.extend(pictures.map(|(name, pictures)| with_persons(Clip::new(label, name, ClipMedia::Pictures(pictures)))));
    Ok(clips)
}

fn video_of(name: &str) -> (String, Option<u64>) {
    if let Some((video, frame)) = names::video_and_frame(name) {
        return (video.to_owned(), Some(frame));
    }
    let folder = name.rsplit_once('/').map(|(folder, _)| folder);
    (folder.unwrap_or(name).to_owned(), None)
}

fn with_persons(clip: Clip) -> Clip {
    let (target_id, source_id) = names::persons(&clip.name);
    Clip { target_id, source_id, ..clip }
}
