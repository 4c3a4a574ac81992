//! YUV4MPEG2, the simplest container of uncompressed video. The crate `y4m` is not used, because it computes sizes
//! without checks for overflow, and does not tell a stream that is cut inside a frame from one that ends.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use deepsight_core::{CloserFrames, Frame, Input};

use crate::{
    DecodeOptions, Limit, Note, VideoError,
    finish::{Finish, stated_shape},
    pixel_format::{PixelFormat, Range},
    raw::{NAME, read_up_to},
};

/// First bytes of every YUV4MPEG2 stream.
pub(crate) const MAGIC: &[u8] = b"YUV4MPEG2 ";

/// Most bytes of a line of text in a stream. Headers have about a hundred.
const MAX_LINE: usize = 1024;

/// The frames of a YUV4MPEG2 stream (`.y4m`) from any reader: an iterator of `Result<Frame, VideoError>`.
///
/// ```
/// use deepsight_video::Y4m;
///
/// // A program would read the output of `ffmpeg -i clip.mp4 -f yuv4mpegpipe -`.
/// let stream = b"YUV4MPEG2 W2 H2 F10:1 C420jpeg\nFRAME\n\xeb\xeb\xeb\xeb\x80\x80";
/// let mut frames = Y4m::new(stream.as_slice())?;
/// assert_eq!((frames.input().width, frames.input().frame_rate), (Some(2), Some(10.0)));
/// let frame = frames.next().unwrap()?;
/// assert_eq!((frame.time, frame.image.get_pixel(0, 0).0), (0.0, [255, 255, 255]));
/// assert!(frames.next().is_none());
/// # Ok::<(), deepsight_video::VideoError>(())
/// ```
///
/// Frames are read one after the other on the caller's thread, and one is in memory. Their pixels are square, and they
/// are turned and scaled as [`DecodeOptions`] say. Colors are converted as ffmpeg converts the same stream, by BT.601:
/// a Y4M stream cannot say that it is BT.709, as most HD videos are, and then colors are off by some levels. Send such
/// a video to [`PipedVideo`](crate::PipedVideo) as Matroska: `ffmpeg -i clip.mp4 -c:v rawvideo -f matroska -`. Frames
/// with 4:2:0 chroma and even height are bit-identical to ffmpeg's on x86-64; chroma is not interpolated. Interlaced
/// frames are not deinterlaced, as [`Y4m::notes`] reports.
///
/// No item follows an error. A stream that ends inside a frame gives [`VideoError::TruncatedFrame`]. The limits on
/// pixels, frames and length apply.
#[derive(Debug)]
#[must_use = "frames are read only while the iterator is read"]
pub struct Y4m<R> {
    reader: R,
    name: PathBuf,
    header: StreamHeader,
    finish: Finish,
    options: DecodeOptions,
    stored: Vec<u8>,
    index: u64,
    ended: bool,
}

impl<R: Read> Y4m<R> {
    /// Reads the header of a stream with the default [`DecodeOptions`]: see [`Y4m::new_with`].
    ///
    /// # Errors
    /// Returns the errors of [`Y4m::new_with`].
    pub fn new(reader: R) -> Result<Self, VideoError> {
        Self::new_with(reader, &DecodeOptions::default())
    }

    /// Reads the header of a stream. Limits, largest side and turn of the options apply.
    ///
    /// # Errors
    /// Returns [`VideoError::Io`] if the reader fails, [`VideoError::NotAVideo`] if it does not give a valid header,
    /// [`VideoError::NotAllowed`] for a layout of pixels that is not supported, [`VideoError::Probe`] for a size of 0,
    /// [`VideoError::OverLimit`] for too many pixels, and [`VideoError::InvalidSize`] for a largest side of 0.
    pub fn new_with(mut reader: R, options: &DecodeOptions) -> Result<Self, VideoError> {
        let name = PathBuf::from(NAME);
        let line = read_line(&mut reader, &name)?;
        let line = line.ok_or_else(|| broken(&name, "it is empty".into()))?;
        let header = StreamHeader::parse(&line, &name)?;
        let size = (header.width, header.height);
        let mut finish = Finish::plan(&name, header.format, header.range, size, header.shape, options)?;
        if header.interlaced {
            finish.notes.push(Note::InterlacedY4m);
        }
        Ok(Self { reader, name, header, finish, options: options.clone(), stored: Vec::new(), index: 0, ended: false })
    }

    /// Returns the description of the stream for a report: size and frame rate. It has no path.
    pub fn input(&self) -> Input {
        let mut input = Input::new("");
        input.container = Some("yuv4mpegpipe".into());
        input.codec = Some("rawvideo".into());
        (input.width, input.height) = (Some(self.finish.displayed.0), Some(self.finish.displayed.1));
        input.rotation = Some(self.options.turn % 4 * 90);
        input.frame_rate = Some(self.header.rate);
        input.variable_frame_rate = Some(false);
        input.picture_notes = self.finish.notes.iter().map(ToString::to_string).collect();
        input
    }

    /// Returns the steps that a player would apply to the picture and this library does not.
    pub fn notes(&self) -> &[Note] {
        &self.finish.notes
    }

    /// Boxes the frames and their errors, as [`Job::with_closer_look`](deepsight_core::Job::with_closer_look) takes
    /// them.
    pub fn boxed<'a>(self) -> CloserFrames<'a>
    where
        R: Send + 'a,
    {
        Box::new(self.map(|frame| frame.map_err(Into::into)))
    }

    /// Returns the number of frames per second.
    pub(crate) fn rate(&self) -> f64 {
        self.header.rate
    }

    /// Returns the number of frames that were read.
    pub(crate) fn read_frames(&self) -> u64 {
        self.index
    }

    /// Returns the next frame for which `wanted` returns `true`. Others are read, and not converted.
    pub(crate) fn next_wanted(&mut self, wanted: impl FnMut(u64, f64) -> bool) -> Option<Result<Frame, VideoError>> {
        if self.ended {
            return None;
        }
        let next = self.read(wanted).transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }

    fn read(&mut self, mut wanted: impl FnMut(u64, f64) -> bool) -> Result<Option<Frame>, VideoError> {
        loop {
            let (index, name) = (self.index, &self.name);
            let Some(line) = read_line(&mut self.reader, name)? else { return Ok(None) };
            // Parameters of a frame are ignored.
            if line != b"FRAME" && !line.starts_with(b"FRAME ") {
                return Err(broken(name, format!("frame {index} does not begin with FRAME")));
            }
            let want = self.finish.bytes;
            let got = read_up_to(&mut self.reader, &mut self.stored, want, name)?;
            if got < want {
                return Err(VideoError::TruncatedFrame { path: name.clone(), frame: index, got, want });
            }
            let time = index as f64 / self.header.rate;
            check_length(name, index, time + 1.0 / self.header.rate, &self.options)?;
            self.index += 1;
            if wanted(index, time) {
                return Ok(Some(Frame::new(index, time, self.finish.frame(name, &self.stored)?)));
            }
        }
    }
}

impl<R: Read> Iterator for Y4m<R> {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_wanted(|_, _| true)
    }
}

impl<R: Read> std::iter::FusedIterator for Y4m<R> {}

/// Returns an error if frame `index`, which ends at `end` seconds, is over a limit.
fn check_length(name: &Path, index: u64, end: f64, options: &DecodeOptions) -> Result<(), VideoError> {
    let limits = &options.limits;
    Limit::Frames.check(name, index.saturating_add(1), limits.max_frames)?;
    // A frame that ends on the limit may be rounded up.
    let (seconds, max_seconds) = ((end - 1e-6).ceil() as u64, limits.max_duration_seconds);
    if seconds > max_seconds {
        return Err(VideoError::TooLong { path: name.to_path_buf(), seconds, max_seconds });
    }
    Ok(())
}

/// Reads a line without its end. Returns `None` if the reader has ended before its first byte.
fn read_line(reader: &mut impl Read, name: &Path) -> Result<Option<Vec<u8>>, VideoError> {
    let mut line = Vec::new();
    let mut byte = Vec::with_capacity(1);
    // Byte by byte, because what follows is read in one piece.
    while line.len() < MAX_LINE {
        if read_up_to(reader, &mut byte, 1, name)? == 0 {
            return if line.is_empty() { Ok(None) } else { Err(broken(name, "it ends inside a line of text".into())) };
        }
        if byte[0] == b'\n' {
            return Ok(Some(line));
        }
        line.push(byte[0]);
    }
    Err(broken(name, format!("a line of text has more than {MAX_LINE} bytes")))
}

fn broken(name: &Path, reason: String) -> VideoError {
    VideoError::NotAVideo { path: name.to_path_buf(), reason: format!("Y4M stream: {reason}") }
}

/// The first line of a stream.
#[derive(Debug, Clone, PartialEq)]
struct StreamHeader {
    width: u32,
    height: u32,
    /// Frames per second.
    rate: f64,
    /// Width over height of a pixel.
    shape: (u32, u32),
    interlaced: bool,
    format: PixelFormat,
    range: Range,
}

impl StreamHeader {
    fn parse(line: &[u8], name: &Path) -> Result<Self, VideoError> {
        let text = line.strip_prefix(MAGIC).ok_or_else(|| broken(name, "it does not begin with YUV4MPEG2".into()))?;
        // ffmpeg's defaults.
        let mut header = Self {
            width: 0,
            height: 0,
            rate: 25.0,
            shape: (1, 1),
            interlaced: false,
            format: PixelFormat::Yuv420p,
            range: Range::Limited,
        };
        for word in text.split(|&byte| byte == b' ') {
            let word = String::from_utf8_lossy(word);
            let mut letters = word.chars();
            let Some(parameter) = letters.next() else { continue };
            let value = letters.as_str();
            let invalid = || {
                let word: String = word.chars().filter(|c| !c.is_control()).take(40).collect();
                broken(name, format!("the header has the invalid parameter {word:?}"))
            };
            let ratio = || {
                let (over, under) = value.split_once(':').ok_or_else(invalid)?;
                Ok((over.parse::<u32>().map_err(|_| invalid())?, under.parse::<u32>().map_err(|_| invalid())?))
            };
            match parameter {
                'W' => header.width = value.parse().map_err(|_| invalid())?,
                'H' => header.height = value.parse().map_err(|_| invalid())?,
                'F' => {
                    let (over, under) = ratio()?;
                    if over > 0 && under > 0 {
                        header.rate = f64::from(over) / f64::from(under);
                    }
                }
                'A' => header.shape = ratio().map(|(over, under)| stated_shape(over, under))?,
                'I' => header.interlaced = matches!(value, "t" | "b" | "m"),
                'C' => {
                    header.format = layout(value).ok_or_else(|| {
                        let value: String = value.chars().filter(|c| !c.is_control()).take(40).collect();
                        let reason = format!("Y4M with pixels of the layout {value:?}; convert it to C420jpeg");
                        VideoError::NotAllowed { path: name.to_path_buf(), reason }
                    })?;
                }
                'X' if value == "COLORRANGE=FULL" => header.range = Range::Full,
                'X' if value == "COLORRANGE=LIMITED" => header.range = Range::Limited,
                // Comments.
                _ => {}
            }
        }
        Ok(header)
    }
}

/// Returns the layout that a value of the parameter `C` names.
fn layout(value: &str) -> Option<PixelFormat> {
    Some(match value {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => PixelFormat::Yuv420p,
        "422" => PixelFormat::Yuv422p,
        "444" => PixelFormat::Yuv444p,
        "420p10" => PixelFormat::Yuv420p10le,
        "422p10" => PixelFormat::Yuv422p10le,
        "444p10" => PixelFormat::Yuv444p10le,
        "mono" => PixelFormat::Gray,
        _ => return None,
    })
}
