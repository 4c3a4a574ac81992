//! Content credentials (C2PA): whether a file has some, and with the feature `c2pa` what they state and whether that is
//! confirmed. Nothing is fetched from the network.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use deepsight_core::Fact;

use crate::{DecodeOptions, facts};

#[cfg(feature = "c2pa")]
mod check;
#[cfg(all(test, feature = "c2pa"))]
mod check_tests;
#[cfg(feature = "c2pa")]
mod trust;
#[cfg(feature = "c2pa")]
mod words;

#[cfg(feature = "c2pa")]
pub use trust::TrustList;

/// Name of the fact that says whether credentials are valid.
pub(crate) const NAME: &str = "Content credentials (C2PA)";
#[cfg(not(feature = "c2pa"))]
const SOME: &str = "the file has some; this build does not check them: build with --features c2pa";
#[cfg(not(feature = "c2pa"))]
const NONE: &str = "none found at the beginning and the end of the file";
/// The description box of a C2PA manifest store in JUMBF: its type, `c2pa` as a UUID.
const STORE: &[u8] = b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71";
/// Bytes at the beginning and at the end of a file that are searched. Credentials stand before the pictures or at the
/// end.
const SEARCHED: u64 = 2 << 20;

/// Returns the facts about the content credentials of a file. With the feature `c2pa`, this reads the whole file if it
/// has some.
pub(crate) fn facts(path: &Path, options: &DecodeOptions) -> Vec<Fact> {
    // If the file can no longer be read, decoding it reports that.
    let Ok(found) = has_store(path) else { return Vec::new() };
    #[cfg(feature = "c2pa")]
    {
        check::facts(path, options, found)
    }
    #[cfg(not(feature = "c2pa"))]
    {
        let _ = options;
        vec![facts::fact(NAME, if found { SOME } else { NONE })]
    }
}

/// Returns whether the head of a manifest store stands near the beginning or the end of a file.
fn has_store(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    (&mut file).take(SEARCHED).read_to_end(&mut bytes)?;
    let is_at_start = facts::find(&bytes, STORE).is_some();
    if is_at_start || length <= SEARCHED {
        return Ok(is_at_start);
    }
    bytes.clear();
    file.seek(SeekFrom::Start(length.saturating_sub(SEARCHED)))?;
    file.take(SEARCHED).read_to_end(&mut bytes)?;
    Ok(facts::find(&bytes, STORE).is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_manifest_store_is_found_at_both_ends_of_a_file_and_nothing_like_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let found = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            has_store(&path).unwrap()
        };
        assert!(found(&[&[0u8; 77][..], b"jumb\0\0\0\x1e", STORE, b"\x03c2pa\0"].concat()));
        assert!(found(&[&vec![0; 3 * SEARCHED as usize][..], STORE].concat()));
        // Across the border of the part that is searched first.
        assert!(found(&[&vec![0; SEARCHED as usize - 5][..], STORE, &[0; 100]].concat()));
        for without in [&b"c2pa jumd jumb"[..], &STORE[..STORE.len() - 1], b""] {
            assert!(!found(without));
        }
    }
}
