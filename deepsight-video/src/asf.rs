//! The length that an ASF or WMV file states. ffmpeg does not tell it of a file that is cut short.

use std::{io, path::Path};

use crate::units::beginning_of;

/// Identifies the object with the properties of the file (Advanced Systems Format, section 3.2).
const FILE_PROPERTIES: [u8; 16] =
    [0xa1, 0xdc, 0xab, 0x8c, 0x47, 0xa9, 0xcf, 0x11, 0x8e, 0xe4, 0x00, 0xc0, 0x0c, 0x20, 0x53, 0x65];

/// Bytes of a file in which the object is searched. It is one of the first.
const BEGINNING: u64 = 1 << 16;

/// Returns the seconds that the file at `path` states as its length, if it states them.
pub(crate) fn length(path: &Path) -> io::Result<Option<f64>> {
    Ok(stated(&beginning_of(path, BEGINNING)?))
}

fn stated(bytes: &[u8]) -> Option<f64> {
    let at = bytes.windows(FILE_PROPERTIES.len()).position(|window| window == FILE_PROPERTIES)?;
    let object = bytes.get(at..at.checked_add(92)?)?;
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    // The length in tenths of microseconds includes the milliseconds for which a player waits at first, of which only
    // four bytes are used.
    let (length, waits, is_broadcast) = (number(&object[64..72]), number(&object[80..84]), object[88] & 1 == 1);
    let seconds = length as f64 / 1e7 - waits as f64 / 1e3;
    (!is_broadcast && seconds > 0.0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: u64, waits: u64, flags: u8) -> Vec<u8> {
        let numbers = [104, 0, 0, 3_498_567, 0, 1349, length, 146_000_000, waits];
        let numbers = numbers.iter().flat_map(|number: &u64| number.to_le_bytes()).collect::<Vec<_>>();
        [&[7; 70][..], &FILE_PROPERTIES, &numbers, &[flags, 0, 0, 0, 9]].concat()
    }

    #[test]
    fn the_length_is_without_the_time_for_which_a_player_waits() {
        assert_eq!(stated(&file(177_000_000, 3100, 2)), Some(14.6));
    }

    #[test]
    fn broadcasts_and_damaged_files_state_no_length() {
        let whole = file(177_000_000, 3100, 2);
        for bytes in [file(177_000_000, 3100, 3), file(0, 3100, 2), file(9, 3100, 2), whole[..160].to_vec()] {
            assert_eq!(stated(&bytes), None, "{bytes:?}");
        }
    }
}
