//! The description of the picture that a HEIF file shows (ISO/IEC 23008-12): the box `meta`.

use std::{
    collections::BTreeMap,
    io::{Read, Seek, SeekFrom},
    ops::Range,
};

use super::Transform;
use crate::{
    boxes::{all_children, boxed, child, children, long, word},
    tone_map::Colors,
    units::Place,
};

/// The picture that a file shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(super) picture: Coded,
    /// How opaque each pixel is: a picture in shades of gray.
    pub(super) opacity: Option<Coded>,
    /// Whether colors were multiplied by the opacity.
    pub(super) premultiplied: bool,
    /// What is done to the picture, in order.
    pub(super) transforms: Vec<Transform>,
    /// Width over height of a pixel.
    pub(super) pixel_ratio: (u32, u32),
}

/// Coded pictures of one size, called tiles, which are put together row by row. Most cameras write many tiles. Most
/// programs write one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coded {
    /// The type of the tiles, one of [`CODECS`].
    pub(super) codec: [u8; 4],
    /// The settings of the decoder: a whole box.
    pub(super) settings: Vec<u8>,
    pub(super) columns: u32,
    pub(super) rows: u32,
    /// Width and height of a tile.
    pub(super) tile: (u32, u32),
    /// Width and height of the picture. The last tiles of rows and columns may extend beyond it.
    pub(super) size: (u32, u32),
    /// The colors, if the file states them.
    pub(super) colors: Option<Colors>,
    /// The parts of each tile in the file.
    pub(super) tiles: Vec<Vec<Place>>,
}

/// A reason why the picture of a file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DescriptionError {
    /// The description is missing, cut short or contradicts itself.
    Damaged,
    /// The picture, or a part of it, is of a type that is not known.
    Type([u8; 4]),
    /// A property that a reader must know is not known.
    Property([u8; 4]),
    /// Tiles differ in size or codec, or are cropped or turned themselves.
    Tiles,
}

/// Types of coded pictures: HEVC and AV1.
const CODECS: [[u8; 4]; 2] = [*b"hvc1", *b"av01"];

/// Properties that are read, or need not be. Another one is refused if the file says that a reader must know it.
const KNOWN: [[u8; 4]; 14] = [
    *b"hvcC", *b"av1C", *b"ispe", *b"pixi", *b"colr", *b"pasp", *b"irot", *b"imir", *b"clap", *b"auxC", *b"clli",
    *b"mdcv", *b"cclv", *b"amve",
];

/// Names of the kind of picture that states opacity.
const OPACITY: [&[u8]; 2] = [b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1"];

/// Most bytes of the head of a grid.
const MAX_GRID: u64 = 12;

/// Most parts of all items together, and of all tiles. Most items have one.
const MAX_PARTS: usize = 1 << 17;

/// Most bytes of the decoder's settings: some hundred in honest files.
const MAX_SETTINGS: usize = 1 << 16;

/// Most crops, turns and mirrors of a picture. Writers use one of each at most.
const MAX_TRANSFORMS: usize = 8;

impl Description {
    /// Reads the content of the box `meta`, which begins at a position of a file of `bytes` bytes.
    pub(crate) fn read(
        meta: &[u8],
        position: u64,
        bytes: u64,
        file: &mut (impl Read + Seek),
    ) -> Result<Self, DescriptionError> {
        let boxes = meta.get(4..).ok_or(DescriptionError::Damaged)?;
        let items = Items::read(boxes, position + 4, bytes).ok_or(DescriptionError::Damaged)?;
        let main =
            child(boxes, b"pitm").and_then(|primary| Fields(primary).id(4, 0)).ok_or(DescriptionError::Damaged)?;
        let picture = items.coded(main, file)?;
        let links = |kind| items.links.iter().filter(move |link| link.kind == kind);
        let opacity = links(*b"auxl").find(|link| link.to.contains(&main) && items.is_opacity(link.from));
        let premultiplied = opacity
            .is_some_and(|opacity| links(*b"prem").any(|link| link.from == main && link.to.contains(&opacity.from)));
        let opacity = opacity.map(|link| items.coded(link.from, file)).transpose()?;
        let transforms = items.transforms(main, picture.size)?;
        let ratio = items.property(main, b"pasp").and_then(|content| Some((word(content, 0)?, word(content, 4)?)));
        let pixel_ratio = ratio.filter(|&(over, under)| over > 0 && under > 0).unwrap_or((1, 1));
        // Opacity has the full range unless the file says otherwise.
        let opacity = opacity.map(|coded| {
            let colors = coded.colors.or(Some(Colors { full_range: true, ..Colors::default() }));
            Coded { colors, ..coded }
        });
        Ok(Self { picture, opacity, premultiplied, transforms, pixel_ratio })
    }
}

/// The items of a file: coded pictures, grids of them, and other data.
struct Items<'a> {
    types: BTreeMap<u32, [u8; 4]>,
    places: BTreeMap<u32, Vec<Place>>,
    links: Vec<Link>,
    /// All properties of all items.
    properties: Vec<([u8; 4], &'a [u8])>,
    /// The numbers of the properties of each item, from 1, in order.
    of_items: BTreeMap<u32, Vec<Association>>,
}

struct Link {
    kind: [u8; 4],
    from: u32,
    to: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Association {
    /// Number of the property, from 1. 0 stands for none.
    property: u16,
    /// Whether a reader must know the property.
    essential: bool,
}

impl<'a> Items<'a> {
    fn read(boxes: &'a [u8], position: u64, bytes: u64) -> Option<Self> {
        let properties = child(boxes, b"iprp")?;
        let mut of_items = BTreeMap::new();
        for table in children(properties, b"ipma") {
            associations(Fields(table), &mut of_items)?;
        }
        let stored = child(boxes, b"idat").map(|data| {
            let at = position + (data.as_ptr().addr() - boxes.as_ptr().addr()) as u64;
            at..at + data.len() as u64
        });
        Some(Self {
            types: types(child(boxes, b"iinf")?)?,
            places: places(Fields(child(boxes, b"iloc")?), bytes, stored)?,
            links: child(boxes, b"iref").map_or(Some(Vec::new()), links)?,
            properties: all_children(child(properties, b"ipco")?).collect(),
            of_items,
        })
    }

    /// Returns the properties of an item, in order, and whether a reader must know each.
    fn properties(&self, item: u32) -> impl Iterator<Item = ([u8; 4], &'a [u8], bool)> {
        let associations = self.of_items.get(&item).map(Vec::as_slice).unwrap_or_default();
        associations.iter().filter_map(|&Association { property, essential }| {
            let &(kind, content) = self.properties.get(usize::from(property).checked_sub(1)?)?;
            Some((kind, content, essential))
        })
    }

    fn property(&self, item: u32, wanted: &[u8; 4]) -> Option<&'a [u8]> {
        self.properties(item).find(|(kind, ..)| kind == wanted).map(|(_, content, _)| content)
    }

    fn is_opacity(&self, item: u32) -> bool {
        let name = self.property(item, b"auxC").and_then(|content| content.get(4..)?.split(|&byte| byte == 0).next());
        name.is_some_and(|name| OPACITY.contains(&name))
    }

    /// Returns the size that an item states.
    fn size(&self, item: u32) -> Option<(u32, u32)> {
        let content = self.property(item, b"ispe")?;
        Some((word(content, 4)?, word(content, 8)?)).filter(|&(width, height)| width > 0 && height > 0)
    }

    /// Returns a coded picture or a grid of them.
    fn coded(&self, item: u32, file: &mut (impl Read + Seek)) -> Result<Coded, DescriptionError> {
        let kind = *self.types.get(&item).ok_or(DescriptionError::Damaged)?;
        let (tiles, columns, rows, size) = if kind == *b"grid" {
            let tiles = self.links.iter().find(|link| link.kind == *b"dimg" && link.from == item);
            let tiles = tiles.ok_or(DescriptionError::Damaged)?.to.as_slice();
            let head = self.content(item, file).ok_or(DescriptionError::Damaged)?;
            let (columns, rows, size) = grid(&head).ok_or(DescriptionError::Damaged)?;
            (tiles, columns, rows, size)
        } else {
            (&[item][..], 1, 1, self.size(item).ok_or(DescriptionError::Damaged)?)
        };
        let first = *tiles.first().ok_or(DescriptionError::Damaged)?;
        let codec = *self.types.get(&first).ok_or(DescriptionError::Damaged)?;
        if !CODECS.contains(&codec) {
            return Err(DescriptionError::Type(codec));
        }
        let of_codec = if codec == *b"hvc1" { b"hvcC" } else { b"av1C" };
        let settings = self.property(first, of_codec).filter(|content| content.len() <= MAX_SETTINGS);
        let settings = settings.ok_or(DescriptionError::Damaged)?;
        let tile = self.size(first).ok_or(DescriptionError::Damaged)?;
        let as_the_first = |item: u32| {
            self.types.get(&item) == Some(&codec)
                && self.size(item) == Some(tile)
                && self.property(item, of_codec) == Some(settings)
        };
        let fits = |count: u32, side: u32, whole: u32| {
            let (count, side, whole) = (u64::from(count), u64::from(side), u64::from(whole));
            (count - 1) * side < whole && whole <= count * side
        };
        let is_whole = tiles.len() as u64 == u64::from(columns) * u64::from(rows)
            && fits(columns, tile.0, size.0)
            && fits(rows, tile.1, size.1)
            && self.size(item).is_none_or(|stated| stated == size);
        if !is_whole {
            return Err(DescriptionError::Damaged);
        }
        let (mut places, mut count) = (Vec::new(), 0);
        for &part in tiles {
            if !as_the_first(part) || (part != item && !self.transforms(part, tile)?.is_empty()) {
                return Err(DescriptionError::Tiles);
            }
            let parts = self.places.get(&part).ok_or(DescriptionError::Damaged)?;
            count += parts.len();
            if count > MAX_PARTS {
                return Err(DescriptionError::Damaged);
            }
            places.push(parts.clone());
        }
        let nclx = [item, first].into_iter().find_map(|item| {
            let of_item = self.properties(item).filter(|(kind, ..)| kind == b"colr");
            of_item.filter_map(|(_, content, _)| colors(content)).next()
        });
        let settings = boxed(of_codec, &[settings]);
        Ok(Coded { codec, settings, columns, rows, tile, size, colors: nclx, tiles: places })
    }

    /// Returns what is done to an item of a size when it is shown.
    fn transforms(&self, item: u32, (mut width, mut height): (u32, u32)) -> Result<Vec<Transform>, DescriptionError> {
        let mut transforms = Vec::new();
        for (kind, content, essential) in self.properties(item) {
            match &kind {
                b"irot" => {
                    // The angle counts counterclockwise.
                    let quarters = (4 - u32::from(*content.first().ok_or(DescriptionError::Damaged)? & 3)) % 4;
                    if quarters % 2 == 1 {
                        (width, height) = (height, width);
                    }
                    transforms.extend((quarters > 0).then_some(Transform::Turn(quarters)));
                }
                b"imir" => {
                    let left_right = *content.first().ok_or(DescriptionError::Damaged)? & 1 == 1;
                    transforms.push(if left_right { Transform::MirrorLeftRight } else { Transform::MirrorTopBottom });
                }
                b"clap" => {
                    let (x, y) = crop(content, (width, height)).ok_or(DescriptionError::Damaged)?;
                    (width, height) = (x.end - x.start, y.end - y.start);
                    transforms.push(Transform::Crop { x: x.start, y: y.start, width, height });
                }
                kind if essential && !KNOWN.contains(kind) => return Err(DescriptionError::Property(*kind)),
                _ => {}
            }
            if transforms.len() > MAX_TRANSFORMS {
                return Err(DescriptionError::Damaged);
            }
        }
        Ok(transforms)
    }

    /// Reads the first bytes of an item.
    fn content(&self, item: u32, file: &mut (impl Read + Seek)) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        for place in self.places.get(&item)? {
            let left = MAX_GRID - content.len() as u64;
            file.seek(SeekFrom::Start(place.position)).ok()?;
            file.take(place.size.min(left)).read_to_end(&mut content).ok()?;
        }
        Some(content)
    }
}

/// Interprets a grid: its numbers of columns and rows, and the size of the picture.
fn grid(content: &[u8]) -> Option<(u32, u32, (u32, u32))> {
    let fields = Fields(content);
    let (rows, columns) = (u32::from(*content.get(2)?) + 1, u32::from(*content.get(3)?) + 1);
    let size = match content.get(1)? & 1 {
        0 => (fields.short(4)?, fields.short(6)?),
        _ => (fields.word(4)?, fields.word(8)?),
    };
    (*content.first()? == 0 && size.0 > 0 && size.1 > 0).then_some((columns, rows, size))
}

/// Interprets the colors that a file states by numbers (ISO/IEC 23091-2).
fn colors(content: &[u8]) -> Option<Colors> {
    let fields = Fields(content.strip_prefix(b"nclx")?);
    let named = |names: &[(u32, &str)], at| {
        let number = fields.short(at)?;
        Some(names.iter().find(|(value, _)| *value == number).map(|(_, name)| (*name).to_owned()))
    };
    let common = [(1, "bt709"), (5, "bt470bg"), (6, "smpte170m")];
    Some(Colors {
        primaries: named(&[&common[..], &[(9, "bt2020"), (12, "smpte432")]].concat(), 0)?,
        transfer: named(&[(1, "bt709"), (13, "iec61966-2-1"), (16, "smpte2084"), (18, "arib-std-b67")], 2)?,
        matrix: named(&[&common[..], &[(0, "gbr"), (9, "bt2020nc"), (10, "bt2020c")]].concat(), 4)?,
        full_range: fields.0.get(6)? & 0x80 != 0,
    })
}

/// Returns the columns and rows that a crop of a picture keeps (ISO/IEC 14496-12, 12.1.4).
fn crop(content: &[u8], (width, height): (u32, u32)) -> Option<(Range<u32>, Range<u32>)> {
    let fraction = |at| {
        let (over, under) = (word(content, at)? as i32, word(content, at + 4)? as i32);
        (under > 0).then(|| f64::from(over) / f64::from(under))
    };
    let kept = |length: f64, offset: f64, whole: u32| {
        let start = (f64::from(whole) - length) / 2.0 + offset;
        let (start, end) = (start.round(), (start + length).round());
        (start >= 0.0 && end > start && end <= f64::from(whole)).then_some(start as u32..end as u32)
    };
    Some((kept(fraction(0)?, fraction(16)?, width)?, kept(fraction(8)?, fraction(24)?, height)?))
}

/// Returns the types of all items.
fn types(table: &[u8]) -> Option<BTreeMap<u32, [u8; 4]>> {
    let entries = if Fields(table).version()? == 0 { table.get(6..)? } else { table.get(8..)? };
    let entries = all_children(entries).filter(|(kind, _)| kind == b"infe");
    let entry = |(_, entry): (_, &[u8])| {
        let (item, kind) = match Fields(entry).version()? {
            2 => (Fields(entry).short(4)?, 8),
            3 => (Fields(entry).word(4)?, 10),
            _ => return None,
        };
        Some((item, *entry.get(kind..)?.first_chunk()?))
    };
    Some(entries.filter_map(entry).collect())
}

/// Returns where the content of each item is in a file of `bytes` bytes. `stored` is the place of the content that is
/// in the description. Items in other files, or made of other items, are left out.
fn places(table: Fields, bytes: u64, stored: Option<Range<u64>>) -> Option<BTreeMap<u32, Vec<Place>>> {
    let version = table.version()?;
    let sizes = table.short(4)?;
    let [of_offset, of_length, of_base, of_index] = [sizes >> 12, sizes >> 8, sizes >> 4, sizes].map(|size| size & 15);
    let of_index = if version == 0 { 0 } else { of_index };
    let count = table.id(6, 1)?;
    let mut rest = Reader(table.0.get(if version < 2 { 8 } else { 10 }..)?);
    let (mut places, mut total) = (BTreeMap::new(), 0);
    for _ in 0..count {
        let item = rest.number(if version < 2 { 2 } else { 4 })? as u32;
        let method = if version == 0 { 0 } else { rest.number(2)? & 15 };
        let other_file = rest.number(2)? != 0;
        let base = rest.number(of_base)?;
        let source = if method == 0 { Some(0..bytes) } else { stored.clone().filter(|_| method == 1) };
        let mut parts: Option<Vec<Place>> = Some(Vec::new());
        for _ in 0..rest.number(2)? {
            total += 1;
            if total > MAX_PARTS {
                return None;
            }
            rest.number(of_index)?;
            let (offset, length) = (rest.number(of_offset)?, rest.number(of_length)?);
            let part = source.clone().and_then(|source| {
                let start = source.start.checked_add(base)?.checked_add(offset)?;
                // A length of 0 stands for the rest.
                let size = if length == 0 { source.end.checked_sub(start)? } else { length };
                (start.checked_add(size)? <= source.end).then_some(Place { position: start, size })
            });
            match (&mut parts, part) {
                (Some(parts), Some(part)) => parts.push(part),
                _ => parts = None,
            }
        }
        if let Some(parts) = parts.filter(|parts| !parts.is_empty() && !other_file) {
            places.insert(item, parts);
        }
    }
    Some(places)
}

/// Returns the links between items.
fn links(table: &[u8]) -> Option<Vec<Link>> {
    let wide = Fields(table).version()? != 0;
    let size = if wide { 4 } else { 2 };
    let link = |(kind, content)| {
        let mut rest = Reader(content);
        let from = rest.number(size)? as u32;
        let count = rest.number(2)?;
        let to = (0..count).map(|_| rest.number(size).map(|item| item as u32)).collect::<Option<_>>()?;
        Some(Link { kind, from, to })
    };
    all_children(table.get(4..)?).map(link).collect()
}

/// Adds the properties of items in a table. Returns `None` if it is damaged, or has an item a second time.
fn associations(table: Fields, of_items: &mut BTreeMap<u32, Vec<Association>>) -> Option<()> {
    let (version, wide) = (table.version()?, table.0.get(3)? & 1 == 1);
    let mut rest = Reader(table.0.get(8..)?);
    for _ in 0..table.word(4)? {
        let item = rest.number(if version == 0 { 2 } else { 4 })? as u32;
        let mut of_item = Vec::new();
        for _ in 0..rest.number(1)? {
            let number = rest.number(if wide { 2 } else { 1 })? as u16;
            let flag = if wide { 0x8000 } else { 0x80 };
            of_item.push(Association { property: number & !flag, essential: number & flag != 0 });
        }
        if of_items.insert(item, of_item).is_some() {
            return None;
        }
    }
    Some(())
}

/// The content of a box that begins with a version and flags.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
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

    /// Returns a number that has two bytes in boxes up to this version, else four.
    fn id(self, at: usize, short_up_to: u8) -> Option<u32> {
        if self.version()? <= short_up_to { self.short(at) } else { self.word(at) }
    }
}

/// A reader of numbers, one after another.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// Reads a number of this many bytes: 0, which gives 0, 1, 2, 4 or 8.
    fn number(&mut self, size: u32) -> Option<u64> {
        let (bytes, rest) = self.0.split_at_checked(size as usize)?;
        self.0 = rest;
        match size {
            0 => Some(0),
            1 | 2 => Some(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))),
            4 => word(bytes, 0).map(u64::from),
            8 => long(bytes, 0),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Cursor;

    use super::*;

    fn full(kind: &[u8; 4], version: u8, content: &[&[u8]]) -> Vec<u8> {
        boxed(kind, &[&[version, 0, 0, 0], &content.concat()])
    }

    fn size(width: u8, height: u8) -> Vec<u8> {
        full(b"ispe", 0, &[&[0, 0, 0, width, 0, 0, 0, height]])
    }

    /// A description. Item 1, which is shown, has this type, this place in the description, and these properties.
    /// Item 2 is a tile of 32 x 32 pixels.
    fn meta(kind: &[u8; 4], properties: &[Vec<u8>], stored: &[u8], links: &[u8]) -> Vec<u8> {
        let entry = |item: u8, kind: &[u8; 4]| full(b"infe", 2, &[&[0, item, 0, 0], kind, &[0]]);
        let place = |item: u8, method: u8, length: u8| [0, item, 0, method, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, length];
        let settings = boxed(b"hvcC", &[&[7; 30]]);
        let all = [&[size(32, 32), settings], properties].concat();
        let of_main: Vec<u8> = (2..2 + 1 + properties.len() as u8).map(|number| number | 0x80).collect();
        let associations = [&[0, 0, 0, 2, 0, 2, 2, 1, 2, 0, 1, of_main.len() as u8][..], &of_main].concat();
        let properties = boxed(b"iprp", &[&boxed(b"ipco", &[&all.concat()]), &full(b"ipma", 0, &[&associations])]);
        let of_stored = u8::from(!stored.is_empty());
        let places = [place(1, of_stored, stored.len().max(8) as u8), place(2, 0, 8)].concat();
        [
            vec![0; 4],
            full(b"pitm", 0, &[&[0, 1]]),
            full(b"iinf", 0, &[&[0, 2], &entry(1, kind), &entry(2, b"hvc1")]),
            full(b"iloc", 1, &[&[0x44, 0, 0, 2], &places]),
            boxed(b"idat", &[stored]),
            full(b"iref", 0, &[&boxed(b"dimg", &[links])]),
            properties,
        ]
        .concat()
    }

    fn read(meta: &[u8]) -> Result<Description, DescriptionError> {
        let file = [&[0; 20][..], meta, &[0; 100]].concat();
        Description::read(meta, 20, file.len() as u64, &mut Cursor::new(&file))
    }

    fn single(properties: &[Vec<u8>]) -> Result<Description, DescriptionError> {
        read(&meta(b"hvc1", &[&[size(64, 48)], properties].concat(), &[], &[0, 1, 0, 0]))
    }

    #[test]
    fn rotation_mirror_and_crop_apply_in_the_order_of_the_file() {
        let (turn, mirror) = (|angle| boxed(b"irot", &[&[angle]]), |axis| boxed(b"imir", &[&[axis]]));
        let of = |properties: &[Vec<u8>]| single(properties).unwrap();
        assert_eq!((of(&[]).transforms, of(&[]).size()), (vec![], (64, 48)));
        // `irot` counts counterclockwise.
        assert_eq!(of(&[turn(1)]).transforms, [Transform::Turn(3)]);
        assert_eq!((of(&[turn(3)]).size(), of(&[turn(2)]).size()), ((48, 64), (64, 48)));
        assert_eq!(of(&[mirror(0), turn(0)]).transforms, [Transform::MirrorTopBottom]);
        assert_eq!(of(&[turn(1), mirror(1)]).transforms, [Transform::Turn(3), Transform::MirrorLeftRight]);
        let crop = |numbers: [i32; 8]| boxed(b"clap", &[&numbers.map(i32::to_be_bytes).concat()]);
        // 20 columns whose middle is 12 left of the picture's, 10 rows whose middle is 1.5 below.
        let cropped = of(&[crop([20, 1, 10, 1, -12, 1, 3, 2]), turn(1)]);
        let kept = Transform::Crop { x: 10, y: 21, width: 20, height: 10 };
        assert_eq!((&cropped.transforms[..], cropped.size()), (&[kept, Transform::Turn(3)][..], (10, 20)));
        // After the turn, the picture has 48 columns.
        assert_eq!(single(&[turn(1), crop([50, 1, 10, 1, 0, 1, 0, 1])]), Err(DescriptionError::Damaged));
        assert_eq!(single(&[crop([20, 0, 10, 1, 0, 1, 0, 1])]), Err(DescriptionError::Damaged));
        let wide = boxed(b"pasp", &[&[0, 0, 0, 2, 0, 0, 0, 1]]);
        assert_eq!((of(std::slice::from_ref(&wide)).size(), of(&[wide, turn(1)]).size()), ((128, 48), (48, 128)));
    }

    #[test]
    fn colors_are_those_that_the_file_states() {
        let colors = |content: &[u8]| single(&[boxed(b"colr", &[content])]).unwrap().picture.colors;
        let names = |one: &str, other: &str, third: &str| [one, other, third].map(|name| Some(name.to_owned()));
        let [primaries, transfer, matrix] = names("bt2020", "smpte2084", "bt2020nc");
        let stated = Colors { full_range: true, primaries, transfer, matrix };
        assert_eq!(colors(b"nclx\0\x09\0\x10\0\x09\x80"), Some(stated));
        assert_eq!(colors(b"nclx\0\x02\0\x02\0\x02\0"), Some(Colors::default()));
        assert_eq!(colors(b"prof...."), None);
    }

    #[test]
    fn what_is_unknown_or_not_whole_is_not_read() {
        let whole = meta(b"hvc1", &[size(64, 48)], &[], &[0, 1, 0, 0]);
        assert!(read(&whole).is_ok());
        assert_eq!(read(&meta(b"iovl", &[size(64, 48)], &[], &[0, 1, 0, 0])), Err(DescriptionError::Type(*b"iovl")));
        assert_eq!(single(&[boxed(b"lsel", &[&[0, 1]])]), Err(DescriptionError::Property(*b"lsel")));
        assert_eq!(read(&meta(b"hvc1", &[], &[], &[0, 1, 0, 0])), Err(DescriptionError::Damaged));
        assert_eq!(read(&meta(b"hvc1", &[size(0, 48)], &[], &[0, 1, 0, 0])), Err(DescriptionError::Damaged));
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), Err(DescriptionError::Damaged), "{length}");
        }
    }

    #[test]
    fn a_grid_has_as_many_tiles_as_its_size_needs() {
        let grid = |rows: u8, columns: u8, width: u8, height: u8, links: &[u8]| {
            let head = [0, 0, rows - 1, columns - 1, 0, width, 0, height];
            read(&meta(b"grid", &[size(width, height)], &head, &[&[0, 1, 0, links.len() as u8 / 2], links].concat()))
        };
        let picture = grid(1, 2, 60, 32, &[0, 2, 0, 2]).unwrap().picture;
        let place = vec![Place { position: 0, size: 8 }];
        assert_eq!((picture.columns, picture.rows, picture.tile, picture.size), (2, 1, (32, 32), (60, 32)));
        assert_eq!((picture.codec, picture.tiles), (*b"hvc1", vec![place; 2]));
        assert_eq!(grid(2, 1, 32, 33, &[0, 2, 0, 2]).unwrap().picture.size, (32, 33));
        // Too large for two tiles, too small for them, a tile too few, a tile that is not there, and a grid of grids.
        assert_eq!(grid(1, 2, 65, 32, &[0, 2, 0, 2]), Err(DescriptionError::Damaged));
        assert_eq!(grid(1, 2, 32, 32, &[0, 2, 0, 2]), Err(DescriptionError::Damaged));
        assert_eq!(grid(1, 2, 60, 32, &[0, 2]), Err(DescriptionError::Damaged));
        assert_eq!(grid(1, 2, 60, 32, &[0, 2, 0, 3]), Err(DescriptionError::Tiles));
        assert_eq!(grid(1, 1, 60, 32, &[0, 1]), Err(DescriptionError::Type(*b"grid")));
    }

    #[test]
    fn a_small_description_does_not_grow_large() {
        // One item, whose parts have no fields, so that a few bytes state thousands of them.
        let places = |parts: u16| {
            let table = full(b"iloc", 0, &[&[0, 0, 0, 1, 0, 1, 0, 0], &parts.to_be_bytes()]);
            super::places(Fields(&table[8..]), 10, None).unwrap()[&1].len()
        };
        assert_eq!(places(1), 1);
        assert_eq!(places(u16::MAX), usize::from(u16::MAX));
        let items = (0..9u8).flat_map(|item| [0, item, 0, 0, 0xff, 0xff]).collect::<Vec<_>>();
        let table = full(b"iloc", 0, &[&[0, 0, 0, 9], &items]);
        assert!(super::places(Fields(&table[8..]), 10, None).is_none());
        let turns = vec![boxed(b"irot", &[&[1]]); 9];
        assert!(single(&turns[..8]).is_ok());
        assert_eq!(single(&turns), Err(DescriptionError::Damaged));
        // The properties of an item, twice.
        let twice = full(b"ipma", 0, &[&[0, 0, 0, 2, 0, 1, 1, 1, 0, 1, 1, 1]]);
        assert!(associations(Fields(&twice[8..]), &mut BTreeMap::new()).is_none());
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_description_is_read_without_a_panic(
            place in 0usize..600,
            bytes in proptest::collection::vec(0u8.., 1..8),
        ) {
            let turn = boxed(b"irot", &[&[1]]);
            let mut meta = meta(b"grid", &[size(60, 32), turn], &[0, 0, 0, 1, 0, 60, 0, 32], &[0, 1, 0, 2, 0, 2, 0, 2]);
            let place = place % meta.len();
            let count = bytes.len().min(meta.len() - place);
            meta[place..place + count].copy_from_slice(&bytes[..count]);
            let _ = read(&meta);
            let _ = read(&bytes);
        }
    }
}
