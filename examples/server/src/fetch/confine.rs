//! The command that confines the downloader: the server starts itself with it, sets limits of the operating system on
//! itself, and becomes the downloader. So the limits hold from the first instruction on, and for another user too.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::child::User;

/// Exit codes of shells for a program that is missing, or that may not be run.
pub(super) const MISSING: i32 = 127;
pub(super) const REFUSED: i32 = 126;
/// Limit on the bytes of memory that a process may write to. Address space that is only reserved does not count,
/// because JavaScript engines, which some sites need, reserve a lot.
#[cfg(target_os = "linux")]
const MAX_MEMORY: u64 = 4 << 30;

/// Returns a command that runs `program` as `user`, and lets no file that it writes have more than `max_file` bytes.
///
/// # Errors
/// Returns an error if the server does not find its own program.
pub(super) fn command(program: &Path, user: Option<User>, max_file: u64) -> std::io::Result<Command> {
    if cfg!(not(unix)) {
        return Ok(Command::new(program));
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["confined", "--max-file", &max_file.to_string()]);
    if let Some(User { uid, gid }) = user {
        command.args(["--uid", &uid.to_string(), "--gid", &gid.to_string()]);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// Becomes `program`. Returns the exit code and the message if that fails.
#[cfg(unix)]
pub(crate) fn become_confined(max_file: u64, user: Option<(u32, u32)>, program: &[OsString]) -> (i32, String) {
    use std::os::unix::process::CommandExt;
    let Some((program, arguments)) = program.split_first() else { return (REFUSED, "no program".into()) };
    if let Err(error) = limit(max_file) {
        return (REFUSED, format!("cannot set limits: {error}"));
    }
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some((uid, gid)) = user {
        // This also drops the supplementary groups.
        command.gid(gid).uid(uid);
    }
    let error = command.exec();
    (if error.kind() == std::io::ErrorKind::NotFound { MISSING } else { REFUSED }, error.to_string())
}

#[cfg(not(unix))]
pub(crate) fn become_confined(_: u64, _: Option<(u32, u32)>, _: &[OsString]) -> (i32, String) {
    (REFUSED, "this system cannot confine programs".into())
}

#[cfg(target_os = "linux")]
fn limit(max_file: u64) -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
    // If the server crashes, the downloader ends too. Changing the user undoes this; the downloader then loses the
    // proxy, its only way to the web.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    for (resource, most) in [(Resource::Fsize, max_file), (Resource::Data, MAX_MEMORY), (Resource::Core, 0)] {
        // A limit that this process inherited may be lower, and cannot be raised.
        let most = getrlimit(resource).maximum.map_or(most, |inherited| inherited.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

#[cfg(all(unix, not(target_os = "linux")))]
fn limit(_: u64) -> std::io::Result<()> {
    Ok(())
}
