use std::collections::BTreeMap;
use std::path::Path;

use super::{Clip, Kind, Media, Picture, files, name, names};
use crate::{Error, Label};

/// Returns whether `real/` or `fake/` exists.
pub(super) fn are_in(root: &Path) -> bool {
    Label::ALL.into_iter().any(|label| root.join(label.name()).is_dir())
}

/// Returns the clips in `real/` and `fake/`, one of which may be missing.
pub(super) fn clips(root: &Path) -> Result<Vec<Clip>, Error> {
    let mut clips = Vec::new();
    for label in Label::ALL {
        let folder = root.join(label.name());
        if folder.is_dir() {
            clips.extend(of_label(&folder, label)?);
        }
    }
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
            Kind::Video => clips.push(with_persons(Clip::new(label, name, Media::Video(path)))),
            Kind::Picture => {
                let (video, frame) = video_of(&name);
                let picture = Picture { frame, ..Picture::new(path) };
                pictures.entry(video).or_default().push(picture);
            }
        }
    }
    let pictures = pictures.into_iter();
    clips.extend(pictures.map(|(name, pictures)| with_persons(Clip::new(label, name, Media::Pictures(pictures)))));
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
