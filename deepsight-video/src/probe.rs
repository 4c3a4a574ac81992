use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use deepsight_core::{CancelToken, Fact};

use crate::{
    DecodeLimits, DecodeOptions, Limit, VideoError,
    answer::{self, Answer, Unread},
    asf, avi,
    boxes::Boxes,
    byte_queue::ByteQueue,
    cure::{self, refused_decoder},
    facts,
    ffmpeg::{self, Address, Opened, Programs},
    flv,
    orientation::Orientation,
    process::{Ending, Process},
    sample_tables::Track,
    scan::{Clock, HELD_BACK, Packets, Scan, Stamp, microseconds},
    still,
    tone_map::Colors,
    transport,
    units::{Packing, begins, first_of_each, units_of},
    vp8,
};

/// Properties of a file's video stream, as its headers state them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Header {
    /// Index of the stream in the file.
    pub(crate) stream: u32,
    /// Number of streams of moving pictures in the file.
    pub(crate) video_streams: u32,
    /// Number of all streams in the file.
    pub(crate) streams: usize,
    pub(crate) container: String,
    pub(crate) codec: String,
    pub(crate) pixel_format: Option<String>,
    pub(crate) colors: Colors,
    pub(crate) dolby_vision_profile: Option<u32>,
    pub(crate) fields: Fields,
    /// Width as coded, before any rotation.
    pub(crate) width: u32,
    /// Height as coded, before any rotation.
    pub(crate) height: u32,
    pub(crate) orientation: Orientation,
    pub(crate) sample_aspect_ratio: (u32, u32),
    pub(crate) average_frame_rate: Option<f64>,
    pub(crate) nominal_frame_rate: Option<f64>,
    /// Length of one tick of the container's clock, in seconds.
    pub(crate) tick: f64,
    pub(crate) start: Option<f64>,
    pub(crate) stream_duration: Option<f64>,
    pub(crate) container_duration: Option<f64>,
    pub(crate) frames: Option<u64>,
    /// Whether ffmpeg is older than 5.1, where `-fps_mode` is called `-vsync`.
    pub(crate) old_sync_option: bool,
    /// Whether the file is an MP4 that consists of fragments.
    pub(crate) fragments: bool,
    /// Identifier of the stream's packets in a transport stream.
    pub(crate) pid: Option<u16>,
    /// The stream's packets in a transport stream of which all arrived.
    pub(crate) track: Option<transport::Track>,
    /// Whether packets and frames correspond one to one.
    pub(crate) packets_are_frames: bool,
    /// Whether the file is known to have all bytes that its head states.
    pub(crate) is_whole: bool,
    /// Whether decoders may get another configuration in the middle of the file, outside the packets.
    pub(crate) reconfigured: bool,
}

/// The scan type that the headers state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fields {
    /// All rows at once.
    Progressive,
    /// Every second row first, the others half a frame later.
    Interlaced,
    Unknown,
}

/// A key frame's size and flags.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct KeyFrame {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) sample_aspect_ratio: (u32, u32),
    pub(crate) interlaced: bool,
}

/// The properties of a video that are known before its frames are decoded.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) header: Header,
    pub(crate) scan: Scan,
    /// The different key frames of the video among the inspected ones. Empty if all frames must have one size.
    pub(crate) key_frames: Vec<KeyFrame>,
    /// Facts that the file states about itself.
    pub(crate) facts: Vec<Fact>,
}

/// Largest file in bytes whose headers and packets are read in one run of ffprobe, because ffprobe takes longer to
/// start than to read such a file. The headers of larger files are read first, because they may show that the rest need
/// not be read.
const SMALL_FILE: u64 = 64 << 20;

/// Largest index of an MP4 in bytes whose packets are read with the headers: some minutes of video.
const SMALL_INDEX: usize = 1 << 17;

/// Codecs whose packets are taken from the sample tables of an MP4. Others mark key frames in the packets themselves.
const INDEXED: [&str; 2] = ["h264", "hevc"];

/// Key frames that are decoded to learn whether the size of the picture changes, where packets do not tell.
const SURVEYED: usize = 24;

/// Codecs in whose packets ffprobe reads whether the picture is interlaced, unless it is Matroska.
const FIELDS_ARE_READ: [&str; 2] = ["h264", "mpeg2video"];

/// Most packets of a recording that are decoded to learn which of them are shown.
const MOST_AT_THE_BEGINNING: usize = 2000;

/// Largest number of different kinds of pictures, by size and flags, that a survey collects.
const MOST_KINDS: usize = 64;

/// Share of a file's bytes up to the last packet below which the rest counts as unreadable.
const UNREADABLE_FROM: f64 = 0.95;

/// Most streams of a file that may have a decoder that is not on the allow-list.
const MOST_REFUSED: usize = 16;

/// Reads the headers of a file of `bytes` bytes, and every packet once. Decodes nothing if packets and frames
/// correspond one to one, except for a few key frames. Returns an error if the video is over a limit.
pub(crate) fn look(
    path: &Path,
    bytes: u64,
    programs: &Programs,
    options: &DecodeOptions,
) -> Result<Probed, VideoError> {
    // Unreadable boxes are reported by ffprobe.
    let boxes = Boxes::read(path).ok().flatten();
    let (limits, cancel) = (&options.limits, options.cancel.as_ref());
    let mut prober = Prober { path, head: None, programs, limits, cancel, opened: Vec::new() };
    prober.look(bytes, options.stream, boxes.as_ref()).map_err(|error| match (error, boxes) {
        (VideoError::NotAVideo { path, .. }, Some(Boxes { index: None, fragments: true, .. })) => {
            VideoError::NoInitialization { path }
        }
        (VideoError::NotAVideo { path, .. }, Some(Boxes { index: None, .. })) => VideoError::NoIndex { path },
        (VideoError::NotAVideo { path, .. } | VideoError::Probe { path, .. }, None)
            if transport::is_scrambled(&path).unwrap_or(false) =>
        {
            VideoError::Encrypted { path }
        }
        (error, _) => cure::explain_file(error, path),
    })
}

/// The first bytes of a stream, which ffprobe reads from a pipe.
pub(crate) struct Head<'a> {
    pub(crate) queue: &'a Arc<ByteQueue>,
    /// Most bytes that ffprobe may read.
    pub(crate) bytes: usize,
}

/// Reads the headers in the first bytes of a stream, which `name` names in errors. Returns the properties of its video,
/// and whether that is the only stream. Returns an error if the video is over a limit.
pub(crate) fn look_at_head(
    name: &Path,
    head: Head,
    programs: &Programs,
    options: &DecodeOptions,
) -> Result<(Header, bool), VideoError> {
    let (limits, cancel) = (&options.limits, options.cancel.as_ref());
    let mut prober = Prober { path: name, head: Some(head), programs, limits, cancel, opened: Vec::new() };
    let answer = prober.ask(&[VERSIONS, ENTRIES, &headers()], &mut Packets::new(u64::MAX))?;
    // A stream without a stated number counts as moving.
    let frames = |index| {
        let stream = answer.streams.iter().find(|stream| stream.index == index);
        stream.and_then(|stream| stream.nb_frames.as_deref()?.parse().ok()).unwrap_or(0)
    };
    let header = answer.choose(name, options.stream, &prober.opened, frames)?;
    header.check(name, &options.limits)?;
    Ok((header, answer.streams.len() == 1))
}

/// The runs of ffprobe on one file or on the head of a stream.
struct Prober<'a> {
    path: &'a Path,
    /// The head of a stream, if it is not a file.
    head: Option<Head<'a>>,
    programs: &'a Programs,
    limits: &'a DecodeLimits,
    /// Token that ends every run.
    cancel: Option<&'a CancelToken>,
    opened: Vec<Opened>,
}

impl Prober<'_> {
    fn look(&mut self, bytes: u64, stream: Option<u32>, boxes: Option<&Boxes>) -> Result<Probed, VideoError> {
        let mut packets = Packets::new(self.limits.max_frames);
        let index = boxes.filter(|boxes| !boxes.fragments).and_then(|boxes| boxes.index.as_deref());
        let answer = if bytes <= SMALL_FILE && index.is_none_or(|index| index.len() <= SMALL_INDEX) {
            self.ask(&[VERSIONS, ENTRIES, &format!("{PACKETS}:{}", headers())], &mut packets)?
        } else {
            let answer = self.ask(&[VERSIONS, ENTRIES, &headers()], &mut packets)?;
            answer.choose(self.path, stream, &self.opened, |_| 0)?.check(self.path, self.limits)?;
            let tables = index.filter(|_| boxes.is_some_and(|boxes| boxes.only_index));
            match tables.and_then(|index| answer.indexed_packets(index, bytes, &mut packets)) {
                Some(true) => {}
                Some(false) => return Err(self.too_many_frames(self.limits.max_frames.saturating_add(1))),
                None => {
                    packets.clear();
                    self.ask(&[ENTRIES, PACKETS], &mut packets)?;
                }
            }
            answer
        };
        let mut header = answer.choose(self.path, stream, &self.opened, |stream| packets.frames(stream))?;
        header.check(self.path, self.limits)?;
        header.fragments = boxes.is_some_and(|boxes| boxes.fragments);
        if boxes.is_some_and(|boxes| boxes.entries.get(header.stream as usize) == Some(b"encv")) {
            return Err(VideoError::Encrypted { path: self.path.to_path_buf() });
        }
        if packets.frames(header.stream) > self.limits.max_frames {
            return Err(self.too_many_frames(packets.frames(header.stream)));
        }
        if packets.frames(header.stream) == 0 {
            return Err(cure::of_no_frames(self.path, index));
        }
        if header.codec == "vp8"
            && let Some(places) = packets.places(header.stream)
            && let Some(shown) = vp8::shown(self.path, &places)
        {
            packets.keep_shown(header.stream, &shown);
            header.packets_are_frames = true;
        }
        if header.container == "avi" {
            self.learn_times(&header, &mut packets)?;
            // Its clock begins before the first frame is shown.
            header.start = None;
            let end = avi::end_of_packets(self.path).ok().flatten();
            header.is_whole = end.is_some_and(|end| packets.fill_up_to(end));
        }
        if header.container == "apng" {
            header.frames = still::frames_of_animated_png(self.path).ok().flatten();
            header.is_whole = still::is_whole_png(self.path).unwrap_or(false);
        }
        if header.container == "asf"
            && let Some(length) = asf::length(self.path).ok().flatten()
        {
            // ffprobe estimates it from the size of the file, or does not tell it.
            (header.stream_duration, header.container_duration) = (None, Some(length));
        }
        let track = if header.container == "mpegts" { self.whole_track(&mut header, &mut packets)? } else { None };
        let clock = Clock::of(&header.container);
        let readable = header.is_read_to_the_end().then(|| packets.end_in_file() as f64 / bytes.max(1) as f64);
        let mut scan = packets.finish(header.stream, header.tick, clock);
        scan.readable = readable.filter(|share| (f64::MIN_POSITIVE..UNREADABLE_FROM).contains(share));
        if header.container == "flv" {
            header.reconfigured = match header.codec.as_str() {
                "flv1" => false,
                "h264" => !flv::has_one_configuration(self.path).unwrap_or(false),
                _ => true,
            };
        }
        header.track = track.filter(|_| scan.begins_with_key_frame());
        header.packets_are_frames |= header.track.is_some();
        let key_frames = if header.packets_are_frames {
            self.survey(&header, &scan, boxes)?
        } else {
            let mut times = Vec::new();
            let (frames, key_frames) = self.decode(&header, &mut times)?;
            scan.decoded(frames, &times, clock);
            key_frames
        };
        if header.states_lengths() {
            scan.gaps.clear();
        }
        let of_stream = answer.streams.iter().find(|stream| stream.index == header.stream);
        let no_tags = BTreeMap::new();
        let tags = [&answer.format.tags, of_stream.map_or(&no_tags, |stream| &stream.tags)];
        let facts = facts::facts(self.path, tags, boxes.and_then(|boxes| boxes.index.as_deref()));
        Ok(Probed { header, scan, key_frames, facts })
    }

    /// Runs ffprobe and passes its packets to `packets`. ffprobe opens a decoder for every stream, and fails if the
    /// decoder is not allowed. It is then run again with that decoder allowed for that stream. The decoder is opened,
    /// but decodes nothing.
    fn ask(&mut self, show: &[&str], packets: &mut Packets) -> Result<Answer, VideoError> {
        loop {
            let mut refused = None;
            match self.ask_once(show, packets, &mut refused) {
                Err(VideoError::NotAllowed { .. }) if refused.is_some() && self.opened.len() < MOST_REFUSED => {
                    self.opened.extend(refused.filter(|new| !self.opened.iter().any(|old| old.stream == new.stream)));
                    packets.clear();
                }
                result => return result,
            }
        }
    }

    fn ask_once(
        &self,
        show: &[&str],
        packets: &mut Packets,
        refused: &mut Option<Opened>,
    ) -> Result<Answer, VideoError> {
        let show = [show, &["-of", "json=compact=1"]].concat();
        let stream = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&stream);
        let on_line = move |line: &[u8]| {
            let warning = warning(line);
            if let Some(stream) = warning.and_then(unopened_stream) {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
            }
            warning.is_some()
        };
        let from = if self.head.is_some() { Address::Pipe } else { Address::File(self.path) };
        let mut command = ffmpeg::ffprobe(&self.programs.ffprobe, from, self.limits, &self.opened, &show);
        let mut process = match &self.head {
            None => Process::spawn(&mut command, self.limits, None, on_line)?,
            Some(Head { queue, bytes }) => {
                Process::spawn_fed(&mut command, self.limits, None, queue.peek(*bytes), on_line)?
            }
        };
        let _stops = self.cancel.map(|cancel| process.stop_on(cancel));
        // ffprobe may end while the thread that feeds it waits for more bytes.
        let canceled = CancelOnDrop(self.head.as_ref());
        let failed = |source| VideoError::Spawn { program: self.programs.ffprobe.clone(), source };
        let answer = match answer::read(process.output(), &mut |packet| packets.push(packet)) {
            Ok(answer) => Some(answer),
            // The exit status and messages of the process tell why the answer was cut short.
            Err(Unread::CutShort) => None,
            Err(Unread::Stopped) => return Err(self.too_many_frames(self.limits.max_frames.saturating_add(1))),
            Err(Unread::Malformed(reason)) => return Err(unusable(self.path, format!("ffprobe's answer: {reason}"))),
            Err(Unread::Io(source)) => return Err(failed(source)),
        };
        drop(canceled);
        if let Err(error) = self.finish(process) {
            let stream = *stream.lock().unwrap_or_else(PoisonError::into_inner);
            if let (VideoError::NotAllowed { reason, .. }, Some(stream)) = (&error, stream) {
                *refused = refused_decoder(reason).map(|decoder| Opened { stream, decoder: decoder.to_owned() });
            }
            return Err(error);
        }
        answer.ok_or_else(|| unusable(self.path, "ffprobe's answer has no end".into()))
    }

    /// Decodes a stream. Returns the number of its frames and their different sizes and flags, and adds the time of
    /// each frame to `times`, with whether it is a key frame.
    fn decode(&self, header: &Header, times: &mut Vec<(i64, bool)>) -> Result<(u64, Vec<KeyFrame>), VideoError> {
        let (mut frames, mut kinds) = (0, Vec::new());
        self.frames(header, &[], &mut |line| {
            frames += 1;
            let key = value(line, "key_frame") == Some("1");
            let time = value(line, "best_effort_timestamp_time");
            times.extend(microseconds(time).map(|time| (time, key)));
            let kind = key_frame(line);
            if let Some(kind) = kind.filter(|kind| kinds.len() < MOST_KINDS && !kinds.contains(kind)) {
                kinds.push(kind);
            }
            frames <= self.limits.max_frames
        })?;
        Ok((frames, kinds))
    }

    /// Returns the packets of a transport stream's video if all arrived and each is a frame. Removes those from
    /// `packets` that are not shown because the frames they refer to were sent before the stream begins.
    fn whole_track(&self, header: &mut Header, packets: &mut Packets) -> Result<Option<transport::Track>, VideoError> {
        let stamps = packets.stamps(header.stream);
        let Some(WholeTrack { track, fields, begins }) = whole_track(self.path, header, stamps) else {
            return Ok(None);
        };
        if !begins {
            let Some(shown) = self.shown_at_the_beginning(header, stamps)? else { return Ok(None) };
            packets.keep_shown(header.stream, &shown);
        }
        // ffprobe tells what the first frames are.
        if fields && header.fields == Fields::Progressive {
            header.fields = Fields::Unknown;
        }
        Ok(Some(track))
    }

    /// Returns which of the first packets are shown of a stream that may begin between key frames, up to its second key
    /// frame. Returns `None` if the rest may have others that are not shown.
    fn shown_at_the_beginning(&self, header: &Header, stamps: &[Stamp]) -> Result<Option<Vec<bool>>, VideoError> {
        let mut keys = stamps.iter().enumerate().filter(|(_, stamp)| stamp.key).map(|(n, _)| n);
        let (Some(first), Some(second)) = (keys.next(), keys.next()) else { return Ok(None) };
        let of_packets: BTreeSet<_> = stamps.iter().map(|stamp| stamp.presentation).collect();
        if second > MOST_AT_THE_BEGINNING || of_packets.len() < stamps.len() {
            return Ok(None);
        }
        // ffprobe loses some of the frames that the decoder still has at the end of an interval.
        let interval = format!("%+#{}", second + HELD_BACK);
        let mut times = Vec::new();
        let read = self.frames(header, &["-read_intervals", &interval], &mut |line| {
            times.push(microseconds(value(line, "best_effort_timestamp_time")));
            true
        });
        if !is_complete(read)? {
            return Ok(None);
        }
        let decoded: BTreeSet<_> = times.iter().copied().filter(|time| of_packets.contains(time)).collect();
        let shown: Vec<_> = stamps[..=second].iter().map(|stamp| decoded.contains(&stamp.presentation)).collect();
        // Frames that are stored before the first key frame, or shown before it, may refer to others that are missing.
        let is_expected = |(n, &shown): (usize, &bool)| match shown {
            true => n >= first,
            false => n < first || stamps[n].presentation < stamps[first].presentation,
        };
        let is_known = decoded.len() == times.len() && shown.iter().enumerate().all(is_expected);
        Ok(is_known.then_some(shown))
    }

    /// Learns when the frames of an AVI file are shown, if its packets do not state it.
    fn learn_times(&self, header: &Header, packets: &mut Packets) -> Result<(), VideoError> {
        let stamps = packets.stamps(header.stream);
        if stamps.iter().all(|stamp| stamp.presentation.is_some()) {
            return Ok(());
        }
        let interval = format!("%+#{}", avi::DECODED);
        let mut decoded = Vec::new();
        let read = self.frames(header, &["-read_intervals", &interval], &mut |line| {
            let time = microseconds(value(line, "best_effort_timestamp_time"));
            decoded.push((time, value(line, "key_frame") == Some("1")));
            true
        });
        let is_read = is_complete(read)?;
        if let Some(found) = avi::presentation(&header.codec, stamps, &decoded).filter(|_| is_read) {
            let is_certain = found.has_keys && self.are_held_back_alike(header, stamps).unwrap_or(false);
            packets.show_at(header.stream, &found.times, is_certain);
        }
        Ok(())
    }

    /// Returns whether a decoder holds back the same number of frames throughout a stream.
    fn are_held_back_alike(&self, header: &Header, stamps: &[Stamp]) -> Option<bool> {
        let keys = stamps.iter().filter(|stamp| stamp.key).map(|stamp| stamp.place);
        let keys = keys.collect::<Option<Vec<_>>>()?;
        let differ = first_of_each(self.path, &header.codec, header.packing(), &keys)?;
        let units = units_of(&mut File::open(self.path).ok()?, header.packing(), *keys.first()?).ok()??;
        let is_known = match header.codec.as_str() {
            "h264" if units.iter().any(|unit| unit.head & 0x1f == 7) => avi::is_always_held_back_alike(&units),
            "h264" => avi::is_always_held_back_alike(&avi::described_sets(self.path).ok()?),
            "mpeg4" => true,
            _ => false,
        };
        Some(is_known && differ.len() == 1)
    }

    /// Decodes key frames of a stream whose size may change without a header that states it. Returns none if all are
    /// alike.
    fn survey(&self, header: &Header, scan: &Scan, boxes: Option<&Boxes>) -> Result<Vec<KeyFrame>, VideoError> {
        let keys = &scan.key_packets;
        if keys.len() < 2 || !header.may_change() {
            return Ok(Vec::new());
        }
        // Most streams of H.264 and HEVC have their parameters in the container, or repeat the same ones.
        let elsewhere = boxes.is_some_and(|boxes| boxes.several_entries);
        // Key frames of MPEG-4 tell whether they are interlaced only when they are decoded.
        let tells = !elsewhere && header.codec != "mpeg4";
        let places: Option<Vec<_>> = keys.iter().map(|key| key.place.filter(|_| tells)).collect();
        let differ = places.and_then(|places| first_of_each(self.path, &header.codec, header.packing(), &places));
        let looked_at: Vec<usize> = match differ {
            Some(differ) if differ.len() < 2 => return Ok(Vec::new()),
            Some(differ) => differ,
            None if keys.len() <= SURVEYED => (0..keys.len()).collect(),
            None => (0..SURVEYED).map(|n| n * (keys.len() - 1) / (SURVEYED - 1)).collect(),
        };
        let times: Option<Vec<_>> = looked_at.iter().map(|&n| keys[n].raw.filter(|&time| time >= 0)).collect();
        let intervals = times.filter(|_| looked_at.len() < keys.len() && !scan.jumps).map(|times| {
            let at = |time: i64| ffmpeg::seconds(time) + "%+#1";
            times.into_iter().map(at).collect::<Vec<_>>().join(",")
        });
        let mut only = vec!["-skip_frame", "nokey"];
        if let Some(intervals) = &intervals {
            only.extend(["-read_intervals", intervals]);
        }
        let mut found = Vec::new();
        let read = self.frames(header, &only, &mut |line| {
            found.extend(key_frame(line).filter(|kind| !found.contains(kind)));
            found.len() < MOST_KINDS
        });
        is_complete(read)?;
        Ok(found)
    }

    /// Decodes a stream, or what the options in `only` leave of it. Calls `on_frame` with each line about a frame,
    /// until that returns `false`, which is an error: there are too many.
    fn frames(&self, header: &Header, only: &[&str], on_frame: &mut dyn FnMut(&str) -> bool) -> Result<(), VideoError> {
        let (threads, stream) = (self.limits.threads().to_string(), header.stream.to_string());
        let mut show = vec!["-threads", &threads, "-select_streams", &stream];
        show.extend(only);
        show.extend(["-show_entries", FRAMES, "-of", "compact"]);
        let from = Address::File(self.path);
        let mut command = ffmpeg::ffprobe(&self.programs.ffprobe, from, self.limits, &self.opened, &show);
        let mut process = Process::spawn(&mut command, self.limits, None, |line| warning(line).is_some())?;
        let _stops = self.cancel.map(|cancel| process.stop_on(cancel));
        let failed = |source| VideoError::Spawn { program: self.programs.ffprobe.clone(), source };
        let mut lines = BufReader::new(process.output());
        let mut line = Vec::new();
        // A line has some tens of bytes. A longer one is read in pieces, of which at most one begins like a frame.
        while (&mut lines).take(1 << 12).read_until(b'\n', &mut line).map_err(failed)? > 0 {
            let text = String::from_utf8_lossy(&line);
            if text.starts_with("frame|") && !on_frame(text.trim_end()) {
                return Err(self.too_many_frames(self.limits.max_frames.saturating_add(1)));
            }
            line.clear();
        }
        self.finish(process)
    }

    /// Waits for an ffprobe whose output has ended. Returns an error unless it succeeded.
    fn finish(&self, mut process: Process) -> Result<(), VideoError> {
        let path = self.path.to_path_buf();
        let ending = process.finish();
        let ending = ending.map_err(|source| VideoError::Spawn { program: self.programs.ffprobe.clone(), source })?;
        if process.timed_out() {
            return Err(VideoError::TimedOut { path, program: "ffprobe", limit: self.limits.max_wait });
        }
        if !ending.status.success() { Err(refusal(self.path, &ending, self.limits)) } else { Ok(()) }
    }

    fn too_many_frames(&self, value: u64) -> VideoError {
        let path = self.path.to_path_buf();
        VideoError::OverLimit { path, limit: Limit::Frames, value, max: self.limits.max_frames }
    }
}

/// Returns whether some frames were read. Decoding reports a file of which they cannot be.
fn is_complete(read: Result<(), VideoError>) -> Result<bool, VideoError> {
    match read {
        Ok(()) => Ok(true),
        Err(VideoError::NotAVideo { .. } | VideoError::OverLimit { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether packets and frames correspond one to one, as far as the container and the codec tell. VP8 may store
/// hidden reference frames in packets of their own, and a broadcast recording may begin with frames that refer to
/// others sent before it. For these, decoding shows how many frames come out, unless the packets do.
fn are_frames(container: &str, codec: &str) -> bool {
    codec != "vp8" && !["mpegts", "mpeg", "mpegvideo"].contains(&container)
}

/// The video of a transport stream of which all packets arrived, each a frame.
struct WholeTrack {
    track: transport::Track,
    /// Whether the frames may consist of fields.
    fields: bool,
    /// Whether the stream begins with a frame that refers to no other one, and no frame is shown before it.
    begins: bool,
}

fn whole_track(path: &Path, header: &Header, stamps: &[Stamp]) -> Option<WholeTrack> {
    let begins = begins(&header.codec)?;
    let position = |stamp: &Stamp| Some((stamp.presentation?, stamp.place?.position));
    let packets = stamps.iter().map(position).collect::<Option<Vec<_>>>()?;
    if !packets.is_sorted_by(|(_, before), (_, after)| before < after) {
        return None;
    }
    let (first, key) = (packets.first()?, stamps.iter().find(|stamp| stamp.key)?);
    let keys: Vec<_> = packets.iter().zip(stamps).filter(|(_, stamp)| stamp.key).map(|(packet, _)| packet.1).collect();
    let mut fields = transport::CodedFields::of(&header.codec);
    let track = transport::Track::of_whole(path, header.pid?, &keys, |picture| fields.is_frame(picture)).ok()??;
    let units = units_of(&mut File::open(path).ok()?, Packing::Transport(&track), key.place?).ok()??;
    let begins = stamps.first()?.key && begins(&units) && packets.iter().all(|packet| packet.0 >= first.0);
    let fields = match fields.are_allowed() {
        Some(allowed) => allowed,
        None if header.fields == Fields::Progressive => false,
        None => return None,
    };
    Some(WholeTrack { track, fields, begins })
}

struct CancelOnDrop<'a>(Option<&'a Head<'a>>);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(head) = self.0 {
            head.queue.cancel_peeks();
        }
    }
}

/// Returns the text of a line of ffprobe's log if it is a warning.
fn warning(line: &[u8]) -> Option<&str> {
    Some(std::str::from_utf8(line).ok()?.split_once("[warning] ")?.1)
}

/// Returns the index of the stream that ffprobe could not open a decoder for.
fn unopened_stream(warning: &str) -> Option<u32> {
    warning.strip_prefix("Could not open codec for input stream ")?.trim().parse().ok()
}

/// Returns a value of a line such as `frame|key_frame=1|width=64`.
fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split('|').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn key_frame(line: &str) -> Option<KeyFrame> {
    let number = |name| value(line, name).and_then(|text| text.parse().ok());
    Some(KeyFrame {
        width: number("width").filter(|&side| side > 0)?,
        height: number("height").filter(|&side| side > 0)?,
        sample_aspect_ratio: ratio(value(line, "sample_aspect_ratio"), ':').unwrap_or((1, 1)),
        interlaced: number("interlaced_frame") == Some(1),
    })
}

impl Header {
    /// Returns an error if the headers state a value over a limit. Their length is not checked: a clock that starts
    /// late or jumps makes it too long.
    fn check(&self, path: &Path, limits: &DecodeLimits) -> Result<(), VideoError> {
        limits.check_pixels(path, (self.width, self.height))
    }

    /// Returns whether the container states how long each picture is shown, so that it has no gaps: a long time between
    /// two frames is a picture that stays. ffprobe prints other lengths where frames are stored out of their order.
    fn states_lengths(&self) -> bool {
        let container = self.container.split(',').next().unwrap_or_default();
        (container == "mov" && !self.fragments) || ["gif", "apng"].contains(&container)
    }

    /// Returns how the units of H.264 and HEVC lie in the packets.
    pub(crate) fn packing(&self) -> Packing<'_> {
        match &self.track {
            Some(track) => Packing::Transport(track),
            None if self.container == "avi" => Packing::Chunks,
            None => Packing::Lengths,
        }
    }

    /// Returns whether packets fill the file up to its end, so that a reader whose last packet is far from there gave
    /// up: other containers may have an index or attachments after their packets.
    fn is_read_to_the_end(&self) -> bool {
        self.container == "mpegts"
    }

    /// Returns whether the size of the pictures may change within the stream. Other codecs know it from the container
    /// alone.
    fn may_change(&self) -> bool {
        let in_band = [
            "h264",
            "hevc",
            "vp8",
            "vp9",
            "av1",
            "mpeg4",
            "mpeg1video",
            "mpeg2video",
            "h263",
            "flv1",
            "vc1",
            "wmv3",
            "mjpeg",
            "theora",
            "vp6f",
        ];
        in_band.contains(&self.codec.as_str())
    }
}

/// Returns the error that the messages of a failed ffprobe or ffmpeg describe.
pub(crate) fn refusal(path: &Path, ending: &Ending, limits: &DecodeLimits) -> VideoError {
    let (path, reason) = (path.to_path_buf(), ending.stderr.clone());
    // The decoder refuses a large picture before ffprobe can print its size: "Picture size 12000x12000 exceeds ...".
    if let Some((size, _)) = reason.split_once(" exceeds specified max pixel count") {
        let size = size.rsplit(' ').next().unwrap_or_default().split_once('x');
        let parsed = size.and_then(|(w, h)| Some(w.parse::<u64>().ok()?.saturating_mul(h.parse().ok()?)));
        if let Some(value) = parsed {
            return VideoError::OverLimit { path, limit: Limit::Pixels, value, max: limits.max_pixels };
        }
    }
    if reason.contains("not on whitelist") {
        // The message continues with the whole allow-list. Earlier ones were not fatal.
        let before = reason.rsplit_once(" not on whitelist").map_or("", |(before, _)| before);
        let refused = before.rsplit("; ").next().unwrap_or_default();
        return VideoError::NotAllowed { path, reason: refused.to_owned() };
    }
    let reason = if reason.is_empty() { format!("ffprobe ended with {}", ending.status) } else { reason };
    VideoError::NotAVideo { path, reason }
}

const VERSIONS: &str = "-show_library_versions";
const ENTRIES: &str = "-show_entries";
const PACKETS: &str = "packet=codec_type,stream_index,pts_time,dts_time,duration_time,size,pos,flags";
const HEADERS: &str = "format=format_name,duration:stream=index,id,codec_type,codec_name,pix_fmt,color_range,\
     color_space,color_transfer,color_primaries,field_order,width,height,sample_aspect_ratio,r_frame_rate,\
     avg_frame_rate,time_base,start_time,duration,nb_frames:stream_disposition=default,attached_pic,timed_thumbnails,\
     still_image:stream_side_data_list:stream_side_data=displaymatrix,dv_profile";
/// Tag of an encrypted stream of a Matroska file, with the ID of its key.
const ENCRYPTION_KEY: &str = "enc_key_id";
const FRAMES: &str = "frame=key_frame,best_effort_timestamp_time,width,height,sample_aspect_ratio,interlaced_frame";

/// Returns the requested fields of the headers.
fn headers() -> String {
    let tags = facts::asked();
    format!("{HEADERS}:format_tags={tags}:stream_tags={ENCRYPTION_KEY},{tags}")
}

fn unusable(path: &Path, reason: String) -> VideoError {
    VideoError::Probe { path: path.to_path_buf(), reason }
}

impl Answer {
    /// Passes the packets of a file of `bytes` bytes to `packets`, as its index describes them. Returns whether there
    /// are not too many, or `None` if ffprobe might print others.
    fn indexed_packets(&self, index: &[u8], bytes: u64, packets: &mut Packets) -> Option<bool> {
        let tracks = Track::all(index).filter(|tracks| tracks.len() == self.streams.len())?;
        for (n, (track, stream)) in tracks.iter().zip(&self.streams).enumerate() {
            let video = stream.codec_type.as_deref() == Some("video");
            let known = stream.codec_name.as_deref().is_some_and(|codec| INDEXED.contains(&codec));
            if stream.index as usize != n || video != track.video || (video && !known) {
                return None;
            }
            if !track.pass(stream.index, bytes, packets)? {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Chooses the stream that is the video, and returns its properties. `frames` is the number of frames of a stream.
    ///
    /// A player shows the stream that is marked as the default. Among several of them, or none, it is the one with the
    /// most frames, then the largest. Cover art and thumbnails are pictures that do not move.
    fn choose(
        &self,
        path: &Path,
        wanted: Option<u32>,
        opened: &[Opened],
        frames: impl Fn(u32) -> u64,
    ) -> Result<Header, VideoError> {
        let path_of = || path.to_path_buf();
        let marked_still = |s: &answer::Stream| {
            [s.disposition.attached_pic, s.disposition.timed_thumbnails, s.disposition.still_image] != [0; 3]
        };
        let videos = self.streams.iter().filter(|s| s.codec_type.as_deref() == Some("video") && !marked_still(s));
        let videos: Vec<_> = videos.collect();
        let longest = videos.iter().map(|s| frames(s.index)).max().unwrap_or(0);
        // A still picture among videos is a thumbnail, even if nothing marks it as one.
        let moving: Vec<_> = videos.into_iter().filter(|s| longest < 2 || frames(s.index) > 1).collect();
        let refused = |s: &answer::Stream| opened.iter().find(|opened| opened.stream == s.index);
        let pixels = |s: &answer::Stream| u64::from(s.width.unwrap_or(0)) * u64::from(s.height.unwrap_or(0));
        let rank = |s: &answer::Stream| (refused(s).is_none(), s.disposition.default > 0, frames(s.index), pixels(s));
        let stream = match wanted {
            Some(stream) => {
                let choice = || moving.iter().map(|s| s.index).collect();
                let found = moving.iter().find(|s| s.index == stream);
                *found.ok_or_else(|| VideoError::NoSuchStream { path: path_of(), stream, choice: choice() })?
            }
            // The first of those that are equal.
            None => {
                let best = moving.iter().rev().max_by_key(|s| rank(s));
                best.ok_or_else(|| VideoError::NoVideoStream { path: path_of() })?
            }
        };
        if let Some(Opened { decoder, .. }) = refused(stream) {
            return Err(VideoError::NotAllowed { path: path_of(), reason: format!("Codec ({decoder})") });
        }
        if stream.tags.contains_key(ENCRYPTION_KEY) {
            return Err(VideoError::Encrypted { path: path_of() });
        }
        self.header(path, stream, moving.len() as u32)
    }

    fn header(&self, path: &Path, stream: &answer::Stream, video_streams: u32) -> Result<Header, VideoError> {
        let (Some(width @ 1..), Some(height @ 1..)) = (stream.width, stream.height) else {
            return Err(unusable(path, "its video has no width and height".into()));
        };
        let container = self.format.format_name.clone().unwrap_or_else(|| "unknown".into());
        let codec = stream.codec_name.clone().unwrap_or_else(|| "unknown".into());
        let pid = stream.id.as_deref().and_then(|id| u16::from_str_radix(id.strip_prefix("0x")?, 16).ok());
        let packets_are_frames = are_frames(&container, &codec);
        let fields_are_read = FIELDS_ARE_READ.contains(&codec.as_str()) && !container.starts_with("matroska");
        let matrix = stream.side_data_list.iter().find_map(|data| data.displaymatrix.as_deref());
        let sync_renamed = (59, 27);
        Ok(Header {
            stream: stream.index,
            video_streams,
            streams: self.streams.len(),
            container,
            codec,
            pixel_format: stream.pix_fmt.clone(),
            colors: Colors {
                full_range: stream.color_range.as_deref() == Some("pc"),
                matrix: stream.color_space.clone(),
                transfer: stream.color_transfer.clone(),
                primaries: stream.color_primaries.clone(),
            },
            dolby_vision_profile: stream.side_data_list.iter().find_map(|data| data.dv_profile),
            fields: match stream.field_order.as_deref() {
                // Otherwise it is the container that says so, as those of ffmpeg do of many interlaced videos.
                Some("progressive") if fields_are_read => Fields::Progressive,
                Some("tt" | "bb" | "tb" | "bt") => Fields::Interlaced,
                _ => Fields::Unknown,
            },
            width,
            height,
            orientation: matrix.map(Orientation::from_display_matrix).unwrap_or_default(),
            sample_aspect_ratio: ratio(stream.sample_aspect_ratio.as_deref(), ':').unwrap_or((1, 1)),
            average_frame_rate: rate(stream.avg_frame_rate.as_deref()),
            nominal_frame_rate: rate(stream.r_frame_rate.as_deref()),
            tick: rate(stream.time_base.as_deref()).unwrap_or(0.0),
            start: seconds(stream.start_time.as_deref()),
            stream_duration: seconds(stream.duration.as_deref()).filter(|&d| d > 0.0),
            container_duration: seconds(self.format.duration.as_deref()).filter(|&d| d > 0.0),
            frames: stream.nb_frames.as_deref().and_then(|n| n.parse().ok()).filter(|&n| n > 0),
            old_sync_option: (self.library_versions.iter())
                .any(|library| library.name == "libavformat" && (library.major, library.minor) < sync_renamed),
            fragments: false,
            pid,
            track: None,
            packets_are_frames,
            is_whole: false,
            reconfigured: false,
        })
    }
}

fn seconds(text: Option<&str>) -> Option<f64> {
    text?.parse().ok().filter(|s: &f64| s.is_finite())
}

fn rate(text: Option<&str>) -> Option<f64> {
    ratio(text, '/').map(|(over, under)| f64::from(over) / f64::from(under))
}

fn ratio(text: Option<&str>, separator: char) -> Option<(u32, u32)> {
    let (over, under) = text?.split_once(separator)?;
    Some((over.parse().ok().filter(|&n| n > 0)?, under.parse().ok().filter(|&n| n > 0)?))
}

/// Interprets an answer as [`look`] does.
#[cfg(any(test, fuzzing))]
pub(crate) fn conclude(answer: Answer, packets: Packets, path: &Path) {
    if let Ok(header) = answer.choose(path, None, &[], |stream| packets.frames(stream)) {
        // A value over a limit is an error.
        let _ = header.check(path, &DecodeLimits::default());
        let _ = whole_track(path, &header, packets.stamps(header.stream));
        let _ = packets.finish(header.stream, header.tick, Clock::of(&header.container));
    }
}

/// Reads the packets that the index of an MP4 of `bytes` bytes describes, as [`look`] does where ffprobe finds the same
/// streams. Returns `None` if the packets would be read by ffprobe, or the video is over a limit.
#[cfg(any(test, fuzzing))]
pub(crate) fn look_at_index(path: &Path, bytes: u64, boxes: &Boxes, limits: &DecodeLimits) -> Option<Probed> {
    let index = boxes.index.as_deref().filter(|_| boxes.only_index && !boxes.fragments)?;
    let stream = |(n, track): (usize, Track)| {
        let is_hevc = boxes.entries.get(n).is_some_and(|entry| [*b"hvc1", *b"hev1"].contains(entry));
        serde_json::from_value(serde_json::json!({
            "index": n,
            "codec_type": if track.video { "video" } else { "audio" },
            "codec_name": if is_hevc { "hevc" } else { "h264" },
            "time_base": format!("1/{}", track.scale),
            "width": 64,
            "height": 48,
        }))
    };
    let streams = Track::all(index)?.into_iter().enumerate().map(stream).collect::<Result<_, _>>().ok()?;
    let format = answer::Format { format_name: Some("mov,mp4".into()), ..Default::default() };
    let answer = Answer { streams, format, ..Answer::default() };
    let mut packets = Packets::new(limits.max_frames);
    answer.indexed_packets(index, bytes, &mut packets).filter(|&are_all| are_all)?;
    let header = answer.choose(path, None, &[], |stream| packets.frames(stream)).ok()?;
    header.check(path, limits).ok()?;
    let scan = packets.finish(header.stream, header.tick, Clock::of(&header.container));
    let places: Option<Vec<_>> = scan.key_packets.iter().map(|key| key.place).collect();
    // Decides only which key frames ffprobe decodes.
    let _ = first_of_each(path, &header.codec, Packing::Lengths, &places?);
    (scan.frames <= limits.max_frames).then_some(Probed { header, scan, key_frames: Vec::new(), facts: Vec::new() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clips::Clips;

    /// Returns what the packets tell that ffprobe prints, and what those in the sample tables tell if these are used.
    fn scans_of(path: &Path) -> (Scan, Option<Scan>) {
        let limits = DecodeLimits::default();
        let programs = Programs::locate(&DecodeOptions::default());
        let mut prober =
            Prober { path, head: None, programs: &programs, limits: &limits, cancel: None, opened: Vec::new() };
        let (mut printed, mut indexed) = (Packets::new(limits.max_frames), Packets::new(limits.max_frames));
        let answer = prober.ask(&[ENTRIES, &format!("{PACKETS}:{}", headers())], &mut printed).unwrap();
        let (bytes, boxes) = (path.metadata().unwrap().len(), Boxes::read(path).unwrap().unwrap());
        let used = answer.indexed_packets(&boxes.index.unwrap(), bytes, &mut indexed);
        let scan = |packets: Packets| packets.finish(0, 1e-3, Clock::of("mov"));
        (scan(printed), used.map(|_| scan(indexed)))
    }

    #[test]
    fn the_sample_tables_of_an_mp4_say_what_ffprobe_prints_or_are_not_used() {
        let clips = Clips::new();
        let busy = "-f lavfi -i testsrc2=s=96x64:r=25,noise=alls=20:allf=t,trim=end_frame=80";
        let sound = "-f lavfi -i sine=d=3.2 -map 0 -map 1 -c:a aac";
        let uneven = "-vf settb=1/1000,setpts='(N*1001/30000+0.004*mod(N*7,5))/TB' -enc_time_base 1:1000";
        let cases = [
            ("plain.mp4", "-c:v libx264 -g 15".to_owned(), true),
            ("plain.mov", "-c:v libx264 -g 15".to_owned(), true),
            ("first.mp4", "-c:v libx264 -g 15 -movflags +faststart".to_owned(), true),
            ("simple.mp4", "-c:v libx264 -g 7 -tune zerolatency".to_owned(), true),
            ("pyramid.mp4", "-c:v libx264 -g 30 -bf 8 -x264-params b-pyramid=normal:ref=8".to_owned(), true),
            ("negative.mp4", "-c:v libx264 -g 15 -movflags negative_cts_offsets".to_owned(), true),
            ("ntsc.mp4", "-r 30000/1001 -c:v libx264 -video_track_timescale 30000".to_owned(), true),
            ("sound.mp4", format!("{sound} -c:v libx264 -g 15"), true),
            ("sound.mov", format!("{sound} -c:v libx264 -g 15 -c:a pcm_s16le"), true),
            ("uneven.mp4", format!("{uneven} -c:v libx264 -g 15"), true),
            ("hevc.mp4", "-c:v libx265 -x265-params log-level=error:keyint=15".to_owned(), true),
            ("late.mp4", "-c:v libx264 -g 15 -output_ts_offset 7.5".to_owned(), false),
            ("fragments.mp4", "-c:v libx264 -movflags frag_keyframe+empty_moov".to_owned(), false),
            ("mpeg4.mp4", "-c:v mpeg4 -g 15".to_owned(), false),
        ];
        for (name, words, used) in cases {
            let path = clips.make_uneven(name, &format!("{busy} {words} -pix_fmt yuv420p"));
            let (mut printed, indexed) = scans_of(&path);
            assert_eq!(indexed.is_some(), used, "{name}");
            let Some(indexed) = indexed else { continue };
            // ffprobe guesses how long a frame is shown from the frame rate, where packets are out of order.
            if printed.variable {
                (printed.end, printed.end_of_all) = (indexed.end, indexed.end_of_all);
            }
            assert_eq!(indexed, printed, "{name}");
        }
        // Without the edit list, frames before the cut are shown; with it, they are not.
        let cut = clips.make("cut.mp4", "-ss 1.3 -i plain.mp4 -c copy");
        let cut = scans_of(&cut);
        assert!(cut.1.is_none(), "{cut:#?}");
        let bytes = std::fs::read(clips.path("first.mp4")).unwrap();
        let short = scans_of(&clips.write("short.mp4", &bytes[..bytes.len() * 3 / 4]));
        assert!(short.1.is_none(), "{short:#?}");
    }

    #[test]
    fn damaged_sample_tables_do_not_panic() {
        let path = Clips::new();
        let path = path.ramp("clip.mp4", 30);
        let (bytes, index) = (path.metadata().unwrap().len(), Boxes::read(&path).unwrap().unwrap().index.unwrap());
        let mut mutated = 0u64;
        for place in 0..index.len() {
            for value in [0, 1, 0x7f, 0xff, index[place].wrapping_add(1)] {
                let mut damaged = index.clone();
                damaged[place] = value;
                let Some(tracks) = Track::all(&damaged) else { continue };
                for track in tracks {
                    mutated += u64::from(track.pass(0, bytes, &mut Packets::new(100)).is_some());
                }
            }
        }
        assert!(mutated > 0);
    }

    fn answer(json: &str) -> Answer {
        answer::read(json.as_bytes(), &mut |_| true).unwrap()
    }

    fn parse(json: &str) -> Result<Header, VideoError> {
        answer(json).choose(Path::new("clip.mp4"), None, &[], |_| 9)
    }

    #[test]
    fn the_properties_of_the_first_moving_picture_are_read() {
        let header = parse(
            r#"{"streams":[{"index":0,"codec_type":"audio"},
                {"index":1,"codec_type":"video","width":9,"height":9,"disposition":{"attached_pic":1}},
                {"index":2,"codec_type":"video","codec_name":"h264","width":64,"height":48,
                 "avg_frame_rate":"30000/1001","r_frame_rate":"0/0","sample_aspect_ratio":"4:3",
                 "nb_frames":"12","start_time":"0.5"}],
                "format":{"format_name":"mov,mp4","duration":"1.5"}}"#,
        )
        .unwrap();
        assert_eq!((header.stream, header.video_streams, header.width, header.height), (2, 1, 64, 48));
        assert_eq!((header.frames, header.sample_aspect_ratio), (Some(12), (4, 3)));
        assert_eq!((header.average_frame_rate, header.nominal_frame_rate), (Some(30000.0 / 1001.0), None));
        assert_eq!((header.start, header.stream_duration, header.container_duration), (Some(0.5), None, Some(1.5)));
    }

    #[test]
    fn the_default_stream_wins_then_the_longest_then_the_largest_then_the_first() {
        let refused = [Opened { stream: 4, decoder: "snow".into() }];
        // Per stream: whether it is the default, its frames, its width.
        let choose = |streams: &[(u8, u64, u32)], wanted| {
            let each = streams.iter().enumerate().map(|(index, (default, _, width))| {
                format!(
                    r#"{{"index":{index},"codec_type":"video","width":{width},"height":9,
                        "disposition":{{"default":{default}}}}}"#
                )
            });
            let json = format!(r#"{{"streams":[{}]}}"#, each.collect::<Vec<_>>().join(","));
            let frames = |index: u32| streams[index as usize].1;
            answer(&json).choose(Path::new("clip.mkv"), wanted, &refused, frames)
        };
        let best = |streams: &[(u8, u64, u32)]| {
            let header = choose(streams, None).unwrap();
            (header.stream, header.video_streams)
        };
        assert_eq!(best(&[(0, 50, 900), (1, 40, 9)]), (1, 2));
        assert_eq!(best(&[(1, 40, 900), (1, 50, 9)]), (1, 2));
        assert_eq!(best(&[(0, 50, 9), (0, 50, 900), (0, 50, 900)]), (1, 3));
        assert_eq!(best(&[(1, 1, 900), (0, 50, 9)]), (1, 1));
        assert_eq!(best(&[(1, 1, 900)]), (0, 1));
        assert_eq!(best(&[(0, 9, 9), (0, 9, 9), (0, 9, 9), (0, 9, 9), (1, 50, 900)]), (0, 5));
        assert_eq!(choose(&[(1, 50, 900), (0, 50, 9)], Some(1)).unwrap().stream, 1);
        let error = choose(&[(1, 50, 900), (0, 1, 9)], Some(1)).unwrap_err();
        assert!(matches!(&error, VideoError::NoSuchStream { stream: 1, choice, .. } if choice == &[0]), "{error:?}");
        let error = choose(&[(0, 9, 9), (0, 9, 9), (0, 9, 9), (0, 9, 9), (1, 50, 900)], Some(4)).unwrap_err();
        assert!(matches!(&error, VideoError::NotAllowed { reason, .. } if reason == "Codec (snow)"), "{error:?}");
    }

    #[test]
    fn the_stream_and_decoder_that_were_refused_are_read_from_the_log() {
        let line = b"[warning] Could not open codec for input stream 12";
        assert_eq!(warning(line).and_then(unopened_stream), Some(12));
        assert_eq!(warning(b"[snow @ 0x5] [error] Codec (snow) not on whitelist 'a'"), None);
        assert_eq!(refused_decoder("[snow] Codec (snow)"), Some("snow"));
        for bad in ["", "Codec ()", "Codec (a,b)", "Codec (a", "snow"] {
            assert_eq!(refused_decoder(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_video_without_a_size_is_refused() {
        let error = parse(r#"{"streams":[{"index":0,"codec_type":"video","width":0,"height":48}]}"#).unwrap_err();
        assert!(matches!(error, VideoError::Probe { .. }), "{error}");
    }

    #[test]
    fn the_name_of_the_sync_option_depends_on_the_version() {
        let of = |version: &str| {
            let streams = r#"[{"index":0,"codec_type":"video","width":2,"height":2}]"#;
            parse(&format!(r#"{{"library_versions":[{{"name":"libavformat",{version}}}],"streams":{streams}}}"#))
                .unwrap()
        };
        assert!(of(r#""major":58,"minor":76"#).old_sync_option);
        assert!(!of(r#""major":59,"minor":27"#).old_sync_option);
    }
}
