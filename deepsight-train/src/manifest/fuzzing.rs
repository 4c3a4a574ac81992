//! The part of [`crate::fuzzing`] that reads manifests.

use std::path::Path;

use super::table;

/// Reads a manifest's CSV. What was read must be written so that it is read again unchanged. Returns
/// whether it was readable.
///
/// # Panics
/// Panics if it is not.
pub fn manifest(bytes: &[u8]) -> bool {
    let path = Path::new("manifest.csv");
    let Ok(rows) = table::read(bytes, path) else { return false };
    let written = table::write(&rows, path).unwrap_or_else(|error| panic!("{error}"));
    let again = table::read(&written, path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again, rows, "{}", written.escape_ascii());
    true
}
