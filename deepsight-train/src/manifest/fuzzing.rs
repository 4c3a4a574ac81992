//! The part of [`crate::fuzzing`] that reads manifests.

use std::path::Path;

use super::table;

/// Reads a manifest's CSV, and checks that its rows are the same after they are written and read again. Returns whether
/// the CSV was readable.
///
/// # Panics
/// Panics if the rows change.
pub fn manifest(bytes: &[u8]) -> bool {
    let path = Path::new("manifest.csv");
    let Ok(rows) = table::read(bytes, path) else { return false };
    let written = table::write(&rows, path).unwrap_or_else(|error| panic!("{error}"));
    let again = table::read(&written, path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again, rows, "{}", written.escape_ascii());
    true
}
