use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use crate::{HwAccel, Limit};

/// Errors of opening and decoding a video. Every message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// The file cannot be read: it is missing, unreadable, or was removed.
    #[error("{path}: {source}", path = shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The path names a directory, a device or a pipe.
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
    /// The requested hardware decoder cannot be used. The video is not decoded on the CPU instead.
    #[error(
        "cannot decode on {hwaccel}: {reason}; see whether `nvidia-smi` finds the GPU and `ffmpeg -hwaccels` lists cuda, \
         or ask for no hardware decoder"
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
    /// The file is not a video in a container that may be opened.
    #[error("{path}: not a video that can be opened: {reason}", path = shown(path))]
    NotAVideo {
        /// The file.
        path: PathBuf,
        /// Last messages of ffprobe.
        reason: String,
    },
    /// The container or a codec in it is not on the allow-list.
    #[error("{path}: uses a container or codec that is not allowed: {reason}", path = shown(path))]
    NotAllowed {
        /// The file.
        path: PathBuf,
        /// Message of ffprobe or ffmpeg.
        reason: String,
    },
    /// The file has no moving picture: audio only, or audio with cover art.
    #[error("{path}: has no video stream", path = shown(path))]
    NoVideoStream {
        /// The file.
        path: PathBuf,
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
    #[error("{path}: ffmpeg failed after {frames} frames ({status}): {stderr}", path = shown(path))]
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
    /// ffmpeg ended in the middle of a frame's pixels.
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

/// Returns a path as text on one line. Control characters are replaced, because a stranger may have put line breaks or
/// terminal commands in the file's name.
fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
