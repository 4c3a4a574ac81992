//! Videos that arrive on a pipe or a socket, and are read once from beginning to end.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use deepsight_core::{CancelToken, CloserFrames, Frame, Gap, Input, cancel::OnCancel};

use crate::{
    DecodeLimits, DecodeOptions, Limit, Note, Sampling, VideoError, Y4m,
    boxes::Boxes,
    byte_queue::{ByteQueue, End, Take},
    cure,
    decode::{failure, frame, room_for_a_frame},
    ffmpeg::{self, Address, DecodeJob, Programs},
    marks::{Line, Mark, Marks},
    picture::Picture,
    probe::{self, Head, Header},
    process::{Process, Processes},
    raw::NAME,
    sampling::{Pick, Picker, Plan, rounding},
    scan::Clock,
    still, y4m,
};

/// Bytes of a stream that are kept until ffprobe has found its video. ffprobe itself reads no more than 5 MB.
const HEAD: usize = 8 << 20;

/// Bytes that are kept for an MP4 with a long index, which ffprobe has to read completely.
const LONG_HEAD: usize = 64 << 20;

/// Bytes that tell Y4M and pictures from other containers.
const MAGIC_BYTES: usize = 12;

/// Bytes of a refused stream that tell what it is.
const HEAD_OF_REFUSED: usize = 1 << 12;

/// The frames of a video that arrives on a reader, such as standard input or a socket: an iterator of
/// `Result<Frame, VideoError>` in order of presentation.
///
/// ```no_run
/// use deepsight_video::{DecodeOptions, PipedVideo, Sampling};
///
/// // curl https://example.org/clip.mp4 | program
/// let video = PipedVideo::open(std::io::stdin(), &DecodeOptions::default(), Sampling::fps(2.0))?;
/// println!("{:?} x {:?} pixels", video.input().width, video.input().height);
/// for frame in video {
///     let frame = frame?;
///     println!("{:.2} s: {:?}", frame.time, frame.image.dimensions());
/// }
/// # Ok::<(), deepsight_video::VideoError>(())
/// ```
///
/// The stream is either YUV4MPEG2, which is read as by [`Y4m`], or a container that ffmpeg decodes: Matroska, WebM,
/// MPEG-TS, FLV, Ogg, fragmented MP4, and MP4 whose index comes first. An MP4 whose index comes last cannot be read
/// from a pipe and is [`VideoError::IndexAtEnd`]. The frames are those that [`Video::frames`](crate::Video::frames)
/// gives of the same file, with some differences, because nothing after the head of the stream is known in advance:
/// - The first frame has the time 0. Its picture decides the size of all frames; later ones of another size are fitted
///   into it.
/// - Only [`Sampling::fps`], [`Sampling::every`] and [`Sampling::all`] are possible. The others need the length.
/// - The video is the stream that is marked as the default, then the largest, then the first.
///
/// # Limits
/// All [`DecodeLimits`] apply. A stream over the limit of its bytes, frames or length gives the frames up to there and
/// then the error. An endless stream needs higher limits, such as [`DecodeLimits::unlimited`]; the memory still stays
/// bounded. [`max_wait`](DecodeLimits::max_wait) is the longest time for which ffmpeg may take no input and give no
/// output; the time for which the source is silent does not count. [`max_source_wait`](DecodeLimits::max_source_wait)
/// limits that, and has no bound by default.
///
/// # Threads
/// The reader is moved to a separate thread. Dropping the iterator and cancelling its token
/// ([`with_cancel`](Self::with_cancel)) end ffmpeg and all waiting at once, even while the source is silent. They do
/// not wait for the thread that reads: if it is blocked in the reader, it keeps the reader until that read returns, and
/// then ends.
#[derive(Debug)]
#[must_use = "frames are decoded only while the iterator is read"]
pub struct PipedVideo {
    // Dropped before the decoder, whose threads wait for it.
    source: Source,
    decoder: Option<Decoder>,
    given: u64,
    cap: u64,
    limits: DecodeLimits,
    input: Input,
    notes: Vec<Note>,
    processes: Processes,
    cancelled: Option<OnCancel>,
}

#[derive(Debug)]
enum Decoder {
    Container(Box<Container>),
    Y4m(Box<Y4m<Take>>, Picker),
}

/// The source of a stream. Dropping it ends every wait for the source.
#[derive(Debug)]
struct Source(Arc<ByteQueue>);

impl Drop for Source {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl PipedVideo {
    /// Reads the head of the stream, and starts to decode the frames that `sampling` selects. Blocks until the source
    /// has sent enough to recognize the video: the header and some frames.
    ///
    /// # Errors
    /// Returns an error if the reader fails, if the stream is empty or not a video, has its index at the end
    /// ([`VideoError::IndexAtEnd`]), is encrypted, has no video stream or not the one that was asked for, uses a
    /// container or codec that is not allowed, or is over a limit, if ffmpeg or ffprobe is missing or takes too long,
    /// if the sampling is invalid or needs the length of the video, or if [`max_side`](DecodeOptions::max_side) is 0.
    /// The iterator returns later errors.
    pub fn open(
        reader: impl Read + Send + 'static,
        options: &DecodeOptions,
        sampling: Sampling,
    ) -> Result<Self, VideoError> {
        // An invalid sampling is an error before anything is read.
        Plan::of_stream(&sampling, 0.0)?;
        let limits = &options.limits;
        let queue = ByteQueue::start(reader, limits).map_err(|source| VideoError::Io { path: NAME.into(), source })?;
        let source = Source(queue);
        let opened = Self::start(&source.0, options, &sampling);
        let (decoder, input, notes) = match (opened, source.error(limits)) {
            (Ok(opened), _) => opened,
            // A stream that a limit or its reader ended early may look like another kind of file.
            (Err(_), Some(error)) => return Err(error),
            (Err(error), None) => return Err(error),
        };
        let (processes, cap) = (Processes::default(), sampling.cap());
        if let Decoder::Container(container) = &decoder {
            processes.add(&container.process);
        }
        processes.add_queue(&source.0);
        Ok(Self {
            source,
            decoder: Some(decoder),
            given: 0,
            cap,
            limits: limits.clone(),
            input,
            notes,
            processes,
            cancelled: None,
        })
    }

    fn start(
        queue: &Arc<ByteQueue>,
        options: &DecodeOptions,
        sampling: &Sampling,
    ) -> Result<(Decoder, Input, Vec<Note>), VideoError> {
        let unreadable = |source| VideoError::Io { path: NAME.into(), source };
        let mut magic = Vec::new();
        queue.peek(MAGIC_BYTES).read_to_end(&mut magic).map_err(unreadable)?;
        if magic.is_empty() {
            return Err(VideoError::NotAVideo { path: NAME.into(), reason: "it ended before its first byte".into() });
        }
        if magic.starts_with(y4m::MAGIC) {
            let y4m = Y4m::new_with(queue.take(), options)?;
            let (input, notes) = (y4m.input(), y4m.notes().to_vec());
            let picker = Plan::of_stream(sampling, 0.0)?.picker();
            return Ok((Decoder::Y4m(Box::new(y4m), picker), input, notes));
        }
        // ffmpeg's readers of GIFs and PNGs have to seek back.
        if magic.starts_with(b"GIF8") || magic.starts_with(b"\x89PNG") || !matches!(still::kind_of(&magic), Ok(None)) {
            let reason = "it is a picture or a GIF, which cannot be read from a pipe; save it to a file and give that";
            return Err(VideoError::NotAllowed { path: NAME.into(), reason: reason.into() });
        }
        let container = Container::start(queue, options, sampling);
        let container = container.map_err(|error| cure::explain(error, &queue.first_bytes(HEAD_OF_REFUSED)))?;
        let (input, notes) = (container.input(), container.picture.notes.clone());
        Ok((Decoder::Container(Box::new(container)), input, notes))
    }

    /// Returns the description of the stream for a report: container, codec, size and frame rate. It has no path.
    /// Number of bytes and frames and the length in seconds are known after the iterator has ended without an error and
    /// without a maximum number of frames. The [gaps](Input::gaps) of a transport stream, whose pictures follow each
    /// other without a pause unless some were lost, are known after the iterator has ended in any way; those of other
    /// streams, in which a picture may stay, are not.
    pub fn input(&self) -> Input {
        self.input.clone()
    }

    /// Returns the steps that a player would apply to the picture and this library cannot.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Ends the decoding when the token is cancelled, even while the source is silent. The iterator then gives
    /// [`VideoError::Stopped`].
    pub fn with_cancel(mut self, cancel: &CancelToken) -> Self {
        self.cancelled = Some(self.processes.stop_on(cancel));
        self
    }

    /// Boxes the frames and their errors, as [`Job::with_closer_look`](deepsight_core::Job::with_closer_look) takes
    /// them.
    pub fn boxed(self) -> CloserFrames<'static> {
        Box::new(self.map(|frame| frame.map_err(Into::into)))
    }

    fn read(&mut self) -> Result<Option<Frame>, VideoError> {
        if self.given == self.cap {
            return Ok(None);
        }
        let Some(decoder) = &mut self.decoder else { return Ok(None) };
        let read = match decoder {
            Decoder::Container(container) => container.next(),
            Decoder::Y4m(y4m, picker) => {
                let wanted = |index, time: f64| picker.pick(index, Some((time * 1e6).round() as i64)) == Pick::Wanted;
                y4m.next_wanted(wanted).transpose()
            }
        };
        if let Ok(Some(frame)) = read {
            self.given += 1;
            return Ok(Some(frame));
        }
        let (over, frames, length) = match decoder {
            Decoder::Container(container) => {
                let progress = container.progress.lock();
                (progress.over.is_some(), progress.decoded, container.length(&progress))
            }
            Decoder::Y4m(y4m, _) => (false, y4m.read_frames(), Some(y4m.read_frames() as f64 / y4m.rate())),
        };
        // An input that was ended because of a limit counts as stopped.
        if !over && let Some(error) = self.source.error(&self.limits) {
            return Err(error);
        }
        read?;
        (self.input.frames, self.input.duration) = (Some(frames), length);
        self.input.bytes = Some(self.source.0.taken());
        Ok(None)
    }
}

impl Source {
    /// Returns the error that ended the source, if one did.
    fn error(&self, limits: &DecodeLimits) -> Option<VideoError> {
        let path = PathBuf::from(NAME);
        self.0.look_at_end(|end| match end? {
            End::Finished => None,
            End::Failed(error) => {
                Some(VideoError::Io { path, source: io::Error::new(error.kind(), error.to_string()) })
            }
            End::OverLimit => {
                let max = limits.max_file_bytes;
                Some(VideoError::OverLimit { path, limit: Limit::FileBytes, value: max.saturating_add(1), max })
            }
            End::Silent => Some(VideoError::SourceSilent { path, limit: limits.max_source_wait }),
            End::Stopped => Some(VideoError::Stopped { path }),
        })
    }
}

impl Iterator for PipedVideo {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read().transpose();
        if !matches!(next, Some(Ok(_))) {
            if let Some(Decoder::Container(container)) = &self.decoder {
                self.input.gaps = container.progress.lock().gaps();
            }
            // Ends ffmpeg now, not when the caller drops the iterator.
            self.source.0.stop();
            self.decoder = None;
        }
        next
    }
}

impl std::iter::FusedIterator for PipedVideo {}

/// An ffmpeg that decodes a container from its standard input.
#[derive(Debug)]
struct Container {
    process: Process,
    /// Times of the frames whose pixels follow on standard output. ffmpeg blocks there until the pixels are read, so
    /// few of them wait.
    picked: Receiver<Mark>,
    progress: Arc<Progress>,
    given: u64,
    header: Header,
    /// Whether the video is the only stream of the container.
    alone: bool,
    picture: Picture,
    options: DecodeOptions,
    programs: Programs,
    name: PathBuf,
}

impl Container {
    fn start(queue: &Arc<ByteQueue>, options: &DecodeOptions, sampling: &Sampling) -> Result<Self, VideoError> {
        let (name, limits, programs) = (PathBuf::from(NAME), &options.limits, Programs::locate(options));
        let bytes = head_of_mp4(queue, options, &name)?.unwrap_or(HEAD);
        let (mut header, alone) = probe::look_at_head(&name, Head { queue, bytes }, &programs, options)?;
        header.orientation = header.orientation.turned(options.turn);
        let has_filters = |filters: &[&str]| ffmpeg::has_filters(&programs.ffmpeg, filters);
        let picture = Picture::plan(&header, &[], options.max_side, limits.max_pixels, has_filters)?;
        limits.check_pixels(&name, picture.displayed)?;

        let rate = header.average_frame_rate.or(header.nominal_frame_rate);
        let tick = rate.map_or(header.tick, |rate| rounding(header.tick, 1.0 / rate));
        let plan = Plan::of_stream(sampling, tick)?;
        let marks = Marks::new();
        let job = DecodeJob {
            stream: header.stream,
            filters: filters(&header, &picture, &plan, options, &marks),
            max_frames: plan.most_given(sampling.cap()),
            old_sync_option: header.old_sync_option,
            hwaccel: options.hwaccel,
        };
        let (sender, picked) = mpsc::channel();
        let progress = Arc::new(Progress::default());
        let mut times = StreamMarkReader {
            marks,
            picker: plan.picker(),
            sender,
            progress: Arc::clone(&progress),
            queue: Arc::clone(queue),
            limits: limits.clone(),
            repeats: Clock::of(&header.container).repeats.then(|| usual_step(&header)),
        };
        let mut command = ffmpeg::decode(&programs.ffmpeg, Address::Pipe, limits, &job);
        let on_line = move |line: &[u8]| times.take(line);
        let process = Process::spawn_fed(&mut command, limits, options.hwaccel, queue.take(), on_line)?;
        let options = options.clone();
        Ok(Self { process, picked, progress, given: 0, header, alone, picture, options, programs, name })
    }

    fn input(&self) -> Input {
        let mut input = Input::new("");
        input.container = Some(self.header.container.clone());
        input.codec = Some(self.header.codec.clone());
        (input.width, input.height) = (Some(self.picture.displayed.0), Some(self.picture.displayed.1));
        input.rotation = Some(self.header.orientation.quarter_turns * 90);
        input.frame_rate = self.header.average_frame_rate.or(self.header.nominal_frame_rate);
        input.declared_duration = self.header.stream_duration.or(self.header.container_duration);
        (input.stream, input.video_streams) = (Some(self.header.stream), Some(self.header.video_streams));
        input.picture_notes = self.picture.notes.iter().map(ToString::to_string).collect();
        input
    }

    fn next(&mut self) -> Result<Option<Frame>, VideoError> {
        let size = self.picture.frame;
        let (mut pixels, want) = room_for_a_frame(&self.name, size)?;
        let got = self.process.read(&mut pixels, want).map_err(|source| self.broken(source))?;
        if got < want {
            return self.end(got, want).map(|()| None);
        }
        // ffmpeg writes index and time before the pixels, so they have been read or are being read.
        let picked = self.picked.recv_timeout(Duration::from_secs(10)).ok();
        let missing = || VideoError::MissingTime { path: NAME.into(), frame: self.given };
        let (index, time) = picked.and_then(|picked| Some((picked.index, picked.time?))).ok_or_else(missing)?;
        self.given += 1;
        let first = self.progress.lock().first.unwrap_or(time);
        Ok(Some(frame(&self.name, size, index, time.saturating_sub(first), pixels)?))
    }

    /// Handles the end of standard output, `got` bytes into a frame. Returns an error unless the video has ended there.
    fn end(&mut self, got: usize, want: usize) -> Result<(), VideoError> {
        let ending = self.process.finish().map_err(|source| self.broken(source))?;
        let (path, limits) = (self.name.clone(), &self.options.limits);
        if self.process.timed_out() {
            return Err(VideoError::TimedOut { path, program: "ffmpeg", limit: limits.max_wait });
        }
        let progress = self.progress.lock();
        if let Some(over) = progress.over {
            return Err(over.error(&path, limits));
        }
        if !ending.status.success() {
            return Err(failure(&path, ending, progress.decoded, &self.options));
        }
        if got > 0 {
            return Err(VideoError::TruncatedFrame { path, frame: self.given, got, want });
        }
        if progress.decoded == 0 {
            return Err(VideoError::Probe { path, reason: NO_FRAMES.into() });
        }
        match self.declared_frames(&progress, &ending.stderr) {
            Some(want) => Err(VideoError::Truncated { path, got: progress.decoded, want }),
            None => Ok(()),
        }
    }

    /// Returns the usual time between two frames in seconds.
    fn step(&self, progress: &Counts) -> f64 {
        let rate = self.header.average_frame_rate.or(self.header.nominal_frame_rate);
        let measured = || progress.span() / progress.decoded.saturating_sub(1).max(1) as f64;
        rate.map_or_else(measured, |rate| 1.0 / rate)
    }

    /// Returns the time from the start of the first frame to the end of the last one, in seconds.
    fn length(&self, progress: &Counts) -> Option<f64> {
        progress.first.map(|_| progress.span() + self.step(progress))
    }

    /// Returns how many frames the video should have, if it was cut short, by its length in the header or by ffmpeg's
    /// messages.
    fn declared_frames(&self, progress: &Counts, stderr: &str) -> Option<u64> {
        let says_so = CUT.iter().any(|words| stderr.contains(words));
        let (step, length) = (self.step(progress), self.length(progress)?);
        let first = progress.first? as f64 / 1e6;
        // Some segments of a stream are not a video that was cut short. The length of a container with several streams
        // may be that of its sound.
        let from_start = self.header.start.unwrap_or(0.0) < 0.5;
        let missing = match (self.header.stream_duration, self.header.container_duration) {
            _ if !from_start => None,
            (Some(declared), _) => Some(declared - length),
            (None, Some(declared)) if self.alone || says_so => Some(declared - (first + length)),
            _ => None,
        };
        let missing = missing.filter(|&missing| missing > (3.0 * step).max(0.25));
        if missing.is_none() && !says_so {
            return None;
        }
        let frames = missing.map_or(1, |missing| (missing / step.max(1e-6)).round() as u64).max(1);
        Some(progress.decoded.saturating_add(frames))
    }

    fn broken(&self, source: io::Error) -> VideoError {
        VideoError::Spawn { program: self.programs.ffmpeg.clone(), source }
    }
}

const NO_FRAMES: &str = "its video stream has no frames; send all of it, and of a stream in segments the \
                         initialization segment and the segments after it";

/// Messages of ffmpeg's readers of Matroska and MP4 about a file that ends in the middle.
const CUT: [&str; 2] = ["File ended prematurely", "partial file"];

/// Looks at the boxes of an MP4. Returns how many bytes of it ffprobe may need, or `None` if it is not an MP4.
fn head_of_mp4(queue: &Arc<ByteQueue>, options: &DecodeOptions, name: &Path) -> Result<Option<usize>, VideoError> {
    // Boxes that cannot be read are reported by ffprobe.
    let Ok(Some((boxes, end))) = Boxes::read_head(&mut queue.peek(LONG_HEAD)) else { return Ok(None) };
    if boxes.index.is_none() && boxes.fragments {
        return Err(VideoError::NoInitialization { path: name.to_path_buf() });
    }
    if boxes.index.is_none() {
        return Err(VideoError::IndexAtEnd { path: name.to_path_buf() });
    }
    let encrypted = match options.stream {
        Some(stream) => boxes.entries.get(stream as usize) == Some(b"encv"),
        None => boxes.entries.contains(b"encv"),
    };
    if encrypted {
        return Err(VideoError::Encrypted { path: name.to_path_buf() });
    }
    let end = usize::try_from(end).unwrap_or(LONG_HEAD);
    Ok(Some(end.saturating_add(HEAD).min(LONG_HEAD)))
}

/// Returns the filters of one decode: those of a file, except that the clock is bridged in any case, and that frames
/// over a limit are not selected.
fn filters(header: &Header, picture: &Picture, plan: &Plan, options: &DecodeOptions, marks: &Marks) -> String {
    let limits = &options.limits;
    let mut select = plan.filter();
    if limits.max_frames < u64::MAX {
        select.push_str(&format!("*lt(n,{})", limits.max_frames));
    }
    if let Some(longest) = longest(limits) {
        select.push_str(&format!("*lt(pts-start_pts,{longest})"));
    }
    format!(
        "{}settb=AVTB,{},{},select='{select}',{}",
        picture.filters_on_all(options.hwaccel),
        Clock::of(&header.container).filter(usual_step(header)),
        marks.filters(0),
        picture.filters_on_selected(options.hwaccel),
    )
}

/// Returns the time between two frames in microseconds, as the headers state it.
fn usual_step(header: &Header) -> i64 {
    let rate = header.average_frame_rate.or(header.nominal_frame_rate);
    rate.map_or(40_000, |rate| (1e6 / rate).round() as i64)
}

/// Returns the longest allowed video in microseconds.
fn longest(limits: &DecodeLimits) -> Option<i64> {
    i64::try_from(limits.max_duration_seconds).ok()?.checked_mul(1_000_000)
}

/// Counts and times of the frames decoded so far.
#[derive(Debug, Default)]
struct Progress {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Number of frames, sampled or not.
    decoded: u64,
    /// Times of the first and of the last frame in microseconds.
    first: Option<i64>,
    last: Option<i64>,
    over: Option<Over>,
    /// Starts and ends of the stretches without frames, in microseconds, in order.
    gaps: Vec<(i64, i64)>,
}

/// Shortest time without a frame, in microseconds, in which frames of a transport stream were lost.
const SHORTEST_GAP: i64 = 1_000_000;

/// Most gaps that are kept. Later ones are added to the last.
const MAX_GAPS: usize = 10_000;

/// A limit that was exceeded while decoding.
#[derive(Debug, Clone, Copy)]
enum Over {
    Frames,
    Length,
}

impl Over {
    fn error(self, path: &Path, limits: &DecodeLimits) -> VideoError {
        let path = path.to_path_buf();
        match self {
            Self::Frames => {
                let max = limits.max_frames;
                VideoError::OverLimit { path, limit: Limit::Frames, value: max.saturating_add(1), max }
            }
            Self::Length => {
                let max_seconds = limits.max_duration_seconds;
                VideoError::TooLong { path, seconds: max_seconds.saturating_add(1), max_seconds }
            }
        }
    }
}

impl Progress {
    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Returns the time from the start of the first to the start of the last frame, in seconds.
    fn span(&self) -> f64 {
        self.first.zip(self.last).map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e6)
    }

    /// Records the time since the end of the last frame as a gap if it is long.
    fn note_gap(&mut self, time: i64, step: i64) {
        let Some(last) = self.last.map(|last| last.saturating_add(step)) else { return };
        if time.saturating_sub(last) <= SHORTEST_GAP {
            return;
        }
        let full = self.gaps.len() == MAX_GAPS;
        match self.gaps.last_mut() {
            Some((_, end)) if full => *end = end.saturating_add(time - last),
            _ => self.gaps.push((last, time)),
        }
    }

    /// Returns the gaps in seconds from the first frame.
    fn gaps(&self) -> Vec<Gap> {
        let second = |time: i64| time.saturating_sub(self.first.unwrap_or(0)) as f64 / 1e6;
        self.gaps.iter().map(|&(start, end)| Gap::new(second(start), second(end))).collect()
    }
}

/// A reader of the lines that the `metadata` filter prints for each decoded frame. Only the times of frames that ffmpeg
/// gives are kept.
struct StreamMarkReader {
    marks: Marks,
    picker: Picker,
    sender: Sender<Mark>,
    progress: Arc<Progress>,
    queue: Arc<ByteQueue>,
    limits: DecodeLimits,
    /// The time between two frames in microseconds, if every long time without a frame is a loss.
    repeats: Option<i64>,
}

impl StreamMarkReader {
    fn take(&mut self, line: &[u8]) -> bool {
        match self.marks.read(line) {
            Line::Message => return false,
            Line::Begun => {}
            Line::Complete(mark) => self.count(mark),
        }
        true
    }

    fn count(&mut self, frame: Mark) {
        let Mark { index, time, .. } = frame;
        let mut counts = self.progress.lock();
        let first = counts.first.or(time);
        let longest = longest(&self.limits);
        let age = time.zip(first).map(|(time, first)| time.saturating_sub(first));
        // The same conditions as in the filter.
        let over = if index >= self.limits.max_frames {
            Some(Over::Frames)
        } else {
            age.zip(longest).filter(|(age, longest)| age >= longest).map(|_| Over::Length)
        };
        if over.is_some() || counts.over.is_some() {
            counts.over = counts.over.or(over);
            drop(counts);
            // ffmpeg ends by itself when it has decoded what it was sent, so all frames before the limit are given.
            self.queue.stop();
            return;
        }
        if let (Some(time), Some(step)) = (time, self.repeats) {
            counts.note_gap(time, step);
        }
        counts.decoded = index + 1;
        (counts.first, counts.last) = (first, time.or(counts.last));
        drop(counts);
        if time.is_none() && longest.is_some() {
            return;
        }
        if self.picker.pick(index, time) != Pick::Skipped {
            // Sending fails if the iterator was dropped. Then ffmpeg has been killed too.
            let _ = self.sender.send(frame);
        }
    }
}
