use std::{
    env,
    ffi::OsString,
    path::{self, Path, PathBuf},
};

use deepsight_core::{CancelToken, Report};
use ffmpeg_sidecar::command::FfmpegCommand;

use crate::{
    DecodeLimits, HwAccel, VideoError,
    limits::{DECODERS, DEMUXERS, PIPE_PROTOCOLS, PROTOCOLS},
    process,
};

/// Settings for decoding: where ffmpeg is, the limits on a video, the size of frames, and the hardware that decodes.
///
/// ```
/// use deepsight_video::{DecodeLimits, DecodeOptions};
/// let options = DecodeOptions::default()
///     .with_limits(DecodeLimits::default().with_max_duration_seconds(120))
///     .with_max_side(1280);
/// assert_eq!(options.max_side, Some(1280));
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// The ffmpeg program. Default: the one that the environment variable `DEEPSIGHT_FFMPEG` names, else `ffmpeg` on
    /// the `PATH`.
    pub ffmpeg: Option<PathBuf>,
    /// The ffprobe program. Default: the one that the environment variable `DEEPSIGHT_FFPROBE` names (ignored if
    /// [`ffmpeg`](Self::ffmpeg) is set), else `ffprobe` in the folder of the ffmpeg that was named, else `ffprobe` on
    /// the `PATH`.
    pub ffprobe: Option<PathBuf>,
    /// Limits on one video.
    pub limits: DecodeLimits,
    /// Longest side of a frame in pixels. Larger frames are scaled down to it (bicubic). `None` keeps their size.
    pub max_side: Option<u32>,
    /// Clockwise quarter turns of each frame, after the rotation that the file states. Default 0. In a clip that does
    /// not state its rotation, faces may be found only in another turn.
    pub turn: u32,
    /// Index of the video stream in the file, counted over all its streams. Default: the one that a player shows. It is
    /// marked as the default, or else has the most frames, then the most pixels.
    pub stream: Option<u32>,
    /// Hardware that decodes instead of the CPU. Default: none. If the hardware is missing, decoding fails with
    /// [`VideoError::HwAccel`]. A stream that the hardware cannot decode is decoded on the CPU.
    pub hwaccel: Option<HwAccel>,
    /// Token that ends the opening of a file when it is cancelled. Default: none. It does not end the decoding of
    /// frames: see [`Frames::with_cancel`](crate::Frames::with_cancel).
    pub cancel: Option<CancelToken>,
    /// Certificates that are trusted to sign content credentials. Default: none, so that no signer's identity is
    /// checked.
    #[cfg(feature = "c2pa")]
    pub trust_list: Option<crate::TrustList>,
}

impl DecodeOptions {
    /// Sets the ffmpeg program. ffprobe is expected in the same folder.
    #[must_use]
    pub fn with_ffmpeg(mut self, path: impl Into<PathBuf>) -> Self {
        self.ffmpeg = Some(path.into());
        self
    }

    /// Sets the ffprobe program, for when it is not in ffmpeg's folder.
    #[must_use]
    pub fn with_ffprobe(mut self, path: impl Into<PathBuf>) -> Self {
        self.ffprobe = Some(path.into());
        self
    }

    /// Sets the limits on one video.
    #[must_use]
    pub fn with_limits(mut self, limits: DecodeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns these options for a still picture, whose only frame may have more pixels than one of a video.
    pub(crate) fn of_a_still(&self) -> Self {
        let limits = self.limits.clone().with_max_pixels(self.limits.max_still_pixels);
        self.clone().with_limits(limits)
    }

    /// Scales frames down to a longer side of at most `pixels`.
    #[must_use]
    pub fn with_max_side(mut self, pixels: u32) -> Self {
        self.max_side = Some(pixels);
        self
    }

    /// Turns frames clockwise by further quarters, after the rotation that the file states. 4 quarters are none.
    #[must_use]
    pub fn with_turn(mut self, quarter_turns: u32) -> Self {
        self.turn = quarter_turns;
        self
    }

    /// Chooses the video stream by its index in the file, counted over all its streams, as ffprobe prints it.
    #[must_use]
    pub fn with_stream(mut self, index: u32) -> Self {
        self.stream = Some(index);
        self
    }

    /// Shows a file as a report has analyzed it: the same stream, in the same turn.
    #[must_use]
    pub fn with_report(self, report: &Report) -> Self {
        Self { stream: report.input.stream.or(self.stream), ..self }.with_turn(report.quarter_turns())
    }

    /// Sets the hardware that decodes.
    #[must_use]
    pub fn with_hwaccel(mut self, hwaccel: HwAccel) -> Self {
        self.hwaccel = Some(hwaccel);
        self
    }

    /// Ends the opening of a file with [`VideoError::Stopped`] when the token is cancelled, even while ffprobe reads.
    #[must_use]
    pub fn with_cancel(mut self, cancel: &CancelToken) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Checks the signers of content credentials against a list of trusted certificates.
    #[cfg(feature = "c2pa")]
    #[must_use]
    pub fn with_trust_list(mut self, list: &crate::TrustList) -> Self {
        self.trust_list = Some(list.clone());
        self
    }

    /// Returns an error if the opening of a file was cancelled.
    pub(crate) fn check_cancel(&self, path: &Path) -> Result<(), VideoError> {
        match self.cancel.as_ref().is_some_and(CancelToken::is_cancelled) {
            true => Err(VideoError::Stopped { path: path.to_path_buf() }),
            false => Ok(()),
        }
    }

    /// Checks that ffmpeg and ffprobe run, by starting both, and that ffmpeg can open the hardware that is to decode.
    ///
    /// # Errors
    /// Returns [`VideoError::FfmpegMissing`], which says what to do, if one of the programs is missing. Returns
    /// [`VideoError::Spawn`] if one of them does not run, and [`VideoError::HwAccel`] if ffmpeg cannot open the
    /// hardware.
    pub fn check(&self) -> Result<(), VideoError> {
        let programs = Programs::locate(self);
        answers(&programs.ffmpeg)?;
        answers(&programs.ffprobe)?;
        self.hwaccel.map_or(Ok(()), |hwaccel| opens(&programs.ffmpeg, hwaccel))
    }
}

/// Checks that a program exists and runs.
fn answers(program: &Path) -> Result<(), VideoError> {
    let version = std::process::Command::new(program)
        .arg("-version")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    let failed = |source| VideoError::Spawn { program: program.to_path_buf(), source };
    match version {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(std::io::Error::other(format!("it ended with {status}")))),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Err(VideoError::missing(program)),
        Err(source) => Err(failed(source)),
    }
}

/// Checks that ffmpeg can use a device. ffmpeg opens the devices in its arguments before it prints its version.
fn opens(program: &Path, hwaccel: HwAccel) -> Result<(), VideoError> {
    let mut command = std::process::Command::new(program);
    command.args(["-hide_banner", "-loglevel", "error", "-init_hw_device", &hwaccel.to_string(), "-version"]);
    let output = command.stdin(std::process::Stdio::null()).output();
    let output = output.map_err(|source| VideoError::Spawn { program: program.to_path_buf(), source })?;
    if output.status.success() { Ok(()) } else { Err(hwaccel.unavailable(process::one_line(&output.stderr))) }
}

/// The paths of the two programs, as they will be started.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) ffmpeg: PathBuf,
    pub(crate) ffprobe: PathBuf,
}

impl Programs {
    pub(crate) fn locate(options: &DecodeOptions) -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let named = options.ffmpeg.clone().or_else(|| variable("DEEPSIGHT_FFMPEG"));
        let sibling = |ffmpeg: &PathBuf| {
            let folder = ffmpeg.parent().filter(|folder| !folder.as_os_str().is_empty())?;
            Some(folder.join("ffprobe").with_extension(env::consts::EXE_EXTENSION))
        };
        // An ffmpeg given in code must not be paired with an ffprobe from the environment.
        let ffprobe = match &options.ffmpeg {
            Some(ffmpeg) => options.ffprobe.clone().or_else(|| sibling(ffmpeg)),
            None => {
                let variable = || variable("DEEPSIGHT_FFPROBE");
                options.ffprobe.clone().or_else(variable).or_else(|| named.as_ref().and_then(sibling))
            }
        };
        Self {
            ffmpeg: named.unwrap_or_else(|| PathBuf::from("ffmpeg")),
            ffprobe: ffprobe.unwrap_or_else(|| PathBuf::from("ffprobe")),
        }
    }
}

/// A stream that is never decoded, with a decoder that is not on the allow-list. ffprobe still opens the decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Index of the stream in the file.
    pub(crate) stream: u32,
    /// ffmpeg's name for the decoder.
    pub(crate) decoder: String,
}

/// The source from which ffmpeg reads a video.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Address<'a> {
    File(&'a Path),
    /// Standard input.
    Pipe,
}

impl Address<'_> {
    fn url(self) -> OsString {
        match self {
            Self::File(file) => file_url(file),
            Self::Pipe => "pipe:0".into(),
        }
    }

    fn protocols(self) -> &'static str {
        match self {
            Self::File(_) => PROTOCOLS,
            Self::Pipe => PIPE_PROTOCOLS,
        }
    }
}

/// Returns a command that makes ffprobe print the parts of a video that `show` selects. It is safe on an untrusted one.
/// Decoders that are not on the allow-list are opened for the streams in `opened` alone. They must not be decoded.
pub(crate) fn ffprobe(
    program: &Path,
    from: Address,
    limits: &DecodeLimits,
    opened: &[Opened],
    show: &[&str],
) -> FfmpegCommand {
    let mut command = FfmpegCommand::new_with_path(program);
    command.args(["-hide_banner", "-loglevel", "level+warning"]);
    guard_input(&mut command, from, limits);
    // The list without a stream also applies to the container, whose reader may decode some packets of any stream.
    for Opened { stream, decoder } in opened {
        command.arg(format!("-codec_whitelist:{stream}")).arg(decoder);
    }
    command.args(show).input(from.url());
    command
}

/// Returns whether an ffmpeg has all these filters.
pub(crate) fn has_filters(program: &Path, filters: &[&str]) -> bool {
    let mut command = std::process::Command::new(program);
    let output = command.args(["-hide_banner", "-loglevel", "error", "-filters"]).stdin(std::process::Stdio::null());
    let listed = output.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let names: Vec<_> = listed.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    filters.iter().all(|filter| names.contains(filter))
}

/// Returns a command that makes ffmpeg decode one stream of a video to raw RGB frames on standard output. It is safe on
/// an untrusted one.
pub(crate) fn decode(program: &Path, from: Address, limits: &DecodeLimits, job: &DecodeJob) -> FfmpegCommand {
    let mut command = quiet(program);
    decoder_options(&mut command, from, limits, limits.threads());
    if let Some(hwaccel) = job.hwaccel {
        hwaccel.ask(&mut command);
    }
    command.input(from.url()).arg("-map").arg(format!("0:{}", job.stream));
    command.arg("-vf").arg(&job.filters);
    if let Address::Pipe = from {
        // Otherwise the end of a frame waits in a buffer until the source sends the next one.
        command.args(["-flush_packets", "1"]);
    }
    write_raw_frames(&mut command, job.old_sync_option, job.max_frames);
    command
}

/// The settings of one decode.
pub(crate) struct DecodeJob {
    pub(crate) stream: u32,
    pub(crate) filters: String,
    pub(crate) max_frames: Option<u64>,
    pub(crate) old_sync_option: bool,
    pub(crate) hwaccel: Option<HwAccel>,
}

/// Returns a command that makes ffmpeg open `file` several times, each time at another place, and decode it to raw RGB
/// frames on standard output. It is safe on an untrusted file.
pub(crate) fn seek(program: &Path, file: &Path, limits: &DecodeLimits, job: &SeekJob) -> FfmpegCommand {
    let mut command = quiet(program);
    for place in &job.places {
        // The inputs are decoded in turn, and each thread of a decoder needs the memory of a frame.
        decoder_options(&mut command, Address::File(file), limits, 1);
        if let Some(time) = place {
            // Without these options, ffmpeg would drop the frames before the time, and count it from the file's start.
            command.args(["-noaccurate_seek", "-seek_timestamp", "1", "-ss"]).arg(seconds(*time));
        }
        command.input(file_url(file));
    }
    command.arg("-filter_complex").arg(&job.filters).args(["-map", "[frames]"]);
    write_raw_frames(&mut command, job.old_sync_option, None);
    command
}

/// The settings of one run of ffmpeg that seeks.
pub(crate) struct SeekJob {
    /// For each input the time in microseconds to seek to. `None` is the beginning of the file.
    pub(crate) places: Vec<Option<i64>>,
    /// Filters that make one stream of frames, named `frames`, from one stream of each input.
    pub(crate) filters: String,
    pub(crate) old_sync_option: bool,
}

/// Returns a command that makes ffmpeg decode a file of a container on standard input to raw RGB frames on standard
/// output. It is safe on an untrusted one. `filters` make one stream of frames, named `frames`, from one of the file's
/// streams.
pub(crate) fn excerpt(
    program: &Path,
    limits: &DecodeLimits,
    container: &str,
    filters: &str,
    old_sync_option: bool,
) -> FfmpegCommand {
    let mut command = quiet(program);
    decoder_options(&mut command, Address::Pipe, limits, limits.threads());
    command.format(container).input(Address::Pipe.url()).arg("-filter_complex").arg(filters).args(["-map", "[frames]"]);
    write_raw_frames(&mut command, old_sync_option, None);
    command
}

/// Returns a command that makes ffmpeg decode the only stream of an MP4 on standard input to one raw RGB picture on
/// standard output. It is safe on an untrusted one.
pub(crate) fn picture(program: &Path, limits: &DecodeLimits, filters: &str) -> FfmpegCommand {
    let mut command = quiet(program);
    decoder_options(&mut command, Address::Pipe, limits, limits.threads());
    command.format("mov").input(Address::Pipe.url()).args(["-map", "0:0", "-vf"]).arg(filters);
    command.args(["-frames:v", "1"]).format("rawvideo").output("pipe:1");
    command
}

/// Returns a command for ffmpeg that prints nothing but errors, each of them even if it equals the one before. Time
/// stamps stay those of the file.
fn quiet(program: &Path) -> FfmpegCommand {
    let mut command = FfmpegCommand::new_with_path(program);
    command.args(["-hide_banner", "-loglevel", "repeat+level+error", "-nostdin", "-nostats", "-copyts"]);
    command
}

/// Adds the options for the next input.
fn decoder_options(command: &mut FfmpegCommand, from: Address, limits: &DecodeLimits, threads: u32) {
    guard_input(command, from, limits);
    // The filters rotate the picture and keep one size throughout. By default ffmpeg rebuilds the filters when a video
    // changes its size, and their frame count restarts at 0.
    command.args(["-noautorotate", "-reinit_filter", "0", "-threads"]).arg(threads.to_string());
}

fn write_raw_frames(command: &mut FfmpegCommand, old_sync_option: bool, max_frames: Option<u64>) {
    command.args(["-an", "-sn", "-dn"]);
    command.args(if old_sync_option { ["-vsync", "passthrough"] } else { ["-fps_mode", "passthrough"] });
    if let Some(frames) = max_frames {
        command.arg("-frames:v").arg(frames.to_string());
    }
    command.format("rawvideo").output("pipe:1");
}

/// Formats a time in microseconds, not before 0, as seconds.
pub(crate) fn seconds(microseconds: i64) -> String {
    format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
}

/// Largest single allocation of ffmpeg, in bytes. A frame of 8192 × 4320 at 16 bits per channel fits.
const MAX_ALLOCATION: &str = "536870912";

fn guard_input(command: &mut FfmpegCommand, from: Address, limits: &DecodeLimits) {
    let protocols = from.protocols();
    command.args(["-protocol_whitelist", protocols, "-format_whitelist", DEMUXERS, "-codec_whitelist", DECODERS]);
    if let Ok(pixels) = i32::try_from(limits.max_pixels) {
        command.arg("-max_pixels").arg(pixels.to_string()).args(["-max_alloc", MAX_ALLOCATION]);
    }
}

/// Returns `file:` and the absolute path, so that no name is taken for an option, a protocol or a pattern.
fn file_url(file: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path::absolute(file).unwrap_or_else(|_| file.to_path_buf()));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hwaccel: Option<HwAccel>) -> Vec<String> {
        let job = DecodeJob { stream: 1, filters: "null".into(), max_frames: Some(3), old_sync_option: false, hwaccel };
        let from = Address::File(Path::new("/clip.mp4"));
        let mut command = decode(Path::new("ffmpeg"), from, &DecodeLimits::default(), &job);
        command.as_inner_mut().get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn hardware_options_come_before_the_input_and_change_nothing_else() {
        let (plain, mut hardware) = (line(None), line(Some(HwAccel::Cuda { device: 1 })));
        assert!(!plain.contains(&"-hwaccel".to_owned()), "{plain:?}");
        let input = hardware.iter().position(|word| word == "-i").expect("there is an input");
        let asked: Vec<_> = hardware.drain(input - 4..input).collect();
        assert_eq!(asked, ["-hwaccel", "cuda", "-hwaccel_device", "1"]);
        assert_eq!(hardware, plain);
    }
}
