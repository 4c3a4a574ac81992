//! Recompression as video, which needs several pictures of a face.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use deepsight_video::VideoError;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::random::{Between, check_share};

/// The compression of some faces by libx264, together with the faces of their track before and after them.
///
/// A video codec stores how a frame differs from earlier frames, which JPEG cannot imitate. Each compressed face takes
/// two runs of ffmpeg, which need a tenth of a second or two, so no preset uses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClipCompression {
    /// Share of the faces that are compressed, `0..=1`.
    pub probability: f32,
    /// libx264's constant rate factor, `0..=51`. Its default is 23; 40 is poor quality.
    pub crf: Between,
    /// Number of faces of a track that are compressed together, `1..=64`.
    pub frames: usize,
    /// The ffmpeg program. By default the one that the environment variable `DEEPSIGHT_FFMPEG` names, else `ffmpeg` on
    /// the `PATH`.
    pub ffmpeg: Option<PathBuf>,
}

impl Default for ClipCompression {
    fn default() -> Self {
        Self { probability: 0.3, crf: Between(18.0, 40.0), frames: 8, ffmpeg: None }
    }
}

impl ClipCompression {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_share("clip.probability", self.probability)?;
        self.crf.check("clip.crf", 0.0, 51.0, "must be within 0..=51, low end first")?;
        if (1..=64).contains(&self.frames) {
            return Ok(());
        }
        Err(Error::Setting { name: "clip.frames", value: self.frames.to_string(), rule: "must be within 1..=64" })
    }

    /// Returns the ffmpeg program that will be run.
    pub(crate) fn program(&self) -> PathBuf {
        let named = || std::env::var_os("DEEPSIGHT_FFMPEG").filter(|name| !name.is_empty()).map(PathBuf::from);
        self.ffmpeg.clone().or_else(named).unwrap_or_else(|| PathBuf::from("ffmpeg"))
    }
}

/// Compresses consecutive pictures of one size by libx264 at a constant rate factor, in 4:2:0, and decodes them again.
///
/// # Errors
/// - [`Error::Setting`] when `crf` is over 51, the pictures differ in size, or one has no pixels;
/// - [`Error::Video`] when ffmpeg cannot be started, [`Error::Ffmpeg`] when it fails or takes longer than a minute;
/// - [`Error::Io`] when the temporary files cannot be written or read.
pub fn recompress(frames: &[RgbImage], crf: u8, ffmpeg: &Path) -> Result<Vec<RgbImage>, Error> {
    let Some(first) = frames.first() else { return Ok(Vec::new()) };
    let (width, height) = first.dimensions();
    if crf > 51 {
        return Err(Error::Setting { name: "crf", value: crf.to_string(), rule: "must be within 0..=51" });
    }
    if let Some(other) = frames.iter().find(|frame| frame.dimensions() != (width, height) || frame.is_empty()) {
        let value = format!("{} × {} beside {width} × {height}", other.width(), other.height());
        return Err(Error::Setting { name: "size of a clip's pictures", value, rule: "must be the same, and not 0" });
    }

    // Files, not pipes: ffmpeg writes before it has read all of its input, and one thread cannot write and read at
    // once.
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "no folder can be made in it"))?;
    let [raw, coded, decoded] = ["raw", "coded.mkv", "decoded"].map(|name| folder.path().join(name));
    let write = |file: &mut File| frames.iter().try_for_each(|frame| file.write_all(frame.as_raw()));
    File::create(&raw).and_then(|mut file| write(&mut file)).map_err(Error::io(&raw, "cannot be written"))?;
    let size = format!("{width}x{height}");
    let crf = crf.to_string();
    // Color at half the resolution needs even sides, so they are padded.
    let encode = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &size, "-r", "25", "-i"];
    let encode_to = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-preset", "veryfast", "-crf", &crf];
    let arguments = |command: &mut Command| {
        command.args(encode).arg(&raw).args(encode_to).args(["-pix_fmt", "yuv420p", "-threads", "1", "-f", "matroska"]);
        command.arg(&coded);
    };
    run(ffmpeg, folder.path(), arguments)?;
    // Converted to RGB before cropping, because color at half the resolution cannot be cropped to odd sides.
    let crop = format!("format=rgb24,crop={width}:{height}:0:0");
    run(ffmpeg, folder.path(), |command| {
        command.args(["-threads", "1", "-f", "matroska", "-i"]).arg(&coded).args(["-vf", &crop]);
        command.args(["-f", "rawvideo"]).arg(&decoded);
    })?;

    let bytes = std::fs::read(&decoded).map_err(Error::io(&decoded, "cannot be read"))?;
    let images: Vec<RgbImage> = bytes
        .chunks_exact(first.as_raw().len())
        .filter_map(|frame| RgbImage::from_raw(width, height, frame.to_vec()))
        .collect();
    if images.len() != frames.len() {
        return Err(Error::Ffmpeg { reason: format!("gave {} of {} pictures back", images.len(), frames.len()) });
    }
    Ok(images)
}

/// Time limit of one run of ffmpeg: far more than a few pictures need on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(ffmpeg: &Path, folder: &Path, arguments: impl FnOnce(&mut Command)) -> Result<(), Error> {
    let log = folder.join("log");
    let stderr = File::create(&log).map_err(Error::io(&log, "cannot be written"))?;
    let mut command = Command::new(ffmpeg);
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]);
    arguments(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    apart(&mut command);
    let failed = |source| Error::Video(VideoError::Spawn { program: ffmpeg.to_owned(), source });
    let mut running = ChildProcess(command.spawn().map_err(failed)?);
    let Some(status) = running.wait(PATIENCE).map_err(failed)? else {
        return Err(Error::Ffmpeg { reason: format!("was stopped after {} seconds", PATIENCE.as_secs()) });
    };
    if status.success() {
        return Ok(());
    }
    let said = std::fs::read(&log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).lines().last().unwrap_or("it did not say why").to_owned();
    Err(Error::Ffmpeg { reason: format!("failed: {said}") })
}

/// Puts the child into its own process group, so that a terminal's Ctrl-C does not reach it. This process ends the
/// child when it shuts down.
fn apart(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// A child process that is killed when this value is dropped.
struct ChildProcess(Child);

impl ChildProcess {
    /// Waits for the process to end, and returns its exit status. Returns `None` if it is still running after
    /// `patience`.
    fn wait(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let end = Instant::now() + patience;
        let mut pause = Duration::from_millis(1);
        while Instant::now() < end {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(8));
        }
        Ok(None)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Both calls fail if the process has ended and was waited for. These errors can be ignored.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
