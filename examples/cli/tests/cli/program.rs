//! Runs the commands of `deepsight`, and records what they print.
#![allow(dead_code, clippy::unwrap_used)]

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The output of a run.
#[derive(Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deepsight"));
    command.arg(name);
    command.stdin(Stdio::null());
    command
}

pub(crate) fn run<A: AsRef<OsStr>>(name: &str, arguments: &[A]) -> Run {
    program(name).args(arguments).output().unwrap().into()
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let run = Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        assert!(!run.stdout.contains('\x1b') && !run.stderr.contains('\x1b'), "colours in a pipe: {run:?}");
        run
    }
}

impl Run {
    /// Asserts that the run was refused as bad input or usage, with nothing on standard output, and one line that
    /// contains each of `parts`.
    pub(crate) fn assert_refused(&self, parts: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""), "{self:?}");
        assert!(self.stderr.starts_with("error: ") && self.stderr.ends_with('\n'), "{self:?}");
        // The parser of flags appends a hint to its line.
        let line = self.stderr.split("\n\n").next().unwrap().trim_end();
        assert_eq!(line.lines().count(), 1, "{self:?}");
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {self:?}");
    }
}

pub(crate) fn bundled_clip() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../clips/portraits.mp4"))
}

pub(crate) fn bundled_model() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deepsight-core/weights/efficientnet_lite0.safetensors"))
}
