//! Still pictures: what is read of them, and what is refused.

use std::io::Cursor;

use deepsight_core::image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage, imageops};
use deepsight_video::{DecodeLimits, DecodeOptions, Limit, Media, Sampling, VideoError};
use tempfile::TempDir;

use crate::clips::{Clips, ramp_source};

/// A picture of 48 x 32 pixels: red on the left, blue on the right.
fn picture() -> RgbImage {
    RgbImage::from_fn(48, 32, |x, _| if x < 24 { Rgb([220, 20, 20]) } else { Rgb([20, 20, 220]) })
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(picture()).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A JPEG whose EXIF data states an orientation.
fn turned(orientation: u8) -> Vec<u8> {
    let jpeg = encoded(ImageFormat::Jpeg);
    let tiff =
        [b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[orientation], &[0; 6]].concat();
    let length = u16::try_from(tiff.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &tiff, &jpeg[2..]].concat()
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open_with(&self, content: &[u8], options: &DecodeOptions) -> Result<Media, VideoError> {
        let path = self.0.path().join("picture.mp4");
        std::fs::write(&path, content).unwrap();
        Media::open_with(path, options)
    }

    fn open(&self, content: &[u8]) -> Result<Media, VideoError> {
        self.open_with(content, &DecodeOptions::default())
    }
}

/// Opens and decodes a picture. Its one frame has the index 0 and the time 0.
fn decode(content: &[u8], options: &DecodeOptions) -> Result<RgbImage, VideoError> {
    let folder = Folder::new();
    let media = folder.open_with(content, options)?;
    let mut frames = media.frames(Sampling::evenly(30))?;
    assert_eq!(frames.expected_frames(), 1);
    let frame = frames.next().unwrap()?;
    assert_eq!((frame.index, frame.time), (0, 0.0));
    assert!(frames.next().is_none());
    Ok(frame.image)
}

fn near(pixel: &Rgb<u8>, expected: [u8; 3]) -> bool {
    pixel.0.iter().zip(expected).all(|(&a, b)| a.abs_diff(b) < 12)
}

#[test]
fn a_picture_of_each_format_is_one_frame_whatever_its_name() {
    for (format, name) in [(ImageFormat::Jpeg, "jpeg"), (ImageFormat::Png, "png"), (ImageFormat::WebP, "webp")] {
        let content = encoded(format);
        let folder = Folder::new();
        let media = folder.open(&content).unwrap();
        assert!(media.is_still() && matches!(media, Media::Still(_)), "{name}");
        let input = media.input();
        assert_eq!((input.container.as_deref(), input.width, input.height), (Some(name), Some(48), Some(32)));
        assert_eq!((input.frames, input.duration, input.rotation), (Some(1), None, Some(0)));
        assert_eq!(input.bytes, Some(content.len() as u64));
        assert_eq!(media.sha256().unwrap().len(), 64);
        let image = decode(&content, &DecodeOptions::default()).unwrap();
        assert_eq!(image.dimensions(), (48, 32));
        assert!(near(image.get_pixel(4, 16), [220, 20, 20]) && near(image.get_pixel(44, 16), [20, 20, 220]), "{name}");
    }
}

#[test]
fn the_orientation_of_exif_data_is_applied() {
    // Where the red half is after each of the eight orientations.
    let left = |image: &RgbImage| near(image.get_pixel(3, image.height() / 2), [220, 20, 20]);
    let top = |image: &RgbImage| near(image.get_pixel(image.width() / 2, 3), [220, 20, 20]);
    for orientation in 1..=8 {
        let content = turned(orientation);
        let image = decode(&content, &DecodeOptions::default()).unwrap();
        let input = Folder::new().open(&content).unwrap().input();
        assert_eq!(image.dimensions(), (input.width.unwrap(), input.height.unwrap()));
        match orientation {
            1 | 4 => assert!(image.dimensions() == (48, 32) && left(&image), "{orientation}"),
            2 | 3 => assert!(image.dimensions() == (48, 32) && !left(&image), "{orientation}"),
            5 | 6 => assert!(image.dimensions() == (32, 48) && top(&image), "{orientation}"),
            _ => assert!(image.dimensions() == (32, 48) && !top(&image), "{orientation}"),
        }
    }
}

#[test]
fn limits_hold_before_a_picture_is_decoded() {
    let folder = Folder::new();
    let limited = |limits: DecodeLimits| DecodeOptions::default().with_limits(limits);
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let content = encoded(format);
        let pixels = limited(DecodeLimits::default().with_max_still_pixels(48 * 32 - 1));
        let error = folder.open_with(&content, &pixels).unwrap_err();
        assert!(matches!(error, VideoError::OverLimit { limit: Limit::Pixels, value: 1536, max: 1535, .. }), "{error}");
        let enough = limited(DecodeLimits::default().with_max_still_pixels(48 * 32));
        assert!(decode(&content, &enough).is_ok());
        let of_a_frame = limited(DecodeLimits::default().with_max_pixels(1));
        assert!(decode(&content, &of_a_frame).is_ok(), "a picture may be larger than a frame of a video");
        let bytes = limited(DecodeLimits::default().with_max_file_bytes(content.len() as u64 - 1));
        let error = folder.open_with(&content, &bytes).unwrap_err();
        assert!(matches!(error, VideoError::OverLimit { limit: Limit::FileBytes, .. }), "{error}");
    }
    // A PNG that states 100,000 x 100,000 pixels in a few bytes.
    let mut bomb = encoded(ImageFormat::Png);
    bomb[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    assert!(folder.open(&bomb).is_err());
}

#[test]
fn a_picture_that_is_cut_short_anywhere_is_an_error() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let content = encoded(format);
        // The last bytes of a PNG are checksums and an empty chunk, which hold no part of the picture.
        let end = if format == ImageFormat::Png { content.len() - 24 } else { content.len() };
        for length in (16..end).step_by(7) {
            let error = decode(&content[..length], &DecodeOptions::default());
            assert!(error.is_err(), "{format:?}: {length} of {} bytes", content.len());
        }
    }
}

#[test]
fn a_damaged_picture_never_panics() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let content = encoded(format);
        for position in (12..content.len()).step_by(5) {
            let mut damaged = content.clone();
            damaged[position] ^= 0x55;
            if let Err(error) = decode(&damaged, &DecodeOptions::default()) {
                assert_eq!(error.to_string().lines().count(), 1, "{error}");
            }
        }
    }
}

#[test]
fn a_picture_is_scaled_down_to_the_largest_side() {
    let image = decode(&turned(6), &DecodeOptions::default().with_max_side(24)).unwrap();
    assert_eq!(image.dimensions(), (16, 24));
    assert!(matches!(
        decode(&turned(6), &DecodeOptions::default().with_max_side(0)),
        Err(VideoError::InvalidSize { max_side: 0 })
    ));
}

#[test]
fn further_quarter_turns_follow_the_orientation_of_a_picture() {
    for orientation in [1, 2, 6, 7] {
        let content = turned(orientation);
        let upright = decode(&content, &DecodeOptions::default()).unwrap();
        for turns in 0..6 {
            let options = DecodeOptions::default().with_turn(turns);
            let expected = match turns % 4 {
                0 => upright.clone(),
                1 => imageops::rotate90(&upright),
                2 => imageops::rotate180(&upright),
                _ => imageops::rotate270(&upright),
            };
            assert!(decode(&content, &options).unwrap() == expected, "{orientation} {turns}");
            let folder = Folder::new();
            let (input, plain) =
                (folder.open_with(&content, &options).unwrap().input(), folder.open(&content).unwrap());
            assert_eq!((input.width.unwrap(), input.height.unwrap()), expected.dimensions());
            assert_eq!(input.rotation.unwrap(), (plain.input().rotation.unwrap() + 90 * turns) % 360);
        }
    }
}

#[test]
fn an_animated_png_is_a_video_whatever_its_name() {
    let clips = Clips::new();
    let gray = |frame: u64| 16 + frame as i32 % 50 * 4;
    clips.make("ramp.apng", &format!("{} -pix_fmt rgb24 -plays 0 -f apng", ramp_source(12)));
    std::fs::rename(clips.path("ramp.apng"), clips.path("ramp.png")).unwrap();
    let media = Media::open(clips.path("ramp.png")).unwrap();
    assert_eq!((media.is_still(), media.frame_count()), (false, 12));
    let frames: Vec<_> = media.frames(Sampling::evenly(4)).unwrap().map(|frame| frame.unwrap()).collect();
    let seen: Vec<_> = frames.iter().map(|frame| (frame.index, frame.image.get_pixel(30, 20)[0])).collect();
    for (index, level) in seen {
        // Full range from limited.
        let expected = (gray(index) - 16) * 255 / 219;
        assert!((i32::from(level) - expected).abs() <= 2, "frame {index}: {level}, {expected}");
    }
    // One frame of an animation shows one moment.
    let one = clips.make("one.apng", &format!("{} -pix_fmt rgb24 -f apng", ramp_source(1)));
    assert!(Media::open(one).unwrap().is_still());
}

fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let padding = vec![0; content.len() % 2];
    [kind.as_slice(), &(content.len() as u32).to_le_bytes(), content, &padding].concat()
}

/// An animated WebP on a canvas of 48 x 32 pixels.
fn animated(pieces: &[Vec<u8>]) -> Vec<u8> {
    let canvas = [2, 0, 0, 0, 47, 0, 0, 31, 0, 0];
    let chunks = [chunk(b"VP8X", &canvas), chunk(b"ANIM", &[0; 6]), pieces.concat()].concat();
    chunk(b"RIFF", &[b"WEBP".as_slice(), &chunks].concat())
}

/// A piece of an animation at `(x, y)`, which is shown for `length` milliseconds.
fn piece(color: [u8; 4], (x, y, width, height): (u8, u8, u8, u8), length: u8, flags: u8) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let picture = RgbaImage::from_pixel(width.into(), height.into(), Rgba(color));
    DynamicImage::from(picture).write_to(&mut file, ImageFormat::WebP).unwrap();
    let header = [x / 2, 0, 0, y / 2, 0, 0, width - 1, 0, 0, height - 1, 0, 0, length, 0, 0, flags];
    // Without `RIFF`, size and `WEBP`.
    chunk(b"ANMF", &[&header[..], &file.into_inner()[12..]].concat())
}

const RED: [u8; 4] = [200, 0, 0, 255];
const HALF_BLUE: [u8; 4] = [0, 0, 200, 128];
/// Flags of a piece: its area is emptied afterwards, it replaces what lies below.
const DISPOSE: u8 = 1;
const REPLACE: u8 = 2;

#[test]
fn an_animated_webp_shows_what_a_browser_shows() {
    let folder = Folder::new();
    let media = folder
        .open(&animated(&[
            piece(RED, (0, 0, 48, 32), 40, 0),
            piece(HALF_BLUE, (8, 4, 20, 10), 40, 0),
            piece(HALF_BLUE, (0, 0, 10, 10), 5, REPLACE | DISPOSE),
            piece(RED, (40, 20, 8, 8), 40, 0),
        ]))
        .unwrap();
    assert!(!media.is_still());
    // The third frame is shown for longer than it says, as browsers do.
    assert_eq!((media.frame_count(), media.duration()), (4, 0.22));
    let input = media.input();
    assert_eq!((input.width, input.height, input.container.as_deref()), (Some(48), Some(32), Some("webp")));
    let frames: Vec<_> = media.frames(Sampling::all()).unwrap().map(|frame| frame.unwrap()).collect();
    assert_eq!(frames.iter().map(|frame| frame.time).collect::<Vec<_>>(), [0.0, 0.04, 0.08, 0.18]);
    let at = |frame: usize, x, y| frames[frame].image.get_pixel(x, y).0;
    let close = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(&a, b)| a.abs_diff(b) <= 1);
    assert_eq!((at(0, 9, 5), at(1, 30, 20)), ([200, 0, 0], [200, 0, 0]));
    assert!(close(at(1, 9, 5), [100, 0, 100]), "{:?}", at(1, 9, 5));
    // Half transparent blue on the white of the page, then nothing but white.
    assert!(close(at(2, 2, 2), [127, 127, 227]), "{:?}", at(2, 2, 2));
    assert_eq!((at(3, 2, 2), at(3, 44, 24)), ([255; 3], [200, 0, 0]));
    let one: Vec<_> = media.frames(Sampling::evenly(2)).unwrap().map(|frame| frame.unwrap().index).collect();
    assert_eq!(one, [0, 3]);
    let turned =
        folder.open_with(&animated(&[piece(RED, (0, 0, 48, 32), 40, 0)]), &DecodeOptions::default().with_turn(1));
    let turned = turned.unwrap();
    assert!(turned.is_still());
    let frame = turned.frames(Sampling::all()).unwrap().next().unwrap().unwrap();
    assert_eq!((turned.input().width, frame.image.dimensions()), (Some(32), (32, 48)));
}

#[test]
fn a_damaged_animated_webp_is_an_error_and_never_a_panic() {
    let folder = Folder::new();
    let content = animated(&[piece(RED, (0, 0, 48, 32), 40, 0), piece(HALF_BLUE, (8, 4, 20, 10), 40, 0)]);
    let read = |content: &[u8]| -> Result<usize, VideoError> {
        let frames = folder.open(content)?.frames(Sampling::all())?;
        frames.map(|frame| frame.map(|frame| frame.image.len())).sum()
    };
    assert!(read(&content).is_ok());
    for length in 21..content.len() {
        let error = read(&content[..length]).unwrap_err();
        assert!(matches!(error, VideoError::NotAVideo { .. }), "{length} bytes: {error}");
    }
    for place in 0..content.len() {
        for value in [0, 1, 0x7f, 0xff, content[place].wrapping_add(1)] {
            let mut damaged = content.clone();
            damaged[place] = value;
            let _ = read(&damaged);
        }
    }
    let outside = read(&animated(&[piece(RED, (40, 0, 20, 20), 40, 0)])).unwrap_err();
    assert!(outside.to_string().contains("outside of the picture"), "{outside}");
    let none = read(&animated(&[])).unwrap_err();
    assert!(none.to_string().contains("no frame"), "{none}");
}

#[test]
fn an_animated_webp_has_the_limits_of_a_video() {
    let folder = Folder::new();
    let content = animated(&[piece(RED, (0, 0, 48, 32), 40, 0), piece(RED, (8, 4, 20, 10), 40, 0)]);
    let of = |limits: DecodeLimits| {
        folder.open_with(&content, &DecodeOptions::default().with_limits(limits)).unwrap_err().to_string()
    };
    let limits = DecodeLimits::default;
    assert!(of(limits().with_max_pixels(1000)).contains("1536"));
    assert!(of(limits().with_max_frames(1)).contains("frames"));
    assert!(of(limits().with_max_file_bytes(30)).contains("30"));
}

/// An AVIF of 64 x 48 pixels: red on the left, blue on the right. Returns `None`, after a message, if this ffmpeg
/// cannot make or read one.
#[allow(clippy::print_stderr, reason = "a test that is left out must say so")]
fn avif(clips: &Clips) -> Option<Vec<u8>> {
    let halves = "color=red:s=64x48,drawbox=x=32:y=0:w=32:h=48:color=blue:t=fill,format=yuv444p";
    let words = format!("-f lavfi -i {halves} -frames:v 1 -c:v libaom-av1 -cpu-used 8 -crf 5 -still-picture 1");
    let path = clips.make_if_possible("halves.avif", &words)?;
    let read = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(&path)
        .args(["-f", "null", "-"])
        .stdin(std::process::Stdio::null())
        .status();
    if !read.unwrap().success() {
        eprintln!("skipped: this ffmpeg cannot decode AVIF");
        return None;
    }
    Some(std::fs::read(path).unwrap())
}

/// Replaces the only occurrence of a word of four bytes. Returns the position after it.
fn replace(bytes: &mut [u8], old: &[u8; 4], new: &[u8; 4]) -> usize {
    let at = bytes.windows(4).position(|window| window == old).unwrap();
    bytes[at..at + 4].copy_from_slice(new);
    at + 4
}

#[test]
fn an_avif_is_one_frame_that_ffmpeg_decodes() {
    let clips = Clips::new();
    let Some(content) = avif(&clips) else { return };
    let folder = Folder::new();
    let media = folder.open(&content).unwrap();
    assert!(media.is_still() && matches!(media, Media::Still(_)));
    assert_eq!((media.frame_count(), media.duration()), (1, 0.0));
    let input = media.input();
    assert_eq!((input.container.as_deref(), input.codec.as_deref()), (Some("avif"), Some("av1")));
    assert_eq!((input.width, input.height, input.rotation), (Some(64), Some(48), Some(0)));
    assert_eq!((input.frames, input.duration, input.frame_rate), (Some(1), None, None));
    let image = decode(&content, &DecodeOptions::default()).unwrap();
    assert_eq!(image.dimensions(), (64, 48));
    let colors = (image.get_pixel(8, 24), image.get_pixel(56, 24));
    assert!(colors.0[0] > 200 && colors.0[2] < 50 && colors.1[2] > 200 && colors.1[0] < 50, "{colors:?}");
    let small = decode(&content, &DecodeOptions::default().with_max_side(32)).unwrap();
    assert_eq!(small.dimensions(), (32, 24));
}

#[test]
fn an_avif_is_upright_by_its_rotation_and_mirror() {
    let clips = Clips::new();
    let Some(content) = avif(&clips) else { return };
    let plain = decode(&content, &DecodeOptions::default()).unwrap();
    // The list of channels is a property that no decoder needs. Its place is taken by one that turns or mirrors.
    let changed = |kind: &[u8; 4], value: u8| {
        let mut changed = content.clone();
        let at = replace(&mut changed, b"pixi", kind);
        changed[at] = value;
        changed
    };
    for (kind, value, expected) in [
        (b"irot", 0, plain.clone()),
        (b"irot", 1, imageops::rotate270(&plain)),
        (b"irot", 2, imageops::rotate180(&plain)),
        (b"irot", 3, imageops::rotate90(&plain)),
        (b"imir", 0, imageops::flip_vertical(&plain)),
        (b"imir", 1, imageops::flip_horizontal(&plain)),
    ] {
        let content = changed(kind, value);
        let image = decode(&content, &DecodeOptions::default()).unwrap();
        assert_eq!(image.dimensions(), expected.dimensions(), "{kind:?} {value}");
        let different = image.as_raw().iter().zip(expected.as_raw()).filter(|(a, b)| a.abs_diff(**b) > 2).count();
        assert_eq!(different, 0, "{kind:?} {value}");
        let turned = decode(&content, &DecodeOptions::default().with_turn(1)).unwrap();
        assert_eq!(turned.dimensions(), (expected.height(), expected.width()), "{kind:?} {value}");
    }
}

#[test]
fn limits_hold_for_an_avif_and_a_heic() {
    let avif = avif(&Clips::new()).map(|avif| (avif, (64, 48)));
    for (content, (width, height)) in avif.into_iter().chain([(CLEAR.to_vec(), (160, 120))]) {
        let of = |limits| decode(&content, &DecodeOptions::default().with_limits(limits)).unwrap_err();
        let pixels = width * height;
        let error = of(DecodeLimits::default().with_max_still_pixels(pixels - 1));
        assert!(
            matches!(error, VideoError::OverLimit { limit: Limit::Pixels, value, .. } if value == pixels),
            "{error}"
        );
        let error = of(DecodeLimits::default().with_max_file_bytes(100));
        assert!(matches!(error, VideoError::OverLimit { limit: Limit::FileBytes, .. }), "{error}");
        let error = of(DecodeLimits::default().with_max_wait(std::time::Duration::ZERO));
        assert!(matches!(error, VideoError::TimedOut { .. }), "{error}");
        // The size that the file states and the size of its picture differ.
        let mut lies = content.clone();
        let at = lies.windows(4).position(|window| window == b"ispe").unwrap() + 8;
        lies[at..at + 8].copy_from_slice(&[0, 0, 0, 32, 0, 0, 0, 24]);
        assert!(matches!(decode(&lies, &DecodeOptions::default()), Err(VideoError::NotAllowed { .. })));
        lies[at..at + 8].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let error = decode(&lies, &DecodeOptions::default()).unwrap_err();
        assert!(matches!(error, VideoError::OverLimit { limit: Limit::Pixels, .. }), "{error}");
    }
    // All tiles count, even if the picture that they make is smaller.
    let limits = DecodeLimits::default().with_max_still_pixels(160 * 120);
    let error = decode(TILES, &DecodeOptions::default().with_limits(limits)).unwrap_err();
    assert!(matches!(error, VideoError::OverLimit { limit: Limit::Pixels, value: 24_576, .. }), "{error}");
}

/// A HEIC of 160 x 120 pixels: six tiles of 64 x 64, to be turned clockwise by a quarter. It shows [`ramps`].
const TILES: &[u8] = include_bytes!("../pictures/tiles.heic");

/// A HEIC of 160 x 120 pixels that shows [`ramps`] in its right half. The left half is transparent.
const CLEAR: &[u8] = include_bytes!("../pictures/clear.heic");

/// More red to the right, more green to the bottom.
fn ramps() -> RgbImage {
    RgbImage::from_fn(160, 120, |x, y| Rgb([(x * 255 / 159) as u8, (y * 255 / 119) as u8, 128]))
}

/// Returns the largest difference of two values, beside that at sharp edges.
fn difference(one: &RgbImage, other: &RgbImage) -> u8 {
    assert_eq!(one.dimensions(), other.dimensions());
    let mut differences: Vec<u8> = one.iter().zip(other.iter()).map(|(a, b)| a.abs_diff(*b)).collect();
    differences.sort_unstable();
    differences[differences.len() * 98 / 100]
}

#[test]
fn the_tiles_of_a_heic_are_put_together_and_turned() {
    let media = Folder::new().open(TILES).unwrap();
    assert!(media.is_still() && matches!(media, Media::Still(_)));
    let input = media.input();
    assert_eq!((input.container.as_deref(), input.codec.as_deref()), (Some("heic"), Some("hevc")));
    assert_eq!((input.width, input.height, input.rotation), (Some(120), Some(160), Some(90)));
    let image = decode(TILES, &DecodeOptions::default()).unwrap();
    let upright = imageops::rotate90(&ramps());
    assert!(difference(&image, &upright) <= 4, "{}", difference(&image, &upright));
    let turned = decode(TILES, &DecodeOptions::default().with_turn(3)).unwrap();
    assert!(difference(&turned, &ramps()) <= 4);
    let small = decode(TILES, &DecodeOptions::default().with_max_side(80)).unwrap();
    assert_eq!(small.dimensions(), (60, 80));
}

#[test]
fn transparent_parts_of_a_heic_are_white() {
    let image = decode(CLEAR, &DecodeOptions::default()).unwrap();
    let mut expected = ramps();
    (0..80).for_each(|x| (0..120).for_each(|y| expected.put_pixel(x, y, Rgb([255; 3]))));
    assert!(difference(&image, &expected) <= 4, "{}", difference(&image, &expected));
}

#[cfg(unix)]
#[test]
fn a_picture_whose_decoding_is_cancelled_is_stopped() {
    let clips = Clips::new();
    let begun = clips.path("begun");
    let hangs = crate::clips::script(&clips, "ffmpeg-that-hangs", &format!("touch {}; sleep 1000", begun.display()));
    let cancel = deepsight_core::CancelToken::new();
    let options = DecodeOptions::default().with_ffmpeg(hangs).with_cancel(&cancel);
    let canceler = std::thread::spawn(move || {
        while !begun.exists() {
            std::thread::yield_now();
        }
        cancel.cancel();
    });
    let error = Folder::new().open_with(TILES, &options).unwrap_err();
    canceler.join().unwrap();
    assert!(matches!(error, VideoError::Stopped { .. }), "{error}");
}

/// A picture of AV1 in one color, with the settings of its decoder: the box `av1C`. Returns `None`, after a message, if
/// this ffmpeg cannot make one.
fn tile(clips: &Clips, color: &str, side: u32) -> Option<(Vec<u8>, Vec<u8>)> {
    let source = format!("color={color}:s={side}x{side},format=yuv444p");
    let words = format!("-f lavfi -i {source} -frames:v 1 -c:v libaom-av1 -cpu-used 8 -crf 5 -still-picture 1");
    let file = std::fs::read(clips.make_if_possible(&format!("{color}{side}.avif"), &words)?).unwrap();
    let content = |kind: &[u8; 4]| {
        let at = file.windows(4).position(|window| window == kind).unwrap();
        let length = u32::from_be_bytes(*file[at - 4..].first_chunk().unwrap()) as usize;
        file[at - 4..at - 4 + length].to_vec()
    };
    Some((content(b"av1C"), content(b"mdat")[8..].to_vec()))
}

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes(), &kind[..], content].concat()
}

/// An AVIF of two tiles of 64 x 64 pixels, one beside the other, cropped to 100 x 64.
fn two_tiles(settings: &[u8], tiles: [&[u8]; 2]) -> Vec<u8> {
    let full = |kind: &[u8; 4], version: u8, content: &[u8]| boxed(kind, &[&[version, 0, 0, 0], content].concat());
    let size = |width: u8| full(b"ispe", 0, &[0, 0, 0, width, 0, 0, 0, 64]);
    let entry = |item: u8, kind: &[u8; 4]| full(b"infe", 2, &[&[0, item, 0, 0], &kind[..], &[0]].concat());
    let items = [&[0, 3][..], &entry(1, b"grid"), &entry(2, b"av01"), &entry(3, b"av01")].concat();
    let properties = boxed(b"ipco", &[size(100), size(64), settings.to_vec()].concat());
    let of_items = full(b"ipma", 0, &[0, 0, 0, 3, 0, 1, 1, 1, 0, 2, 2, 2, 0x83, 0, 3, 2, 2, 0x83]);
    let whole = |positions: [u32; 2]| {
        let mut places = vec![0x44, 0, 0, 3, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8];
        for ((item, tile), position) in (2..).zip(tiles).zip(positions) {
            places.extend([0, item, 0, 0, 0, 0, 0, 1]);
            places.extend([position, tile.len() as u32].map(u32::to_be_bytes).concat());
        }
        let content = [
            vec![0; 4],
            full(b"pitm", 0, &[0, 1]),
            full(b"iinf", 0, &items),
            full(b"iloc", 1, &places),
            boxed(b"idat", &[0, 0, 0, 1, 0, 100, 0, 64]),
            full(b"iref", 0, &boxed(b"dimg", &[0, 1, 0, 2, 0, 2, 0, 3])),
            boxed(b"iprp", &[properties.clone(), of_items.clone()].concat()),
        ];
        let head = [boxed(b"ftyp", b"avif\0\0\0\0avifmif1"), boxed(b"meta", &content.concat())].concat();
        (head.len() as u32 + 8, [head, boxed(b"mdat", &tiles.concat())].concat())
    };
    let (position, _) = whole([0; 2]);
    whole([position, position + tiles[0].len() as u32]).1
}

#[test]
fn the_tiles_of_an_avif_are_put_together_and_must_have_the_stated_size() {
    let clips = Clips::new();
    let (Some((settings, red)), Some((_, blue))) = (tile(&clips, "red", 64), tile(&clips, "blue", 64)) else { return };
    let image = decode(&two_tiles(&settings, [&red, &blue]), &DecodeOptions::default()).unwrap();
    assert_eq!(image.dimensions(), (100, 64));
    let colors = (image.get_pixel(50, 32), image.get_pixel(80, 32));
    assert!(colors.0[0] > 200 && colors.0[2] < 50 && colors.1[2] > 200 && colors.1[0] < 50, "{colors:?}");
    // ffmpeg would decode a tile of any size. A tile may also have no picture, or two.
    let (_, large) = tile(&clips, "blue", 96).unwrap();
    let none = [0x12, 0];
    let two = [&red[..], &blue].concat();
    for tiles in [[&large[..], &red], [&red, &large], [&red, &none], [&two, &none], [&two, &blue]] {
        let error = decode(&two_tiles(&settings, tiles), &DecodeOptions::default()).map(drop).unwrap_err();
        assert!(error.to_string().contains("the picture is damaged"), "{error}");
    }
}

#[test]
fn an_avif_or_heic_that_is_damaged_or_of_an_unknown_type_says_how_to_convert_it() {
    let avif = avif(&Clips::new()).map(|avif| (avif, "avifdec"));
    let heic = [TILES, CLEAR].map(|heic| (heic.to_vec(), "heif-convert"));
    for (content, cure) in avif.into_iter().chain(heic) {
        let mut overlay = content.clone();
        let kind = if content.windows(4).any(|kind| kind == b"grid") { b"grid" } else { b"infe" };
        let at = overlay.windows(4).position(|window| window == kind).unwrap();
        overlay[at..at + 4].copy_from_slice(b"iovl");
        // A picture that lacks its last bytes only may have some that no one needs.
        let pieces = (1..8).map(|eighths| content[..content.len() * eighths / 8].to_vec());
        for content in pieces.chain([overlay]) {
            let error = decode(&content, &DecodeOptions::default()).unwrap_err().to_string();
            assert!(error.contains(cure) && error.lines().count() == 1, "{} bytes: {error}", content.len());
        }
        for place in (32..content.len()).step_by(content.len() / 8) {
            let mut damaged = content.clone();
            damaged[place] ^= 0x55;
            if let Err(error) = decode(&damaged, &DecodeOptions::default()) {
                assert_eq!(error.to_string().lines().count(), 1, "{error}");
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_picture_that_ffmpeg_cannot_decode_says_how_to_convert_it() {
    let clips = Clips::new();
    let fails = crate::clips::script(&clips, "ffmpeg-that-fails", "echo 'Decoder not found' >&2; exit 1");
    let error = decode(TILES, &DecodeOptions::default().with_ffmpeg(fails)).unwrap_err();
    assert!(matches!(error, VideoError::NotAllowed { .. }), "{error:?}");
    let error = error.to_string();
    // The decoder's words come last.
    assert!(error.contains("heif-convert") && error.ends_with("; ffmpeg says: Decoder not found"), "{error}");
    let missing = decode(TILES, &DecodeOptions::default().with_ffmpeg("/no/ffmpeg")).unwrap_err();
    assert!(matches!(missing, VideoError::FfmpegMissing { .. }), "{missing}");
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is left out must say so")]
fn a_sequence_of_avif_pictures_is_a_video() {
    let clips = Clips::new();
    let words = format!("{} -c:v libaom-av1 -cpu-used 8", ramp_source(4));
    let Some(path) = clips.make_if_possible("ramp.avif", &words) else { return };
    match Media::open(path) {
        Ok(media) => assert_eq!((media.is_still(), media.frame_count()), (false, 4)),
        Err(error) => {
            eprintln!("skipped: this ffmpeg cannot read a sequence of AVIF pictures");
            assert!(error.to_string().contains("avifdec"), "{error}");
        }
    }
}

#[test]
fn formats_that_are_not_supported_name_the_cure() {
    let folder = Folder::new();
    for (content, cure) in [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec(), "heif-convert"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif".to_vec(), "avifdec"),
        (b"II*\0\x08\0\0\0".to_vec(), "convert it to PNG"),
    ] {
        let error = folder.open(&content).unwrap_err();
        assert!(matches!(error, VideoError::NotAllowed { .. }) && error.to_string().contains(cure), "{error}");
    }
}

#[test]
fn a_missing_file_and_a_folder_are_reported_as_for_a_video() {
    let folder = Folder::new();
    assert!(matches!(Media::open(folder.0.path().join("none.jpg")), Err(VideoError::Io { .. })));
    assert!(matches!(Media::open(folder.0.path()), Err(VideoError::Folder { .. })));
}
