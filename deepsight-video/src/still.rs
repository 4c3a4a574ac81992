//! Still pictures: files of one frame. Their limits are those of a video, except that of the number of pixels.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use deepsight_core::{
    Frame, Input,
    image::{
        self, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, imageops::FilterType,
        metadata::Orientation,
    },
};

use crate::{
    DecodeLimits, DecodeOptions, Limit, VideoError, facts,
    heif::{HeifKind, HeifPicture},
    units::beginning_of,
    video,
};

/// Largest file of a still picture. Decoders keep the whole file in memory, unlike that of a video.
const MAX_FILE_BYTES: u64 = 512 << 20;
/// Bytes that are read to recognize a file. The chunk that marks an animated PNG comes soon after its start.
const HEAD_BYTES: u64 = 1 << 16;

/// A still picture (JPEG, PNG, WebP, HEIC or AVIF) that has been probed and can be decoded any number of times. HEIC
/// and AVIF are decoded by ffmpeg when they are opened, and kept; the others are decoded without it.
///
/// It is upright after decoding: the orientation in its EXIF data or, for HEIC and AVIF, its description is applied,
/// then the [`turn`](crate::DecodeOptions::turn) of the options. Transparent parts become white.
#[derive(Debug, Clone)]
pub struct Still {
    path: PathBuf,
    options: Box<DecodeOptions>,
    content: Content,
    width: u32,
    height: u32,
    bytes: u64,
}

/// How a picture is stored.
#[derive(Debug, Clone)]
enum Content {
    /// In a format that is decoded in this process, with the orientation in its EXIF data.
    Image(ImageFormat, Orientation),
    /// As tiles, which ffmpeg decoded when the file was opened. The frame is as it will be returned.
    Heif { picture: Arc<HeifPicture>, frame: Arc<RgbImage> },
}

impl Still {
    /// Probes a file that [`recognize`] takes for a still picture. Reads its header; decodes nothing.
    pub(crate) fn open(path: &Path, format: ImageFormat, options: &DecodeOptions) -> Result<Self, VideoError> {
        let (file, bytes) = open(path, options.limits.max_file_bytes.min(MAX_FILE_BYTES), options)?;
        let (size, orientation) = {
            let mut decoder = checked_decoder(path, BufReader::new(file), format, &options.limits)?;
            (decoder.dimensions(), decoder.orientation().unwrap_or(Orientation::NoTransforms))
        };
        let size = if turns(orientation) % 180 == 90 { (size.1, size.0) } else { size };
        Ok(Self::of(path, options, Content::Image(format, orientation), size, bytes))
    }

    /// Decodes an AVIF or HEIC picture, because only that shows whether the ffmpeg at hand can.
    pub(crate) fn open_heif(path: &Path, kind: HeifKind, options: &DecodeOptions) -> Result<Self, VideoError> {
        let (_, bytes) = open(path, options.limits.max_file_bytes, options)?;
        let picture = HeifPicture::open(path, kind, options)?;
        let size = picture.size();
        let decoded = scaled_down(picture.decode(path, options)?, options.max_side);
        let frame = opaque(turned(decoded, options.turn));
        let content = Content::Heif { picture: Arc::new(picture), frame: Arc::new(frame) };
        Ok(Self::of(path, options, content, size, bytes))
    }

    /// Returns a picture of a size before the turn of the options.
    fn of(path: &Path, options: &DecodeOptions, content: Content, size: (u32, u32), bytes: u64) -> Self {
        let (width, height) = if options.turn % 2 == 1 { (size.1, size.0) } else { size };
        Self { path: path.to_path_buf(), options: Box::new(options.clone()), content, width, height, bytes }
    }

    /// Returns the width in pixels as displayed, before any downscale.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the height in pixels as displayed, before any downscale.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns the path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Decodes the picture: the frame with index 0 at the time 0.
    ///
    /// # Errors
    /// Returns an error if the file can no longer be read, is damaged or cut short, or exceeds a limit. HEIC and AVIF
    /// give none, because they were decoded before.
    pub fn frame(&self) -> Result<Frame, VideoError> {
        Ok(Frame::new(0, 0.0, self.decode()?))
    }

    /// Reads the whole file and returns its SHA-256 in hexadecimal.
    ///
    /// # Errors
    /// Returns an error if the file can no longer be read.
    pub fn sha256(&self) -> Result<String, VideoError> {
        video::sha256(&self.path)
    }

    /// Returns the description of this picture for a report: path, size and probed properties, without the hash. It has
    /// no frame rate and no duration.
    pub fn input(&self) -> Input {
        let mut input = Input::new(self.path.to_string_lossy());
        input.bytes = Some(self.bytes);
        let turned = match &self.content {
            Content::Image(format, orientation) => {
                input.container = Some(name(*format).to_lowercase());
                input.codec.clone_from(&input.container);
                turns(*orientation)
            }
            Content::Heif { picture, .. } => {
                input.container = Some(picture.container().into());
                input.codec = Some(picture.codec().into());
                input.picture_notes = picture.notes.iter().map(ToString::to_string).collect();
                picture.quarter_turns() * 90
            }
        };
        (input.width, input.height) = (Some(self.width), Some(self.height));
        input.rotation = Some((turned + self.options.turn % 4 * 90) % 360);
        input.frames = Some(1);
        input.facts = facts::of_picture(&self.path, &self.options);
        input
    }

    fn decode(&self) -> Result<RgbImage, VideoError> {
        let options = &self.options;
        let (format, orientation) = match &self.content {
            Content::Image(format, orientation) => (*format, *orientation),
            Content::Heif { frame, .. } => return Ok(RgbImage::clone(frame)),
        };
        let mut picture = scaled_down(self.decode_image(format)?, options.max_side);
        // A copy that is turned needs the less memory the fewer bytes a pixel has.
        picture = DynamicImage::ImageRgb8(opaque(picture));
        picture.apply_orientation(orientation);
        Ok(turned(picture, options.turn).into_rgb8())
    }

    fn decode_image(&self, format: ImageFormat) -> Result<DynamicImage, VideoError> {
        let Self { path, options, .. } = self;
        let file = File::open(path).map_err(|source| video::unreadable(path, source))?;
        // The file may have grown since it was probed.
        let limit = options.limits.max_file_bytes.min(MAX_FILE_BYTES);
        let mut bytes = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|source| video::unreadable(path, source))?;
        Limit::FileBytes.check(path, bytes.len() as u64, limit)?;
        if format == ImageFormat::Jpeg && !has_end(&bytes) {
            return Err(damaged(path, format, "the picture is cut short"));
        }
        let decoder = checked_decoder(path, Cursor::new(bytes), format, &options.limits)?;
        DynamicImage::from_decoder(decoder).map_err(|error| damaged(path, format, &error.to_string()))
    }
}

/// Returns the decoder of a picture, after its dimensions were checked against the limit.
fn checked_decoder<'a>(
    path: &Path,
    content: impl io::BufRead + io::Seek + 'a,
    format: ImageFormat,
    limits: &DecodeLimits,
) -> Result<impl ImageDecoder + 'a, VideoError> {
    let decoder = decoder(content, format, limits).map_err(|error| damaged(path, format, &error.to_string()))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(damaged(path, format, &format!("the picture has {width} x {height} pixels")));
    }
    limits.check_pixels(path, (width, height))?;
    Ok(decoder)
}

fn damaged(path: &Path, format: ImageFormat, reason: &str) -> VideoError {
    let reason = format!("{} picture: {}", name(format), plain(reason));
    VideoError::NotAVideo { path: path.to_path_buf(), reason }
}

/// Opens the file of a picture of at most `max_bytes`. Returns it with its size in bytes.
pub(crate) fn open(path: &Path, max_bytes: u64, options: &DecodeOptions) -> Result<(File, u64), VideoError> {
    if options.max_side == Some(0) {
        return Err(VideoError::InvalidSize { max_side: 0 });
    }
    let file = File::open(path).map_err(|source| video::unreadable(path, source))?;
    let bytes = file.metadata().map_err(|source| video::unreadable(path, source))?.len();
    Limit::FileBytes.check(path, bytes, max_bytes)?;
    Ok((file, bytes))
}

/// Reduces a picture whose longer side is over `max_side` to that side.
pub(crate) fn scaled_down(picture: DynamicImage, max_side: Option<u32>) -> DynamicImage {
    match max_side.filter(|&side| side < picture.width().max(picture.height())) {
        Some(side) => picture.resize(side, side, FilterType::Triangle),
        None => picture,
    }
}

/// Returns the decoder of a picture, whose memory is limited. Its dimensions have yet to be checked.
pub(crate) fn decoder<'a>(
    content: impl io::BufRead + io::Seek + 'a,
    format: ImageFormat,
    limits: &DecodeLimits,
) -> image::ImageResult<impl ImageDecoder + 'a> {
    let mut reader = ImageReader::with_format(content, format);
    let mut most = Limits::default();
    // A decoded picture has at most 8 bytes a pixel; decoders need about as much beside it.
    most.max_alloc = Some(limits.max_pixels.saturating_mul(16).saturating_add(64 << 20));
    reader.limits(most);
    reader.into_decoder()
}

/// Returns a decoder's message on one line of bounded length.
pub(crate) fn plain(message: &str) -> String {
    let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    line.trim().to_owned()
}

/// Turns a picture clockwise by quarters.
pub(crate) fn turned(picture: DynamicImage, quarters: u32) -> DynamicImage {
    match quarters % 4 {
        1 => picture.rotate90(),
        2 => picture.rotate180(),
        3 => picture.rotate270(),
        _ => picture,
    }
}

/// A kind of picture that is not opened as a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Still(ImageFormat),
    AnimatedWebp,
    /// An AVIF or HEIC picture.
    Heif(HeifKind),
    /// A sequence of AVIF or HEIC pictures, which is a video to ffmpeg.
    HeifSequence(HeifKind),
}

/// Returns the kind of a picture, judged by the file's content; `None` for everything else, such as a video, an
/// animated GIF or PNG, or a path that cannot be read.
///
/// # Errors
/// Returns [`VideoError::NotAllowed`] for a picture in a format that is not supported. The message says how to convert
/// it.
pub(crate) fn recognize(path: &Path) -> Result<Option<Kind>, VideoError> {
    // The size is checked first, because reading from a pipe or a device would block.
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let Some(Ok(head)) = is_file.then(|| beginning_of(path, HEAD_BYTES)) else { return Ok(None) };
    kind_of(&head).map_err(|reason| VideoError::NotAllowed { path: path.to_path_buf(), reason: reason.into() })
}

/// Returns the kind of a picture that begins with these bytes, or `None` if they are not those of a picture.
/// For a picture that is not supported, the error says how to convert it.
pub(crate) fn kind_of(head: &[u8]) -> Result<Option<Kind>, &'static str> {
    const OTHER: &str = "it is a picture in a format other than JPEG, PNG, WebP, AVIF, HEIC and GIF; convert it to PNG \
                         first, such as with `magick picture.tiff picture.png`";
    match head {
        [0xff, 0xd8, 0xff, ..] => Ok(Some(Kind::Still(ImageFormat::Jpeg))),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => {
            Ok(frames_of_png(head).is_none().then_some(Kind::Still(ImageFormat::Png)))
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', rest @ ..] => match rest {
            // The second bit of the flags of an extended file.
            [b'V', b'P', b'8', b'X', _, _, _, _, flags, ..] if flags & 2 != 0 => Ok(Some(Kind::AnimatedWebp)),
            _ => Ok(Some(Kind::Still(ImageFormat::WebP))),
        },
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => {
            Ok(HeifKind::of_brand(brand).map(|(kind, sequence)| match sequence {
                false => Kind::Heif(kind),
                true => Kind::HeifSequence(kind),
            }))
        }
        // TIFF and most raw formats of cameras, JPEG XL, JPEG 2000.
        [b'I', b'I', 0x2a, 0, ..] | [b'M', b'M', 0, 0x2a, ..] | [0xff, 0x0a, ..] => Err(OTHER),
        [0, 0, 0, 0x0c, b'J', b'X', b'L', b' ', ..] | [0, 0, 0, 0x0c, b'j', b'P', b' ', b' ', ..] => Err(OTHER),
        // BMP: the reserved bytes 6 to 9 are zero.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Err(OTHER),
        _ => Ok(None),
    }
}

/// Returns the number of frames that an animated PNG at `path` states.
pub(crate) fn frames_of_animated_png(path: &Path) -> io::Result<Option<u64>> {
    Ok(frames_of_png(&beginning_of(path, HEAD_BYTES)?))
}

/// Returns whether the PNG at `path` ends with its last chunk, whatever number of frames it states.
pub(crate) fn is_whole_png(path: &Path) -> io::Result<bool> {
    let mut end = [0; 12];
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-(end.len() as i64)))?;
    file.read_exact(&mut end)?;
    Ok(&end[4..8] == b"IEND")
}

/// Returns the number of frames that the chunk `acTL` of a PNG states, if it comes before the pixels.
fn frames_of_png(head: &[u8]) -> Option<u64> {
    let mut rest = head.get(8..)?;
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, kind @ ..] = *header;
        match &kind {
            b"acTL" => return after.first_chunk().map(|frames| u64::from(u32::from_be_bytes(*frames))),
            b"IDAT" => return None,
            _ => {}
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        // Each chunk ends with a checksum of four bytes.
        rest = after.get(length.saturating_add(4)..).unwrap_or_default();
    }
    None
}

/// Returns whether the end marker follows the first scan of a JPEG. The decoder fills what is missing from a shorter
/// file with gray, without an error.
fn has_end(jpeg: &[u8]) -> bool {
    let mut rest = jpeg.get(2..).unwrap_or_default();
    // The segments before the scan may contain a whole thumbnail with its own end marker, so they are skipped.
    while let [0xff, marker, high, low, ..] = *rest {
        if marker == 0xff {
            rest = &rest[1..];
            continue;
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        rest = rest.get(2 + length..).unwrap_or_default();
        if marker == 0xda {
            return rest.windows(2).any(|pair| pair == [0xff, 0xd9]);
        }
    }
    false
}

/// Lays a picture with transparent parts over white, as viewers show it.
pub(crate) fn opaque(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0.map(u32::from);
        image::Rgb([red, green, blue].map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        _ => "WebP",
    }
}

/// Returns the clockwise rotation in degrees of an orientation, without its mirroring.
fn turns(orientation: Orientation) -> u32 {
    match orientation {
        Orientation::Rotate90 | Orientation::Rotate90FlipH => 90,
        Orientation::Rotate180 | Orientation::FlipVertical => 180,
        Orientation::Rotate270 | Orientation::Rotate270FlipH => 270,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_recognized_by_its_first_bytes() {
        let png = |kind: &[u8; 4]| [b"\x89PNG\r\n\x1a\n\0\0\0\x02".as_slice(), kind, b"xxCRC!\0\0\0\0IDAT"].concat();
        assert_eq!(kind_of(b"\xff\xd8\xff\xe0"), Ok(Some(Kind::Still(ImageFormat::Jpeg))));
        assert_eq!(kind_of(&png(b"tEXt")), Ok(Some(Kind::Still(ImageFormat::Png))));
        assert_eq!(kind_of(&png(b"acTL")), Ok(None));
        assert_eq!(kind_of(b"RIFF....WEBPVP8 "), Ok(Some(Kind::Still(ImageFormat::WebP))));
        assert_eq!(kind_of(b"RIFF....WEBPVP8X\x0a\0\0\0\x10"), Ok(Some(Kind::Still(ImageFormat::WebP))));
        assert_eq!(kind_of(b"RIFF....WEBPVP8X\x0a\0\0\0\x02"), Ok(Some(Kind::AnimatedWebp)));
        for video in
            [b"RIFF....AVI LIST".as_slice(), b"\0\0\0\x20ftypisom", b"GIF89a", b"\x1a\x45\xdf\xa3", b"", b"\xff"]
        {
            assert_eq!(kind_of(video), Ok(None), "{video:?}");
        }
        assert_eq!(kind_of(b"\0\0\0\x18ftypheic"), Ok(Some(Kind::Heif(HeifKind::Heic))));
        assert_eq!(kind_of(b"\0\0\0\x18ftypmif1"), Ok(Some(Kind::Heif(HeifKind::Heic))));
        assert_eq!(kind_of(b"\0\0\0\x18ftypavif"), Ok(Some(Kind::Heif(HeifKind::Avif))));
        assert_eq!(kind_of(b"\0\0\0\x18ftypavis"), Ok(Some(Kind::HeifSequence(HeifKind::Avif))));
        for (head, cure) in
            [(b"II*\0".to_vec(), "convert it to PNG"), (b"BM\x10\0\0\0\0\0\0\0".to_vec(), "convert it to PNG")]
        {
            assert!(kind_of(&head).unwrap_err().contains(cure), "{head:?}");
        }
    }

    #[test]
    fn a_jpeg_needs_an_end_after_its_own_scan() {
        let scan = b"\xff\xda\x00\x02data";
        let thumbnail = b"\xff\xe1\x00\x04\xff\xd9";
        let jpeg = |parts: &[&[u8]]| [b"\xff\xd8".as_slice(), &parts.concat()].concat();
        assert!(has_end(&jpeg(&[thumbnail, scan, b"\xff\xd9trailer"])));
        assert!(!has_end(&jpeg(&[thumbnail, scan])));
        assert!(!has_end(&jpeg(&[thumbnail])));
        assert!(!has_end(b"\xff\xd8"));
        assert!(!has_end(b""));
    }

    #[test]
    fn transparent_parts_become_white() {
        let pixels = image::RgbaImage::from_raw(3, 1, vec![10, 20, 30, 255, 0, 0, 0, 0, 100, 0, 0, 128]).unwrap();
        assert_eq!(opaque(pixels.into()).into_raw(), [10, 20, 30, 255, 255, 255, 177, 127, 127]);
    }
}
