//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::Error;

/// Ends the names of files that are being written; what is left of a killed run ends so too.
pub(crate) const UNFINISHED: &str = ".part";

/// Writes a file under a neighbour's name and then, when it has reached the disk, gives it its own. Folders on the way are made.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    hidden.push(UNFINISHED);
    let neighbour = path.with_file_name(hidden);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder, "cannot be made"))?;
    }
    // Some systems tell only now that the disk is full; the file that was there before must not be gone then.
    let write = |mut file: File| file.write_all(content).and_then(|()| file.sync_all());
    let written = File::create(&neighbour).and_then(write).and_then(|()| fs::rename(&neighbour, path));
    written.map_err(|source| {
        // A full disk has better use for the space; that it cannot be had back is the smaller trouble.
        let _ = fs::remove_file(&neighbour);
        Error::io(path, "cannot be written")(source)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_replaces_its_predecessor_and_leaves_no_neighbour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/file.txt");
        write_whole(&path, b"before").unwrap();
        write_whole(&path, b"after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_put_in_place_is_named_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("by-a-folder")).unwrap();
        let message = write_whole(&path, b"bytes").unwrap_err().to_string();
        assert!(message.contains("taken: cannot be written"), "{message}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
