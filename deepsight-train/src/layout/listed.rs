use std::collections::BTreeMap;
use std::path::Path;

use super::{Clip, ClipMedia, Picture};
use crate::{Error, Label, Manifest};

/// File name of the list.
pub(super) const FILE: &str = "manifest.csv";

/// Returns the pictures that the list names, as one clip for each of its videos.
pub(super) fn clips(path: &Path, manifest: Manifest) -> Result<Vec<Clip>, Error> {
    let root = manifest.root;
    let mut clips: BTreeMap<(Label, String), Clip> = BTreeMap::new();
    for (index, row) in manifest.rows.into_iter().enumerate() {
        let clip = clips.entry((row.label, row.video.clone())).or_insert_with(|| Clip {
            target_id: row.target_id.clone(),
            source_id: row.source_id.clone(),
            original: row.original.clone(),
            split: row.split,
            method: row.method.clone(),
            ..Clip::new(row.label, row.video.clone(), ClipMedia::Pictures(Vec::new()))
        });
        if clip.split != row.split {
            let value = row.split.map(|split| split.to_string()).unwrap_or_default();
            let rule = "must be the same in all rows of a video";
            let path = path.to_owned();
            return Err(Error::ManifestField { path, row: index + 1, column: "split", value, rule });
        }
        if clip.method != row.method {
            let (path, value) = (path.to_owned(), row.method.unwrap_or_default());
            let rule = "must be the same in all rows of a video";
            return Err(Error::ManifestField { path, row: index + 1, column: "method", value, rule });
        }
        let picture = Picture { path: root.join(&row.file), frame: row.frame, time: row.time, track: row.track };
        if let ClipMedia::Pictures(pictures) = &mut clip.media {
            pictures.push(picture);
        }
    }
    Ok(clips.into_values().collect())
}
