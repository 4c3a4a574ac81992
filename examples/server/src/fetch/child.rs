//! The downloader as a child process, under limits of the operating system.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Pause between two checks of the process.
const POLL: Duration = Duration::from_millis(20);
/// Bytes of output that are kept: the first ones of standard output, and the last ones of standard error.
const KEPT: usize = 64 << 10;
/// Limit on the wait for the last output after the process has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The user that the process runs as, by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The exit code and output of a process.
#[derive(Debug)]
pub(super) struct ProcessOutput {
    /// Exit code; `None` if a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// The reason why a process was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Cancelled,
    Late,
    Large,
    Full,
}

/// Runs a command until it ends, until `deadline`, or until `look`, which is called every few milliseconds, returns a
/// reason to stop it. Then it is killed with all processes of its group. It can read `input`, which other users of the
/// machine cannot see, unlike its arguments.
///
/// # Errors
/// Returns an error if the process cannot be started or watched.
pub(super) fn run(
    command: &mut Command,
    input: &str,
    deadline: Instant,
    mut look: impl FnMut() -> Option<Cut>,
) -> io::Result<Result<ProcessOutput, Cut>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let mut running = RunningProcess { child: command.spawn()?, is_reaped: false };
    if let Some(mut stdin) = running.child.stdin.take() {
        // A pipe holds more than an address has, so this does not block; a program that has ended needs none.
        let _ = stdin.write_all(input.as_bytes());
    }
    let stdout = running.child.stdout.take().map(|pipe| keep(pipe, Keep::First));
    let stderr = running.child.stderr.take().map(|pipe| keep(pipe, Keep::Last));
    let status = loop {
        if let Some(status) = running.ended()? {
            break status;
        }
        if let Some(cut) = look() {
            return Ok(Err(cut));
        }
        if Instant::now() >= deadline {
            return Ok(Err(Cut::Late));
        }
        std::thread::sleep(POLL);
    };
    let text = |kept: Option<Receiver<Vec<u8>>>| {
        // A process that left the group may keep the pipe open, so the wait for its output is limited.
        let bytes = kept.and_then(|kept| kept.recv_timeout(LAST_WORDS).ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Ok(ProcessOutput { code: status.code(), stdout: text(stdout), stderr: text(stderr) }))
}

/// A process that is killed, with its group, and waited for when this value is dropped.
struct RunningProcess {
    child: Child,
    is_reaped: bool,
}

impl RunningProcess {
    /// Returns the status of the process, once it has ended. Processes that it left behind are killed then.
    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        #[cfg(unix)]
        {
            use rustix::process::{WaitId, WaitIdOptions, waitid};
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) else { return Ok(None) };
            if waitid(WaitId::Pid(pid), options)?.is_none() {
                return Ok(None);
            }
            // The process still has its number, so the group cannot be that of another one.
            self.kill();
            let status = self.child.wait()?;
            self.is_reaped = true;
            Ok(Some(status))
        }
        #[cfg(not(unix))]
        {
            let status = self.child.try_wait()?;
            self.is_reaped |= status.is_some();
            Ok(status)
        }
    }

    fn kill(&mut self) {
        if self.is_reaped {
            return;
        }
        #[cfg(unix)]
        if let Some(group) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            // This fails if the group has already ended.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        self.kill();
        if !self.is_reaped {
            // A killed process ends at once, so this does not block.
            let _ = self.child.wait();
        }
    }
}

enum Keep {
    First,
    Last,
}

/// Reads a pipe to its end on another thread, and keeps [`KEPT`] bytes of it.
fn keep(mut pipe: impl Read + Send + 'static, which: Keep) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let (mut kept, mut chunk) = (Vec::new(), vec![0; 4 << 10]);
        while let Ok(count @ 1..) = pipe.read(&mut chunk) {
            match which {
                Keep::First => kept.extend_from_slice(&chunk[..count.min(KEPT - kept.len())]),
                Keep::Last => {
                    kept.extend_from_slice(&chunk[..count]);
                    kept.drain(..kept.len().saturating_sub(KEPT));
                }
            }
        }
        // The receiver is dropped if the process was killed.
        let _ = sender.send(kept);
    });
    receiver
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(300)
    }

    #[test]
    fn the_output_of_a_process_is_returned() {
        let ended = run(&mut shell("echo out; echo err >&2; exit 3"), "", later(), || None);
        let ended = ended.unwrap().unwrap();
        assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (Some(3), "out\n", "err\n"));
    }

    #[test]
    fn a_process_that_is_stopped_takes_its_children_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        // Stops it as soon as the child of the child is there.
        let ended = run(&mut shell(&script), "", later(), || pid.exists().then_some(Cut::Cancelled));
        assert_eq!(ended.unwrap().unwrap_err(), Cut::Cancelled);
        let pid: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let begun = Instant::now();
        // A killed process disappears when its new parent has waited for it; until then it is a zombie.
        let is_gone = || {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
            rustix::process::test_kill_process(pid).is_err() || state.contains(") Z ")
        };
        while !is_gone() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_process_that_takes_too_long_is_stopped() {
        let ended = run(&mut shell("sleep 1000"), "", Instant::now(), || None);
        assert_eq!(ended.unwrap().unwrap_err(), Cut::Late);
    }
}
