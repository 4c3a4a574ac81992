//! Recompression of clips, as a video platform does it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use deepsight_core::CancelToken;
use deepsight_video::{DecodeOptions, Sampling, Video};

use crate::Error;
use crate::augment::apart;

/// Most characters of ffmpeg's message that an error shows.
const COMPLAINT: usize = 300;

/// Encodes a clip's pictures again as H.264 of a constant rate factor (`0..=51`, 23 is x264's default), without sound.
///
/// The clip is decoded as an analysis decodes it, with the same limits. The encoder reads raw pixels only.
///
/// # Errors
/// [`Error::Video`] when the clip cannot be decoded, [`Error::Recompression`] when it cannot be encoded, and
/// [`deepsight_core::Error::Cancelled`].
pub fn recompress_clip(
    clip: &Path,
    output: &Path,
    crf: u8,
    decode: &DecodeOptions,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let failed = |reason: String| Error::Recompression { path: clip.to_owned(), reason };
    let video = Video::open_with(clip, decode)?;
    let info = video.info();
    let rate = info.average_frame_rate.filter(|rate| rate.is_finite() && *rate > 0.0).unwrap_or(25.0);
    let mut encoder: Option<Encoder> = None;
    for frame in video.frames(Sampling::all())? {
        if cancel.is_cancelled() {
            return Err(deepsight_core::Error::Cancelled.into());
        }
        let image = frame?.image;
        let encoder = match &mut encoder {
            Some(encoder) => encoder,
            None => encoder.insert(Encoder::start(image.dimensions(), rate, crf, output, decode).map_err(failed)?),
        };
        if !encoder.write(image.as_raw()) {
            break;
        }
    }
    let encoder = encoder.ok_or_else(|| failed("it has no frames".into()))?;
    encoder.finish().map_err(failed)
}

/// A running ffmpeg. Dropping it kills the process and waits for its end.
struct Encoder {
    child: Child,
    stderr: File,
}

impl Encoder {
    fn start(
        (width, height): (u32, u32),
        rate: f64,
        crf: u8,
        output: &Path,
        decode: &DecodeOptions,
    ) -> Result<Self, String> {
        let program = program(decode);
        let size = format!("{width}x{height}");
        let (rate, crf) = (rate.to_string(), crf.to_string());
        let input = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &size, "-r", &rate, "-i", "pipe:0"];
        // Color has half the resolution, so width and height must be even.
        let even = ["-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2"];
        let codec = ["-c:v", "libx264", "-crf", &crf, "-preset", "medium", "-pix_fmt", "yuv420p", "-f", "mp4", "-y"];
        // A file, because ffmpeg would block on a pipe that is not read.
        let stderr = tempfile::tempfile().map_err(|error| error.to_string())?;
        let mut command = Command::new(&program);
        apart(&mut command);
        let child = command
            .args(["-hide_banner", "-loglevel", "error"])
            .args(input)
            .args(even)
            .args(codec)
            .arg(output)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr.try_clone().map_err(|error| error.to_string())?)
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        Ok(Self { child, stderr })
    }

    /// Writes a frame's pixels. Returns `false` when the encoder accepts no more; [`finish`](Self::finish) then says
    /// why.
    fn write(&mut self, pixels: &[u8]) -> bool {
        self.child.stdin.as_mut().is_some_and(|stdin| stdin.write_all(pixels).is_ok())
    }

    fn finish(mut self) -> Result<(), String> {
        drop(self.child.stdin.take());
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(());
        }
        let mut said = Vec::new();
        // Where the message cannot be read, the error still has the status.
        let _ = self.stderr.rewind().and_then(|()| (&mut self.stderr).take(64 << 10).read_to_end(&mut said));
        let said = String::from_utf8_lossy(&said);
        let words: String = said.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(COMPLAINT).collect();
        Err(format!("ffmpeg ended with {status}: {words}"))
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // Both fail for a child that has already ended and been waited for. Those errors can be ignored.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the ffmpeg program that the decoder uses.
fn program(decode: &DecodeOptions) -> PathBuf {
    let named = || std::env::var_os("DEEPSIGHT_FFMPEG").filter(|value| !value.is_empty()).map(PathBuf::from);
    decode.ffmpeg.clone().or_else(named).unwrap_or_else(|| "ffmpeg".into())
}
