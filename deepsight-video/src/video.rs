use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use deepsight_core::{Fact, Gap, Input};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    DecodeOptions, Frames, Limit, Note, Sampling, VideoError, credentials, cure,
    ffmpeg::{self, Programs},
    picture::Picture,
    probe::{self, Header, Probed},
    sampling::Timeline,
    scan::Scan,
};

/// A video file that has been probed and can be decoded any number of times.
#[derive(Debug, Clone)]
pub struct Video {
    pub(crate) path: PathBuf,
    pub(crate) options: DecodeOptions,
    pub(crate) programs: Programs,
    pub(crate) header: Header,
    /// Times of all frames, and which of them are key frames.
    pub(crate) scan: Arc<Scan>,
    pub(crate) picture: Picture,
    pub(crate) info: VideoInfo,
    pub(crate) bytes: u64,
    /// Facts that the file states about itself.
    pub(crate) facts: Vec<Fact>,
    /// Facts about its content credentials, once they were asked for: checking them may read the whole file.
    credentials: Arc<OnceLock<Vec<Fact>>>,
}

impl Video {
    /// Probes the file with the default [`DecodeOptions`]: see [`Video::open_with`].
    ///
    /// # Errors
    /// Returns the errors of [`Video::open_with`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, VideoError> {
        Self::open_with(path, &DecodeOptions::default())
    }

    /// Probes the file. Reads its headers, and all its packets once to count frames and measure their times, because
    /// headers may lack these numbers or state false ones. Some key frames are decoded where the size of the picture
    /// may change, and the first 64 frames of AVI whose frames are stored out of order. All frames of MPEG program and
    /// raw video streams are decoded, because their packets and frames differ, as are those of transport streams of
    /// which a part is missing, with fields in packets of their own, with HEVC that begins between key frames, or with
    /// another codec than H.264, HEVC and MPEG-2.
    ///
    /// # Errors
    /// Returns an error if the file is missing, empty or not a regular file, if ffprobe is missing, if the file is not
    /// a video, is incomplete or encrypted, has no video stream or not the one that was asked for, or uses a container
    /// or codec that is not allowed, if the video is over a limit, if ffprobe takes too long, if
    /// [`max_side`](DecodeOptions::max_side) is 0, or if the opening was [cancelled](DecodeOptions::cancel).
    pub fn open_with(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Self, VideoError> {
        let path = path.as_ref();
        options.check_cancel(path)?;
        let limits = &options.limits;
        let metadata = fs::metadata(path).map_err(|source| {
            if is_web_address(path) {
                VideoError::WebAddress { address: path.to_path_buf() }
            } else {
                unreadable(path, source)
            }
        })?;
        if metadata.is_dir() {
            return Err(VideoError::Folder { path: path.to_path_buf() });
        }
        if !metadata.is_file() {
            return Err(VideoError::NotAFile { path: path.to_path_buf() });
        }
        if metadata.len() == 0 {
            return Err(VideoError::EmptyFile { path: path.to_path_buf() });
        }
        Limit::FileBytes.check(path, metadata.len(), limits.max_file_bytes)?;
        // ffprobe's "permission denied" would be reported as a file that is not a video.
        File::open(path).map_err(|source| unreadable(path, source))?;

        let programs = Programs::locate(options);
        let probed = probe::look(path, metadata.len(), &programs, options);
        // An ffprobe that was killed looks like one that failed.
        options.check_cancel(path)?;
        let probed = probed?;
        let has_filters = |filters: &[&str]| ffmpeg::has_filters(&programs.ffmpeg, filters);
        Self::of(path, metadata.len(), options, programs.clone(), probed, has_filters)
    }

    /// Combines the probed properties of a file of `bytes` bytes. `has_filters` says whether the ffmpeg at hand has
    /// filters.
    fn of(
        path: &Path,
        bytes: u64,
        options: &DecodeOptions,
        programs: Programs,
        probed: Probed,
        has_filters: impl Fn(&[&str]) -> bool,
    ) -> Result<Self, VideoError> {
        let (limits, Probed { mut header, scan, key_frames, facts }) = (&options.limits, probed);
        header.orientation = header.orientation.turned(options.turn);
        if scan.frames == 0 {
            return Err(VideoError::Probe { path: path.to_path_buf(), reason: cure::NO_FRAMES.into() });
        }
        let picture = Picture::plan(&header, &key_frames, options.max_side, limits.max_pixels, has_filters)?;
        limits.check_pixels(path, picture.displayed)?;
        let info = VideoInfo::new(&header, &scan, &picture);
        limits.check_duration(path, info.duration)?;
        let (path, options) = (path.to_path_buf(), options.clone());
        let (scan, credentials) = (Arc::new(scan), Arc::default());
        Ok(Self { path, options, programs, header, scan, picture, info, bytes, facts, credentials })
    }

    /// Opens an MP4 of H.264 or HEVC by its index alone, without ffprobe. Returns `None` if a video of this kind would
    /// be refused, or its packets would be taken from ffprobe.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn by_its_index(path: &Path, boxes: &crate::boxes::Boxes, options: &DecodeOptions) -> Option<Self> {
        let bytes = fs::metadata(path).ok()?.len();
        let probed = probe::look_at_index(path, bytes, boxes, &options.limits)?;
        Self::of(path, bytes, options, Programs::locate(options), probed, |_| true).ok()
    }

    /// Decodes the frames that `sampling` selects, in one pass over the file or from the key frames before them,
    /// whichever is estimated to take less time. The frames are the same.
    ///
    /// # Errors
    /// Returns an error if the sampling is invalid or ffmpeg cannot be started. The iterator returns later errors.
    pub fn frames(&self, sampling: Sampling) -> Result<Frames, VideoError> {
        Frames::start(self, sampling)
    }

    /// Returns the properties of this video that a sampling needs.
    pub(crate) fn timeline(&self) -> Timeline<'_> {
        Timeline {
            total: self.info.frame_count,
            shown: &self.scan.shown,
            start: self.info.start_microseconds(),
            duration: self.info.duration,
            tick: self.header.tick,
            variable: self.info.variable_frame_rate,
        }
    }

    /// Returns the properties of the video.
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Returns the path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the whole file and returns its SHA-256 in hexadecimal.
    ///
    /// # Errors
    /// Returns an error if the file can no longer be read.
    pub fn sha256(&self) -> Result<String, VideoError> {
        sha256(&self.path)
    }

    /// Returns the description of this video for a report: path, size and probed properties, without the hash. With the
    /// feature `c2pa`, the first call reads the whole file if it has content credentials.
    pub fn input(&self) -> Input {
        let mut input = Input::from(&self.info);
        input.path = self.path.to_string_lossy().into_owned();
        input.bytes = Some(self.bytes);
        input.facts.clone_from(&self.facts);
        let credentials = || credentials::facts(&self.path, &self.options);
        input.facts.extend_from_slice(self.credentials.get_or_init(credentials));
        input
    }
}

/// Properties of a video file. Sizes are in pixels, times in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VideoInfo {
    /// Container, by ffmpeg's name for it, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// Codec, such as `h264`.
    pub codec: String,
    /// Index of the video stream in the file, counted over all its streams: see
    /// [`DecodeOptions::stream`](crate::DecodeOptions::stream).
    pub stream: u32,
    /// Number of streams of moving pictures in the file.
    pub video_streams: u32,
    /// Pixel format, such as `yuv420p`.
    pub pixel_format: Option<String>,
    /// Width as displayed, with square pixels, after rotation and before any downscale. If the size of the picture
    /// changes, that of the largest canvas that the pictures need.
    pub width: u32,
    /// Height as displayed, like [`width`](Self::width).
    pub height: u32,
    /// Width of the frames that [`Video::frames`] returns: [`width`](Self::width) unless they are scaled down.
    pub frame_width: u32,
    /// Height of the frames that [`Video::frames`] returns: [`height`](Self::height) unless they are scaled down.
    pub frame_height: u32,
    /// Clockwise rotation in degrees of decoded frames: 0, 90, 180 or 270. It makes them upright, and includes the
    /// [`turn`](crate::DecodeOptions::turn) of the options.
    pub rotation: u32,
    /// Whether frames are mirrored left to right before they are rotated, as videos of front cameras may require.
    pub mirrored: bool,
    /// Width over height of one pixel as stored, as two whole numbers. Frames are stretched by it, so that their pixels
    /// are square.
    pub sample_aspect_ratio: (u32, u32),
    /// Average number of frames per second that the container states.
    pub average_frame_rate: Option<f64>,
    /// Nominal number of frames per second of the container (ffprobe's `r_frame_rate`).
    pub nominal_frame_rate: Option<f64>,
    /// Whether frames are spaced unevenly in time, measured on their presentation times.
    pub variable_frame_rate: bool,
    /// Presentation time of the video's start on the file's own clock. Frame times count from it.
    pub start_time: f64,
    /// Time from the start of the first frame to the end of the last frame in the file, without jumps of its clock.
    pub duration: f64,
    /// Number of frames counted in the file.
    pub frame_count: u64,
    /// Number of frames that the headers declare, if the file has fewer because it is cut short.
    pub declared_frames: Option<u64>,
    /// Length that the headers declare, if the file has less because it is cut short. `duration / declared_duration` is
    /// the share of the video that the file has.
    pub declared_duration: Option<f64>,
    /// Stretches of time, in seconds from the start of the video, in which the file has no frames although it should: a
    /// part of it is damaged or missing. A gap of a live stream whose clock starts anew is none.
    pub gaps: Vec<Gap>,
    /// Steps that a player would apply to the picture and this library cannot apply with this ffmpeg.
    pub notes: Vec<Note>,
}

impl VideoInfo {
    fn new(header: &Header, scan: &Scan, picture: &Picture) -> Self {
        let mut sample_aspect_ratio = header.sample_aspect_ratio;
        if header.orientation.swaps_sides() {
            sample_aspect_ratio = (sample_aspect_ratio.1, sample_aspect_ratio.0);
        }
        let first = scan.start().map(|start| start as f64 / 1e6);
        // The start in the headers of a file whose clock jumps may be that of a later part.
        let start_time = if scan.jumps { first.or(header.start) } else { header.start.or(first) }.unwrap_or(0.0);
        let measured = scan.end.map(|end| end as f64 / 1e6 - start_time).filter(|&length| length > 0.0);
        let rate = header.average_frame_rate.or(header.nominal_frame_rate);
        let by_rate = rate.map(|rate| scan.frames as f64 / rate);
        let duration = measured.or(by_rate).or(header.stream_duration).or(header.container_duration).unwrap_or(0.0);
        let declared = declared(header, scan, start_time, duration);
        let second = |time: i64| time as f64 / 1e6 - start_time;
        let gaps = scan.gaps.iter().map(|&(start, end)| Gap::new(second(start), second(end))).collect();
        Self {
            container: header.container.clone(),
            codec: header.codec.clone(),
            stream: header.stream,
            video_streams: header.video_streams,
            pixel_format: header.pixel_format.clone(),
            width: picture.displayed.0,
            height: picture.displayed.1,
            frame_width: picture.frame.0,
            frame_height: picture.frame.1,
            rotation: header.orientation.quarter_turns * 90,
            mirrored: header.orientation.mirrored,
            sample_aspect_ratio,
            average_frame_rate: header.average_frame_rate,
            nominal_frame_rate: header.nominal_frame_rate,
            variable_frame_rate: scan.variable,
            start_time,
            duration,
            frame_count: scan.frames,
            declared_frames: declared.map(|(frames, _)| frames),
            declared_duration: declared.map(|(_, length)| length),
            gaps,
            notes: picture.notes.clone(),
        }
    }
}

impl VideoInfo {
    /// Returns width and height of the returned frames.
    pub(crate) fn frame_size(&self) -> (u32, u32) {
        (self.frame_width, self.frame_height)
    }

    /// Returns the start of the video in microseconds on the file's own clock.
    pub(crate) fn start_microseconds(&self) -> i64 {
        (self.start_time * 1e6).round() as i64
    }
}

impl From<&VideoInfo> for Input {
    /// Copies all properties except path, size and hash, which belong to the file: see [`Video::input`].
    fn from(info: &VideoInfo) -> Self {
        let mut input = Input::new("");
        input.container = Some(info.container.clone());
        input.codec = Some(info.codec.clone());
        input.width = Some(info.width);
        input.height = Some(info.height);
        input.rotation = Some(info.rotation);
        input.frame_rate = info.average_frame_rate;
        input.variable_frame_rate = Some(info.variable_frame_rate);
        input.duration = Some(info.duration);
        input.declared_duration = info.declared_duration;
        input.frames = Some(info.frame_count);
        input.gaps.clone_from(&info.gaps);
        (input.stream, input.video_streams) = (Some(info.stream), Some(info.video_streams));
        input.picture_notes = info.notes.iter().map(ToString::to_string).collect();
        input
    }
}

/// Containers that state their length in the header. For others ffprobe estimates it from the file's size or its end.
const STATE_THEIR_LENGTH: [&str; 6] = ["mov", "matroska", "avi", "flv", "asf", "mxf"];

/// Returns how many frames and seconds the headers declare, if that is more than the file has. If a part of the file at
/// its end cannot be read, the numbers are estimated from its bytes.
fn declared(header: &Header, scan: &Scan, start: f64, duration: f64) -> Option<(u64, f64)> {
    let container = header.container.split(',').next().unwrap_or_default();
    if header.is_whole {
        return None;
    }
    if let Some(readable) = scan.readable {
        return Some(((scan.frames as f64 / readable).ceil() as u64, duration / readable));
    }
    if container == "apng" {
        let frames = header.frames.filter(|&frames| frames > scan.frames)?;
        return Some((frames, duration * frames as f64 / scan.frames as f64)).filter(is_plausible);
    }
    // Where the clock jumps, its last time is no length. Some segments of a stream are not a part that was cut short.
    if !STATE_THEIR_LENGTH.contains(&container) || scan.jumps || (header.fragments && start > SEGMENT_START) {
        return None;
    }
    let frame = duration / scan.frames as f64;
    let end = |time: Option<i64>| Some(time? as f64 / 1e6);
    // The number of frames may include some that an edit list leaves out. In AVI it is that of all ticks of the clock,
    // also those at which a frame was left out, and ffprobe corrects the length by what it finds.
    let of_ticks = header.frames.filter(|_| container == "avi").map(|ticks| ticks as f64 * header.tick);
    // The length of the container may be that of its sound, so it is compared with the last packet of any stream.
    let missing = match (of_ticks.or(header.stream_duration), header.container_duration) {
        (Some(length), _) => length - (end(scan.end)? - start),
        (None, Some(length)) => length - end(scan.end_of_all)?,
        (None, None) => return None,
    };
    // Headers round times, and few of them state how long the last frame is shown.
    let least = if of_ticks.is_some() { 3.0 * frame } else { (3.0 * frame).max(0.25) };
    let promised = header.frames.filter(|&frames| frames > scan.frames && of_ticks.is_none());
    let estimated = || scan.frames.saturating_add((missing / frame.max(1e-6)).round() as u64);
    (missing > least).then(|| (promised.unwrap_or_else(estimated), duration + missing)).filter(is_plausible)
}

/// Returns whether a length in seconds may be meant: 115 days at most. Headers that were never finished state more.
fn is_plausible((_, seconds): &(u64, f64)) -> bool {
    *seconds < 1e7
}

/// A fragmented file that starts later than this, in seconds, is not the beginning of its video.
const SEGMENT_START: f64 = 0.5;

/// Returns whether a path that names no file is a web address, such as `https://example.org/clip`.
fn is_web_address(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
    scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric())
}

pub(crate) fn unreadable(path: &Path, source: io::Error) -> VideoError {
    VideoError::Io { path: path.to_path_buf(), source }
}

/// Reads a whole file of any kind and returns its SHA-256 in hexadecimal, as reports have it
/// ([`Input::sha256`](deepsight_core::Input::sha256)).
///
/// # Errors
/// [`VideoError::Io`] if the file cannot be read.
pub fn sha256(path: &Path) -> Result<String, VideoError> {
    let mut hash = HashWriter(Sha256::new());
    let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hash));
    copied.map_err(|source| unreadable(path, source))?;
    Ok(hash.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
