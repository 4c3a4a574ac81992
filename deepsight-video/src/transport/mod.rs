//! MPEG transport streams (ISO/IEC 13818-1), by their packets: whether they are encrypted, and the parts of one that
//! are to be decoded.

mod coded_fields;
mod tables;
mod track;

use std::collections::HashMap;
use std::io;
use std::path::Path;

pub(crate) use coded_fields::CodedFields;
pub(crate) use track::Track;

use crate::units::beginning_of;

/// Bytes of a file that are read.
const LOOKED_AT: u64 = 2 << 20;
/// Lengths of a packet: plain, with a time stamp before it, and with bytes against errors after it.
const LENGTHS: [usize; 3] = [188, 192, 204];
const SYNC: u8 = 0x47;

/// Returns whether a file is a transport stream with a part, such as its video, most of whose packets are scrambled, as
/// pay television does it.
pub(crate) fn is_scrambled(path: &Path) -> io::Result<bool> {
    Ok(are_scrambled(&beginning_of(path, LOOKED_AT)?))
}

fn are_scrambled(bytes: &[u8]) -> bool {
    let packets = LENGTHS.iter().find_map(|&length| {
        let start = (0..length).find(|&start| {
            let mut syncs = bytes.iter().skip(start).step_by(length).take(8);
            syncs.len() == 8 && syncs.all(|&byte| byte == SYNC)
        })?;
        Some(bytes.get(start..)?.chunks(length))
    });
    // Number of scrambled packets minus the number of clear ones. The tables of a stream are never scrambled.
    let mut surplus = HashMap::<_, i64>::new();
    for packet in packets.into_iter().flatten() {
        if let &[SYNC, high, low, flags, ..] = packet {
            *surplus.entry((high & 0x1f, low)).or_default() += if flags >> 6 == 0 { -1 } else { 1 };
        }
    }
    surplus.values().any(|&surplus| surplus > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_scrambled_if_most_of_its_packets_say_so() {
        let stream = |length: usize, before: usize, scrambled: usize| {
            let packet = |n: usize| {
                let mut packet = vec![0xff; length];
                packet[..4].copy_from_slice(&[SYNC, 1, 0, if n < scrambled { 0xd0 } else { 0x10 }]);
                packet
            };
            [vec![0; before], (0..20).flat_map(packet).collect()].concat()
        };
        for (length, before) in [(188, 0), (192, 4), (204, 0), (188, 77)] {
            assert!(are_scrambled(&stream(length, before, 15)), "{length} {before}");
            assert!(!are_scrambled(&stream(length, before, 10)), "{length} {before}");
        }
        assert!(!are_scrambled(&[]) && !are_scrambled(&[SYNC; 7]) && !are_scrambled(&[0; 4000]));
    }
}
