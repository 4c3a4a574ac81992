use std::collections::HashSet;
use std::path::Path;

use super::{Clip, ClipMedia, names, videos};
use crate::{Error, Label, Split};

pub(super) const FOLDERS: [(&str, Label); 3] =
    [("Celeb-real", Label::Real), ("YouTube-real", Label::Real), ("Celeb-synthesis", Label::Fake)];
const TESTING: &str = "List_of_testing_videos.txt";

/// Returns the videos, named by folder and file. `idA_idB_NNNN` shows the body of A with the face of B, and was made
/// from `idA_NNNN`. The people in `YouTube-real` are not named; none of them is among the named persons.
pub(super) fn clips(root: &Path) -> Result<Vec<Clip>, Error> {
    let testing = testing(&root.join(TESTING))?;
    let mut clips = Vec::new();
    for (folder, label) in FOLDERS {
        for (path, name) in videos(&root.join(folder))? {
            let (target_id, source_id) = names::persons(&name);
            let original = match (&target_id, &source_id, name.rsplit_once('_')) {
                (Some(target), Some(_), Some((_, number))) => Some(format!("Celeb-real/{target}_{number}")),
                _ => None,
            };
            let name = format!("{folder}/{name}");
            let split = testing.contains(&name).then_some(Split::Test);
            let known =
                Clip { target_id, source_id, original, split, ..Clip::new(label, name, ClipMedia::Video(path)) };
            clips.push(known);
        }
    }
    Ok(clips)
}

/// Returns the names of the videos in the list; none if there is no list. A line of it is `1 YouTube-real/00170.mp4`.
fn testing(path: &Path) -> Result<HashSet<String>, Error> {
    if !path.is_file() {
        return Ok(HashSet::new());
    }
    let text = std::fs::read_to_string(path).map_err(Error::io(path, "cannot be read"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            // Written on Windows, the list has backslashes.
            let file = line.split_whitespace().next_back().unwrap_or_default().replace('\\', "/");
            let known =
                FOLDERS.iter().any(|(folder, _)| file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')));
            let name = file.rsplit_once('.').map(|(name, _)| name.to_owned()).filter(|_| known);
            let rule = "must be a label and a video, such as `1 YouTube-real/00170.mp4`";
            name.ok_or_else(|| Error::List { path: path.to_owned(), entry: line.to_owned(), rule })
        })
        .collect()
}
