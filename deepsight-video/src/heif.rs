//! AVIF and HEIC pictures, which ffmpeg decodes under the limits of a video. Their rotation is read here, because
//! ffmpeg 5.1 ignores it.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use crate::{
    DecodeOptions, Sampling, Video, VideoError,
    boxes::{self, child, word},
    orientation::Orientation,
};

/// The two kinds of HEIF pictures, by the codec that their brand stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeifKind {
    Avif,
    Heic,
}

impl HeifKind {
    /// Returns the kind of a file whose first box states this brand, and whether it is a sequence of pictures, or
    /// `None` for another file.
    pub(crate) fn of_brand(brand: &[u8]) -> Option<(Self, bool)> {
        match brand.first_chunk::<4>()? {
            b"avif" => Some((Self::Avif, false)),
            b"avis" => Some((Self::Avif, true)),
            b"heic" | b"heix" | b"heim" | b"heis" | b"mif1" => Some((Self::Heic, false)),
            b"hevc" | b"hevx" | b"msf1" => Some((Self::Heic, true)),
            _ => None,
        }
    }

    /// Returns the name of the container in a report.
    fn name(self) -> &'static str {
        match self {
            Self::Avif => "avif",
            Self::Heic => "heic",
        }
    }

    /// Returns the error for a picture that is not decoded, with ffmpeg's words at the end if there are any.
    fn refused(self, path: &Path, said: Option<&str>) -> VideoError {
        let mut reason = match self {
            Self::Avif => {
                "it is an AVIF picture that is not decoded: this ffmpeg cannot, or the picture is damaged or has \
                 tiles, a crop or transparent parts; convert it to PNG first, such as with `avifdec picture.avif \
                 picture.png`"
            }
            Self::Heic => {
                "it is a HEIC picture that is not decoded: this ffmpeg cannot, or the picture is damaged or has tiles, \
                 a crop or transparent parts; convert it to JPEG first, such as with `heif-convert picture.heic \
                 picture.jpg`"
            }
        }
        .to_owned();
        if let Some(said) = said {
            reason += "; ffmpeg says: ";
            reason += said;
        }
        VideoError::NotAllowed { path: path.to_path_buf(), reason }
    }
}

/// Returns whether a container is that of a picture which [`open`] opened.
pub(crate) fn is_container(name: &str) -> bool {
    [HeifKind::Avif, HeifKind::Heic].iter().any(|kind| kind.name() == name)
}

/// Opens a picture or a sequence of pictures, and decodes a picture once, because only that shows whether the ffmpeg at
/// hand can. Returns [`VideoError::NotAllowed`], which says how to convert it, if that fails.
pub(crate) fn open(
    path: &Path,
    (kind, sequence): (HeifKind, bool),
    options: &DecodeOptions,
) -> Result<Video, VideoError> {
    let refused = |error| match error {
        VideoError::NotAllowed { reason, .. }
        | VideoError::NotAVideo { reason, .. }
        | VideoError::Probe { reason, .. } => kind.refused(path, Some(&reason)),
        VideoError::Decode { stderr, .. } => kind.refused(path, Some(&stderr)),
        VideoError::NoIndex { .. }
        | VideoError::NoVideoStream { .. }
        | VideoError::NoInitialization { .. }
        | VideoError::FrameCount { .. }
        | VideoError::Truncated { .. }
        | VideoError::TruncatedFrame { .. }
        | VideoError::MissingTime { .. } => kind.refused(path, None),
        other => other,
    };
    if sequence {
        return Video::open_with(path, options).map_err(refused);
    }
    let picture = HeifPicture::read(path).ok().flatten().ok_or_else(|| kind.refused(path, None))?;
    options.limits.check_pixels(path, picture.size)?;
    let mut video = Video::open_picture(path, options, picture.orientation).map_err(refused)?;
    // A stream of another size is a tile or a thumbnail.
    if (video.header.width, video.header.height) != picture.size || video.info.frame_count != 1 {
        return Err(kind.refused(path, None));
    }
    let frames = video.frames(Sampling::all())?;
    let frames = match &options.cancel {
        Some(cancel) => frames.with_cancel(cancel),
        None => frames,
    };
    let decoded = frames.map(|frame| frame.map(drop)).collect::<Result<Vec<_>, _>>();
    // An ffmpeg that was killed looks like one that failed.
    options.check_cancel(path)?;
    if decoded.map_err(refused)?.len() != 1 {
        return Err(kind.refused(path, None));
    }
    let info = &mut video.info;
    info.container = kind.name().into();
    (info.duration, info.declared_frames, info.declared_duration) = (0.0, None, None);
    (info.average_frame_rate, info.nominal_frame_rate) = (None, None);
    Ok(video)
}

/// The description of the picture that a HEIF file shows (ISO/IEC 23008-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeifPicture {
    /// Width and height as coded.
    size: (u32, u32),
    orientation: Orientation,
}

/// Most bytes of the description. That of a picture without tiles has some hundred, beside color profiles.
const MAX_META: u64 = 4 << 20;

/// Most boxes before the description.
const MAX_BOXES: usize = 64;

/// Types of the items that are coded pictures: AV1 and HEVC.
const CODED: [&[u8]; 2] = [b"av01", b"hvc1"];

impl HeifPicture {
    /// Reads the description of a file. Returns `None` if it is missing or damaged, or if the picture is put together
    /// of others, cropped or transparent.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut file = BufReader::with_capacity(64, File::open(path)?);
        let end = file.get_ref().metadata()?.len();
        let mut at = 0u64;
        for _ in 0..MAX_BOXES {
            let Some((kind, header, length)) = boxes::header(&mut file, end.saturating_sub(at))? else { break };
            if kind == *b"meta" {
                let mut meta = Vec::new();
                file.take((length - header).min(MAX_META)).read_to_end(&mut meta)?;
                return Ok(Self::of_description(&meta));
            }
            at = at.saturating_add(length);
            file.seek(SeekFrom::Start(at))?;
        }
        Ok(None)
    }

    /// Interprets the content of the box `meta`.
    fn of_description(meta: &[u8]) -> Option<Self> {
        let boxes = meta.get(4..)?;
        let primary = Numbers(child(boxes, b"pitm")?);
        let primary = match primary.version()? {
            0 => primary.short(4)?,
            _ => primary.word(4)?,
        };
        if !is_coded(child(boxes, b"iinf")?, primary)? {
            return None;
        }
        let properties = child(boxes, b"iprp")?;
        let all: Vec<_> = boxes::all_children(child(properties, b"ipco")?).collect();
        let is_alpha = |content: &[u8]| content.windows(5).any(|word| word == b"alpha");
        if all.iter().any(|(kind, content)| kind == b"auxC" && is_alpha(content)) {
            return None;
        }
        let (mut size, mut orientation) = (None, Orientation::default());
        for index in associations(child(properties, b"ipma")?, primary)? {
            // The index 0 stands for no property.
            let Some(&(kind, content)) = usize::from(index).checked_sub(1).and_then(|index| all.get(index)) else {
                continue;
            };
            match &kind {
                b"ispe" => size = Some((word(content, 4)?, word(content, 8)?)),
                b"irot" => orientation = rotated(orientation, *content.first()? & 3),
                b"imir" => orientation = mirrored(orientation, *content.first()? & 1),
                b"clap" => return None,
                _ => {}
            }
        }
        let size = size.filter(|&(width, height)| width > 0 && height > 0)?;
        Some(Self { size, orientation })
    }
}

/// Returns whether an item is a coded picture, by the list of items. An item that is put together of others is not.
fn is_coded(items: &[u8], wanted: u32) -> Option<bool> {
    let entries = if Numbers(items).version()? == 0 { items.get(6..)? } else { items.get(8..)? };
    for entry in boxes::children(entries, b"infe") {
        let entry = Numbers(entry);
        let (item, kind) = match entry.version()? {
            2 => (entry.short(4)?, 8),
            3 => (entry.word(4)?, 10),
            _ => return None,
        };
        if item == wanted {
            return Some(CODED.contains(&entry.0.get(kind..kind + 4)?));
        }
    }
    None
}

/// Returns the indices of the properties of an item, in the order in which they apply.
fn associations(table: &[u8], wanted: u32) -> Option<Vec<u16>> {
    let table = Numbers(table);
    let (version, wide) = (table.version()?, table.0.get(3)? & 1 == 1);
    let mut at = 8;
    for _ in 0..table.word(4)? {
        let item = if version == 0 { table.short(at)? } else { table.word(at)? };
        at += if version == 0 { 2 } else { 4 };
        let count = usize::from(*table.0.get(at)?);
        at += 1;
        let length = if wide { 2 * count } else { count };
        let bytes = table.0.get(at..at + length)?;
        if item == wanted {
            // The highest bit says whether a reader must know the property.
            let index = |bytes: &[u8]| match *bytes {
                [high, low] => u16::from_be_bytes([high & 0x7f, low]),
                [low] => u16::from(low & 0x7f),
                _ => 0,
            };
            return Some(bytes.chunks(if wide { 2 } else { 1 }).map(index).collect());
        }
        at += length;
    }
    None
}

/// Turns counterclockwise by quarters.
fn rotated(before: Orientation, quarters: u8) -> Orientation {
    before.turned(4 - u32::from(quarters))
}

/// Mirrors after a rotation: axis 0 exchanges top and bottom, axis 1 left and right.
fn mirrored(before: Orientation, axis: u8) -> Orientation {
    // A mirror after a rotation equals the mirror before the opposite rotation.
    let left_right = Orientation { mirrored: !before.mirrored, quarter_turns: (4 - before.quarter_turns % 4) % 4 };
    // Top and bottom are exchanged by a mirror and half a turn.
    if axis == 0 { left_right.turned(2) } else { left_right }
}

/// The content of a box that begins with a version and flags.
#[derive(Clone, Copy)]
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn version(self) -> Option<u8> {
        self.0.first().copied()
    }

    fn short(self, at: usize) -> Option<u32> {
        let bytes = self.0.get(at..at.checked_add(2)?)?;
        Some(u32::from(u16::from_be_bytes(bytes.try_into().ok()?)))
    }

    fn word(self, at: usize) -> Option<u32> {
        word(self.0, at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn atom(kind: &str, content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes(), kind.as_bytes(), content].concat()
    }

    /// A description whose primary item is number 1 of a type, with properties in this order.
    fn meta(item: &str, properties: &[Vec<u8>]) -> Vec<u8> {
        let entry = atom("infe", &[&[2, 0, 0, 0, 0, 1, 0, 0], item.as_bytes(), &[0]].concat());
        let indices: Vec<u8> = (1..=properties.len() as u8).collect();
        let table = [&[0, 0, 0, 0, 0, 0, 0, 1, 0, 1, indices.len() as u8][..], &indices].concat();
        [
            vec![0; 4],
            atom("pitm", &[0, 0, 0, 0, 0, 1]),
            atom("iinf", &[&[0, 0, 0, 0, 0, 1][..], &entry].concat()),
            atom("iprp", &[atom("ipco", &properties.concat()), atom("ipma", &table)].concat()),
        ]
        .concat()
    }

    fn size() -> Vec<u8> {
        atom("ispe", &[0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 48])
    }

    fn orientation(properties: &[Vec<u8>]) -> (bool, u32) {
        let picture = HeifPicture::of_description(&meta("av01", &[vec![size()], properties.to_vec()].concat()));
        let Orientation { mirrored, quarter_turns } = picture.unwrap().orientation;
        (mirrored, quarter_turns)
    }

    #[test]
    fn rotation_and_mirror_are_those_of_the_orientations_of_exif() {
        let (turn, mirror) = (|angle| atom("irot", &[angle]), |axis| atom("imir", &[axis]));
        // `irot` counts counterclockwise. EXIF orientations 1, 8, 3, 6, then 4 and 2, then 5 and 7.
        assert_eq!(orientation(&[]), (false, 0));
        assert_eq!(orientation(&[turn(1)]), (false, 3));
        assert_eq!(orientation(&[turn(2)]), (false, 2));
        assert_eq!(orientation(&[turn(3)]), (false, 1));
        assert_eq!(orientation(&[mirror(0)]), (true, 2));
        assert_eq!(orientation(&[mirror(1)]), (true, 0));
        assert_eq!(orientation(&[turn(1), mirror(0)]), (true, 3));
        assert_eq!(orientation(&[turn(3), mirror(0)]), (true, 1));
        assert_eq!(orientation(&[mirror(0), turn(1)]), (true, 1));
    }

    #[test]
    fn a_picture_that_ffmpeg_would_show_otherwise_is_not_accepted() {
        let read = |item, properties: &[Vec<u8>]| HeifPicture::of_description(&meta(item, properties));
        assert_eq!(read("hvc1", &[size()]).unwrap().size, (64, 48));
        assert_eq!(read("grid", &[size()]), None);
        assert_eq!(read("iden", &[size()]), None);
        assert_eq!(read("av01", &[]), None);
        assert_eq!(read("av01", &[size(), atom("clap", &[0; 32])]), None);
        let alpha = atom("auxC", b"\0\0\0\0urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0");
        assert_eq!(read("av01", &[size(), alpha]), None);
        assert_eq!(read("av01", &[atom("ispe", &[0; 12])]), None);
        let whole = meta("av01", &[size()]);
        for length in 0..whole.len() {
            assert_eq!(HeifPicture::of_description(&whole[..length]), None, "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_description_is_read_without_a_panic(
            place in 0usize..300,
            bytes in proptest::collection::vec(0u8.., 1..8),
        ) {
            let mut meta = meta("av01", &[size(), atom("irot", &[1])]);
            let place = place % meta.len();
            let count = bytes.len().min(meta.len() - place);
            meta[place..place + count].copy_from_slice(&bytes[..count]);
            let _ = HeifPicture::of_description(&meta);
            let _ = HeifPicture::of_description(&bytes);
        }
    }
}
