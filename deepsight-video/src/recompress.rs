//! Recompression of clips, as a video platform does it.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ffmpeg::Programs;
use crate::process::spawn_apart;
use crate::{DecodeOptions, Sampling, Video, VideoError};

/// Most bytes of ffmpeg's messages that are kept.
const MESSAGE_BYTES: u64 = 64 << 10;
/// Most characters of ffmpeg's message that an error shows.
const COMPLAINT: usize = 300;
/// Time between two checks whether the encoder has ended.
const POLL: Duration = Duration::from_millis(10);

/// Encodes a clip's pictures again as H.264 of a constant rate factor (`0..=51`, 23 is x264's default), without sound.
///
/// The clip is decoded as an analysis decodes it, with the same limits. The encoder reads raw pixels only, and has the
/// limits on threads, on the size of its file and on the time spent waiting for it. `stop` is called before each frame
/// and while the encoder finishes; if it returns `true`, the encoder is killed.
///
/// # Errors
/// Returns an error if the clip cannot be decoded, [`VideoError::TimedOut`] if the encoder takes longer than
/// [`max_wait`](crate::DecodeLimits::max_wait), and [`VideoError::Recompression`] if the clip cannot be encoded, the
/// result is larger than [`max_file_bytes`](crate::DecodeLimits::max_file_bytes), or `stop` returned `true`.
pub fn recompress_clip(
    clip: &Path,
    output: &Path,
    crf: u8,
    decode: &DecodeOptions,
    stop: &dyn Fn() -> bool,
) -> Result<(), VideoError> {
    let limits = &decode.limits;
    let failed = |reason: String| VideoError::Recompression { path: clip.to_owned(), reason };
    let late = || VideoError::TimedOut { path: clip.to_owned(), program: "ffmpeg", limit: limits.max_wait };
    let video = Video::open_with(clip, decode)?;
    let info = video.info();
    let rate = info.average_frame_rate.filter(|rate| rate.is_finite() && *rate > 0.0).unwrap_or(25.0);
    let mut encoder: Option<Encoder> = None;
    let mut waited = Duration::ZERO;
    for frame in video.frames(Sampling::all())? {
        if stop() {
            return Err(failed("it was stopped".into()));
        }
        let image = frame?.image;
        let encoder = match &mut encoder {
            Some(encoder) => encoder,
            None => encoder.insert(Encoder::start(image.dimensions(), rate, crf, output, decode).map_err(failed)?),
        };
        let started = Instant::now();
        let is_accepted = encoder.write(image.as_raw());
        waited += started.elapsed();
        if !is_accepted {
            break;
        }
        if waited > limits.max_wait {
            return Err(late());
        }
        if fs::metadata(output).is_ok_and(|file| file.len() > limits.max_file_bytes) {
            return Err(failed(format!("the result is over the limit of {} bytes", limits.max_file_bytes)));
        }
    }
    let mut encoder = encoder.ok_or_else(|| failed("it has no frames".into()))?;
    if !encoder.ends_within(limits.max_wait.saturating_sub(waited), stop).map_err(failed)? {
        return Err(late());
    }
    encoder.finish().map_err(failed)
}

/// A running ffmpeg. Dropping it kills the process and waits for its end.
struct Encoder {
    child: Child,
    /// Reads ffmpeg's messages, so that ffmpeg never waits for a reader.
    messages: Option<JoinHandle<String>>,
}

impl Encoder {
    fn start(
        (width, height): (u32, u32),
        rate: f64,
        crf: u8,
        output: &Path,
        decode: &DecodeOptions,
    ) -> Result<Self, String> {
        let program: PathBuf = Programs::locate(decode).ffmpeg;
        let size = format!("{width}x{height}");
        let (rate, crf, threads) = (rate.to_string(), crf.to_string(), decode.limits.threads().to_string());
        let input = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &size, "-r", &rate, "-i", "pipe:0"];
        // Color has half the resolution, so width and height must be even.
        let even = ["-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2"];
        let codec = ["-c:v", "libx264", "-crf", &crf, "-preset", "medium", "-pix_fmt", "yuv420p", "-f", "mp4", "-y"];
        let mut command = Command::new(&program);
        command
            .args(["-hide_banner", "-loglevel", "error"])
            .args(input)
            .args(even)
            .args(codec)
            .args(["-threads", &threads])
            .arg(output)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // This process shuts down in order, and ends the child itself.
        let mut child =
            spawn_apart(&mut command).map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        let messages = child.stderr.take().map(|stderr| thread::spawn(move || said(stderr)));
        Ok(Self { child, messages })
    }

    /// Writes a frame's pixels. Returns `false` when the encoder accepts no more; [`finish`](Self::finish) then says
    /// why.
    fn write(&mut self, pixels: &[u8]) -> bool {
        self.child.stdin.as_mut().is_some_and(|stdin| stdin.write_all(pixels).is_ok())
    }

    /// Closes the encoder's input and waits for its end. Returns `false` if it has not ended after `patience`.
    fn ends_within(&mut self, patience: Duration, stop: &dyn Fn() -> bool) -> Result<bool, String> {
        drop(self.child.stdin.take());
        let started = Instant::now();
        while self.child.try_wait().map_err(|error| error.to_string())?.is_none() {
            if stop() {
                return Err("it was stopped".into());
            }
            if started.elapsed() > patience {
                return Ok(false);
            }
            thread::sleep(POLL);
        }
        Ok(true)
    }

    /// Returns ffmpeg's message if it failed.
    fn finish(mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(());
        }
        let said = self.messages.take().and_then(|messages| messages.join().ok()).unwrap_or_default();
        let words: String = said.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(COMPLAINT).collect();
        Err(format!("ffmpeg ended with {status}: {words}"))
    }
}

/// Reads all messages of ffmpeg, and returns the beginning.
fn said(mut stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    // Where the message cannot be read, the error still has the status.
    let _ = (&mut stderr).take(MESSAGE_BYTES).read_to_end(&mut said);
    let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    String::from_utf8_lossy(&said).into_owned()
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // Both fail for a child that has already ended and been waited for. Those errors can be ignored.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
