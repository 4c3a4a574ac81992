use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Clip, ClipMedia, open_training, walk};
use crate::{Error, Label, Split};

const FILE: &str = "metadata.json";

/// An entry of a list: one video.
#[derive(Deserialize)]
struct ListedVideo {
    label: Option<String>,
    /// Stands in the lists of the test set instead of a label.
    is_fake: Option<u8>,
    original: Option<String>,
    split: Option<String>,
}

/// Returns the lists in a folder and up to two folders deeper. Each part of the data set is an archive with a folder in
/// it, which may be unpacked into a folder of its own.
pub(super) fn lists(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut folders = vec![root.to_owned()];
    for outer in walk::folders(root)? {
        folders.extend(walk::folders(&outer)?);
        folders.push(outer);
    }
    let mut lists: Vec<PathBuf> = folders.iter().map(|folder| folder.join(FILE)).collect();
    lists.retain(|path| path.is_file());
    lists.sort();
    Ok(lists)
}

/// Returns the videos that the lists name and that exist. A partial download lacks some of them.
///
/// The lists name no persons. Where they name no validation split, the training videos get no split, so that a
/// validation split can be assigned from them.
pub(super) fn clips(lists: &[PathBuf]) -> Result<Vec<Clip>, Error> {
    let mut clips = Vec::new();
    for path in lists {
        let bytes = fs::read(path).map_err(Error::io(path, "cannot be read"))?;
        let entries: BTreeMap<String, ListedVideo> = serde_json::from_slice(&bytes).map_err(Error::json(path))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for (file, entry) in entries {
            let video = folder.join(&file);
            if video.is_file() {
                clips.push(clip(path, &file, video, &entry)?);
            }
        }
    }
    open_training(&mut clips);
    Ok(clips)
}

fn clip(list: &Path, file: &str, video: PathBuf, entry: &ListedVideo) -> Result<Clip, Error> {
    let wrong = |rule| Error::List { path: list.to_owned(), entry: file.to_owned(), rule };
    let label = match (entry.label.as_deref().map(str::parse::<Label>), entry.is_fake) {
        (Some(Ok(label)), _) => label,
        (None, Some(0)) => Label::Real,
        (None, Some(1)) => Label::Fake,
        _ => return Err(wrong("label must be REAL or FAKE")),
    };
    let split = match entry.split.as_deref() {
        None | Some("") => None,
        Some("validation") => Some(Split::Val),
        Some(name) => Some(name.parse().map_err(|_| wrong("split must be train, validation or test"))?),
    };
    let original = entry.original.as_deref().filter(|original| !original.is_empty()).map(stem);
    Ok(Clip { original, split, ..Clip::new(label, stem(file), ClipMedia::Video(video)) })
}

/// Returns the name without extension. DFDC's names are random, so they are unique over all parts.
fn stem(file: &str) -> String {
    Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
