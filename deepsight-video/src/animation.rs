//! Animated WebP pictures, which ffmpeg cannot read. This module reads the container, decodes each piece as a still
//! picture and draws it on the canvas.

use std::{
    fs::File,
    io::{BufReader, Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use deepsight_core::{
    Frame, Input,
    image::{DynamicImage, ImageFormat, RgbaImage, imageops},
};

use crate::{
    DecodeOptions, Limit, Sampling, VideoError, facts,
    sampling::{Pick, Picker, Plan, Timeline},
    scan::Shown,
    still, video,
};

/// An animated WebP that has been probed and can be decoded any number of times.
///
/// A frame is what a browser shows: earlier pieces of the picture stay where the file says so, transparent parts are
/// white, and a frame that is to be shown for 10 ms or less is shown for 100 ms. The turn of the options is applied.
#[derive(Debug, Clone)]
pub struct Animation {
    path: PathBuf,
    options: Box<DecodeOptions>,
    canvas: (u32, u32),
    pieces: Arc<[Piece]>,
    shown: Arc<[Shown]>,
    /// Length in microseconds.
    length: i64,
    variable: bool,
    bytes: u64,
}

/// One piece of the animation: a picture that is drawn on the canvas.
#[derive(Debug, Clone, Copy)]
struct Piece {
    area: Area,
    /// Whether the canvas shows through transparent parts; otherwise they replace it.
    blend: bool,
    /// Whether its area is emptied before the next piece.
    dispose: bool,
    /// Place of its chunks in the file.
    position: u64,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Area {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

/// Clock of the container in ticks a second.
const TICK: f64 = 1e-3;
/// Bytes before the chunks of a piece.
const PIECE_HEADER: u64 = 16;

impl Animation {
    /// Reads the headers of a file that [`still::recognize`] takes for an animated WebP. Decodes nothing.
    pub(crate) fn open(path: &Path, options: &DecodeOptions) -> Result<Self, VideoError> {
        let (file, bytes) = still::open(path, options.limits.max_file_bytes, options)?;
        let mut animation = Self {
            path: path.to_path_buf(),
            options: Box::new(options.clone()),
            canvas: (0, 0),
            pieces: Arc::new([]),
            shown: Arc::new([]),
            length: 0,
            variable: false,
            bytes,
        };
        animation.read(&mut BufReader::new(file))?;
        options.limits.check_duration(path, animation.duration())?;
        Ok(animation)
    }

    /// Reads the chunks of the container.
    fn read(&mut self, file: &mut BufReader<impl Read + Seek>) -> Result<(), VideoError> {
        let (mut pieces, mut shown, mut lengths) = (Vec::new(), Vec::<Shown>::new(), Vec::<i64>::new());
        let io = |source| video::unreadable(&self.path, source);
        let mut riff = [0; 12];
        file.read_exact(&mut riff).map_err(|_| self.cut_short())?;
        let whole = 8 + u64::from(u32::from_le_bytes([riff[4], riff[5], riff[6], riff[7]]));
        if whole > self.bytes {
            return Err(self.cut_short());
        }
        let mut at = riff.len() as u64;
        while at < whole {
            let mut header = [0; 8];
            file.read_exact(&mut header).map_err(|_| self.cut_short())?;
            let [a, b, c, d, size @ ..] = header;
            let size = u64::from(u32::from_le_bytes(size));
            let end = at + 8 + size;
            if end > whole {
                return Err(self.cut_short());
            }
            let mut consumed = 8;
            match &[a, b, c, d] {
                b"VP8X" => {
                    let mut content = [0; 10];
                    consumed += content.len() as u64;
                    file.read_exact(&mut content).map_err(|_| self.cut_short())?;
                    self.canvas = (1 + number(&content[4..]), 1 + number(&content[7..]));
                    self.options.limits.check_pixels(&self.path, self.canvas)?;
                }
                b"ANMF" => {
                    let mut content = [0; PIECE_HEADER as usize];
                    consumed += PIECE_HEADER;
                    file.read_exact(&mut content).map_err(|_| self.cut_short())?;
                    let area = Area {
                        x: 2 * number(&content),
                        y: 2 * number(&content[3..]),
                        width: 1 + number(&content[6..]),
                        height: 1 + number(&content[9..]),
                    };
                    if area.x + area.width > self.canvas.0 || area.y + area.height > self.canvas.1 {
                        return Err(self.damaged("a frame lies outside of the picture"));
                    }
                    let flags = content[15];
                    let piece = Piece {
                        area,
                        blend: flags & 2 == 0,
                        dispose: flags & 1 == 1,
                        position: at + 8 + PIECE_HEADER,
                        bytes: size.saturating_sub(PIECE_HEADER),
                    };
                    pieces.push(piece);
                    Limit::Frames.check(&self.path, pieces.len() as u64, self.options.limits.max_frames)?;
                    let length = i64::from(number(&content[12..])) * 1000;
                    let time = self.length;
                    shown.push(Shown { time, raw: time, key: time == 0 });
                    lengths.push(if length > 10_000 { length } else { 100_000 });
                    self.length += lengths.last().copied().unwrap_or_default();
                }
                _ => {}
            }
            // Chunks begin at even positions. Skipping within the read-ahead buffer needs no system call; a file of
            // empty chunks would need millions of them.
            let next = end + size % 2;
            file.seek_relative(next.cast_signed() - (at + consumed).cast_signed()).map_err(io)?;
            at = next;
        }
        if pieces.is_empty() {
            return Err(self.damaged("it has no frame"));
        }
        self.variable = lengths.windows(2).any(|pair| pair[0] != pair[1]);
        (self.pieces, self.shown) = (pieces.into(), shown.into());
        Ok(())
    }

    /// Returns the width in pixels as displayed, before any downscale.
    pub fn width(&self) -> u32 {
        if self.options.turn % 2 == 1 { self.canvas.1 } else { self.canvas.0 }
    }

    /// Returns the height in pixels as displayed, before any downscale.
    pub fn height(&self) -> u32 {
        if self.options.turn % 2 == 1 { self.canvas.0 } else { self.canvas.1 }
    }

    /// Returns the number of frames.
    pub fn frame_count(&self) -> u64 {
        self.pieces.len() as u64
    }

    /// Returns the length in seconds.
    pub fn duration(&self) -> f64 {
        self.length as f64 / 1e6
    }

    /// Returns the path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file and returns its SHA-256 in hexadecimal.
    ///
    /// # Errors
    /// Returns an error if the file can no longer be read.
    pub fn sha256(&self) -> Result<String, VideoError> {
        video::sha256(&self.path)
    }

    /// Returns the description of this animation for a report: path, size and probed properties, without the hash.
    pub fn input(&self) -> Input {
        let mut input = Input::new(self.path.to_string_lossy());
        input.bytes = Some(self.bytes);
        input.container = Some("webp".into());
        input.codec.clone_from(&input.container);
        (input.width, input.height) = (Some(self.width()), Some(self.height()));
        input.rotation = Some(self.options.turn % 4 * 90);
        input.frame_rate = Some(self.frame_count() as f64 / self.duration());
        input.variable_frame_rate = Some(self.variable);
        input.duration = Some(self.duration());
        input.frames = Some(self.frame_count());
        input.facts = facts::of_picture(&self.path, &self.options);
        input
    }

    /// Decodes the frames that `sampling` selects.
    ///
    /// # Errors
    /// Returns [`VideoError::InvalidSampling`] for a sampling that selects nothing, and [`VideoError::Io`] if the file
    /// can no longer be read. The iterator returns later errors.
    pub fn frames(&self, sampling: &Sampling) -> Result<AnimationFrames, VideoError> {
        let timeline = Timeline {
            total: self.frame_count(),
            shown: &self.shown,
            start: 0,
            duration: self.duration(),
            tick: TICK,
            variable: self.variable,
        };
        let plan = Plan::new(sampling, &timeline)?;
        Ok(AnimationFrames {
            expected: plan.expected(timeline.total, timeline.duration).min(sampling.cap()),
            most: plan.stops_after(sampling.cap()),
            picker: plan.picker(),
            file: File::open(&self.path).map_err(|source| video::unreadable(&self.path, source))?,
            canvas: RgbaImage::new(self.canvas.0, self.canvas.1),
            next: 0,
            given: 0,
            animation: self.clone(),
        })
    }

    fn cut_short(&self) -> VideoError {
        self.damaged("the animation is cut short")
    }

    fn damaged(&self, reason: &str) -> VideoError {
        VideoError::NotAVideo { path: self.path.clone(), reason: format!("WebP picture: {reason}") }
    }
}

/// The frames of an animated WebP, in order of presentation. No item follows an error.
#[derive(Debug)]
#[must_use = "frames are decoded only while the iterator is read"]
pub struct AnimationFrames {
    animation: Animation,
    file: File,
    canvas: RgbaImage,
    picker: Picker,
    /// Number of the next piece.
    next: usize,
    given: u64,
    /// Largest number of frames to return.
    most: u64,
    expected: u64,
}

impl AnimationFrames {
    /// Returns the number of frames that will come, for a progress bar. For [`Sampling::fps`] it is an estimate.
    pub fn expected_frames(&self) -> u64 {
        self.expected
    }

    /// Draws the next piece on the canvas. Returns its number, or `None` after the last.
    fn advance(&mut self) -> Result<Option<usize>, VideoError> {
        let Some(&piece) = self.animation.pieces.get(self.next) else { return Ok(None) };
        let before = self.next.checked_sub(1).map(|before| self.animation.pieces[before]);
        if let Some(Piece { area, .. }) = before.filter(|before| before.dispose) {
            let empty = RgbaImage::new(area.width, area.height);
            imageops::replace(&mut self.canvas, &empty, area.x.into(), area.y.into());
        }
        let picture = self.decode(piece)?;
        let (x, y) = (piece.area.x.into(), piece.area.y.into());
        if piece.blend {
            imageops::overlay(&mut self.canvas, &picture, x, y);
        } else {
            imageops::replace(&mut self.canvas, &picture, x, y);
        }
        self.next += 1;
        Ok(Some(self.next - 1))
    }

    fn decode(&mut self, piece: Piece) -> Result<RgbaImage, VideoError> {
        let animation = &self.animation;
        let mut chunks = Vec::new();
        let read = self.file.seek(SeekFrom::Start(piece.position));
        let read = read.and_then(|_| Read::by_ref(&mut self.file).take(piece.bytes).read_to_end(&mut chunks));
        read.map_err(|source| video::unreadable(&animation.path, source))?;
        let content = standing_alone(&chunks, piece.area).ok_or_else(|| animation.damaged("a frame has no picture"))?;
        let decoder = still::decoder(Cursor::new(content), ImageFormat::WebP, &animation.options.limits);
        let picture = decoder.and_then(DynamicImage::from_decoder);
        let picture = picture.map_err(|error| animation.damaged(&still::plain(&error.to_string())))?.into_rgba8();
        if picture.dimensions() != (piece.area.width, piece.area.height) {
            return Err(animation.damaged("a frame has another size than its header says"));
        }
        Ok(picture)
    }

    fn shown(&self) -> DynamicImage {
        let options = &self.animation.options;
        still::turned(still::scaled_down(self.canvas.clone().into(), options.max_side), options.turn)
    }
}

impl Iterator for AnimationFrames {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.given < self.most {
            let index = match self.advance() {
                Ok(index) => index?,
                Err(error) => {
                    self.most = 0;
                    return Some(Err(error));
                }
            };
            let time = self.animation.shown[index].time;
            if let Pick::Wanted = self.picker.pick(index as u64, Some(time)) {
                self.given += 1;
                return Some(Ok(Frame::new(index as u64, time as f64 / 1e6, still::opaque(self.shown()))));
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.animation.pieces.len() - self.next + 1))
    }
}

impl std::iter::FusedIterator for AnimationFrames {}

/// Returns a file of one picture with the chunks of a piece, or `None` if they hold no picture of that size. The
/// decoder expects the sizes in the headers of the alpha plane and the picture to be equal, and does not check.
fn standing_alone(chunks: &[u8], area: Area) -> Option<Vec<u8>> {
    let (mut alpha, mut rest) = (None, chunks);
    let (kind, picture) = loop {
        let (header, after) = rest.split_first_chunk::<8>()?;
        let [a, b, c, d, size @ ..] = *header;
        let size = u32::from_le_bytes(size) as usize;
        let content = after.get(..size)?;
        match &[a, b, c, d] {
            b"ALPH" => alpha = Some(content),
            b"VP8 " | b"VP8L" => break (*b"VP8 " == [a, b, c, d], content),
            _ => {}
        }
        rest = after.get(size + size % 2..)?;
    };
    let size = if kind {
        // Three bytes of the frame's tag and three of its start code come before the size, in 14 bits each.
        let side = |at: usize| Some(u32::from(u16::from_le_bytes([*picture.get(at)?, *picture.get(at + 1)?]) & 0x3fff));
        (side(6)?, side(8)?)
    } else {
        let bits = u32::from_le_bytes(picture.get(1..5)?.try_into().ok()?);
        (1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff))
    };
    if size != (area.width, area.height) {
        return None;
    }
    let mut body = b"WEBP".to_vec();
    if let Some(alpha) = alpha.filter(|_| kind) {
        let sides = [area.width - 1, area.height - 1].map(u32::to_le_bytes);
        append(&mut body, b"VP8X", &[&[0x10, 0, 0, 0], &sides[0][..3], &sides[1][..3]].concat());
        append(&mut body, b"ALPH", alpha);
    }
    append(&mut body, if kind { b"VP8 " } else { b"VP8L" }, picture);
    let mut file = Vec::with_capacity(body.len() + 8);
    append(&mut file, b"RIFF", &body);
    Some(file)
}

fn append(file: &mut Vec<u8>, kind: &[u8; 4], content: &[u8]) {
    file.extend_from_slice(kind);
    file.extend_from_slice(&(content.len() as u32).to_le_bytes());
    file.extend_from_slice(content);
    file.extend(std::iter::repeat_n(0, content.len() % 2));
}

/// Returns the number in the first three bytes.
fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A file that counts how often it is asked.
    struct Counted(Cursor<Vec<u8>>, usize);

    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 += 1;
            self.0.read(buffer)
        }
    }

    impl Seek for Counted {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.1 += 1;
            self.0.seek(to)
        }
    }

    #[test]
    fn a_file_of_empty_chunks_is_read_in_large_pieces() {
        let mut body = b"WEBP".to_vec();
        append(&mut body, b"VP8X", &[2, 0, 0, 0, 9, 0, 0, 9, 0, 0]);
        append(&mut body, b"ANMF", &[&[0; 6][..], &[9, 0, 0, 9, 0, 0, 40, 0, 0, 0]].concat());
        (0..100_000).for_each(|_| append(&mut body, b"None", &[]));
        let mut file = Vec::new();
        append(&mut file, b"RIFF", &body);
        let mut animation = Animation {
            path: "empty.webp".into(),
            options: Box::default(),
            canvas: (0, 0),
            pieces: Arc::new([]),
            shown: Arc::new([]),
            length: 0,
            variable: false,
            bytes: file.len() as u64,
        };
        let mut file = BufReader::new(Counted(Cursor::new(file), 0));
        animation.read(&mut file).unwrap();
        assert_eq!((animation.canvas, animation.pieces.len()), ((10, 10), 1));
        assert!(file.get_ref().1 < 1000, "{}", file.get_ref().1);
    }
}
