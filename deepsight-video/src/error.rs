use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use crate::{HwAccel, Limit};

/// What can go wrong between a path and its frames. Every message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// The file cannot be read: it is missing, unreadable, or vanished.
    #[error("{path}: {source}", path = shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
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
    /// ffmpeg or ffprobe is not installed, or not where it was said to be.
    #[error("{program} was not found; {hint}", program = program.display())]
    FfmpegMissing {
        /// The program that was looked for.
        program: PathBuf,
        /// How to install it, or how to say where it is.
        hint: &'static str,
    },
    /// ffmpeg or ffprobe is there and cannot be started or talked to.
    #[error("cannot run {program}: {source}", program = program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// No hardware decoder has that name.
    #[error("no hardware decoder {name:?}; there is {choice}", choice = HwAccel::NAMES.join(", "))]
    UnknownHwAccel {
        /// The name given.
        name: String,
    },
    /// The hardware decoder that was asked for cannot be used. Nothing is decoded on the CPU instead.
    #[error(
        "cannot decode on {hwaccel}: {reason}; see whether `nvidia-smi` finds the GPU and `ffmpeg -hwaccels` lists cuda, \
         or ask for no hardware decoder"
    )]
    HwAccel {
        /// What was asked for.
        hwaccel: HwAccel,
        /// What ffmpeg said.
        reason: String,
    },
    /// The video is over one of the [`DecodeLimits`](crate::DecodeLimits).
    #[error("{path}: {value} {limit} is over the limit of {max}", path = shown(path))]
    OverLimit {
        /// The file.
        path: PathBuf,
        /// Which limit.
        limit: Limit,
        /// What the video has, as far as it was counted.
        value: u64,
        /// What is allowed.
        max: u64,
    },
    /// ffmpeg kept us waiting longer than [`max_wait`](crate::DecodeLimits::max_wait) and was killed.
    #[error("{path}: {program} was stopped after {limit:?}, the limit on waiting for it", path = shown(path))]
    TimedOut {
        /// The file.
        path: PathBuf,
        /// `ffmpeg` or `ffprobe`.
        program: &'static str,
        /// What is allowed.
        limit: Duration,
    },
    /// The file is not a video of a container that may be opened.
    #[error("{path}: not a video that can be opened: {reason}", path = shown(path))]
    NotAVideo {
        /// The file.
        path: PathBuf,
        /// What ffprobe said last.
        reason: String,
    },
    /// The container or a codec in it is not on the allow-list.
    #[error("{path}: uses a container or codec that is not allowed: {reason}", path = shown(path))]
    NotAllowed {
        /// The file.
        path: PathBuf,
        /// What ffprobe or ffmpeg said.
        reason: String,
    },
    /// The file has no moving picture: audio only, or audio with cover art.
    #[error("{path}: has no video stream", path = shown(path))]
    NoVideoStream {
        /// The file.
        path: PathBuf,
    },
    /// ffprobe describes the video in a way that cannot be right.
    #[error("{path}: cannot be probed: {reason}", path = shown(path))]
    Probe {
        /// The file.
        path: PathBuf,
        /// What is missing or impossible.
        reason: String,
    },
    /// The sampling asks for nothing, or for something that is not a number.
    #[error("cannot sample frames: {reason}")]
    InvalidSampling {
        /// What is wrong.
        reason: String,
    },
    /// The downscale asks for frames without pixels.
    #[error("a maximum side of {max_side} pixels leaves no picture")]
    InvalidSize {
        /// The maximum side that was asked for.
        max_side: u32,
    },
    /// ffmpeg failed while decoding.
    #[error("{path}: ffmpeg failed after {frames} frames ({status}): {stderr}", path = shown(path))]
    Decode {
        /// The file.
        path: PathBuf,
        /// Frames decoded before, sampled or not.
        frames: u64,
        /// How ffmpeg ended.
        status: ExitStatus,
        /// The end of what it wrote on standard error, on one line.
        stderr: String,
    },
    /// ffmpeg ended in the middle of a frame's pixels.
    #[error("{path}: frame {frame}: got {got} of {want} bytes", path = shown(path))]
    TruncatedFrame {
        /// The file.
        path: PathBuf,
        /// How many sampled frames came before it.
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
        /// How many sampled frames came before it.
        frame: u64,
    },
    /// The file ends before the length that its header states. It comes after all the frames there are.
    #[error("{path}: cut short: {got} of about {want} frames could be decoded", path = shown(path))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Frames that could be decoded.
        got: u64,
        /// Frames that the header promises, as near as it can be said.
        want: u64,
    },
    /// The decoder gave another number of frames than the file has: it is damaged, or was cut where its first frames lack
    /// what they refer to. It comes after the last frame.
    #[error("{path}: {got} frames could be decoded where {want} were counted", path = shown(path))]
    FrameCount {
        /// The file.
        path: PathBuf,
        /// Frames that were decoded.
        got: u64,
        /// Frames that were counted when the video was opened.
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

/// A path as text for one line: a file's name may be chosen by a stranger, and hold line ends or a terminal's commands.
fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
