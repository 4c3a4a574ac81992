//! Files that are written whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::Error;

/// Ending of the temporary names of files that are being written. A killed run may leave such a file.
pub(crate) const UNFINISHED: &str = ".part";

/// Writes a file under a temporary name in the same folder, and renames it when its content has reached the disk.
/// Missing parent folders are created.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    hidden.push(UNFINISHED);
    let neighbour = path.with_file_name(hidden);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder, "cannot be made"))?;
    }
    // Some systems report a full disk only at `sync_all`, so the earlier file must not be replaced before that.
    let write = |mut file: File| file.write_all(content).and_then(|()| file.sync_all());
    let written = File::create(&neighbour).and_then(write).and_then(|()| fs::rename(&neighbour, path));
    written.map_err(|source| {
        // Frees the space on a full disk. An error here matters less than the one that is returned.
        let _ = fs::remove_file(&neighbour);
        Error::io(path, "cannot be written")(source)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_replaces_the_earlier_one_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/file.txt");
        write_whole(&path, b"before").unwrap();
        write_whole(&path, b"after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_rename_is_an_error_with_the_file_name_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("by-a-folder")).unwrap();
        let message = write_whole(&path, b"bytes").unwrap_err().to_string();
        assert!(message.contains("taken: cannot be written"), "{message}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
