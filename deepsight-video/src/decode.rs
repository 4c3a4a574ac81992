use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use deepsight_core::{CloserFrames, Frame, image::RgbImage};

use crate::{
    DecodeOptions, Sampling, Video, VideoError, VideoInfo,
    ffmpeg::{self, Address, DecodeJob},
    probe::refusal,
    process::{Ending, Process, StopHandle},
    sampling::{Pick, Picker, Plan},
    scan::Clock,
};

/// The sampled frames of a video, in order of presentation.
///
/// One ffmpeg process decodes the video from its beginning to the last frame that is needed, a few frames ahead of the
/// caller. Dropping the iterator ends the process. No item follows an error. A file that is cut short or damaged gives
/// the frames it has, and then [`VideoError::Truncated`] or [`VideoError::FrameCount`].
#[derive(Debug)]
#[must_use = "frames are decoded only while the iterator is read"]
pub struct Frames {
    decode: Option<Decode>,
    expected: u64,
    total: u64,
}

impl Frames {
    pub(crate) fn start(video: &Video, sampling: Sampling) -> Result<Self, VideoError> {
        let (info, cap) = (&video.info, sampling.cap());
        let plan = Plan::new(&sampling, &video.timeline())?;
        let expected = plan.expected(info.frame_count, info.duration).min(cap);
        let cap = plan.stops_after(cap);
        Ok(Self { decode: Some(Decode::start(video, plan, cap)?), expected, total: info.frame_count })
    }

    /// Returns the number of frames that will come, for a progress bar. It is exact for an undamaged file, except for
    /// [`Sampling::fps`], where it is an estimate.
    pub fn expected_frames(&self) -> u64 {
        self.expected
    }

    /// Returns a handle that ends the decoding from another thread, for example if the result is no longer needed.
    pub fn stop_handle(&self) -> StopHandle {
        self.decode.as_ref().map(|decode| decode.process.stop_handle()).unwrap_or_default()
    }

    /// Boxes the frames and their errors, as [`Job::with_closer_look`](deepsight_core::Job::with_closer_look) takes
    /// them.
    pub fn boxed(self) -> CloserFrames<'static> {
        Box::new(self.map(|frame| frame.map_err(Into::into)))
    }
}

impl Iterator for Frames {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.decode.as_mut()?.next();
        if !matches!(next, Ok(Some(_))) {
            // Ends ffmpeg now, not when the caller drops the iterator.
            self.decode = None;
        }
        next.transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let most = if self.decode.is_some() {
            usize::try_from(self.total).ok().and_then(|n| n.checked_add(1))
        } else {
            Some(0)
        };
        (0, most)
    }
}

impl std::iter::FusedIterator for Frames {}

#[derive(Debug)]
struct Decode {
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
pub(crate) struct Picked {
    pub(crate) index: u64,
    pub(crate) time: Option<i64>,
    wanted: bool,
}

impl Decode {
    fn start(video: &Video, plan: Plan, cap: u64) -> Result<Self, VideoError> {
        let Video { path, options, programs, header, info, .. } = video;
        let key = unguessable_key();
        let job = DecodeJob {
            stream: header.stream,
            filters: filters(video, &plan, &key),
            max_frames: plan.most_given(cap),
            old_sync_option: header.old_sync_option,
            hwaccel: options.hwaccel,
        };
        let (sender, picked) = mpsc::channel();
        let decoded = Arc::new(AtomicU64::new(0));
        let picker = plan.clone().picker();
        let mut times = Times { key, picker, sender, decoded: Arc::clone(&decoded), frame: None };
        let mut command = ffmpeg::decode(&programs.ffmpeg, Address::File(path), &options.limits, &job);
        let process = Process::spawn(&mut command, &options.limits, options.hwaccel, move |line| times.take(line))?;
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

    fn next(&mut self) -> Result<Option<Frame>, VideoError> {
        loop {
            if self.given == self.cap {
                return Ok(None);
            }
            match self.next_given()? {
                Some((frame, true)) => {
                    self.given += 1;
                    return Ok(Some(frame));
                }
                // ffmpeg gives more frames than wanted where single ones would take too long an argument.
                Some((_, false)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Reads the next frame that ffmpeg gives, and whether it is wanted.
    fn next_given(&mut self) -> Result<Option<(Frame, bool)>, VideoError> {
        let (width, height) = (self.info.frame_width, self.info.frame_height);
        let bytes = u64::from(width) * u64::from(height) * 3;
        let no_memory = || VideoError::OutOfMemory { path: self.path.clone(), bytes };
        let want = usize::try_from(bytes).map_err(|_| no_memory())?;
        let mut pixels = Vec::new();
        pixels.try_reserve_exact(want).map_err(|_| no_memory())?;
        let got = self.process.read(&mut pixels, want).map_err(|source| self.broken(source))?;
        if got < want {
            return self.end(got, want).map(|()| None);
        }
        let missing = |frame| VideoError::MissingTime { path: self.path.clone(), frame };
        let picked = self.next_time()?;
        let time = picked.time.ok_or_else(|| missing(self.given))?;
        let image = RgbImage::from_raw(width, height, pixels).ok_or_else(no_memory)?;
        let time = (time - (self.info.start_time * 1e6).round() as i64) as f64 / 1e6;
        Ok(Some((Frame::new(picked.index, time, image), picked.wanted)))
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
            return Err(self.failure(ending, decoded));
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

    fn failure(&self, ending: Ending, frames: u64) -> VideoError {
        if let Some(error) = self.options.hwaccel.and_then(|hwaccel| hwaccel.refused(&ending.stderr)) {
            return error;
        }
        match refusal(&self.path, &ending, &self.options.limits) {
            VideoError::NotAVideo { path, .. } => {
                VideoError::Decode { path, frames, status: ending.status, stderr: ending.stderr }
            }
            refused => refused,
        }
    }

    fn broken(&self, source: std::io::Error) -> VideoError {
        VideoError::Spawn { program: self.program.clone(), source }
    }
}

/// Returns the filters of one decode. They convert times to microseconds, bridge jumps of the clock, print the time of
/// each frame, select frames, and make the selected ones upright RGB frames of one size.
fn filters(video: &Video, plan: &Plan, key: &str) -> String {
    let Video { options, picture, scan, header, .. } = video;
    let bridge = if scan.jumps { Clock::of(&header.container).filter(scan.step) + "," } else { String::new() };
    format!(
        "{}settb=AVTB,{bridge}metadata=mode=add:key={key}:value=1,\
         metadata=mode=print:key={key}:file='pipe\\:2':direct=1,select='{}',{}",
        picture.filters_on_all(options.hwaccel),
        plan.filter(),
        picture.filters_on_selected(options.hwaccel),
    )
}

/// Returns a name for our marks on standard error that no file can know. Otherwise text in a file could be taken for
/// the time of a frame.
pub(crate) fn unguessable_key() -> String {
    use std::hash::{BuildHasher, RandomState};
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("deepsight{:016x}", RandomState::new().hash_one(now))
}

/// A reader of the pairs of lines that the `metadata` filter prints for each decoded frame:
/// `frame:12 pts:400000 pts_time:0.4` and `key=1`.
struct Times {
    key: String,
    picker: Picker,
    sender: Sender<Picked>,
    decoded: Arc<AtomicU64>,
    frame: Option<Picked>,
}

impl Times {
    fn take(&mut self, line: &[u8]) -> bool {
        let Ok(line) = std::str::from_utf8(line) else { return false };
        if let Some(frame) = parse_frame(line) {
            self.frame = Some(frame);
            return true;
        }
        if !line.strip_suffix("=1").is_some_and(|line| line.ends_with(&self.key)) {
            return false;
        }
        if let Some(Picked { index, time, .. }) = self.frame.take() {
            self.decoded.store(index + 1, Ordering::Release);
            let pick = self.picker.pick(index, time);
            if pick != Pick::Skipped {
                // Sending fails if the iterator was dropped. Then ffmpeg has been killed too.
                let _ = self.sender.send(Picked { index, time, wanted: pick == Pick::Wanted });
            }
        }
        true
    }
}

/// Parses the line with the index and time of a frame. It may begin with a message of ffmpeg that did not end its line.
pub(crate) fn parse_frame(line: &str) -> Option<Picked> {
    let mut words = line.rsplit_once("frame:")?.1.split_whitespace();
    let index = words.next()?.parse().ok()?;
    let time = words.next()?.strip_prefix("pts:")?.parse().ok();
    words.next()?.strip_prefix("pts_time:")?;
    Some(Picked { index, time, wanted: true })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_in_a_file_is_not_taken_for_the_time_of_a_frame() {
        let (sender, receiver) = mpsc::channel();
        let picker = Plan::Every(1).picker();
        let mut times = Times { key: "deepsight42".into(), picker, sender, decoded: Arc::default(), frame: None };
        assert!(!times.take(b"[mov] pts:1"));
        times.take(b"frame:7    pts:99      pts_time:0.000099");
        assert!(!times.take(b"deepsight41=1"));
        assert!(times.take(b"frame:0    pts:40000   pts_time:0.04"));
        assert!(times.take(b"deepsight42=1"));
        assert!(times.take(b"half a message frame:1    pts:80000   pts_time:0.08"));
        assert!(times.take(b"half a message deepsight42=1"));
        let picked = receiver.try_recv().unwrap();
        assert_eq!((picked.index, picked.time), (0, Some(40000)));
        assert_eq!(receiver.try_recv().unwrap().time, Some(80000));
        assert!(receiver.try_recv().is_err());
    }
}
