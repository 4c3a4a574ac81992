//! AVIF and HEIC pictures. Their description is read here, and the tiles that it names are given to ffmpeg as the
//! frames of a video, under its limits except that of the number of pixels.

mod description;
mod movie;

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deepsight_core::image::{DynamicImage, Rgb, RgbImage, Rgba, RgbaImage, imageops::FilterType};

use self::description::{Coded, Description, DescriptionError};
use crate::{
    DecodeOptions, Limit, Note, VideoError, boxes,
    decode::room_for_a_frame,
    ffmpeg::{self, Programs},
    marks::{Line, Mark, Marks},
    orientation::Orientation,
    picture::{PLAUSIBLE, plausible, square},
    process::{Ending, Process},
    still::turned,
    tone_map::{Colors, ToneMap},
    video::unreadable,
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
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Avif => "avif",
            Self::Heic => "heic",
        }
    }

    /// Returns the error for a picture that is not decoded. It says why and how to convert it.
    pub(crate) fn refused(self, path: &Path, reason: &str) -> VideoError {
        let (name, cure) = match self {
            Self::Avif => ("an AVIF", "PNG first, such as with `avifdec picture.avif picture.png`"),
            Self::Heic => ("a HEIC", "JPEG first, such as with `heif-convert picture.heic picture.jpg`"),
        };
        let reason = format!("it is {name} picture that is not decoded; convert it to {cure}; the reason: {reason}");
        VideoError::NotAllowed { path: path.to_path_buf(), reason }
    }
}

/// The picture in a file, which ffmpeg decodes.
#[derive(Debug, Clone)]
pub(crate) struct HeifPicture {
    kind: HeifKind,
    description: Description,
    tone_map: Option<ToneMap>,
    /// Steps that a viewer would apply to the picture and that were left out.
    pub(crate) notes: Vec<Note>,
}

/// A step that makes a decoded picture the one that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transform {
    Crop {
        x: u32,
        y: u32,
        width: u32,
        height: u32,
    },
    /// Clockwise quarter turns.
    Turn(u32),
    MirrorLeftRight,
    MirrorTopBottom,
}

/// Most bytes of the description. One of a thousand tiles has less than 100 KB without color profiles.
const MAX_META: u64 = 4 << 20;

/// Most boxes before the description.
const MAX_BOXES: usize = 64;

impl HeifPicture {
    /// Reads the description of the picture in a file. Decodes nothing.
    pub(crate) fn open(path: &Path, kind: HeifKind, options: &DecodeOptions) -> Result<Self, VideoError> {
        let (file_bytes, description) = read(path).map_err(|source| unreadable(path, source))?;
        let description = match description {
            Ok(description) => description,
            Err(error) => return Err(kind.refused(path, &error.to_string())),
        };
        // The brand `mif1` does not name the codec.
        let kind = if description.picture.codec == *b"av01" { HeifKind::Avif } else { kind };
        let limits = &options.limits;
        for coded in [Some(&description.picture), description.opacity.as_ref()].into_iter().flatten() {
            limits.check_pixels(path, canvas(coded))?;
            Limit::Frames.check(path, coded.tiles.len() as u64, limits.max_frames)?;
            // Tiles may share bytes, so that they have more together than the file.
            let bytes = coded.tiles.iter().flatten().fold(0, |sum: u64, part| sum.saturating_add(part.size));
            if bytes > file_bytes {
                return Err(kind.refused(path, &DescriptionError::Damaged.to_string()));
            }
        }
        limits.check_pixels(path, description.size())?;
        let programs = Programs::locate(options);
        let has_filters = |filters: &[&str]| ffmpeg::has_filters(&programs.ffmpeg, filters);
        let colors = description.picture.colors.clone().unwrap_or_default();
        let (tone_map, mut notes) = match ToneMap::of(&colors, has_filters) {
            Ok(tone_map) => (tone_map, Vec::new()),
            Err(note) => (None, vec![note]),
        };
        let (over, under) = description.pixel_ratio;
        if !PLAUSIBLE.contains(&(f64::from(over) / f64::from(under))) {
            notes.push(Note::PixelShapeIgnored { over, under });
        }
        Ok(Self { kind, description, tone_map, notes })
    }

    /// Returns the name of the container in a report.
    pub(crate) fn container(&self) -> &'static str {
        self.kind.name()
    }

    /// Returns ffmpeg's name for the codec.
    pub(crate) fn codec(&self) -> &'static str {
        if self.description.picture.codec == *b"av01" { "av1" } else { "hevc" }
    }

    /// Returns width and height as shown, with square pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        self.description.size()
    }

    /// Returns the clockwise quarter turns of the picture, after a mirror that exchanges left and right.
    pub(crate) fn quarter_turns(&self) -> u32 {
        self.description.orientation().quarter_turns
    }

    /// Decodes the picture in the file that was opened.
    pub(crate) fn decode(&self, path: &Path, options: &DecodeOptions) -> Result<DynamicImage, VideoError> {
        let Description { picture, opacity, premultiplied, transforms, .. } = &self.description;
        let mut patience = options.limits.max_wait;
        let mut shown = self.decode_tiles(picture, self.tone_map.as_ref(), path, options, &mut patience)?;
        if let Some(opacity) = opacity {
            let gray = self.decode_tiles(opacity, None, path, options, &mut patience)?;
            shown = with_opacity(&shown.into_rgb8(), gray, *premultiplied).into();
        }
        for transform in transforms {
            shown = transform.apply(shown);
        }
        let (width, height) = self.size();
        let is_square = (shown.width(), shown.height()) == (width, height);
        Ok(if is_square { shown } else { shown.resize_exact(width, height, FilterType::CatmullRom) })
    }

    /// Decodes tiles and puts them together. Takes the time that it waits from `patience`.
    fn decode_tiles(
        &self,
        coded: &Coded,
        tone_map: Option<&ToneMap>,
        path: &Path,
        options: &DecodeOptions,
        patience: &mut Duration,
    ) -> Result<DynamicImage, VideoError> {
        let refused = |reason: &str| self.kind.refused(path, reason);
        let movie = movie::movie(coded).ok_or_else(|| refused("it is too large"))?;
        let movie = movie.open(path).map_err(|source| unreadable(path, source))?;
        let program = Programs::locate(options).ffmpeg;
        let mut marks = Marks::new();
        let mut command = ffmpeg::picture(&program, &options.limits, &filters(coded, tone_map, &marks));
        let decoded = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&decoded);
        let on_line = move |line: &[u8]| {
            let line = marks.read(line);
            if let Line::Complete(Mark { index, time, .. }) = line {
                // The times tell which tiles the frames are. Others than expected are not counted.
                let expected = index == counted.load(Ordering::Acquire) && time == Some(index as i64 * 1_000_000);
                counted.fetch_add(u64::from(expected), Ordering::Release);
            }
            line != Line::Message
        };
        let mut process = Process::spawn_on(&mut command, &options.limits, movie, on_line)?;
        process.limit_patience(*patience);
        let _stops = options.cancel.as_ref().map(|cancel| process.stop_on(cancel));
        let size = canvas(coded);
        let (mut pixels, want) = room_for_a_frame(path, size)?;
        let broken = |source| VideoError::Spawn { program: program.clone(), source };
        // One more byte than a picture of the stated size has.
        process.read(&mut pixels, want.saturating_add(1)).map_err(broken)?;
        let Ending { status, stderr } = process.finish().map_err(broken)?;
        *patience = process.patience();
        // An ffmpeg that was killed looks like one that failed.
        options.check_cancel(path)?;
        if process.timed_out() {
            let limit = options.limits.max_wait;
            return Err(VideoError::TimedOut { path: path.to_path_buf(), program: "ffmpeg", limit });
        }
        let is_whole = decoded.load(Ordering::Acquire) == coded.tiles.len() as u64 && pixels.len() == want;
        let image = RgbImage::from_raw(size.0, size.1, pixels).filter(|_| status.success() && is_whole);
        let Some(image) = image else {
            let said = if stderr.is_empty() { String::new() } else { format!("; ffmpeg says: {stderr}") };
            return Err(refused(&format!("this ffmpeg cannot, or the picture is damaged{said}")));
        };
        let image = DynamicImage::from(image);
        Ok(if size == coded.size { image } else { image.crop_imm(0, 0, coded.size.0, coded.size.1) })
    }
}

impl Description {
    /// Returns all turns and mirrors as one.
    fn orientation(&self) -> Orientation {
        let mirrored = |before: Orientation| {
            // A mirror after a rotation equals the mirror before the opposite rotation.
            Orientation { mirrored: !before.mirrored, quarter_turns: (4 - before.quarter_turns % 4) % 4 }
        };
        self.transforms.iter().fold(Orientation::default(), |before, transform| match transform {
            Transform::Crop { .. } => before,
            Transform::Turn(quarters) => before.turned(*quarters),
            Transform::MirrorLeftRight => mirrored(before),
            // Top and bottom are exchanged by a mirror and half a turn.
            Transform::MirrorTopBottom => mirrored(before).turned(2),
        })
    }

    /// Returns width and height as shown, with square pixels.
    fn size(&self) -> (u32, u32) {
        let (mut width, mut height) = self.picture.size;
        for transform in &self.transforms {
            match *transform {
                Transform::Crop { width: kept, height: rows, .. } => (width, height) = (kept, rows),
                Transform::Turn(1 | 3) => (width, height) = (height, width),
                _ => {}
            }
        }
        let (over, under) = self.pixel_ratio;
        let ratio = plausible(f64::from(over) / f64::from(under));
        square((width, height), if self.orientation().swaps_sides() { 1.0 / ratio } else { ratio })
    }
}

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("its description is damaged or cut short"),
            Self::Type(name) => write!(f, "it has parts of the type `{}`", name.escape_ascii()),
            Self::Property(name) => write!(f, "it has the property `{}`", name.escape_ascii()),
            Self::Tiles => f.write_str("its tiles differ in size or codec, or are cropped or turned"),
        }
    }
}

impl Transform {
    fn apply(self, picture: DynamicImage) -> DynamicImage {
        match self {
            Self::Crop { x, y, width, height } => picture.crop_imm(x, y, width, height),
            Self::Turn(quarters) => turned(picture, quarters),
            Self::MirrorLeftRight => picture.fliph(),
            Self::MirrorTopBottom => picture.flipv(),
        }
    }
}

/// Reads the size of a file in bytes, and the description of its picture.
fn read(path: &Path) -> io::Result<(u64, Result<Description, DescriptionError>)> {
    let mut file = BufReader::with_capacity(64, File::open(path)?);
    let bytes = file.get_ref().metadata()?.len();
    let mut at = 0u64;
    for _ in 0..MAX_BOXES {
        let Ok(Some((kind, header, length))) = boxes::header(&mut file, bytes.saturating_sub(at)) else { break };
        if kind == *b"meta" {
            let mut meta = Vec::new();
            (&mut file).take((length - header).min(MAX_META)).read_to_end(&mut meta)?;
            return Ok((bytes, Description::read(&meta, at + header, bytes, &mut file)));
        }
        at = at.saturating_add(length);
        if at >= bytes {
            break;
        }
        file.seek(SeekFrom::Start(at))?;
    }
    Ok((bytes, Err(DescriptionError::Damaged)))
}

/// Returns the size of all tiles together.
fn canvas(coded: &Coded) -> (u32, u32) {
    (coded.columns.saturating_mul(coded.tile.0), coded.rows.saturating_mul(coded.tile.1))
}

/// Returns the filters that put tiles together and convert them to RGB.
fn filters(coded: &Coded, tone_map: Option<&ToneMap>, marks: &Marks) -> String {
    let (width, height) = coded.tile;
    // ffmpeg fails if a tile does not have the size that the file states.
    let as_stated = format!("scale=w='if(eq(iw,{width})*eq(ih,{height}),iw,2147483647)':h=ih:eval=frame");
    let mut filters = vec!["settb=AVTB".into(), marks.filters(0), as_stated];
    if coded.tiles.len() > 1 {
        filters.push(format!("tile={}x{}", coded.columns, coded.rows));
    }
    // The colors that the file states come before those that the decoder finds in the picture.
    if let Some(Colors { full_range, matrix, transfer, primaries }) = &coded.colors {
        let named = |name: &str, value: Option<&str>| value.map(|value| format!(":{name}={value}")).unwrap_or_default();
        // `zscale` converts nothing without them.
        let usual = tone_map.map(|_| "bt2020");
        filters.push(format!(
            "setparams=range={}{}{}{}",
            if *full_range { "pc" } else { "tv" },
            named("colorspace", matrix.as_deref()),
            named("color_trc", transfer.as_deref()),
            named("color_primaries", primaries.as_deref().or(usual)),
        ));
    }
    filters.extend(tone_map.map(ToneMap::filters));
    filters.push("scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format=rgb24".into());
    filters.join(",")
}

/// Adds the opacity, in shades of gray, to the colors of a picture.
fn with_opacity(picture: &RgbImage, gray: DynamicImage, premultiplied: bool) -> RgbaImage {
    let (width, height) = picture.dimensions();
    let same_size = (gray.width(), gray.height()) == (width, height);
    let gray = if same_size { gray } else { gray.resize_exact(width, height, FilterType::Triangle) };
    let gray = gray.into_rgb8();
    RgbaImage::from_fn(width, height, |x, y| {
        let (&Rgb([red, green, blue]), &Rgb([opacity, ..])) = (picture.get_pixel(x, y), gray.get_pixel(x, y));
        let [red, green, blue] = [red, green, blue].map(|value| match (premultiplied, opacity) {
            (true, 1..) => (u32::from(value) * 255 / u32::from(opacity)).min(255) as u8,
            _ => value,
        });
        Rgba([red, green, blue, opacity])
    })
}
