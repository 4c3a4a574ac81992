//! Clips that the tests generate with ffmpeg.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A temporary folder of clips, which is removed when this value is dropped.
pub(crate) struct Clips(TempDir);

impl Clips {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs ffmpeg with `words` as arguments and `name` as the output. Words are split at spaces; there is no quoting.
    pub(crate) fn make(&self, name: &str, words: &str) -> PathBuf {
        self.make_with(name, &words.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn make_with(&self, name: &str, arguments: &[&str]) -> PathBuf {
        self.ffmpeg(name, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// Works as [`Clips::make`], but keeps each frame at the time that the filters gave it.
    pub(crate) fn make_uneven(&self, name: &str, words: &str) -> PathBuf {
        let of = |option| [words.split_whitespace().collect(), vec![option, "passthrough"]].concat();
        // `-fps_mode` is the option's name since ffmpeg 5.1, `-vsync` its name before.
        self.ffmpeg(name, &of("-fps_mode")).unwrap_or_else(|_| self.make_with(name, &of("-vsync")))
    }

    /// Works as [`Clips::make`]. Returns `None`, after a message, if this ffmpeg cannot make the file.
    #[allow(clippy::print_stderr, reason = "a test that is left out must say so")]
    pub(crate) fn make_if_possible(&self, name: &str, words: &str) -> Option<PathBuf> {
        let made = self.ffmpeg(name, &words.split_whitespace().collect::<Vec<_>>());
        made.map_err(|error| eprintln!("skipped: this ffmpeg cannot make {name}: {error}")).ok()
    }

    fn ffmpeg(&self, name: &str, arguments: &[&str]) -> Result<PathBuf, String> {
        let path = self.path(name);
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y"]).args(arguments).arg(&path).current_dir(self.0.path());
        let output = command.output().expect("these tests need ffmpeg on the PATH");
        if output.status.success() { Ok(path) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// Encodes `frames` H.264 frames of 64 × 48 at 10 per second, with B-frames, each brighter than the one before.
    pub(crate) fn ramp(&self, name: &str, frames: u32) -> PathBuf {
        self.make(name, &format!("{} -c:v libx264 -pix_fmt yuv420p", ramp_source(frames)))
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

pub(crate) fn ramp_source(frames: u32) -> String {
    let filters = format!("color=black:s=64x48:r=10,geq=lum='16+mod(N,50)*4':cb=128:cr=128,trim=end_frame={frames}");
    format!("-f lavfi -i {filters}")
}

/// Returns the number of a ramp's frame, measured by its brightness.
pub(crate) fn ramp_number(frame: &deepsight_core::Frame) -> f64 {
    let mean = frame.image.as_raw().iter().map(|&v| f64::from(v)).sum::<f64>() / frame.image.as_raw().len() as f64;
    mean * 219.0 / 255.0 / 4.0
}

/// Returns the presentation times that ffprobe prints, minus the start time that it prints.
pub(crate) fn ffprobe_times(path: &Path) -> Vec<f64> {
    let show = ["-show_entries", "frame=best_effort_timestamp_time:stream=start_time", "-of", "compact"];
    let mut command = Command::new("ffprobe");
    let output = command.args(["-v", "error", "-select_streams", "v:0"]).args(show).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value = |line: &str| line.split(['=', '|']).nth(2).and_then(|v| v.parse::<f64>().ok());
    let start = text.lines().find(|l| l.starts_with("stream|")).and_then(value).unwrap();
    text.lines().filter(|l| l.starts_with("frame|")).filter_map(value).map(|t| t - start).collect()
}

/// Returns the numbers of the processes that have a path among their arguments.
#[cfg(target_os = "linux")]
pub(crate) fn processes_on(path: &Path) -> Vec<u32> {
    let name = path.to_string_lossy().into_owned();
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&name)
    })
    .collect()
}

/// Returns the path of a shell script of these lines.
#[cfg(unix)]
pub(crate) fn script(clips: &Clips, name: &str, lines: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = clips.write(name, format!("#!/bin/sh\n{lines}\n").as_bytes());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}
