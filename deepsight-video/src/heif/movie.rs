//! A video whose frames are the tiles of a picture (ISO/IEC 14496-12). Every ffmpeg with the decoder reads it, while
//! many read no HEIC, or a single tile.

use super::description::Coded;
use crate::{boxes::boxed, pieces::Pieces, units::Place};

/// Identity as the matrix of a header: three rows of three numbers.
const UPRIGHT: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// Returns an MP4 with one frame a second: the tiles, in order. Returns `None` if they have 4 GB or more.
pub(super) fn movie(coded: &Coded) -> Option<Pieces> {
    let end = end_of_sequence(coded);
    let size = |parts: &Vec<Place>| {
        let sum = parts.iter().try_fold(end.len() as u64, |sum, part| sum.checked_add(part.size));
        u32::try_from(sum?).ok()
    };
    let sizes: Vec<u32> = coded.tiles.iter().map(size).collect::<Option<_>>()?;
    let bytes = sizes.iter().try_fold(8u32, |sum, &size| sum.checked_add(size))?;

    let kind = boxed(b"ftyp", &[b"isom", &words(&[0]), b"isom"]);
    // The frames follow the index, and their position stands in the index.
    let length = kind.len() + index(coded, &sizes, 0).len();
    let mut head = [kind, index(coded, &sizes, u32::try_from(length).ok()? + 8)].concat();
    head.extend(words(&[bytes]));
    head.extend(b"mdat");
    let mut pieces = Pieces::of(head);
    for tile in &coded.tiles {
        tile.iter().for_each(|&part| pieces.copy(part));
        if !end.is_empty() {
            pieces.add(end.clone());
        }
    }
    Some(pieces)
}

/// Returns the unit after each tile of HEVC that ends a sequence. Tiles may have equal numbers in the order of display,
/// and the decoder would take them for one picture. A tile of AV1 begins a sequence by itself.
fn end_of_sequence(coded: &Coded) -> Vec<u8> {
    if coded.codec != *b"hvc1" {
        return Vec::new();
    }
    // After the head of the box. The lengths of units have 1, 2 or 4 bytes.
    let size_of_length = coded.settings.get(8 + 21).map_or(3, |byte| byte & 3) + 1;
    let zeros = vec![0; usize::from(size_of_length) - 1];
    [&zeros[..], &[2, 36 << 1, 1]].concat()
}

/// Returns the index of a file whose frames, of these sizes, begin at a position.
fn index(coded: &Coded, sizes: &[u32], position: u32) -> Vec<u8> {
    let count = sizes.len() as u32;
    let (width, height) = coded.tile;
    // A version and flags, the number of rows, and the rows.
    let table = |kind: &[u8; 4], fields: &[u32]| boxed(kind, &[&words(&[0]), &words(fields)]);
    let tables = boxed(
        b"stbl",
        &[
            &boxed(b"stsd", &[&words(&[0, 1]), &sample_entry(coded)]),
            &table(b"stts", &[1, count, 1]),
            &table(b"stsc", &[1, 1, count, 1]),
            &table(b"stsz", &[&[0, count], sizes].concat()),
            &table(b"stco", &[1, position]),
        ],
    );
    let in_this_file = boxed(b"dref", &[&words(&[0, 1]), &boxed(b"url ", &[&words(&[1])])]);
    let information = [boxed(b"vmhd", &[&words(&[1, 0, 0])]), boxed(b"dinf", &[&in_this_file]), tables].concat();
    let clock = words(&[0, 0, 0, 1, count, 0x55c4_0000]);
    let handler = [words(&[0, 0]), b"vide".to_vec(), vec![0; 13]].concat();
    let media = [boxed(b"mdhd", &[&clock]), boxed(b"hdlr", &[&handler]), boxed(b"minf", &[&information])].concat();
    let side = |side: u32| side.min(0xffff) << 16;
    let shown = [&[3, 0, 0, 1, 0, count, 0, 0, 0, 0][..], &UPRIGHT, &[side(width), side(height)]].concat();
    let track = [boxed(b"tkhd", &[&words(&shown)]), boxed(b"mdia", &[&media])].concat();
    let movie = [&[0, 0, 0, 1, count, 0x1_0000, 0x100_0000, 0, 0][..], &UPRIGHT, &[0; 6], &[2]].concat();
    boxed(b"moov", &[&boxed(b"mvhd", &[&words(&movie)]), &boxed(b"trak", &[&track])])
}

/// Returns the description of the frames: the codec, the size and the decoder's settings.
fn sample_entry(coded: &Coded) -> Vec<u8> {
    let [width, height] = [coded.tile.0, coded.tile.1].map(|side| (side.min(0xffff) as u16).to_be_bytes());
    // The number of the entry in `dref`, 72 dots an inch, one frame a sample, 24 bits a pixel.
    let (resolution, name) = (words(&[0x48_0000, 0x48_0000, 0]), [0; 32]);
    let fields = [&[0, 0, 0, 0, 0, 0, 0, 1], &[0; 16][..], &width, &height, &resolution, &[0, 1], &name, &[0, 24]];
    boxed(&coded.codec, &[&fields.concat(), &[0xff, 0xff], &coded.settings])
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
