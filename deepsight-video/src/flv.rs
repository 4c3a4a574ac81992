//! The tags of FLV files (Adobe Flash Video File Format Specification, annex E).

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// Bytes of the head of a file, with the length of no tag after it.
const HEAD: usize = 13;

/// Bytes of a tag before its content.
const TAG: usize = 11;

/// Bytes after a tag, which repeat its length.
const LENGTH: i64 = 4;

/// Bytes at the beginning of a tag of H.264: the codec, the kind of the packet, and a delay.
const PACKET: usize = 5;

/// Longest configuration of a decoder that is compared.
const MAX_CONFIGURATION: usize = 1 << 16;

/// Returns whether a file gives H.264 decoders one configuration for all of its packets, at its beginning. A recording
/// whose encoder was restarted may have others, which are not in the packets.
pub(crate) fn has_one_configuration(path: &Path) -> io::Result<bool> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut head = [0; HEAD];
    if file.read_exact(&mut head).is_err() || !head.starts_with(b"FLV\x01") || head[5..9] != [0, 0, 0, 9] {
        return Ok(false);
    }
    let mut first: Option<Vec<u8>> = None;
    let mut tag = [0; TAG + PACKET];
    // A file that ends within a tag is cut short.
    while file.read_exact(&mut tag).is_ok() {
        let content = u32::from_be_bytes([0, tag[1], tag[2], tag[3]]) as usize;
        let Some(rest) = content.checked_sub(PACKET) else {
            file.seek_relative(content as i64 - PACKET as i64 + LENGTH)?;
            continue;
        };
        let is_video = tag[0] & 0x1f == 9;
        if is_video && tag[TAG] & 0x0f == 7 && tag[TAG + 1] == 0 {
            let mut configuration = vec![0; rest];
            if rest > MAX_CONFIGURATION || file.read_exact(&mut configuration).is_err() {
                return Ok(false);
            }
            if first.get_or_insert_with(|| configuration.clone()) != &configuration {
                return Ok(false);
            }
            file.seek_relative(LENGTH)?;
        } else {
            file.seek_relative(rest as i64 + LENGTH)?;
        }
    }
    Ok(first.is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clips::Clips;

    #[test]
    fn a_second_configuration_is_found() {
        let clips = Clips::new();
        let busy = "-f lavfi -i testsrc2=s=96x64:r=25:d=1 -f lavfi -i sine=d=1 -c:a aac -pix_fmt yuv420p -c:v libx264";
        let one = std::fs::read(clips.make("one.flv", busy)).unwrap();
        let other = std::fs::read(clips.make("other.flv", &format!("{busy} -bf 0 -refs 1"))).unwrap();
        let has_one = |name: &str, bytes: &[u8]| has_one_configuration(&clips.write(name, bytes)).unwrap();
        assert!(has_one("clip.flv", &one));
        assert!(has_one("twice.flv", &[&one[..], &one[HEAD..]].concat()));
        assert!(!has_one("both.flv", &[&one[..], &other[HEAD..]].concat()));
        assert!(has_one("cut.flv", &one[..one.len() * 2 / 3]));
        for bad in [&b""[..], b"FLV", &[7; 900], &one[..HEAD], &[&one[..HEAD], &[9; 40]].concat()] {
            assert!(!has_one("bad.flv", bad), "{bad:?}");
        }
        assert!(has_one_configuration(Path::new("/no/such/file")).is_err());
    }
}
