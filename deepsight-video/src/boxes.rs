//! The boxes of MP4 and QuickTime files: why such a file cannot be played, and where its packets are described.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

/// Facts about an MP4 file that ffprobe does not print.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Boxes {
    /// The content of the index (`moov`), if there is one.
    pub(crate) index: Option<Vec<u8>>,
    /// Whether the file consists of fragments (`moof`).
    pub(crate) fragments: bool,
    /// Type of the first sample entry of each track, such as `avc1`, or `encv` for encrypted video.
    pub(crate) entries: Vec<[u8; 4]>,
    /// Whether a track has several sample entries, so that its pictures may change their size.
    pub(crate) several_entries: bool,
    /// Whether the index is the only one, and every box of the file could be recognized. Of several indexes, players
    /// use different ones.
    pub(crate) only_index: bool,
}

/// Most boxes that are read at one level. A file has a handful before its first fragment.
const MAX_BOXES: usize = 1024;

/// Most bytes of a box that are read into memory: the index of some hours of video.
const MAX_INDEX: u64 = 64 << 20;

/// Types of box with which a file of boxes can begin.
const FIRST: [&[u8; 4]; 11] =
    [b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx", b"prft", b"emsg"];

impl Boxes {
    /// Reads the boxes at the beginning of a stream, up to its index, its pictures or its first fragment. Returns
    /// `None` if it has none, else also the position after the index.
    pub(crate) fn read_head(stream: &mut impl Read) -> io::Result<Option<(Self, u64)>> {
        let (mut boxes, mut at) = (Self::default(), 0u64);
        for number in 0..MAX_BOXES {
            let Some((kind, header, length)) = header(stream, u64::MAX)? else { break };
            if number == 0 && !FIRST.contains(&&kind) {
                return Ok(None);
            }
            at = at.saturating_add(length);
            match &kind {
                b"moov" => {
                    boxes.describe(read_index(stream, length - header)?);
                    break;
                }
                b"moof" => {
                    boxes.fragments = true;
                    break;
                }
                b"mdat" => break,
                _ => io::copy(&mut stream.take(length - header), &mut io::sink())?,
            };
        }
        Ok((at > 0).then_some((boxes, at)))
    }

    /// Records the content of the index.
    fn describe(&mut self, index: Vec<u8>) {
        let tables: Vec<_> = children(&index, b"trak").map(sample_entries).collect();
        self.entries = tables.iter().map(|(_, first)| *first).collect();
        self.several_entries = tables.iter().any(|&(count, _)| count > 1);
        self.index = Some(index);
    }

    /// Reads the boxes of a file up to its first fragment. Returns `None` if the file has none.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut file = BufReader::with_capacity(64, File::open(path)?);
        let end = file.get_ref().metadata()?.len();
        let mut boxes = Self::default();
        let (mut at, mut indexes) = (0, 0);
        for number in 0..MAX_BOXES {
            let Some((kind, header, length)) = header(&mut file, end - at)? else { break };
            if number == 0 && !FIRST.contains(&&kind) {
                return Ok(None);
            }
            match &kind {
                b"moov" => {
                    indexes += 1;
                    // ffmpeg uses the first one.
                    if indexes == 1 {
                        boxes.describe(read_index(&mut file, length - header)?);
                    }
                }
                b"moof" => {
                    boxes.fragments = true;
                    break;
                }
                _ => {}
            }
            at = at.saturating_add(length);
            if at >= end {
                break;
            }
            file.seek(SeekFrom::Start(at))?;
        }
        boxes.only_index = indexes == 1 && at >= end;
        Ok((at > 0 || boxes.fragments).then_some(boxes))
    }
}

fn read_index(file: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(length.min(MAX_INDEX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the head of a box: its type, the length of the head, and that of the whole box, of which `left` bytes are in
/// the file at most.
pub(crate) fn header(file: &mut impl Read, left: u64) -> io::Result<Option<([u8; 4], u64, u64)>> {
    let mut head = [0; 8];
    if left < 8 {
        return Ok(None);
    }
    file.read_exact(&mut head)?;
    let kind = [head[4], head[5], head[6], head[7]];
    let (header, length) = match u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]])) {
        0 => (8, left),
        1 if left >= 16 => {
            let mut long = [0; 8];
            file.read_exact(&mut long)?;
            (16, u64::from_be_bytes(long))
        }
        length => (8, length),
    };
    Ok((length >= header).then_some((kind, header, length)))
}

/// Returns the types and contents of the boxes within another box.
pub(crate) fn all_children(parent: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = parent;
    std::iter::from_fn(move || {
        let (kind, header, length) = header(&mut &*rest, rest.len() as u64).ok()??;
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
        let (this, after) = rest.split_at(length);
        rest = after;
        Some((kind, this.get(header as usize..)?))
    })
}

/// Returns the contents of the boxes of one type within another box.
pub(crate) fn children<'a>(parent: &'a [u8], kind: &'a [u8; 4]) -> impl Iterator<Item = &'a [u8]> {
    let of_kind = all_children(parent).filter(move |(found, _)| found == kind);
    of_kind.map(|(_, content)| content).take(MAX_BOXES)
}

/// Returns the content of the first box of one type within another box.
pub(crate) fn child<'a>(parent: &'a [u8], kind: &'a [u8; 4]) -> Option<&'a [u8]> {
    children(parent, kind).next()
}

/// Returns the content of the only box of one type within another box, or `None` if there is none, or several, of which
/// players may use different ones.
pub(crate) fn only<'a>(parent: &'a [u8], kind: &'a [u8; 4]) -> Option<&'a [u8]> {
    at_most_one(parent, kind).flatten()
}

/// Returns the content of the only box of one type within another box, if there is one, or `None` if there are several.
pub(crate) fn at_most_one<'a>(parent: &'a [u8], kind: &'a [u8; 4]) -> Option<Option<&'a [u8]>> {
    let mut found = children(parent, kind);
    let first = found.next();
    found.next().is_none().then_some(first)
}

/// Returns the number of sample entries of a track and the type of the first.
fn sample_entries(track: &[u8]) -> (u32, [u8; 4]) {
    let path: [&[u8; 4]; 4] = [b"mdia", b"minf", b"stbl", b"stsd"];
    let table = path.iter().try_fold(track, |parent, kind| child(parent, kind));
    // The table begins with a version and flags, the number of entries, and the size and type of the first entry.
    let word_at = |at| table.and_then(|table| word(table, at)).unwrap_or_default();
    (word_at(4), word_at(12).to_be_bytes())
}

/// Returns a box of a type with this content, which is shorter than 4 GB.
pub(crate) fn boxed(kind: &[u8; 4], content: &[&[u8]]) -> Vec<u8> {
    let length = 8 + content.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend(kind);
    content.iter().for_each(|part| bytes.extend(*part));
    bytes
}

/// Returns the number of 32 bits at a position.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Returns the number of 64 bits at a position.
pub(crate) fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sample_tables::Track;

    fn atom(kind: &str, content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes(), kind.as_bytes(), content].concat()
    }

    fn read(bytes: &[u8]) -> Option<Boxes> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boxes");
        std::fs::write(&path, bytes).unwrap();
        Boxes::read(&path).unwrap()
    }

    fn track(entry: &str) -> Vec<u8> {
        let table = [&[0; 7][..], &[1], &atom(entry, &[0; 20])].concat();
        atom("trak", &atom("mdia", &atom("minf", &atom("stbl", &atom("stsd", &table)))))
    }

    #[test]
    fn index_fragments_and_sample_entries_are_found() {
        let moov = atom("moov", &[track("avc1"), atom("udta", &[1, 2]), track("encv")].concat());
        let whole = [atom("ftyp", b"isom"), atom("mdat", &[7; 100]), moov.clone()].concat();
        let boxes = read(&whole).unwrap();
        assert_eq!(
            (boxes.index.is_some(), boxes.fragments, &boxes.entries[..]),
            (true, false, &[*b"avc1", *b"encv"][..])
        );
        let cut = read(&[atom("ftyp", b"isom"), atom("mdat", &[7; 100])].concat()[..50]).unwrap();
        assert_eq!(cut, Boxes::default());
        let segment = read(&[atom("styp", b"msdh"), atom("moof", &[0; 30])].concat()).unwrap();
        assert_eq!((segment.index.is_some(), segment.fragments), (false, true));
        assert!(!boxes.several_entries);
        assert!(read(&[moov, atom("moof", &[0; 30])].concat()).unwrap().fragments);
    }

    #[test]
    fn other_files_and_impossible_lengths_are_no_boxes_and_no_danger() {
        for bytes in [&b""[..], b"ftyp", b"\x1a\x45\xdf\xa3 matroska", b"\0\0\0\x04ftypisom", b"RIFF....AVI LIST"] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
        let long = [&[0, 0, 0, 1][..], b"moov", &[0xff; 8], &[0xff; 40]].concat();
        assert!(read(&long).unwrap().index.is_some());
        let empty = [&atom("ftyp", b"")[..], &[0, 0, 0, 0], b"moov"].concat();
        assert!(read(&empty).unwrap().entries.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(0u8.., 0..300)) {
            let _ = read(&[&b"\0\0\0\x08ftyp\0\0\x01\0moov"[..], &bytes].concat());
            let _ = children(&bytes, b"trak").count();
            let _ = Track::all(&bytes).map(|tracks| tracks.len());
        }
    }
}
