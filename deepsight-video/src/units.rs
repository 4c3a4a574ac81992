//! The units of H.264 and HEVC in the packets of a file (ITU-T H.264 and H.265, section 7.4): parameter sets, which
//! state the size of the pictures, and the kinds of pictures, which tell where decoding can begin.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use crate::{transport, vp8};

/// Place of a packet in its file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) size: u64,
}

impl Place {
    /// Returns the position after the packet.
    pub(crate) fn end(self) -> Option<u64> {
        self.position.checked_add(self.size)
    }

    /// Reads at most `most` bytes of the packet. They are fewer if the file ends before.
    pub(crate) fn read(self, file: &mut File, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.position))?;
        file.take(self.size.min(most)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads at most `most` bytes at the beginning of a file.
pub(crate) fn beginning_of(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    Place { position: 0, size: most }.read(&mut File::open(path)?, most)
}

/// How the units of H.264 and HEVC lie in the packets of a container.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Packing<'a> {
    /// Each begins with its length, as in MP4, Matroska and FLV.
    Lengths,
    /// As in a chunk of an AVI file: each begins with a start code, or with its length.
    Chunks,
    /// Each begins with a start code, in packets of a transport stream.
    Transport(&'a transport::Track),
}

/// Bytes between the position that ffmpeg gives for a packet and the packet's data: none in MP4, the head of a block in
/// Matroska (for up to 126 tracks, or more), that of a tag in FLV.
const HEADS: [u64; 4] = [0, 4, 5, 16];

/// Most bytes of a parameter set that are compared.
const MAX_SET: u64 = 1024;

/// Most different parameter sets.
const MAX_DIFFERENT: usize = 64;

/// Most units in a packet.
const MAX_UNITS: usize = 256;

/// Bytes at the beginning of a picture in a transport stream in which start codes are searched. The rest is a part of
/// the picture itself.
const BEGINNING: usize = 1 << 16;

/// Bytes at the beginning of a chunk of an AVI file in which start codes are searched.
const CHUNK_BEGINNING: u64 = 1 << 12;

/// Returns the numbers of the packets whose parameter sets differ from those of all earlier packets, including the
/// first packet. Packets without parameter sets, as in most files, are all equal. Returns `None` if the parameter sets
/// cannot be read.
pub(crate) fn first_of_each(path: &Path, codec: &str, packing: Packing<'_>, packets: &[Place]) -> Option<Vec<usize>> {
    let is_set: fn(u8) -> bool = match codec {
        "h264" => |head| head & 0x1f == 7,
        "hevc" => |head| head >> 1 & 0x3f == 33,
        // Layers (ISO/IEC 14496-2, section 6.2.3).
        "mpeg4" => |head| head >> 4 == 2,
        // Its key frames state their size themselves.
        "vp8" => |_| false,
        _ => return None,
    };
    let mut file = File::open(path).ok()?;
    let (mut seen, mut firsts): (Vec<Vec<Vec<u8>>>, _) = (Vec::new(), Vec::new());
    for (n, &packet) in packets.iter().enumerate() {
        let sets = match codec {
            "vp8" => vec![vp8::size_of(&mut file, packet).ok()??.to_vec()],
            _ => sets_of(&mut file, packing, packet, is_set).ok()??,
        };
        if !seen.contains(&sets) {
            if seen.len() == MAX_DIFFERENT {
                return None;
            }
            seen.push(sets);
            firsts.push(n);
        }
    }
    Some(firsts)
}

/// Returns the parameter sets in a packet, or `None` if it has no units.
fn sets_of(
    file: &mut File,
    packing: Packing<'_>,
    packet: Place,
    is_set: fn(u8) -> bool,
) -> io::Result<Option<Vec<Vec<u8>>>> {
    let Some(units) = units_of(file, packing, packet)? else { return Ok(None) };
    let sets = units.iter().filter(|unit| is_set(unit.head)).map(|unit| unit.read(file, MAX_SET));
    sets.collect::<io::Result<_>>().map(Some)
}

/// One unit of H.264 or HEVC in a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    content: UnitContent,
    /// The first byte, which tells the kind of the unit.
    pub(crate) head: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum UnitContent {
    At(Place),
    Read(Vec<u8>),
}

impl Unit {
    /// Returns the bytes of a unit that was read with its packet; none if only its place is known.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.content {
            UnitContent::Read(bytes) => bytes,
            UnitContent::At(_) => &[],
        }
    }

    fn read(&self, file: &mut File, most: u64) -> io::Result<Vec<u8>> {
        let place = match &self.content {
            UnitContent::At(place) => place,
            UnitContent::Read(bytes) => return Ok(bytes.iter().copied().take(most as usize).collect()),
        };
        place.read(file, most)
    }
}

/// Returns the units of a packet: those at its beginning where start codes come before them, otherwise all. Returns
/// `None` if there are none of this packing.
pub(crate) fn units_of(file: &mut File, packing: Packing<'_>, packet: Place) -> io::Result<Option<Vec<Unit>>> {
    let picture = match packing {
        Packing::Lengths => {
            for head in HEADS {
                let units = walk(file, Place { position: packet.position.saturating_add(head), ..packet })?;
                if units.is_some() {
                    return Ok(units);
                }
            }
            None
        }
        Packing::Chunks => match walk(file, packet)? {
            Some(units) => return Ok(Some(units)),
            None => chunk(file, packet)?,
        },
        Packing::Transport(track) => track.picture(file, packet.position, BEGINNING)?,
    };
    Ok(picture.map(|picture| after_start_codes(&picture)))
}

/// Reads the beginning of a chunk of an AVI file. Returns `None` if no start code is there.
fn chunk(file: &mut File, packet: Place) -> io::Result<Option<Vec<u8>>> {
    let bytes = packet.read(file, CHUNK_BEGINNING)?;
    Ok((bytes.starts_with(&[0, 0, 1]) || bytes.starts_with(&[0, 0, 0, 1])).then_some(bytes))
}

/// Returns the units in a byte stream (ITU-T H.264, annex B).
pub(crate) fn after_start_codes(bytes: &[u8]) -> Vec<Unit> {
    let codes = bytes.windows(3).enumerate().filter(|(_, window)| *window == [0, 0, 1]);
    let starts: Vec<_> = codes.map(|(at, _)| at + 3).take(MAX_UNITS).collect();
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([bytes.len()]);
    let unit = |(&start, end): (&usize, usize)| {
        let bytes = bytes.get(start..end)?;
        // Zeros after a unit belong to the next start code.
        let length = bytes.iter().rposition(|&byte| byte != 0)? + 1;
        Some(Unit { head: *bytes.first()?, content: UnitContent::Read(bytes[..length].to_vec()) })
    };
    starts.iter().zip(ends).filter_map(unit).collect()
}

/// Returns the units of a packet whose place is exact, as in MP4, or `None` if it is not a sequence of units that begin
/// with their length in four bytes.
pub(crate) fn walk(file: &mut File, packet: Place) -> io::Result<Option<Vec<Unit>>> {
    let (mut at, mut units) = (0, Vec::new());
    for _ in 0..MAX_UNITS {
        if at == packet.size {
            return Ok(Some(units));
        }
        let mut start = [0; 5];
        let position = packet.position.saturating_add(at);
        file.seek(SeekFrom::Start(position))?;
        if packet.size - at < 5 || file.read_exact(&mut start).is_err() {
            return Ok(None);
        }
        let size = u64::from(u32::from_be_bytes([start[0], start[1], start[2], start[3]]));
        if size == 0 || size > packet.size - at - 4 {
            return Ok(None);
        }
        let content = UnitContent::At(Place { position: position.saturating_add(4), size });
        units.push(Unit { content, head: start[4] });
        at += 4 + size;
    }
    Ok(None)
}

/// Type of the units of an H.264 frame that resets the decoder.
const H264_IDR: u8 = 5;

/// Types of the units of HEVC frames that reset the decoder wherever they are.
const HEVC_IDR: [u8; 2] = [19, 20];

/// Returns whether a decoder forgets all frames before a packet of H.264.
pub(crate) fn resets_h264(units: &[Unit]) -> bool {
    kind_of_h264(units) == Some(H264_IDR)
}

/// Returns whether a decoder forgets all frames before a packet of HEVC. After other random access points it does so
/// only at the beginning of a stream.
pub(crate) fn resets_hevc(units: &[Unit]) -> bool {
    kind_of_hevc(units).is_some_and(|kind| HEVC_IDR.contains(&kind))
}

/// Returns the function that says whether decoding can begin at a packet by what the packet says alone, if it is known
/// for a codec.
pub(crate) fn begins(codec: &str) -> Option<fn(&[Unit]) -> bool> {
    match codec {
        "h264" => Some(begins_h264),
        "hevc" => Some(begins_hevc),
        "mpeg2video" => Some(begins_mpeg2),
        _ => None,
    }
}

fn begins_h264(units: &[Unit]) -> bool {
    let has = |kind| units.iter().any(|unit| unit.head & 0x1f == kind);
    resets_h264(units) && has(7) && has(8)
}

fn begins_hevc(units: &[Unit]) -> bool {
    let has = |kind| units.iter().any(|unit| unit.head >> 1 & 0x3f == kind);
    resets_hevc(units) && has(32) && has(33) && has(34)
}

/// Returns whether a packet of MPEG-2 has a sequence header, with the extension that MPEG-1 lacks, and a picture that
/// refers to no other one (ISO/IEC 13818-2, section 6.3).
fn begins_mpeg2(units: &[Unit]) -> bool {
    let first = |head| units.iter().find(|unit| unit.head == head).map_or(&[][..], Unit::bytes);
    let has_extension = matches!(first(0xb5), [_, kind, ..] if kind >> 4 == 1);
    let is_intra = matches!(first(0), [_, _, kind, ..] if kind >> 3 & 7 == 1);
    units.first().is_some_and(|unit| unit.head == 0xb3) && has_extension && is_intra
}

/// Returns the type of the first unit of H.264 that has a part of a picture.
pub(crate) fn kind_of_h264(units: &[Unit]) -> Option<u8> {
    units.iter().map(|unit| unit.head & 0x1f).find(|kind| (1..=H264_IDR).contains(kind))
}

/// Returns the type of the first unit of HEVC that has a part of a picture.
pub(crate) fn kind_of_hevc(units: &[Unit]) -> Option<u8> {
    units.iter().map(|unit| unit.head >> 1 & 0x3f).find(|&kind| kind < 32)
}

/// Most bytes of a message that are read.
const MAX_MESSAGE: u64 = 4096;

/// Returns whether a packet of H.264 states that all pictures shown after it are exact for a decoder that begins there
/// (a recovery point, ITU-T H.264, section D.2.8), as at the beginning of an open group of pictures.
pub(crate) fn recovers_h264(file: &mut File, units: &[Unit]) -> io::Result<bool> {
    for unit in units.iter().filter(|unit| unit.head & 0x1f == 6) {
        if is_exact_recovery_point(&unit.read(file, MAX_MESSAGE)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether a unit with messages has a recovery point at which every picture is exact from the first one on.
fn is_exact_recovery_point(unit: &[u8]) -> bool {
    // After two zeros, a three is inserted where the bytes would be taken for a start code.
    let inserted = |at: usize| at >= 2 && unit[at - 2..=at] == [0, 0, 3];
    let mut bytes = (1..unit.len()).filter(|&at| !inserted(at)).map(|at| unit[at]);
    // Type and length of a message are sums of bytes that end with the first one below 255.
    let number = |bytes: &mut dyn Iterator<Item = u8>| {
        let mut sum = 0;
        loop {
            let byte = bytes.next()?;
            sum += usize::from(byte);
            if byte < 255 {
                return Some(sum);
            }
        }
    };
    while let (Some(kind), Some(length)) = (number(&mut bytes), number(&mut bytes)) {
        let first = bytes.clone().next();
        if kind == 6 {
            // One bit: no picture needs to be decoded before. One bit: the pictures are exact. One bit: no frame before
            // is missing where streams were joined, which matters to the pictures shown before this one only.
            return first.is_some_and(|first| first & 0xc0 == 0xc0);
        }
        if length > 0 {
            bytes.nth(length - 1);
        }
    }
    false
}

/// Returns whether no other picture of H.264 is predicted from the one in a packet (`nal_ref_idc`, ITU-T H.264, section
/// 7.4.1), and the packet has nothing but slices, messages, delimiters and filling. It may then be left out.
pub(crate) fn is_never_referred_to(units: &[Unit]) -> bool {
    let is_for_itself = |unit: &Unit| unit.head & 0x60 == 0 && [1, 6, 9, 12].contains(&(unit.head & 0x1f));
    kind_of_h264(units).is_some() && units.iter().all(is_for_itself)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn unit(kind: u8, content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 1).to_be_bytes()[..], &[kind], content].concat()
    }

    /// Writes packets, each after a head, and looks at them.
    fn look(codec: &str, head: &[u8], packets: &[Vec<u8>]) -> Option<Vec<usize>> {
        look_in(Packing::Lengths, codec, head, packets)
    }

    fn look_in(packing: Packing<'_>, codec: &str, head: &[u8], packets: &[Vec<u8>]) -> Option<Vec<usize>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packets");
        let (mut bytes, mut places) = (vec![9; 10], Vec::new());
        for packet in packets {
            places.push(Place { position: bytes.len() as u64, size: packet.len() as u64 });
            bytes.extend([head, packet].concat());
        }
        std::fs::write(&path, bytes).unwrap();
        first_of_each(&path, codec, packing, &places)
    }

    #[test]
    fn packets_with_new_parameter_sets_are_found() {
        let plain = [unit(6, b"hello"), unit(5, b"slice"), unit(5, b"slice two")].concat();
        let set = |size: &[u8]| [unit(0x67, size), unit(0x68, b"pps"), unit(0x65, b"slice")].concat();
        let (one, other) = (set(b"640x360"), set(b"360x640"));
        for head in [&b""[..], &[0x81, 0, 0, 0x80], &[0; 16]] {
            let firsts = |packets: &[&Vec<u8>]| {
                look("h264", head, &packets.iter().map(|&packet| packet.clone()).collect::<Vec<_>>()).unwrap()
            };
            assert_eq!(firsts(&[&plain, &plain]), [0]);
            assert_eq!(firsts(&[&one, &one, &one]), [0]);
            assert_eq!(firsts(&[&one, &one, &other, &one, &other, &plain]), [0, 2, 5]);
            let hevc = [unit(0x42, b"sps"), unit(0x26, b"slice")].concat();
            assert_eq!(look("hevc", head, &[hevc.clone(), hevc.clone(), unit(0x26, b"slice")]).unwrap(), [0, 2]);
        }
        assert_eq!(look("vp9", b"", &[plain]), None);
    }

    #[test]
    fn chunks_of_an_avi_file_have_units_after_start_codes_or_lengths() {
        let firsts = |codec: &str, packets: &[&[u8]]| {
            look_in(Packing::Chunks, codec, b"", &packets.iter().map(|packet| packet.to_vec()).collect::<Vec<_>>())
        };
        let (one, other) = (&b"\0\0\0\x01\x67one\0\0\x01\x65slice"[..], &b"\0\0\x01\x67other\0\0\x01\x65slice"[..]);
        assert_eq!(firsts("h264", &[one, one, other, one]).unwrap(), [0, 2]);
        let layer = |size: &[u8]| [b"\0\0\x01\x20", size, b"\0\0\x01\xb6picture"].concat();
        assert_eq!(firsts("mpeg4", &[&layer(b"one"), &layer(b"one"), &layer(b"other")]).unwrap(), [0, 2]);
        // A length of 256 to 511 begins like a start code.
        let long = |set: &[u8]| [unit(0x67, &[&[7; 300], set].concat()), unit(0x65, b"slice")].concat();
        assert_eq!(firsts("h264", &[&long(b"one"), &long(b"two"), &long(b"one")]).unwrap(), [0, 1]);
        assert_eq!(firsts("h264", &[one, b"slice"]), None);
    }

    #[test]
    fn the_units_of_a_byte_stream_are_those_after_start_codes() {
        let bytes = b"\0\0\0\x01\x09\xf0\0\0\0\x01\x67size\0\0\x01\x68p\0\0\x01\x65slice\0\0\x01";
        let units = after_start_codes(bytes);
        assert_eq!(units.iter().map(|unit| unit.head).collect::<Vec<_>>(), [9, 0x67, 0x68, 0x65]);
        assert_eq!(units[1].content, UnitContent::Read(b"\x67size".to_vec()));
        assert_eq!(units[3].content, UnitContent::Read(b"\x65slice".to_vec()));
        assert_eq!(after_start_codes(b"\0\0"), []);
    }

    #[test]
    fn a_recovery_point_is_exact_if_its_message_says_so() {
        // The message after one of 300 bytes, after an empty one, and alone; its first bits are those of the count.
        let before = [&[6, 5, 255, 45][..], &[7; 300]].concat();
        for (unit, exact) in [
            (&b"\x06\x06\x01\xc4\x80"[..], true),
            (&[before.as_slice(), &[6, 1, 0xc4, 0x80]].concat(), true),
            (b"\x06\x01\0\x06\x01\xc4\x80", true),
            (b"\x06\x01\x03\0\0\x03\x01\x06\x01\xc4\x80", true),
            (b"\x06\x06\x01\x84\x80", false),
            (b"\x06\x06\x01\x4c\x80", false),
            (b"\x06\x05\x02\x06\x01\x80", false),
            (b"\x06\x06", false),
            (b"\x06\x05\xff\xff", false),
            (b"", false),
        ] {
            assert_eq!(is_exact_recovery_point(unit), exact, "{unit:?}");
        }
    }

    #[test]
    fn packets_that_are_not_units_with_lengths_tell_nothing() {
        let plain = unit(5, b"slice");
        for bad in [&b"\0\0\0\x01\x67 sizes"[..], b"\0\0\0\0", b"\xff\xff\xff\xff\x67", &[0; 40], &plain[..6]] {
            assert_eq!(look("h264", b"", &[bad.to_vec(), plain.clone()]), None, "{bad:?}");
        }
        assert_eq!(
            first_of_each(Path::new("/no/such/file"), "h264", Packing::Lengths, &[Place { position: 0, size: 9 }]),
            None
        );
        assert_eq!(
            first_of_each(
                Path::new("Cargo.toml"),
                "h264",
                Packing::Lengths,
                &[Place { position: u64::MAX - 3, size: 9 }]
            ),
            None
        );
    }
}
