use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Clip, Media};
use crate::{Error, Label, Split};

const FILE: &str = "metadata.json";

/// An entry of a list: one video.
#[derive(Deserialize)]
struct Entry {
    label: Option<String>,
    /// Stands in the lists of the test set instead of a label.
    is_fake: Option<u8>,
    original: Option<String>,
    split: Option<String>,
}

/// Returns the lists in a folder and in its immediate subfolders; `None` if there are none.
pub(super) fn lists(root: &Path) -> Result<Option<Vec<PathBuf>>, Error> {
    let mut lists = vec![root.join(FILE)];
    for entry in fs::read_dir(root).map_err(Error::io(root, "cannot be read"))? {
        lists.push(entry.map_err(Error::io(root, "cannot be read"))?.path().join(FILE));
    }
    lists.retain(|path| path.is_file());
    lists.sort();
    Ok(Some(lists).filter(|lists| !lists.is_empty()))
}

/// Returns the videos that the lists name and that exist. A partial download lacks some of them.
///
/// The lists name no persons. Their splits are taken over only where they name at least two. Where they name no
/// validation split, the training videos get no split, so that a validation split can be assigned from them.
pub(super) fn clips(lists: &[PathBuf]) -> Result<Vec<Clip>, Error> {
    let mut clips = Vec::new();
    for path in lists {
        let bytes = fs::read(path).map_err(Error::io(path, "cannot be read"))?;
        let entries: BTreeMap<String, Entry> = serde_json::from_slice(&bytes).map_err(Error::json(path))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for (file, entry) in entries {
            let video = folder.join(&file);
            if video.is_file() {
                clips.push(clip(path, &file, video, &entry)?);
            }
        }
    }
    let named: BTreeSet<Split> = clips.iter().filter_map(|clip| clip.split).collect();
    for clip in &mut clips {
        let open = named.len() < 2 || (clip.split == Some(Split::Train) && !named.contains(&Split::Val));
        clip.split = clip.split.filter(|_| !open);
    }
    Ok(clips)
}

fn clip(list: &Path, file: &str, video: PathBuf, entry: &Entry) -> Result<Clip, Error> {
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
    Ok(Clip { original, split, ..Clip::new(label, stem(file), Media::Video(video)) })
}

/// Returns the name without extension. DFDC's names are random, so they are unique over all parts.
fn stem(file: &str) -> String {
    Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
