use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Clip, ClipMedia, videos};
use crate::{Error, Label, Split};

pub(super) const FOLDERS: [&str; 2] = ["original_sequences", "manipulated_sequences"];

/// Returns the videos, named by their path: `youtube/c23/000`, `Deepfakes/c23/000_003`. The latter is target 000 with
/// the face of source 003. Masks and pictures are left out.
pub(super) fn clips(root: &Path) -> Result<Vec<Clip>, Error> {
    let lists = Lists::read(root)?;
    let mut clips = Vec::new();
    for (folder, label) in [(FOLDERS[0], Label::Real), (FOLDERS[1], Label::Fake)] {
        for (path, below) in videos(&root.join(folder))? {
            // METHOD/COMPRESSION/videos/NAME
            let parts: Vec<&str> = below.split('/').collect();
            let [method, compression, "videos", name] = parts[..] else { continue };
            let (target, source) = persons(name, label);
            // All compressions of a video have the same original, because they are the same video.
            let original = match label {
                Label::Real => Some(format!("{method}/{name}")),
                Label::Fake => original(name),
            };
            let split = lists.split(name);
            let forgery = (label == Label::Fake).then(|| method.to_owned());
            let name = format!("{method}/{compression}/{name}");
            let clip = Clip::new(label, name, ClipMedia::Video(path));
            clips.push(Clip { target_id: target, source_id: source, original, split, method: forgery, ..clip });
        }
    }
    Ok(clips)
}

/// Returns target and source of a video. YouTube's videos are numbered, with one person each. The actors of
/// `DeepFakeDetection` are numbered too, with more words after the numbers: `01__exit_phone_room`,
/// `01_02__exit_phone_room__YVGY8LOK`.
pub(super) fn persons(name: &str, label: Label) -> (Option<String>, Option<String>) {
    let (numbers, prefix) = match name.split_once("__") {
        Some((numbers, _)) => (numbers, "ffactor"),
        None => (name, "ff"),
    };
    let id = |number: &str| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| format!("{prefix}{number}"))
    };
    match (numbers.split_once('_'), label) {
        (None, _) => (id(numbers), None),
        (Some((target, source)), Label::Fake) => (id(target), id(source)),
        // No original shows two persons.
        (Some(_), Label::Real) => (None, None),
    }
}

/// Returns the video that a fake one was made from: `youtube/000` for `000_003`, `actors/01__exit_phone_room` for
/// `01_02__exit_phone_room__YVGY8LOK`.
pub(super) fn original(name: &str) -> Option<String> {
    let mut words = name.split("__");
    let target = words.next()?.split('_').next()?;
    Some(match words.next() {
        Some(scene) => format!("actors/{target}__{scene}"),
        None => format!("youtube/{target}"),
    })
}

/// The official splits by video number, from lists of pairs of numbers. Each number is in one list.
pub(super) struct Lists(HashMap<String, Split>);

impl Lists {
    /// Reads the lists. A missing list assigns nothing.
    pub(super) fn read(root: &Path) -> Result<Self, Error> {
        let mut lists = HashMap::new();
        for split in Split::ALL {
            let file = format!("{split}.json");
            let places = [root.join(&file), root.join("splits").join(&file)];
            let Some(path) = places.into_iter().find(|path| path.is_file()) else { continue };
            for number in pairs(&path)?.into_iter().flatten() {
                if lists.insert(number.clone(), split).is_some_and(|before| before != split) {
                    return Err(Error::List { path, entry: number, rule: "must not be in two lists" });
                }
            }
        }
        Ok(Self(lists))
    }

    /// Returns the split of the target. The lists put its source into the same one.
    pub(super) fn split(&self, name: &str) -> Option<Split> {
        self.0.get(name.split('_').next()?).copied()
    }
}

fn pairs(path: &PathBuf) -> Result<Vec<[String; 2]>, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "cannot be read"))?;
    serde_json::from_slice(&bytes).map_err(Error::json(path))
}
