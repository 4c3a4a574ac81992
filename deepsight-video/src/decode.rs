//! The sequential pass: one ffmpeg process that decodes a video from its beginning.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use deepsight_core::{Frame, image::RgbImage};

use crate::{
    DecodeOptions, Video, VideoError, VideoInfo, cure,
    ffmpeg::{self, Address, DecodeJob},
    marks::{Line, Mark, Marks},
    probe::refusal,
    process::{Ending, Process, Processes},
    sampling::{Pick, Picker, Plan},
    scan::Clock,
};

/// The frames of a plan, from one ffmpeg process that is a few frames ahead of the caller.
#[derive(Debug)]
pub(crate) struct Decode {
    path: PathBuf,
    process: Process,
    picked: Receiver<Picked>,
    /// Number of frames that ffmpeg has decoded so far, sampled or not.
    decoded: Arc<AtomicU64>,
    given: u64,
    cap: u64,
    plan: Plan,
    options: DecodeOptions,
    program: PathBuf,
    info: VideoInfo,
}

/// Index and time of a sampled frame, whose pixels follow on standard output. The time is in microseconds on the file's
/// clock.
struct Picked {
    index: u64,
    time: Option<i64>,
    wanted: bool,
}

impl Decode {
    /// Starts ffmpeg as one of `processes`. It returns at most `cap` wanted frames.
    pub(crate) fn start(video: &Video, plan: Plan, cap: u64, processes: &Processes) -> Result<Self, VideoError> {
        let Video { path, options, programs, header, info, .. } = video;
        let marks = Marks::new();
        let job = DecodeJob {
            stream: header.stream,
            filters: filters(video, &plan, &marks),
            max_frames: plan.most_given(cap),
            old_sync_option: header.old_sync_option,
            hwaccel: options.hwaccel,
        };
        let (sender, picked) = mpsc::channel();
        let decoded = Arc::new(AtomicU64::new(0));
        let picker = plan.clone().picker();
        let mut times = MarkReader { marks, picker, sender, decoded: Arc::clone(&decoded) };
        let mut command = ffmpeg::decode(&programs.ffmpeg, Address::File(path), &options.limits, &job);
        let process = Process::spawn(&mut command, &options.limits, options.hwaccel, move |line| times.take(line))?;
        processes.add(&process);
        Ok(Self {
            path: path.clone(),
            process,
            picked,
            decoded,
            given: 0,
            cap,
            plan,
            options: options.clone(),
            program: programs.ffmpeg.clone(),
            info: info.clone(),
        })
    }

    /// Returns the next wanted frame. No frame follows an error or the end.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, VideoError> {
        loop {
            if self.given == self.cap {
                return Ok(None);
            }
            match self.next_given()? {
                Some((frame, true)) => {
                    self.given += 1;
                    return Ok(Some(frame));
                }
                // ffmpeg returns unwanted frames, too, where selecting single ones would need too long an argument.
                Some((_, false)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Reads the next frame from ffmpeg. Returns it, and whether it is wanted.
    fn next_given(&mut self) -> Result<Option<(Frame, bool)>, VideoError> {
        let size = self.info.frame_size();
        let (mut pixels, want) = room_for_a_frame(&self.path, size)?;
        let got = self.process.read(&mut pixels, want).map_err(|source| self.broken(source))?;
        if got < want {
            return self.end(got, want).map(|()| None);
        }
        let missing = |frame| VideoError::MissingTime { path: self.path.clone(), frame };
        let picked = self.next_time()?;
        let time = picked.time.ok_or_else(|| missing(self.given))?;
        let time = time.saturating_sub(self.info.start_microseconds());
        Ok(Some((frame(&self.path, size, picked.index, time, pixels)?, picked.wanted)))
    }

    /// Receives the index and time of the next frame. ffmpeg writes them before the pixels, so they have been read or
    /// are being read.
    fn next_time(&self) -> Result<Picked, VideoError> {
        let picked = self.picked.recv_timeout(Duration::from_secs(10));
        picked.map_err(|_| VideoError::MissingTime { path: self.path.clone(), frame: self.given })
    }

    /// Handles the end of standard output, `got` bytes into a frame. Returns an error unless the video has ended there.
    fn end(&mut self, got: usize, want: usize) -> Result<(), VideoError> {
        let ending = self.process.finish().map_err(|source| self.broken(source))?;
        let (path, limits) = (self.path.clone(), &self.options.limits);
        if self.process.timed_out() {
            return Err(VideoError::TimedOut { path, program: "ffmpeg", limit: limits.max_wait });
        }
        let decoded = self.decoded.load(Ordering::Acquire);
        if !ending.status.success() {
            return Err(failure(&path, ending, decoded, &self.options));
        }
        if got > 0 {
            return Err(VideoError::TruncatedFrame { path, frame: self.given, got, want });
        }
        if let Some(want) = self.info.declared_frames {
            return Err(VideoError::Truncated { path, got: decoded, want });
        }
        let want = self.info.frame_count;
        // Extra frames that were not counted do no harm, unless the sampling had to end with the last frame.
        if decoded < want || (decoded > want && matches!(self.plan, Plan::Evenly { .. })) {
            return Err(VideoError::FrameCount { path, got: decoded, want });
        }
        Ok(())
    }

    fn broken(&self, source: std::io::Error) -> VideoError {
        VideoError::Spawn { program: self.program.clone(), source }
    }
}

/// Returns an empty buffer that holds the pixels of one frame of this width and height, and their number of bytes.
pub(crate) fn room_for_a_frame(path: &Path, size: (u32, u32)) -> Result<(Vec<u8>, usize), VideoError> {
    let no_memory = || no_memory(path, size);
    let want = usize::try_from(bytes_of_a_frame(size)).map_err(|_| no_memory())?;
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(want).map_err(|_| no_memory())?;
    Ok((pixels, want))
}

/// Makes a frame of its pixels. `time` is in microseconds from the start of the video.
pub(crate) fn frame(
    path: &Path,
    size: (u32, u32),
    index: u64,
    time: i64,
    pixels: Vec<u8>,
) -> Result<Frame, VideoError> {
    let image = RgbImage::from_raw(size.0, size.1, pixels).ok_or_else(|| no_memory(path, size))?;
    Ok(Frame::new(index, time as f64 / 1e6, image))
}

/// Returns the error of an ffmpeg that failed after `frames` decoded frames.
pub(crate) fn failure(path: &Path, ending: Ending, frames: u64, options: &DecodeOptions) -> VideoError {
    if let Some(error) = options.hwaccel.and_then(|hwaccel| hwaccel.refused(&ending.stderr)) {
        return error;
    }
    match refusal(path, &ending, &options.limits) {
        VideoError::NotAVideo { path, .. } => {
            VideoError::Decode { path, frames, status: ending.status, stderr: ending.stderr }
        }
        refused => cure::explain(refused, &[]),
    }
}

fn bytes_of_a_frame((width, height): (u32, u32)) -> u64 {
    (u64::from(width) * u64::from(height)).saturating_mul(3)
}

fn no_memory(path: &Path, size: (u32, u32)) -> VideoError {
    VideoError::OutOfMemory { path: path.to_path_buf(), bytes: bytes_of_a_frame(size) }
}

/// Returns the filters of one decode. They convert times to microseconds, bridge jumps of the clock, print the time of
/// each frame, select frames, and make the selected ones upright RGB frames of one size.
fn filters(video: &Video, plan: &Plan, marks: &Marks) -> String {
    let Video { options, picture, scan, header, .. } = video;
    let bridge = if scan.jumps { Clock::of(&header.container).filter(scan.step) + "," } else { String::new() };
    format!(
        "{}settb=AVTB,{bridge}{},select='{}',{}",
        picture.filters_on_all(options.hwaccel),
        marks.filters(0),
        plan.filter(),
        picture.filters_on_selected(options.hwaccel),
    )
}

/// A reader of the marks of all decoded frames.
struct MarkReader {
    marks: Marks,
    picker: Picker,
    sender: Sender<Picked>,
    decoded: Arc<AtomicU64>,
}

impl MarkReader {
    fn take(&mut self, line: &[u8]) -> bool {
        match self.marks.read(line) {
            Line::Message => return false,
            Line::Begun => {}
            Line::Complete(Mark { index, time, .. }) => {
                self.decoded.store(index + 1, Ordering::Release);
                let pick = self.picker.pick(index, time);
                if pick != Pick::Skipped {
                    // Sending fails if the iterator was dropped. Then ffmpeg has been killed too.
                    let _ = self.sender.send(Picked { index, time, wanted: pick == Pick::Wanted });
                }
            }
        }
        true
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Instant;

    use super::*;
    use crate::{
        Sampling,
        clips::{Clips, processes_on, script},
    };

    #[test]
    fn a_decoder_that_never_answers_is_killed_with_its_children_when_time_is_up() {
        let clips = Clips::new();
        let path = clips.ramp("ramp.mp4", 10);
        // The script ends by itself after three minutes, so a child that is not killed makes the test fail, not hang.
        let hang = format!("sh -c 'for s in 1 2 3 4 5 6 7 8 9 10; do sleep 18; done' {} & wait", path.display());
        let hangs = script(&clips, "ffmpeg-that-hangs", &hang);
        let options = DecodeOptions::default().with_ffmpeg(&hangs).with_ffprobe("ffprobe");
        let mut video = Video::open_with(&path, &options).unwrap();
        // Lowered after ffprobe has answered, which takes longer than this on a busy machine.
        video.options.limits.max_wait = Duration::from_millis(500);
        let start = Instant::now();
        let mut frames = video.frames(Sampling::all()).unwrap();
        let error = frames.next();
        assert!(matches!(error, Some(Err(VideoError::TimedOut { program: "ffmpeg", .. }))), "{error:?}");
        assert!(frames.next().is_none(), "nothing follows an error");
        assert!((video.options.limits.max_wait..Duration::from_secs(120)).contains(&start.elapsed()));
        let gone = Instant::now() + Duration::from_secs(60);
        while !processes_on(&path).is_empty() {
            // The grandchild is killed with the process group. The process that inherits it reaps it soon after.
            assert!(Instant::now() < gone, "a grandchild is left: {:?}", processes_on(&path));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
