//! A journal of finished clips, so that the next run continues an interrupted one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use deepsight_core::files::Locked;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::FileFailure;
use crate::layout::{Clip, ClipMedia};
use crate::whole_file::lock;
use crate::{Error, Label, Row};

const FILE: &str = "journal.jsonl";

/// A file with one JSON object per line: first the settings, then each clip when it is finished.
///
/// A line without its end, which a killed run may leave, is removed. The file is locked while it is open.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Locked,
    pub(super) done: BTreeMap<(Label, String), FinishedClip>,
}

/// A finished clip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct FinishedClip {
    pub(super) label: Label,
    pub(super) clip: String,
    /// State of its files when it was finished, from [`state_of`].
    #[serde(default)]
    pub(super) media: String,
    pub(super) rows: Vec<Row>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) failures: Vec<FileFailure>,
}

#[derive(Serialize, Deserialize)]
struct JournalHeader {
    settings: Map<String, Value>,
}

impl Journal {
    /// Opens the folder's journal, or creates it.
    ///
    /// # Errors
    /// If another run has locked it, it was created with other settings, or it cannot be read or written.
    pub(super) fn open(folder: &Path, settings: &Map<String, Value>) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let opened = File::options().read(true).append(true).create(true).open(&path);
        let file = lock(opened.map_err(Error::io(&path, "cannot be opened"))?, &path, folder)?;
        let mut text = Vec::new();
        (&*file).read_to_end(&mut text).map_err(Error::io(&path, "cannot be read"))?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(Error::io(&path, "cannot be written"))?;
            (&*file).seek(SeekFrom::End(0)).map_err(Error::io(&path, "cannot be written"))?;
        }
        let mut lines = text[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let mut journal = Self { path, file, done: BTreeMap::new() };
        match lines.next() {
            None => journal.append(&JournalHeader { settings: settings.clone() })?,
            Some(line) => {
                let header: JournalHeader = serde_json::from_slice(line).map_err(Error::json(&journal.path))?;
                same_settings(folder, &header.settings, settings)?;
            }
        }
        for line in lines {
            let entry: FinishedClip = serde_json::from_slice(line).map_err(Error::json(&journal.path))?;
            journal.done.insert((entry.label, entry.clip.clone()), entry);
        }
        Ok(journal)
    }

    /// Removes the entries of clips whose files have changed or whose crops are missing, and deletes their remaining
    /// crops. Such clips are processed again.
    pub(super) fn forget_stale(&mut self, folder: &Path, clips: &[Clip]) -> Result<(), Error> {
        for clip in clips {
            let key = (clip.label, clip.name.clone());
            let Some(entry) = self.done.get(&key) else { continue };
            let there = |row: &Row| folder.join(&row.file).is_file();
            if entry.media == state_of(&clip.media) && entry.rows.iter().all(there) {
                continue;
            }
            for row in entry.rows.iter().filter(|row| there(row)) {
                let path = folder.join(&row.file);
                std::fs::remove_file(&path).map_err(Error::io(&path, "cannot be removed"))?;
            }
            self.done.remove(&key);
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, entry: FinishedClip) -> Result<(), Error> {
        self.append(&entry)?;
        self.done.insert((entry.label, entry.clip.clone()), entry);
        Ok(())
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec(line).map_err(Error::json(&self.path))?;
        bytes.push(b'\n');
        (&*self.file).write_all(&bytes).map_err(Error::io(&self.path, "cannot be written"))
    }
}

/// Returns a hash of the names, sizes and modification times of files. A file whose metadata cannot be read gets a hash
/// too, so that it counts as changed.
pub(super) fn state_of(media: &ClipMedia) -> String {
    let mut hash = Sha256::new();
    let mut take = |path: &Path| {
        let state = path.metadata().map(|data| (data.len(), data.modified().ok()));
        hash.update(format!("{:?}\n", (path.file_name(), state.ok())));
    };
    match media {
        ClipMedia::Video(path) => take(path),
        ClipMedia::Pictures(pictures) => pictures.iter().for_each(|picture| take(&picture.path)),
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn same_settings(folder: &Path, before: &Map<String, Value>, now: &Map<String, Value>) -> Result<(), Error> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let value =
        |settings: &Map<String, Value>, name: &str| settings.get(name).map_or("absent".into(), Value::to_string);
    let differences: Vec<String> = names
        .into_iter()
        .filter(|&name| before.get(name) != now.get(name))
        .map(|name| format!("{name} was {} and is {}", value(before, name), value(now, name)))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::OtherSettings { path: folder.to_owned(), differences: differences.join(", ") })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn settings(size: u32) -> Map<String, Value> {
        Map::from_iter([("size".to_owned(), size.into()), ("format".to_owned(), "png".into())])
    }

    fn entry(clip: &str) -> FinishedClip {
        let rows = vec![Row::new(format!("real/{clip}.png"), Label::Real, clip)];
        FinishedClip { label: Label::Real, clip: clip.into(), media: String::new(), rows, failures: Vec::new() }
    }

    #[test]
    fn finished_clips_are_kept_for_the_next_run_and_an_incomplete_line_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), &settings(64)).unwrap();
        journal.finish(entry("a")).unwrap();
        journal.finish(entry("b")).unwrap();
        drop(journal);
        let path = folder.path().join(FILE);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();

        let mut journal = Journal::open(folder.path(), &settings(64)).unwrap();
        assert_eq!(journal.done.values().collect::<Vec<_>>(), [&entry("a")]);
        journal.finish(entry("b")).unwrap();
        drop(journal);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn a_clip_that_was_replaced_or_lost_its_crops_is_processed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("real")).unwrap();
        let clips = ["same", "replaced", "gone"].map(|name| {
            std::fs::write(path(name), name).unwrap();
            std::fs::write(path(&format!("real/{name}.png")), "crop").unwrap();
            Clip::new(Label::Real, name, ClipMedia::Video(path(name)))
        });
        let mut journal = Journal::open(folder.path(), &settings(64)).unwrap();
        for clip in &clips {
            journal.finish(FinishedClip { media: state_of(&clip.media), ..entry(&clip.name) }).unwrap();
        }
        journal.forget_stale(folder.path(), &clips).unwrap();
        assert_eq!(journal.done.len(), 3);
        std::fs::write(path("replaced"), "another clip").unwrap();
        std::fs::remove_file(path("real/gone.png")).unwrap();
        journal.forget_stale(folder.path(), &clips).unwrap();
        assert_eq!(journal.done.keys().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["same"]);
        assert!(!path("real/replaced.png").exists() && path("real/same.png").exists());
    }

    #[test]
    fn other_settings_are_refused_and_the_differences_named() {
        let folder = tempfile::tempdir().unwrap();
        drop(Journal::open(folder.path(), &settings(64)).unwrap());
        let message = Journal::open(folder.path(), &settings(96)).unwrap_err().to_string();
        assert!(message.ends_with("size was 64 and is 96"), "{message}");
        Journal::open(folder.path(), &settings(64)).unwrap();
    }

    #[test]
    fn two_runs_do_not_write_into_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Journal::open(folder.path(), &settings(64)).unwrap();
        assert!(matches!(Journal::open(folder.path(), &settings(64)), Err(Error::Busy { .. })));
    }
}
