use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use crate::{HwAccel, Limit, PixelFormat, cure};

/// Errors of opening and decoding a video. Every message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// A clip cannot be compressed again ([`recompress_clip`](crate::recompress_clip)).
    #[error("{}: cannot be compressed again: {reason}", shown(path))]
    Recompression {
        /// The clip.
        path: PathBuf,
        /// ffmpeg's message, or how it ended.
        reason: String,
    },
    /// The file cannot be read: it is missing, unreadable, or was removed.
    #[error("{path}: {source}", path = shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The path names a folder.
    #[error("{path}: is a folder; give the video files in it", path = shown(path))]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The path is a web address.
    #[error("{address}: is a web address; download the video first, and give the file", address = shown(address))]
    WebAddress {
        /// The address as given.
        address: PathBuf,
    },
    /// The path names a device or a pipe.
    #[error("{path}: not a regular file", path = shown(path))]
    NotAFile {
        /// The path as given.
        path: PathBuf,
    },
    /// The file has no bytes.
    #[error("{path}: the file is empty", path = shown(path))]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// A text is not a list of trusted certificates.
    #[error(
        "the list of trusted certificates has no certificate in PEM (-----BEGIN CERTIFICATE-----), or a damaged one"
    )]
    TrustList,
    /// ffmpeg or ffprobe is not installed, or not at the path given for it.
    #[error("{program} was not found; {hint}", program = program.display())]
    FfmpegMissing {
        /// The program that was looked for.
        program: PathBuf,
        /// How to install it, or how to set its path.
        hint: &'static str,
    },
    /// ffmpeg or ffprobe exists, but starting it or communicating with it failed.
    #[error("cannot run {program}: {source}", program = program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// No hardware decoder has that name.
    #[error("no hardware decoder {name:?}; there is {choice}", choice = HwAccel::NAMES.join(", "))]
    UnknownHwAccel {
        /// The given name.
        name: String,
    },
    /// No layout of pixels has that name.
    #[error(
        "no pixel format {name:?}; there is {choice}",
        choice = PixelFormat::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ")
    )]
    UnknownPixelFormat {
        /// The given name.
        name: String,
    },
    /// The requested hardware decoder cannot be used. The video is not decoded on the CPU instead.
    #[error(
        "cannot decode on {hwaccel}: {reason}; see whether `nvidia-smi` finds the GPU and `ffmpeg -hwaccels` lists \
         cuda, or ask for no hardware decoder"
    )]
    HwAccel {
        /// The requested hardware decoder.
        hwaccel: HwAccel,
        /// Message of ffmpeg.
        reason: String,
    },
    /// The video is over one of the [`DecodeLimits`](crate::DecodeLimits).
    #[error("{path}: {value} {limit} is over the limit of {max}", path = shown(path))]
    OverLimit {
        /// The file.
        path: PathBuf,
        /// The limit that is exceeded.
        limit: Limit,
        /// Value of the video, as far as it was counted.
        value: u64,
        /// Largest allowed value.
        max: u64,
    },
    /// The video is longer than [`max_duration_seconds`](crate::DecodeLimits::max_duration_seconds).
    #[error(
        "{path}: {length} is longer than the limit of {limit}; raise max_duration_seconds, or cut the video",
        path = shown(path), length = length(*seconds), limit = length(*max_seconds)
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Length of the video, in whole seconds, rounded up.
        seconds: u64,
        /// Longest allowed length in seconds.
        max_seconds: u64,
    },
    /// ffmpeg or ffprobe took longer than [`max_wait`](crate::DecodeLimits::max_wait) and was killed.
    #[error("{path}: {program} was stopped after {limit:?}, the limit on waiting for it", path = shown(path))]
    TimedOut {
        /// The file.
        path: PathBuf,
        /// `ffmpeg` or `ffprobe`.
        program: &'static str,
        /// Longest allowed wait.
        limit: Duration,
    },
    /// The source of a stream sent nothing for longer than
    /// [`max_source_wait`](crate::DecodeLimits::max_source_wait).
    #[error("{path}: nothing came for {limit:?}, the limit on waiting for its source", path = shown(path))]
    SourceSilent {
        /// Name of the stream.
        path: PathBuf,
        /// Longest allowed wait.
        limit: Duration,
    },
    /// The opening of a file or the decoding of a stream was cancelled: see
    /// [`DecodeOptions::with_cancel`](crate::DecodeOptions::with_cancel) and
    /// [`PipedVideo::with_cancel`](crate::PipedVideo::with_cancel).
    #[error("{path}: the decoding was stopped", path = shown(path))]
    Stopped {
        /// The file, or the name of the stream.
        path: PathBuf,
    },
    /// The file is not a video in a container that may be opened.
    #[error("{path}: not a video that can be opened: {reason}", path = shown(path))]
    NotAVideo {
        /// The file.
        path: PathBuf,
        /// What the file seems to be and what to do, then the last messages of ffprobe.
        reason: String,
    },
    /// An MP4 file without its index (`moov`), which stands at the end of a recording: the file is cut short, or was
    /// not closed.
    #[error(
        "{path}: the file is incomplete: its index (moov) is missing; copy or download it again",
        path = shown(path)
    )]
    NoIndex {
        /// The file.
        path: PathBuf,
    },
    /// An MP4 on a pipe whose index (`moov`) comes after its pictures. Reading it needs a step back, which a pipe
    /// cannot make.
    #[error(
        "{path}: is an MP4 with its index at the end, which cannot be read from a pipe; save it to a file and give \
         that, or move the index to the front with `ffmpeg -i in.mp4 -c copy -movflags +faststart out.mp4`",
        path = shown(path)
    )]
    IndexAtEnd {
        /// Name of the stream.
        path: PathBuf,
    },
    /// A segment of a stream (DASH, HLS, CMAF) without the initialization segment that describes it.
    #[error(
        "{path}: a segment without its initialization; join the initialization segment and the segments into one file",
        path = shown(path)
    )]
    NoInitialization {
        /// The file.
        path: PathBuf,
    },
    /// The initialization segment of a stream (DASH, HLS, CMAF), which describes pictures and holds none.
    #[error(
        "{path}: an initialization segment without the segments after it, which hold the pictures; join them into one \
         file, such as with `cat init.mp4 segment*.m4s > clip.mp4`",
        path = shown(path)
    )]
    NoSegments {
        /// The file.
        path: PathBuf,
    },
    /// A file with a Y4M stream, which is read from a pipe only ([`PipedVideo`](crate::PipedVideo)).
    #[error(
        "{path}: is a Y4M stream, which is read from a pipe and not from a file; send it through a pipe, or compress \
         it without loss, such as with `ffmpeg -i clip.y4m -c:v ffv1 clip.mkv`",
        path = shown(path)
    )]
    Y4mFile {
        /// The file.
        path: PathBuf,
    },
    /// The video is encrypted.
    #[error("{path}: the video is encrypted; give a file without copy protection", path = shown(path))]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// The container, or the codec of the video, is not on the allow-list.
    #[error("{path}: uses a container or codec that is not allowed: {reason}", path = shown(path))]
    NotAllowed {
        /// The file.
        path: PathBuf,
        /// What the file is and what to do, then the message of ffprobe or ffmpeg.
        reason: String,
    },
    /// The file has no moving picture: audio only, or audio with cover art.
    #[error(
        "{path}: has no video stream, only sound, subtitles or cover art; give the file that has the moving pictures",
        path = shown(path)
    )]
    NoVideoStream {
        /// The file.
        path: PathBuf,
    },
    /// The stream of [`DecodeOptions::stream`](crate::DecodeOptions::stream) is not a moving picture.
    #[error(
        "{path}: stream {stream} is not a moving picture; choose from {choice}",
        path = shown(path), choice = list(choice)
    )]
    NoSuchStream {
        /// The file.
        path: PathBuf,
        /// Index of the stream that was asked for.
        stream: u32,
        /// Indices of the streams that are moving pictures.
        choice: Vec<u32>,
    },
    /// ffprobe's description of the video is incomplete or impossible.
    #[error("{path}: cannot be probed: {reason}", path = shown(path))]
    Probe {
        /// The file.
        path: PathBuf,
        /// What is missing or impossible.
        reason: String,
    },
    /// The sampling selects no frames, or its rate is not a positive number.
    #[error("cannot sample frames: {reason}")]
    InvalidSampling {
        /// What is wrong.
        reason: String,
    },
    /// The maximum side of a frame is 0, which leaves no pixels.
    #[error("a maximum side of {max_side} pixels leaves no picture")]
    InvalidSize {
        /// The requested maximum side.
        max_side: u32,
    },
    /// ffmpeg failed while decoding.
    #[error(
        "{path}: decoding failed after {frames} frames; {advice}; ffmpeg says ({status}): {stderr}",
        path = shown(path), advice = cure::of_decoding(stderr)
    )]
    Decode {
        /// The file.
        path: PathBuf,
        /// Number of frames decoded before the failure, sampled or not.
        frames: u64,
        /// Exit status of ffmpeg.
        status: ExitStatus,
        /// The end of ffmpeg's standard error, on one line.
        stderr: String,
    },
    /// ffmpeg, or a stream of uncompressed frames, ended in the middle of a frame's pixels.
    #[error("{path}: frame {frame}: got {got} of {want} bytes", path = shown(path))]
    TruncatedFrame {
        /// The file.
        path: PathBuf,
        /// Number of sampled frames before it.
        frame: u64,
        /// Bytes that arrived.
        got: usize,
        /// Bytes of one frame.
        want: usize,
    },
    /// A frame's pixels came without its presentation time.
    #[error("{path}: frame {frame}: ffmpeg gave no presentation time", path = shown(path))]
    MissingTime {
        /// The file.
        path: PathBuf,
        /// Number of sampled frames before it.
        frame: u64,
    },
    /// The file ends before the length that its header states. This error comes after all frames that could be decoded.
    #[error("{path}: cut short: {got} of about {want} frames could be decoded", path = shown(path))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Number of frames that could be decoded.
        got: u64,
        /// Number of frames that the header declares, estimated if it states only a length.
        want: u64,
    },
    /// The number of decoded frames differs from the number counted. The file is damaged, or was cut so that its first
    /// frames refer to frames it lacks. This error comes after the last frame.
    #[error("{path}: {got} frames could be decoded where {want} were counted", path = shown(path))]
    FrameCount {
        /// The file.
        path: PathBuf,
        /// Number of frames that were decoded.
        got: u64,
        /// Number of frames that were counted when the video was opened.
        want: u64,
    },
    /// There is not enough memory for one frame.
    #[error("{path}: no memory for a frame of {bytes} bytes", path = shown(path))]
    OutOfMemory {
        /// The file.
        path: PathBuf,
        /// Bytes of one frame.
        bytes: u64,
    },
}

impl VideoError {
    /// Returns the error for a missing program, which says how to install it.
    pub(crate) fn missing(program: &Path) -> Self {
        Self::FfmpegMissing {
            program: program.to_path_buf(),
            hint: "install ffmpeg (Debian/Ubuntu: `sudo apt-get install ffmpeg`, Fedora: `sudo dnf install \
                   ffmpeg-free`, macOS: `brew install ffmpeg`, Windows: `winget install Gyan.FFmpeg`), or name the \
                   program in the environment variable DEEPSIGHT_FFMPEG",
        }
    }
}

/// Returns a path as text on one line. Control characters are replaced, because a stranger may have put line breaks or
/// terminal commands in the file's name.
fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn list(numbers: &[u32]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
    if numbers.is_empty() { "none: the file has no moving picture".into() } else { numbers.join(", ") }
}

/// Returns a time as text: `2 h 5 min`, `1 min 30 s`, `59 s`.
fn length(seconds: u64) -> String {
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let parts: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}")).collect();
    if parts.is_empty() { "0 s".into() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_in_hours_minutes_and_seconds() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (90, "1 min 30 s"), (7200, "2 h"), (7505, "2 h 5 min 5 s")] {
            assert_eq!(length(seconds), text);
        }
        let error = VideoError::TooLong { path: "a.mp4".into(), seconds: 7200, max_seconds: 3600 };
        let told = "a.mp4: 2 h is longer than the limit of 1 h; raise max_duration_seconds, or cut the video";
        assert_eq!(error.to_string(), told);
    }
}
