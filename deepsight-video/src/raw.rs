//! Frames without a header, as camera programs write them.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use deepsight_core::{CloserFrames, Frame};

use crate::{
    DecodeOptions, VideoError,
    finish::Finish,
    pixel_format::{PixelFormat, Range},
};

/// Uncompressed frames of one size from any reader, such as a pipe or a camera program: an iterator of
/// `Result<Frame, VideoError>`.
///
/// ```
/// use deepsight_video::{PixelFormat, RawFrames};
///
/// // Two black frames of 4 x 2 pixels. A program would read `std::io::stdin()`.
/// let camera = std::io::repeat(0).take(2 * 4 * 2 * 3);
/// # use std::io::Read;
/// let frames = RawFrames::new(camera, 4, 2, PixelFormat::Bgr24).with_frame_rate(10.0);
/// let times: Vec<f64> = frames.map(|frame| frame.map(|frame| frame.time)).collect::<Result<_, _>>()?;
/// assert_eq!(times, [0.0, 0.1]);
/// # Ok::<(), deepsight_video::VideoError>(())
/// ```
///
/// Frames are read one after the other on the caller's thread, and one is in memory. No item follows an error. A reader
/// that ends inside a frame gives [`VideoError::TruncatedFrame`], one that fails [`VideoError::Io`]. The first item is
/// an error if the size has no pixels or more than [`max_pixels`](crate::DecodeLimits::max_pixels), or if the frame
/// rate is not a positive number. The other limits do not apply, because a camera is endless.
#[derive(Debug)]
#[must_use = "frames are read only while the iterator is read"]
pub struct RawFrames<R> {
    reader: R,
    name: PathBuf,
    width: u32,
    height: u32,
    format: PixelFormat,
    rate: f64,
    options: DecodeOptions,
    /// Planned with the first frame.
    finish: Option<Finish>,
    stored: Vec<u8>,
    index: u64,
    ended: bool,
}

impl<R: Read> RawFrames<R> {
    /// Creates an iterator over frames of `width` × `height` pixels. The frame rate is 25 per second, unless
    /// [`RawFrames::with_frame_rate`] sets another.
    pub fn new(reader: R, width: u32, height: u32, format: PixelFormat) -> Self {
        Self {
            reader,
            name: PathBuf::from(NAME),
            width,
            height,
            format,
            rate: 25.0,
            options: DecodeOptions::default(),
            finish: None,
            stored: Vec::new(),
            index: 0,
            ended: false,
        }
    }

    /// Sets the number of frames per second. Frame `n` has the time `n` / `rate`.
    pub fn with_frame_rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// Sets the largest number of pixels, the largest side and the turn of frames. The other options do not apply.
    pub fn with_options(mut self, options: &DecodeOptions) -> Self {
        self.options = options.clone();
        self
    }

    /// Boxes the frames and their errors, as [`Job::with_closer_look`](deepsight_core::Job::with_closer_look) takes
    /// them.
    pub fn boxed<'a>(self) -> CloserFrames<'a>
    where
        R: Send + 'a,
    {
        Box::new(self.map(|frame| frame.map_err(Into::into)))
    }

    fn read(&mut self) -> Result<Option<Frame>, VideoError> {
        if self.finish.is_none() {
            if !(self.rate.is_finite() && self.rate > 0.0) {
                let reason = format!("{} frames per second were stated; give a positive number", self.rate);
                return Err(VideoError::Probe { path: self.name.clone(), reason });
            }
            let size = (self.width, self.height);
            self.finish = Some(Finish::plan(&self.name, self.format, Range::Limited, size, (1, 1), &self.options)?);
        }
        let Some(finish) = &self.finish else { return Ok(None) };
        let (want, frame) = (finish.bytes, self.index);
        let got = read_up_to(&mut self.reader, &mut self.stored, want, &self.name)?;
        if got == 0 {
            return Ok(None);
        }
        if got < want {
            return Err(VideoError::TruncatedFrame { path: self.name.clone(), frame, got, want });
        }
        self.index += 1;
        Ok(Some(Frame::new(frame, frame as f64 / self.rate, finish.frame(&self.name, &self.stored)?)))
    }
}

/// Name of a stream in errors.
pub(crate) const NAME: &str = "the stream";

/// Replaces the content of `buffer` by the next `want` bytes, or fewer if the reader ends before. Returns their number.
pub(crate) fn read_up_to(
    reader: &mut impl Read,
    buffer: &mut Vec<u8>,
    want: usize,
    name: &Path,
) -> Result<usize, VideoError> {
    buffer.clear();
    let no_memory = |_| VideoError::OutOfMemory { path: name.to_path_buf(), bytes: want as u64 };
    buffer.try_reserve_exact(want).map_err(no_memory)?;
    let read = reader.take(want as u64).read_to_end(buffer);
    read.map_err(|source: io::Error| VideoError::Io { path: name.to_path_buf(), source })
}

impl<R: Read> Iterator for RawFrames<R> {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<R: Read> std::iter::FusedIterator for RawFrames<R> {}
