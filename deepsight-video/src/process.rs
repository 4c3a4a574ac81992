use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use deepsight_core::{CancelToken, cancel::OnCancel};
use ffmpeg_sidecar::command::FfmpegCommand;

use crate::{DecodeLimits, HwAccel, VideoError, byte_queue::ByteQueue};

/// A running ffmpeg or ffprobe. It is killed, with its process group, when this value is dropped or its time is over.
/// Dropping also waits for it to end.
#[derive(Debug)]
pub(crate) struct Process {
    shared: Arc<Shared>,
    stdout: ChildStdout,
    /// Standard input, if it is a pipe, until it is fed.
    stdin: Option<ChildStdin>,
    threads: Vec<JoinHandle<()>>,
    stderr: Arc<Mutex<Tail>>,
    /// Time for which the process may still be waited for.
    patience: Duration,
    /// Whether `patience` starts again whenever the process takes input or gives output, because a stream may be
    /// endless.
    renews: bool,
}

/// Longest wait for the last lines of standard error after a process has ended. They tell how many frames it decoded.
/// They are there at once, but on a busy machine the thread that reads them may wait seconds for its turn.
const LAST_LINES: Duration = Duration::from_secs(10);

/// Starts `command` so that only this process ends it: in a process group of its own, which a terminal's Ctrl-C does
/// not reach, and without the signals by which a supervisor such as Slurm ends every process of a job. Otherwise ffmpeg
/// could end first, and a clip would be judged by what was decoded until then.
#[cfg(unix)]
pub(crate) fn spawn_apart(command: &mut Command) -> io::Result<Child> {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};

    std::os::unix::process::CommandExt::process_group(command, 0);
    // The child inherits the mask of this thread. SIGKILL cannot be blocked.
    let blocked: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let child = command.spawn();
    // This fails for an unknown `how` only. Another thread handles the signals meanwhile.
    let _ = before.thread_set_mask();
    child
}

#[cfg(not(unix))]
pub(crate) fn spawn_apart(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

/// The exit status and last messages of a process.
pub(crate) struct Ending {
    pub(crate) status: ExitStatus,
    /// The end of its standard error, on one line.
    pub(crate) stderr: String,
}

impl Process {
    /// Starts `command`. Calls `on_line` with every line of standard error. Lines for which it returns `false` are kept
    /// in the tail.
    pub(crate) fn spawn(
        command: &mut FfmpegCommand,
        limits: &DecodeLimits,
        hwaccel: Option<HwAccel>,
        on_line: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self, VideoError> {
        Self::start(command, Stdio::null(), limits, hwaccel, on_line)
    }

    /// Starts `command`, like [`Process::spawn`], and writes to its standard input what `input` gives, from a thread.
    /// The time for which `input` blocks does not count. `input` must be ended before the process is dropped.
    pub(crate) fn spawn_fed(
        command: &mut FfmpegCommand,
        limits: &DecodeLimits,
        hwaccel: Option<HwAccel>,
        input: impl Read + Send + 'static,
        on_line: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self, VideoError> {
        let mut process = Self::start(command, Stdio::piped(), limits, hwaccel, on_line)?;
        process.renews = true;
        let (shared, patience) = (Arc::clone(&process.shared), process.patience);
        process.feed(command, move |stdin| feed(input, stdin, &shared, patience))?;
        Ok(process)
    }

    /// Starts `command`, like [`Process::spawn`], and writes to its standard input what `input` gives, from a thread.
    /// `input` never blocks for long, and its time counts.
    pub(crate) fn spawn_on(
        command: &mut FfmpegCommand,
        limits: &DecodeLimits,
        mut input: impl Read + Send + 'static,
        on_line: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self, VideoError> {
        let mut process = Self::start(command, Stdio::piped(), limits, None, on_line)?;
        // The copy fails if the process has ended. Its exit status and messages tell why.
        process.feed(command, move |mut stdin| drop(io::copy(&mut input, &mut stdin)))?;
        Ok(process)
    }

    /// Starts the thread that writes to standard input.
    fn feed(
        &mut self,
        command: &mut FfmpegCommand,
        write: impl FnOnce(ChildStdin) + Send + 'static,
    ) -> Result<(), VideoError> {
        if let Some(stdin) = self.stdin.take() {
            let named = thread::Builder::new().name("ffmpeg-stdin".into());
            let mut program = || PathBuf::from(command.as_inner_mut().get_program());
            let thread = named.spawn(move || write(stdin));
            self.threads.push(thread.map_err(|source| VideoError::Spawn { program: program(), source })?);
        }
        Ok(())
    }

    fn start(
        command: &mut FfmpegCommand,
        stdin: Stdio,
        limits: &DecodeLimits,
        hwaccel: Option<HwAccel>,
        on_line: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self, VideoError> {
        // `FfmpegCommand::spawn` always opens a pipe to standard input, so the inner command is spawned.
        let command = command.as_inner_mut();
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = PathBuf::from(command.get_program());
        let failed = |source| VideoError::Spawn { program: program.clone(), source };
        let mut child = match spawn_apart(command) {
            Ok(child) => child,
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(VideoError::missing(&program));
            }
            Err(source) => return Err(failed(source)),
        };
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let limited = confine(&child, limits, hwaccel);
        let shared = Arc::new(Shared {
            state: Mutex::new(ProcessState {
                child,
                reaped: false,
                deadline: None,
                paused: false,
                closing: false,
                timed_out: false,
            }),
            changed: Condvar::new(),
        });
        // From here on an early return must not leave the child running.
        let guard = KillOnDrop(Some(Arc::clone(&shared)));
        limited.map_err(failed)?;
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err(failed(io::Error::other("its output is not connected")));
        };

        let tail = Arc::new(Mutex::new(Tail { lines: VecDeque::new(), bytes: 0, max_bytes: limits.max_stderr_bytes }));
        let mut threads = Vec::new();
        let kept = Arc::clone(&tail);
        let named = |name: &str| thread::Builder::new().name(name.into());
        threads.push(named("ffmpeg-stderr").spawn(move || drain(stderr, &kept, on_line)).map_err(failed)?);
        if limits.max_wait != Duration::MAX {
            let watched = Arc::clone(&shared);
            threads.push(named("ffmpeg-watchdog").spawn(move || watched.watch()).map_err(failed)?);
        }
        guard.release();
        let patience = limits.max_wait;
        Ok(Self { shared, stdout, stdin, threads, stderr: tail, patience, renews: false })
    }

    /// Reads until `buffer` has `want` more bytes or the output ends, whichever is first.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>, want: usize) -> io::Result<usize> {
        self.under_the_clock(|process| (&mut process.stdout).take(want as u64).read_to_end(buffer))
    }

    /// Returns the output of the process, to be read in pieces.
    pub(crate) fn output(&mut self) -> Output<'_> {
        Output(self)
    }

    /// Kills the process when the token is cancelled.
    pub(crate) fn stop_on(&self, cancel: &CancelToken) -> OnCancel {
        let shared = Arc::downgrade(&self.shared);
        cancel.on_cancel(move || {
            if let Some(shared) = shared.upgrade() {
                shared.lock().kill();
            }
        })
    }

    /// Returns the time for which the process may still be waited for.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Limits the time for which the process may still be waited for.
    pub(crate) fn limit_patience(&mut self, most: Duration) {
        self.patience = self.patience.min(most);
    }

    /// Returns whether the process was killed because it took too long.
    pub(crate) fn timed_out(&self) -> bool {
        self.shared.lock().timed_out
    }

    /// Waits for the process, whose output has ended, and for the end of its standard error.
    pub(crate) fn finish(&mut self) -> io::Result<Ending> {
        let status = self.under_the_clock(|process| {
            let mut pause = Duration::from_micros(200);
            loop {
                if let Some(status) = process.shared.lock().try_wait()? {
                    return io::Result::Ok(status);
                }
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        })?;
        // The pipe closes when the process ends. The wait is limited, because another process may hold it.
        let patience = Instant::now() + LAST_LINES;
        while !self.threads[0].is_finished() && Instant::now() < patience {
            thread::sleep(Duration::from_micros(200));
        }
        let stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner).to_line();
        Ok(Ending { status, stderr })
    }

    /// Runs `wait` under the watchdog's deadline, and subtracts its duration from the time that is left.
    fn under_the_clock<T>(&mut self, wait: impl FnOnce(&mut Self) -> T) -> T {
        let start = Instant::now();
        self.shared.set_deadline(start.checked_add(self.patience));
        let value = wait(self);
        self.shared.set_deadline(None);
        if self.patience != Duration::MAX && !self.renews {
            self.patience = self.patience.saturating_sub(start.elapsed());
        }
        value
    }
}

/// The processes that decode for one iterator, and the sources that feed them. A token ends them together.
#[derive(Debug, Default)]
pub(crate) struct Processes(Arc<Mutex<Started>>);

#[derive(Debug, Default)]
struct Started {
    processes: Vec<Weak<Shared>>,
    queues: Vec<Weak<ByteQueue>>,
    stopped: bool,
}

impl Processes {
    /// Adds a process that has just been started. Kills it if the others were stopped.
    pub(crate) fn add(&self, process: &Process) {
        let mut started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        started.processes.retain(|process| process.strong_count() > 0);
        started.processes.push(Arc::downgrade(&process.shared));
        if started.stopped {
            process.shared.lock().kill();
        }
    }

    /// Adds the source of a stream.
    pub(crate) fn add_queue(&self, queue: &Arc<ByteQueue>) {
        let mut started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        started.queues.push(Arc::downgrade(queue));
        if started.stopped {
            queue.stop();
        }
    }

    /// Ends the processes when the token is cancelled. Their reader waits for them to end: at once if it is waiting for
    /// a frame, else when it reads on or is dropped.
    pub(crate) fn stop_on(&self, cancel: &CancelToken) -> OnCancel {
        let started = Arc::downgrade(&self.0);
        cancel.on_cancel(move || {
            let Some(started) = started.upgrade() else { return };
            let mut started = started.lock().unwrap_or_else(PoisonError::into_inner);
            started.stopped = true;
            started.queues.iter().filter_map(Weak::upgrade).for_each(|queue| queue.stop());
            started.processes.iter().filter_map(Weak::upgrade).for_each(|process| process.lock().kill());
        })
    }
}

/// The output of a [`Process`]. Reading it counts against the time of the process.
pub(crate) struct Output<'a>(&'a mut Process);

impl Read for Output<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.under_the_clock(|process| process.stdout.read(buffer))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.shared.close();
        // Both threads end now that the process has ended. They are joined so that nothing is left running. The wait is
        // limited to a second, because a grandchild that left the process group may still hold the pipe.
        let patience = Instant::now() + Duration::from_secs(1);
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < patience {
                thread::sleep(Duration::from_micros(200));
            }
            if thread.is_finished() {
                // A panic of the thread has been reported where it happened.
                let _ = thread.join();
            }
        }
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<ProcessState>,
    changed: Condvar,
}

#[derive(Debug)]
struct ProcessState {
    child: Child,
    reaped: bool,
    deadline: Option<Instant>,
    /// Whether the process waits for input, so that the deadline does not count.
    paused: bool,
    closing: bool,
    timed_out: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ProcessState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        self.lock().deadline = deadline;
        self.changed.notify_all();
    }

    /// Stops the clock while the source of the input is silent. Afterwards the process has all of `patience` again.
    fn pause(&self, paused: bool, patience: Duration) {
        let mut state = self.lock();
        state.paused = paused;
        if !paused && state.deadline.is_some() {
            state.deadline = Instant::now().checked_add(patience);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Kills the process when a deadline passes, even while a read of its output blocks.
    fn watch(&self) {
        let mut state = self.lock();
        while !state.closing {
            state = match state.deadline.filter(|_| !state.paused) {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => {
                        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                    }
                    _ => {
                        state.timed_out = true;
                        state.deadline = None;
                        state.kill();
                        state
                    }
                },
            };
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.kill();
        if !state.reaped {
            // A killed process ends at once, so this does not block. An error means that it is no longer our child.
            let _ = state.child.wait();
            state.reaped = true;
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl ProcessState {
    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.reaped |= status.is_some();
        Ok(status)
    }

    /// Kills the process and its group. Does nothing after the process was waited for, because its ID may then belong
    /// to another process.
    fn kill(&mut self) {
        if self.reaped {
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

struct KillOnDrop(Option<Arc<Shared>>);

impl KillOnDrop {
    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.close();
        }
    }
}

/// Most bytes that a child may write to a file if a GPU driver runs in it. The CUDA driver keeps some pages of shared
/// memory in a file, and the child would be killed for writing them.
#[cfg(target_os = "linux")]
const DRIVER_FILE_BYTES: u64 = 16 << 20;

/// Limits the child through the operating system: its memory is bounded, and it can write no files or core dumps. A GPU
/// driver reserves as much address space as all memories of the machine together, so with hardware decoding there is no
/// limit on memory, and the child may write files of at most [`DRIVER_FILE_BYTES`].
#[cfg(target_os = "linux")]
fn confine(child: &Child, limits: &DecodeLimits, hwaccel: Option<HwAccel>) -> io::Result<()> {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

    let Some(pid) = Pid::from_raw(child.id().cast_signed()) else {
        return Ok(());
    };
    let (memory, file) = match hwaccel {
        None => (limits.max_memory_bytes, 0),
        Some(HwAccel::Cuda { .. }) => (u64::MAX, DRIVER_FILE_BYTES),
    };
    for (resource, bytes) in [(Resource::As, memory), (Resource::Fsize, file), (Resource::Core, 0)] {
        // A limit that this process inherited may be lower, and cannot be raised.
        let bytes = getrlimit(resource).maximum.map_or(bytes, |inherited| inherited.min(bytes));
        if bytes == u64::MAX {
            continue;
        }
        match prlimit(Some(pid), resource, Rlimit { current: Some(bytes), maximum: Some(bytes) }) {
            // The child has already ended: a program that fails to start needs no limits.
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn confine(_: &Child, _: &DecodeLimits, _: Option<HwAccel>) -> io::Result<()> {
    Ok(())
}

/// Writes `input` to the standard input of a process, and closes that at the end. Ends early if the process has ended.
fn feed(mut input: impl Read, mut stdin: ChildStdin, shared: &Shared, patience: Duration) {
    let mut chunk = vec![0; 64 << 10];
    loop {
        shared.pause(true, patience);
        let got = input.read(&mut chunk);
        shared.pause(false, patience);
        // The queue stores the reason why its bytes have ended.
        let Ok(got @ 1..) = got else { return };
        if stdin.write_all(&chunk[..got]).is_err() {
            return;
        }
    }
}

/// Most bytes of a line of standard error that are read as one piece.
const MAX_LINE: u64 = 4096;

fn drain(stderr: impl Read, tail: &Mutex<Tail>, mut on_line: impl FnMut(&[u8]) -> bool) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stderr).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if on_line(line.trim_ascii_end()) => {}
            Ok(_) => tail.lock().unwrap_or_else(PoisonError::into_inner).push(line.trim_ascii()),
        }
    }
}

/// The last lines of standard error, as many as fit in `max_bytes`.
#[derive(Debug)]
struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
    max_bytes: usize,
}

impl Tail {
    fn push(&mut self, line: &[u8]) {
        let line = printable(&String::from_utf8_lossy(line));
        if line.is_empty() || self.lines.back() == Some(&line) {
            return;
        }
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > self.max_bytes {
            self.bytes -= self.lines.pop_front().map_or(self.bytes, |dropped| dropped.len());
        }
    }

    fn to_line(&self) -> String {
        let lines: Vec<_> = self.lines.iter().map(String::as_str).collect();
        lines.join("; ")
    }
}

/// Joins what a program wrote on standard error into one line, as far as it fits in the default of
/// [`max_stderr_bytes`](DecodeLimits::max_stderr_bytes).
pub(crate) fn one_line(stderr: &[u8]) -> String {
    let mut tail = Tail { lines: VecDeque::new(), bytes: 0, max_bytes: DecodeLimits::default().max_stderr_bytes };
    stderr.split(|&byte| byte == b'\n').for_each(|line| tail.push(line.trim_ascii()));
    tail.to_line()
}

/// Replaces control characters, because a hostile file may have chosen the text and a terminal may show it. Also
/// removes the address in `[mov @ 0x5]`, and the level of the message.
fn printable(line: &str) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let line = line.replacen("[error] ", "", 1).replacen("[fatal] ", "", 1);
    match (line.find(" @ 0x"), line.find("] ")) {
        (Some(at), Some(end)) if line.starts_with('[') && at < end => format!("{}{}", &line[..at], &line[end..]),
        _ => line,
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::{self, Receiver};

    use super::*;
    use crate::clips::{Clips, script};

    /// Limits by which nothing times out in a test.
    fn limits() -> DecodeLimits {
        DecodeLimits::default().with_max_wait(Duration::from_secs(3600))
    }

    #[test]
    fn time_that_the_caller_takes_is_not_counted() {
        let clips = Clips::new();
        let mut command = FfmpegCommand::new_with_path(script(&clips, "prints", "printf 12"));
        let mut process = Process::spawn(&mut command, &limits(), None, |_| true).unwrap();
        let deadline = |process: &Process| process.shared.lock().deadline;
        assert_eq!((deadline(&process), process.patience()), (None, limits().max_wait));
        for byte in *b"12" {
            let left = process.patience();
            let mut read = Vec::new();
            assert_eq!(process.read(&mut read, 1).unwrap(), 1);
            assert_eq!((read, deadline(&process)), (vec![byte], None));
            assert!(process.patience() < left, "the time of the read is counted");
        }
        process.under_the_clock(|process| {
            let latest = Instant::now() + process.patience();
            assert!(deadline(process).is_some_and(|deadline| deadline <= latest), "time that was used up is lost");
        });
    }

    /// A source that delivers one byte for each message.
    struct Told(Receiver<()>);

    impl Read for Told {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Ok(()) = self.0.recv() else { return Ok(0) };
            buffer[0] = b'x';
            Ok(1)
        }
    }

    #[test]
    fn the_clock_stands_still_while_the_source_of_the_input_is_silent() {
        let clips = Clips::new();
        let mut command = FfmpegCommand::new_with_path(script(&clips, "copies", "exec cat"));
        let (sender, receiver) = mpsc::channel();
        let mut process = Process::spawn_fed(&mut command, &limits(), None, Told(receiver), |_| true).unwrap();
        let shared = Arc::clone(&process.shared);
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            (process.read(&mut read, 2).unwrap(), process)
        });
        let wait_for = |state: &dyn Fn(&ProcessState) -> bool| {
            while !state(&shared.lock()) {
                thread::yield_now();
            }
        };
        for _ in 0..2 {
            wait_for(&|state| state.paused && state.deadline.is_some());
            // A time that is up does no harm in a pause, and after the pause all of the time is left.
            let up = Instant::now();
            shared.set_deadline(Some(up));
            sender.send(()).unwrap();
            wait_for(&|state| state.deadline.is_none_or(|deadline| deadline > up));
        }
        let (got, process) = reading.join().unwrap();
        assert_eq!((got, process.timed_out(), process.patience()), (2, false, limits().max_wait));
        // The source ends before the process is dropped.
        drop(sender);
    }
}
