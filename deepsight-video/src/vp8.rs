//! The beginnings of VP8 frames (RFC 6386, section 9.1). They tell which frames are shown, and the sizes of key frames.

use std::{fs::File, io, path::Path};

use crate::units::Place;

/// Bytes between the position that ffmpeg gives for a packet and the frame: the head of a block in Matroska (for up to
/// 126 tracks), none, or the head of a frame in IVF.
const HEADS: [u64; 3] = [4, 0, 12];

/// Bytes of a key frame that are read: three of flags, a start code, and the size.
const START: usize = 10;

const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

/// Returns whether each packet is shown, or `None` if some of them are not frames of VP8. Each is given with whether it
/// is a key frame.
pub(crate) fn shown(path: &Path, packets: &[(Place, bool)]) -> Option<Vec<bool>> {
    let mut file = File::open(path).ok()?;
    HEADS.into_iter().find_map(|head| {
        let shown = |&(packet, key)| start_of(&mut file, packet, head).ok()?.filter(|start| start.key == key);
        packets.iter().map(shown).map(|start| Some(start?.shown)).collect()
    })
}

/// Returns the size of a key frame as it is stored, with the factors by which a player enlarges it.
pub(crate) fn size_of(file: &mut File, packet: Place) -> io::Result<Option<[u8; 4]>> {
    for head in HEADS {
        if let Some(size) = start_of(file, packet, head)?.and_then(|start| start.size) {
            return Ok(Some(size));
        }
    }
    Ok(None)
}

struct FrameStart {
    key: bool,
    shown: bool,
    /// For a key frame.
    size: Option<[u8; 4]>,
}

/// Reads the beginning of a frame that is `head` bytes after the position of its packet.
fn start_of(file: &mut File, packet: Place, head: u64) -> io::Result<Option<FrameStart>> {
    let packet = Place { position: packet.position.saturating_add(head), ..packet };
    let bytes = packet.read(file, START as u64)?;
    let &[flags, _, _, ref rest @ ..] = bytes.as_slice() else { return Ok(None) };
    let (key, shown) = (flags & 1 == 0, flags & 0x10 != 0);
    let size = rest.strip_prefix(&START_CODE).and_then(|size| size.first_chunk().copied());
    let version_is_known = flags >> 1 & 7 <= 3;
    let size = size.filter(|_| key);
    Ok((version_is_known && (!key || size.is_some())).then_some(FrameStart { key, shown, size }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEY: [u8; START] = [0x10, 1, 0, 0x9d, 0x01, 0x2a, 64, 0, 48, 0];

    fn read(head: usize, frames: &[&[u8]], keys: &[bool]) -> Option<Vec<bool>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        let (mut bytes, mut packets) = (vec![7; 20], Vec::new());
        for (frame, &key) in frames.iter().zip(keys) {
            packets.push((Place { position: bytes.len() as u64, size: frame.len() as u64 }, key));
            bytes.extend([&vec![0x81; head], *frame].concat());
        }
        std::fs::write(&path, bytes).unwrap();
        shown(&path, &packets)
    }

    #[test]
    fn the_flags_of_each_frame_tell_whether_it_is_shown() {
        let (hidden, inter): (&[u8], &[u8]) = (&[0x01, 2, 0, 9], &[0x31, 2, 0]);
        for head in [4, 0, 12] {
            assert_eq!(
                read(head, &[&KEY, inter, hidden, inter], &[true, false, false, false]).unwrap(),
                [true, true, false, true]
            );
        }
        assert_eq!(read(4, &[&KEY, inter], &[true, true]), None);
        assert_eq!(read(4, &[&KEY, &[]], &[true, false]), None);
        assert_eq!(read(4, &[&[0x10; START]], &[true]), None);
        assert_eq!(read(7, &[&KEY], &[true]), None);
        assert_eq!(shown(Path::new("/no/such/file"), &[]), None);
    }
}
