//! The files below a folder, links to folders included.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use super::FileKind;
use crate::Error;

/// A folder to be read.
struct Folder {
    path: PathBuf,
    /// The folders on the way to it and itself, without links.
    trail: Vec<PathBuf>,
}

/// Returns all videos and pictures below a folder, sorted. Hidden files and folders are left out.
///
/// Links to folders are followed. A folder that several links lead to is read once.
///
/// # Errors
/// [`Error::LinkLoop`] when a link leads to a folder that it lies in, [`Error::Io`] when a folder cannot be read.
pub(super) fn files(folder: &Path) -> Result<Vec<(PathBuf, FileKind)>, Error> {
    let mut found = Vec::new();
    let root = resolved(folder)?;
    let mut read = HashSet::from([root.clone()]);
    let mut folders = vec![Folder { path: folder.to_owned(), trail: vec![root] }];
    // Read after all folders that are no links, so that a folder within the data set keeps its own name.
    let mut links = VecDeque::new();
    while let Some(folder) = folders.pop().or_else(|| links.pop_front()) {
        // A link is checked when it is read, because another link may already have led to its folder.
        if folder.trail.len() > 1 && !read.insert(folder.trail[folder.trail.len() - 1].clone()) {
            continue;
        }
        for FolderEntry { path, is_folder, is_link } in entries(&folder.path)? {
            if !is_folder {
                found.extend(FileKind::of(&path).map(|kind| (path, kind)));
                continue;
            }
            let target = resolved(&path)?;
            if folder.trail.iter().any(|outer| outer.starts_with(&target)) {
                return Err(Error::LinkLoop { path, target });
            }
            let mut trail = folder.trail.clone();
            trail.push(target);
            let inner = Folder { path, trail };
            if is_link { links.push_back(inner) } else { folders.push(inner) }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Returns the folders directly in a folder, links to folders included, sorted.
pub(super) fn folders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(entries(folder)?.into_iter().filter(|entry| entry.is_folder).map(|entry| entry.path).collect())
}

/// Returns the path of the only entry of a folder, if that is a folder.
pub(super) fn only_folder(folder: &Path) -> Result<Option<PathBuf>, Error> {
    let mut entries = entries(folder)?;
    Ok(entries.pop().filter(|entry| entry.is_folder && entries.is_empty()).map(|entry| entry.path))
}

/// A file or folder in a folder.
struct FolderEntry {
    path: PathBuf,
    /// Whether it is a folder, or a link to one.
    is_folder: bool,
    is_link: bool,
}

/// Returns the entries directly in a folder that are not hidden, sorted.
fn entries(folder: &Path) -> Result<Vec<FolderEntry>, Error> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "cannot be read"))? {
        let entry = entry.map_err(Error::io(folder, "cannot be read"))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let (path, kind) = (entry.path(), entry.file_type());
        let kind = kind.map_err(Error::io(&path, "cannot be read"))?;
        // Only links need a call of the system each. A data set may have a million files.
        let is_folder = kind.is_dir() || (kind.is_symlink() && path.is_dir());
        entries.push(FolderEntry { path, is_folder, is_link: kind.is_symlink() });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn resolved(folder: &Path) -> Result<PathBuf, Error> {
    folder.canonicalize().map_err(Error::io(folder, "cannot be read"))
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let files = files(root).unwrap();
        files.iter().map(|(path, _)| path.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_linked_folder_is_read_once_and_a_folder_in_the_data_set_under_its_own_name() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        let root = inside.path();
        fs::write(outside.path().join("o.mp4"), "").unwrap();
        fs::create_dir_all(root.join("x/y")).unwrap();
        fs::write(root.join("x/y/a.mp4"), "").unwrap();
        symlink(root.join("x"), root.join("before")).unwrap();
        symlink(outside.path(), root.join("first")).unwrap();
        symlink(outside.path(), root.join("second")).unwrap();
        symlink(root.join("x/y/a.mp4"), root.join("linked.mp4")).unwrap();
        assert_eq!(names(root), ["first/o.mp4", "linked.mp4", "x/y/a.mp4"]);
    }

    #[test]
    fn a_link_to_a_folder_that_it_lies_in_is_refused_with_both_names() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("real/deep")).unwrap();
        for target in ["real", "real/deep", "."] {
            let link = root.join("real/deep/back");
            symlink(root.join(target), &link).unwrap();
            let message = files(&root.join("real")).unwrap_err().to_string();
            assert!(message.contains("deep/back: a link to ") && message.ends_with("in which it lies"), "{message}");
            fs::remove_file(&link).unwrap();
        }
    }

    #[test]
    fn a_loop_through_a_folder_outside_is_refused() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), inside.path().join("out")).unwrap();
        symlink(inside.path(), outside.path().join("back")).unwrap();
        let message = files(inside.path()).unwrap_err().to_string();
        assert!(message.contains("out/back: a link to "), "{message}");
    }
}
