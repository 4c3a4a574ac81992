use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use super::{
    Step,
    excerpt::{Excerpt, ExcerptFrame},
    route::{MOST_HELD_BACK, ROUNDING, keys},
    stretch::Stretch,
};
use crate::{
    Video, VideoError,
    decode::{frame, room_for_a_frame},
    ffmpeg::{self, SeekJob},
    marks::{Line, Mark, Marks},
    picture::Picture,
    process::{Process, Processes},
    sampling::search,
    scan::{HELD_BACK, Scan, Shown},
};

/// One ffmpeg process that opens the file once for each of some stretches, or reads an [`Excerpt`] of the file.
///
/// Each input prints a mark for every frame that it decodes, and these must be the frames that the scan of the file
/// found, from the start of the stretch on, or those of the excerpt. Otherwise the seek led to another place, or the
/// file is damaged.
#[derive(Debug)]
pub(crate) struct Run {
    process: Process,
    decoded: Receiver<Decoded>,
    /// Wanted frames that are still to be read, by their number.
    wanted: VecDeque<usize>,
    /// Times in microseconds of wanted frames that were decoded but not read.
    times: BTreeMap<usize, i64>,
}

/// An event from the marks of the inputs.
#[derive(Debug, Clone, Copy)]
enum Decoded {
    /// A wanted frame was decoded. All frames of its stretch before it were decoded too, without an error.
    Wanted { place: usize, time: i64 },
    /// A frame is missing, or ffmpeg printed an error.
    Failed,
}

impl Run {
    /// Starts ffmpeg as one of `processes`.
    pub(crate) fn start(video: &Video, stretches: Vec<Stretch>, processes: &Processes) -> Result<Self, VideoError> {
        let Video { path, options, programs, header, scan, .. } = video;
        let marks = Marks::new();
        let keys = keys(scan);
        let places = stretches.iter().map(|stretch| target(video, stretch, &keys)).collect();
        let job = SeekJob {
            places,
            filters: filters(video, &stretches, &keys, &marks),
            old_sync_option: header.old_sync_option,
        };
        let wanted = stretches.iter().flat_map(|stretch| &stretch.wanted);
        let wanted = wanted.flat_map(|&(first, last)| first..=last).collect();
        let (sender, decoded) = mpsc::channel();
        let inputs = stretches.into_iter().map(Input::new).map(ExpectedFrames::Seek).collect();
        let mut watch = Watch::new(video, marks, inputs, sender);
        let mut command = ffmpeg::seek(&programs.ffmpeg, path, &options.limits, &job);
        let process = Process::spawn(&mut command, &options.limits, None, move |line| watch.take(line))?;
        processes.add(&process);
        Ok(Self { process, decoded, wanted, times: BTreeMap::new() })
    }

    /// Starts ffmpeg on an excerpt, as one of `processes`.
    pub(crate) fn start_on(video: &Video, excerpt: Excerpt, processes: &Processes) -> Result<Self, VideoError> {
        let Video { options, programs, header, scan, picture, .. } = video;
        let path = &video.path;
        let (container, later, stream) = (excerpt.container(), excerpt.later(), excerpt.stream());
        let may_be_cut = excerpt.may_be_cut(video);
        let opened = excerpt.open(path).map_err(|source| VideoError::Io { path: path.clone(), source });
        let (frames, bytes) = opened?;
        let marks = Marks::new();
        let mut filters = format!("[0:{stream}]settb=AVTB,{},", marked(picture, &marks, 0));
        let wanted: Vec<_> = frames.iter().filter(|frame| frame.wanted).map(|frame| frame.place).collect();
        select(&ranges(&wanted), &scan.shown, later, &mut filters);
        filters = filters + "," + &picture.filters_on_selected(None) + "[frames]";
        let (sender, decoded) = mpsc::channel();
        let inputs = vec![ExpectedFrames::Excerpt { frames, later, next: 0, may_be_cut }];
        let mut watch = Watch::new(video, marks, inputs, sender);
        let mut command =
            ffmpeg::excerpt(&programs.ffmpeg, &options.limits, container, &filters, header.old_sync_option);
        let process = Process::spawn_on(&mut command, &options.limits, bytes, move |line| watch.take(line))?;
        processes.add(&process);
        Ok(Self { process, decoded, wanted: wanted.into(), times: BTreeMap::new() })
    }

    /// Reads the next frame, for at most `patience`, and subtracts the time from it.
    pub(crate) fn next(&mut self, video: &Video, patience: &mut Duration) -> Result<Step, VideoError> {
        let Some(&place) = self.wanted.front() else { return Ok(Step::End) };
        let size = video.info.frame_size();
        let (mut pixels, want) = room_for_a_frame(&video.path, size)?;
        self.process.limit_patience(*patience);
        let got = self.process.read(&mut pixels, want);
        *patience = self.process.patience();
        if self.process.timed_out() {
            let (path, limit) = (video.path.clone(), video.options.limits.max_wait);
            return Err(VideoError::TimedOut { path, program: "ffmpeg", limit });
        }
        let Some(time) = got.is_ok_and(|got| got == want).then(|| self.time_of(place)).flatten() else {
            return Ok(Step::Failed);
        };
        self.wanted.pop_front();
        let time = time.saturating_sub(video.info.start_microseconds());
        Ok(Step::Frame(frame(&video.path, size, place as u64, time, pixels)?))
    }

    /// Returns the time of a wanted frame whose pixels were read, unless a frame before it is missing. ffmpeg writes
    /// the mark before the pixels, so it has been read or is being read.
    fn time_of(&mut self, place: usize) -> Option<i64> {
        loop {
            if let Some(time) = self.times.remove(&place) {
                return Some(time);
            }
            match self.decoded.recv_timeout(Duration::from_secs(10)) {
                Ok(Decoded::Wanted { place, time }) => self.times.insert(place, time),
                Ok(Decoded::Failed) | Err(_) => return None,
            };
        }
    }
}

/// ffmpeg seeks earlier by this many microseconds in containers that are sorted by decoding time, if frames are stored
/// out of their order.
const FFMPEG_SEEKS_EARLIER: i64 = 3_000_000 / 23 + 1;

/// Returns the time to seek to, which must lead to the first frame of a stretch or an earlier key frame. Returns `None`
/// for the beginning of the file.
fn target(video: &Video, stretch: &Stretch, keys: &[usize]) -> Option<i64> {
    let scan = &video.scan;
    let first = scan.shown.get(stretch.first).filter(|_| stretch.first > 0)?;
    let next = keys.get(keys.partition_point(|&key| key <= stretch.first)).and_then(|&key| scan.shown.get(key));
    let room = next.map_or(i64::MAX, |next| next.raw.saturating_sub(first.raw) / 2);
    // The time of the frame itself, rounded down, could lead to the key frame before it.
    let later = match video.header.container.split(',').next() {
        Some("matroska") => FFMPEG_SEEKS_EARLIER.saturating_add(scan.step / 2).min(room),
        // The time is that of decoding, and it is rounded to the nearest one.
        Some("avi") => match first.raw.saturating_sub(stated_time(scan, keys, stretch.first)?) {
            0 => 0,
            held_back => FFMPEG_SEEKS_EARLIER.saturating_sub(held_back),
        },
        // The seek leads to any packet that is decoded before this time, and packets are decoded before they are shown.
        Some("mpegts") => -shown_later(scan),
        _ => (scan.step / 2).min(room),
    };
    Some(first.raw.saturating_add(later)).filter(|&time| time > 0)
}

/// Returns the time that the packet of a key frame states.
fn stated_time(scan: &Scan, keys: &[usize], frame: usize) -> Option<i64> {
    scan.key_packets.get(keys.partition_point(|&key| key < frame))?.raw
}

/// Returns the most microseconds between the decoding of a packet of a transport stream and its being shown.
fn shown_later(scan: &Scan) -> i64 {
    scan.step.saturating_mul(MOST_HELD_BACK)
}

/// A seek may lead to a place that is earlier by this much, in microseconds, or by two key frames. Decoding stops if it
/// leads further back.
const TOO_EARLY: i64 = 1_000_000;

/// Returns the filters of all inputs. They print the time of each frame, select frames by their times, and make the
/// selected ones upright RGB frames of one size.
fn filters(video: &Video, stretches: &[Stretch], keys: &[usize], marks: &Marks) -> String {
    let shown = &video.scan.shown;
    let mut filters = String::new();
    for (input, stretch) in stretches.iter().enumerate() {
        let last = time_of(shown, stretch.last());
        let limit = if stretch.first == 0 {
            String::new()
        } else {
            let key = keys.partition_point(|&key| key < stretch.first).saturating_sub(2);
            let earliest = time_of(shown, keys.get(key).copied().unwrap_or(0));
            let too_early = TOO_EARLY.max(shown_later(&video.scan).saturating_mul(2));
            let earliest = earliest.min(time_of(shown, stretch.first).saturating_sub(too_early));
            format!("trim=duration={},", ffmpeg::seconds(last.saturating_sub(earliest).saturating_add(TOO_EARLY)))
        };
        filters.push_str(&format!(
            "[{input}:{}]settb=AVTB,{limit}{},trim=end_pts={},",
            video.header.stream,
            marked(&video.picture, marks, input),
            last.saturating_add(ROUNDING + 1),
        ));
        select(&stretch.wanted, shown, 0, &mut filters);
        if stretches.len() > 1 {
            filters.push_str(&format!("[input{input}];"));
        }
    }
    if stretches.len() > 1 {
        // The filter returns the frames of all inputs in order of their times.
        (0..stretches.len()).for_each(|input| filters.push_str(&format!("[input{input}]")));
        filters.push_str(&format!("interleave=nb_inputs={}", stretches.len()));
    }
    filters + "," + &video.picture.filters_on_selected(None) + "[frames]"
}

/// Returns the filters that print a mark for each decoded frame, and those that are applied to all frames.
fn marked(picture: &Picture, marks: &Marks, input: usize) -> String {
    let marks = marks.filters(input);
    match picture.reach() {
        0 => marks,
        // `Deinterlacer::pass` takes time and flag apart again.
        _ => format!(
            "setpts='2*PTS+INTERLACED',{marks},setpts='floor(PTS/2)',{}settb=AVTB",
            picture.filters_on_all(None)
        ),
    }
}

/// Writes the filter that selects ranges of frames by their times, which are `later` by some microseconds.
fn select(wanted: &[(usize, usize)], shown: &[Shown], later: i64, filters: &mut String) {
    let around = |&(first, last): &(usize, usize)| {
        (time_of(shown, first) + later - ROUNDING, time_of(shown, last) + later + ROUNDING)
    };
    filters.push_str("select='");
    search("pts", &wanted.iter().map(around).collect::<Vec<_>>(), filters);
    filters.push('\'');
}

/// Returns the ranges of numbers that follow each other.
fn ranges(numbers: &[usize]) -> Vec<(usize, usize)> {
    numbers.chunk_by(|a, b| a + 1 == *b).filter_map(|range| Some((*range.first()?, *range.last()?))).collect()
}

fn time_of(shown: &[Shown], place: usize) -> i64 {
    shown.get(place).map_or(0, |frame| frame.time)
}

/// Decoders of the messages below.
const DECODERS: [&str; 3] = ["[h264 @ ", "[hevc @ ", "[mpeg2video @ "];

/// Messages of the decoders of H.264 and HEVC on pictures that refer to one that they did not decode. After a seek,
/// these are pictures before a key frame, and pictures of an open group that are shown before its key frame.
const OF_MISSING_PICTURES: [&str; 8] = [
    "mmco: unref short failure",
    "co located POCs unavailable",
    "reference picture missing during reorder",
    "Missing reference picture, default is ",
    "illegal short term buffer state detected",
    "number of reference frames ",
    "Could not find ref with POC ",
    "decode_slice_header error",
];

/// Messages about packets that come before the first parameter sets. ffmpeg decodes them when it opens a transport
/// stream that begins between key frames.
const OF_MISSING_SETS: [&str; 5] = [
    "non-existing PPS ",
    "non-existing SPS ",
    "decode_slice_header error",
    "no frame!",
    "Invalid frame dimensions 0x0",
];

/// A reader of the marks of all inputs.
struct Watch {
    marks: Marks,
    scan: Arc<Scan>,
    inputs: Vec<ExpectedFrames>,
    sender: Sender<Decoded>,
    /// Whether ffmpeg may still be opening a transport stream.
    is_opening: bool,
    /// The deinterlacer of each input, if there is one.
    deinterlacers: Option<Vec<Deinterlacer>>,
}

/// The state of a deinterlacer that began in the middle of a video.
///
/// It passes a frame on when it has the next one. The first frame that it changes becomes another one than in the
/// sequential pass, whose deinterlacer has changed others before. It changes interlaced frames, but not beside some
/// progressive ones.
#[derive(Debug, Clone, Copy)]
struct Deinterlacer {
    /// Number of frames that still come in the order of the sequential pass from its beginning on.
    from_the_beginning: usize,
    /// Whether the last two frames were interlaced.
    last: [bool; 2],
    has_changed: bool,
    /// The event of the last frame.
    held: Option<Decoded>,
}

/// The frames that an input must return.
enum ExpectedFrames {
    Seek(Input),
    /// These frames, `later` by some microseconds.
    Excerpt {
        frames: Vec<ExcerptFrame>,
        later: i64,
        next: usize,
        may_be_cut: bool,
    },
}

impl ExpectedFrames {
    /// Returns whether a message may be about the last packet of a file that ends within it. A sequential pass decodes
    /// what there is of that packet, too. The pixels of its missing part depend on the decoder's number of threads.
    fn is_at_its_cut(&self) -> bool {
        matches!(self, Self::Excerpt { frames, next, may_be_cut: true, .. } if frames.len() - next <= HELD_BACK)
    }

    /// Returns whether the first frame of a stretch has yet to come, and frames before it may be decoded now.
    fn is_before_its_stretch(&self) -> bool {
        matches!(self, Self::Seek(input) if input.stretch.open && input.next == input.stretch.first)
    }

    /// Records a decoded frame. Returns an event if the frame decides about wanted frames.
    fn take(&mut self, time: i64, shown: &[Shown]) -> Option<Decoded> {
        let (frames, later, next) = match self {
            Self::Seek(input) => return input.take(time, shown),
            Self::Excerpt { frames, later, next, .. } => (frames, *later, next),
        };
        let time = time.saturating_sub(later);
        let Some(&ExcerptFrame { place, wanted }) = frames.get(*next) else { return Some(Decoded::Failed) };
        if time.saturating_sub(time_of(shown, place)).abs() > ROUNDING {
            return Some(Decoded::Failed);
        }
        *next += 1;
        wanted.then_some(Decoded::Wanted { place, time })
    }
}

/// The frames of one input.
struct Input {
    stretch: Stretch,
    /// The frame that must come next.
    next: usize,
    /// Position in the ranges of wanted frames.
    range: usize,
}

impl Input {
    fn new(stretch: Stretch) -> Self {
        Self { next: stretch.first, stretch, range: 0 }
    }

    fn take(&mut self, time: i64, shown: &[Shown]) -> Option<Decoded> {
        let place = self.next;
        if place > self.stretch.end() {
            return None;
        }
        let off = time.saturating_sub(time_of(shown, place));
        // The seek led to an earlier key frame, or frames that are stored after the first one are shown before it.
        let before = place == self.stretch.first && place > 0 && off < -ROUNDING;
        if before {
            return None;
        }
        if off.abs() > ROUNDING {
            return Some(Decoded::Failed);
        }
        self.next += 1;
        while self.stretch.wanted.get(self.range).is_some_and(|&(_, last)| last < place) {
            self.range += 1;
        }
        let wanted = self.stretch.wanted.get(self.range).is_some_and(|&(first, _)| first <= place);
        wanted.then_some(Decoded::Wanted { place, time })
    }
}

impl Deinterlacer {
    /// Returns one that begins with an input.
    fn of(input: &ExpectedFrames) -> Self {
        let from_the_beginning = match input {
            ExpectedFrames::Seek(input) if input.stretch.first == 0 => usize::MAX,
            ExpectedFrames::Seek(_) => 0,
            ExpectedFrames::Excerpt { frames, .. } => {
                frames.iter().enumerate().take_while(|(n, frame)| frame.place == *n).count()
            }
        };
        Self { from_the_beginning, last: [false; 2], has_changed: false, held: None }
    }

    /// Takes the event of a decoded frame. Returns those of the frames that have passed, of a video of `frames` frames.
    fn pass(&mut self, event: Option<Decoded>, interlaced: bool, frames: usize) -> [Option<Decoded>; 2] {
        // The frame between two others has been changed if all three are interlaced.
        self.has_changed |= interlaced && self.last == [true; 2];
        self.last = [self.last[1], interlaced];
        let is_exact = !interlaced || self.has_changed || self.from_the_beginning > 0;
        self.from_the_beginning = self.from_the_beginning.saturating_sub(1);
        let event = event.map(|event| if is_exact { event } else { Decoded::Failed });
        match event {
            Some(Decoded::Failed) => [event, None],
            // No other frame follows.
            Some(Decoded::Wanted { place, .. }) if place + 1 == frames => [self.held.take(), event],
            _ => [std::mem::replace(&mut self.held, event), None],
        }
    }
}

impl Watch {
    fn new(video: &Video, marks: Marks, inputs: Vec<ExpectedFrames>, sender: Sender<Decoded>) -> Self {
        let deinterlaces = video.picture.reach() > 0;
        let deinterlacers = deinterlaces.then(|| inputs.iter().map(Deinterlacer::of).collect());
        let is_opening = video.header.track.is_some();
        Self { marks, scan: Arc::clone(&video.scan), inputs, sender, is_opening, deinterlacers }
    }

    fn take(&mut self, line: &[u8]) -> bool {
        let (told, is_mark) = match self.marks.read(line) {
            Line::Begun => ([None, None], true),
            Line::Complete(mark) => (self.decoded(mark), true),
            Line::Message => ([self.fails(line).then_some(Decoded::Failed), None], false),
        };
        for told in told.into_iter().flatten() {
            // Sending fails if the iterator was dropped. Then ffmpeg has been killed too.
            let _ = self.sender.send(told);
        }
        is_mark
    }

    /// Returns whether a message tells that a wanted frame may differ from that of a sequential pass.
    fn fails(&self, line: &[u8]) -> bool {
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        let is_expected = match line.split_once("] ") {
            Some((decoder, message)) if DECODERS.iter().any(|known| decoder.starts_with(known)) => {
                let message = message.strip_prefix("[error] ").unwrap_or(message);
                let is_one_of = |known: &[&str]| known.iter().any(|known| message.starts_with(known));
                (is_one_of(&OF_MISSING_PICTURES) || (self.is_opening && is_one_of(&OF_MISSING_SETS)))
                    && self.inputs.iter().any(ExpectedFrames::is_before_its_stretch)
            }
            _ => false,
        };
        !(line.is_empty() || is_expected || self.inputs.iter().any(ExpectedFrames::is_at_its_cut))
    }

    /// Returns the events that a mark decides.
    fn decoded(&mut self, mark: Mark) -> [Option<Decoded>; 2] {
        self.is_opening = false;
        let shown = &self.scan.shown;
        let (Some(input), Some(time)) = (self.inputs.get_mut(mark.filter), mark.time) else {
            return [Some(Decoded::Failed), None];
        };
        match self.deinterlacers.as_mut().and_then(|all| all.get_mut(mark.filter)) {
            None => [input.take(time, shown), None],
            Some(deinterlacer) => deinterlacer.pass(input.take(time >> 1, shown), time & 1 == 1, shown.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_about_a_missing_picture_is_expected_before_the_first_frame_of_a_stretch_only() {
        let shown = (0..20).map(|n| Shown { time: n * 40_000, raw: n * 40_000, key: n % 5 == 0 }).collect();
        let scan = Arc::new(Scan { shown, ..Scan::default() });
        let (sender, decoded) = mpsc::channel();
        let input = |first, open| {
            let wanted = vec![(first + 1, first + 3)];
            ExpectedFrames::Seek(Input::new(Stretch { first, open, wanted, reach: 0 }))
        };
        let inputs = vec![input(0, false), input(5, false), input(10, true)];
        let mut watch = Watch { marks: Marks::new(), scan, inputs, sender, is_opening: true, deinterlacers: None };
        let no_sets = b"[mpeg2video @ 0x5] [error] Invalid frame dimensions 0x0.";
        assert!(!watch.fails(no_sets));
        let missing = b"[h264 @ 0x5] [error] co located POCs unavailable";
        for (line, fails) in [
            (&missing[..], false),
            (b"[h264 @ 0x5] mmco: unref short failure", false),
            (b"[hevc @ 0x5] Could not find ref with POC 12", false),
            (b"", false),
            (b"[h264 @ 0x5] [error] error while decoding MB 3 2, bytestream -7", true),
            (b"    Last message repeated 2 times", true),
            (b"[mov @ 0x5] [error] co located POCs unavailable", true),
        ] {
            assert_eq!(watch.fails(line), fails, "{}", String::from_utf8_lossy(line));
        }
        watch.decoded(Mark { index: 0, time: Some(0), filter: 1 });
        assert!(watch.fails(no_sets));
        // A frame before the stretch, then its first one.
        for (filter, time, told) in [(0, 0, false), (0, 40_000, true), (2, 360_000, false), (2, 400_000, false)] {
            assert!(!watch.fails(missing));
            let [event, none] = watch.decoded(Mark { index: 0, time: Some(time), filter });
            assert!(event.is_some() == told && none.is_none(), "{time}");
        }
        assert!(watch.fails(missing));
        assert!(decoded.try_recv().is_err());
    }
}
