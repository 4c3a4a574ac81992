use std::collections::BTreeMap;

use crate::{answer::Packet, units::Place};

/// Measurements on the packets of one stream, whatever the headers state. Times are in microseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scan {
    /// Number of frames that will be shown.
    pub(crate) frames: u64,
    /// The frames that have a time, in the order in which they are shown.
    pub(crate) shown: Vec<Shown>,
    /// End of the last frame, on the bridged clock.
    pub(crate) end: Option<i64>,
    /// End of the last packet of any stream, on the file's own clock.
    pub(crate) end_of_all: Option<i64>,
    /// Whether frames are spaced unevenly.
    pub(crate) variable: bool,
    /// Whether the file's clock jumps, so that it has to be bridged.
    pub(crate) jumps: bool,
    /// The usual time between two frames.
    pub(crate) step: i64,
    /// Whether the file has packets that are decoded but not shown.
    pub(crate) hidden: bool,
    /// Whether only a decoder knows when some frames are shown.
    pub(crate) uncertain: bool,
    /// Whether some packets are so small that they may tell no more than that the picture stays.
    pub(crate) tiny: bool,
    /// Packets of key frames, in the order of the file.
    pub(crate) key_packets: Vec<KeyPacket>,
    /// All packets in the order of the file, if times and positions of all are known.
    pub(crate) stored: Vec<Stored>,
    /// Stretches of the bridged clock in which the file has no frames although it should, as their starts and ends. In
    /// order, without overlaps.
    pub(crate) gaps: Vec<(i64, i64)>,
    /// The share of the file's bytes up to the end of its last packet, `0..=1`, if the reader did not get further.
    pub(crate) readable: Option<f64>,
}

/// A packet from which decoding can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyPacket {
    /// The time that the packet states, in microseconds on the file's own clock: that of presentation, or else that of
    /// decoding.
    pub(crate) raw: Option<i64>,
    /// Place in the file, if it is known.
    pub(crate) place: Option<Place>,
}

/// A packet in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Presentation time in microseconds on the file's own clock.
    pub(crate) raw: i64,
    /// Position of its first byte in the file.
    pub(crate) position: u64,
}

/// One frame of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Presentation time on the bridged clock, which goes on evenly where the file's own clock jumps. Up to the first
    /// jump, both are the same.
    pub(crate) time: i64,
    /// Presentation time on the file's own clock.
    pub(crate) raw: i64,
    /// Whether decoding can begin here.
    pub(crate) key: bool,
}

impl Scan {
    /// Presentation time of the first frame.
    pub(crate) fn start(&self) -> Option<i64> {
        self.shown.first().map(|frame| frame.time)
    }

    /// Returns whether the first frame is a key frame, stored first, on a clock that does not jump.
    pub(crate) fn begins_with_key_frame(&self) -> bool {
        let key = self.key_packets.first().and_then(|key| key.place);
        let is_stored_first = |key: Place| self.stored.first().is_some_and(|packet| packet.position == key.position);
        !self.jumps
            && self.shown.len() as u64 == self.frames
            && self.shown.first().is_some_and(|frame| frame.key)
            && key.is_some_and(is_stored_first)
    }

    /// Replaces the measurements on packets by the frames that a decoder returned, in their order.
    pub(crate) fn decoded(&mut self, frames: u64, times: &[(i64, bool)], clock: Clock) {
        self.frames = frames;
        (self.shown, self.jumps) = clock.bridge(times, self.step);
        // A decoder cannot show the frames after a gap until the next key frame.
        let of_frames = gaps(&self.shown, &[], self.step, clock);
        self.gaps = joined([std::mem::take(&mut self.gaps), of_frames].concat());
    }
}

/// The rule by which the clock of a container is bridged, as players do it. Broadcast streams and their recordings
/// restart their clocks. In other containers a long gap is intended: a picture that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The longest time between two frames, in microseconds. A longer one is a jump of the clock.
    pub(crate) longest_gap: i64,
    /// Whether a picture that stays is repeated, as in broadcasts, so that every long time without a frame is a loss.
    pub(crate) repeats: bool,
}

impl Clock {
    /// Returns the rule for a container, by ffmpeg's name for it.
    pub(crate) fn of(container: &str) -> Self {
        let repeats = ["mpegts", "mpeg"].contains(&container);
        let restarts = repeats || container == "ogg";
        Self { longest_gap: if restarts { 10_000_000 } else { 3_600_000_000 }, repeats }
    }

    /// Puts frames in the order in which they are shown onto one clock that never jumps. Returns whether the clock
    /// jumped. [`Clock::filter`] does the same.
    fn bridge(self, frames: &[(i64, bool)], step: i64) -> (Vec<Shown>, bool) {
        let mut jumps = false;
        let mut shown: Vec<Shown> = Vec::with_capacity(frames.len());
        for &(raw, key) in frames {
            let time = shown.last().map_or(raw, |last| {
                let gap = raw.saturating_sub(last.raw);
                let jump = gap < 0 || gap > self.longest_gap;
                jumps |= jump;
                last.time.saturating_add(if jump { step } else { gap })
            });
            shown.push(Shown { time, raw, key });
        }
        (shown, jumps)
    }

    /// Returns the filter that bridges the clock, for times in microseconds.
    pub(crate) fn filter(self, step: i64) -> String {
        let gap = "(PTS-PREV_INPTS)";
        let jump = format!("lt({gap},0)+gt({gap},{})", self.longest_gap);
        format!("setpts='if(isnan(PREV_OUTPTS),PTS,PREV_OUTPTS+if({jump},{step},{gap}))'")
    }
}

/// Times of packets as they arrive, before it is known which stream is the video.
#[derive(Debug)]
pub(crate) struct Packets {
    max_frames: u64,
    streams: BTreeMap<u32, StreamPackets>,
    frames: u64,
    end_of_all: Option<i64>,
    /// End of the last packet in the file, in bytes.
    end_in_file: u64,
    /// Number of places where bytes between two packets belong to neither.
    skips: u64,
    /// The number of all these bytes.
    skipped: u64,
    /// Number of packets of all streams whose places are known.
    placed: u64,
}

/// The measurements of the packets of one stream.
#[derive(Debug, Default)]
struct StreamPackets {
    stamps: Vec<Stamp>,
    key_packets: Vec<KeyPacket>,
    hidden: bool,
    /// Whether a decoder may find other times than those of the packets.
    uncertain: bool,
    /// The value of [`Packets::skips`] at the last packet.
    skips: u64,
}

/// The times of one packet in microseconds, and its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) presentation: Option<i64>,
    pub(crate) decoding: Option<i64>,
    pub(crate) length: i64,
    /// Whether it holds a key frame.
    pub(crate) key: bool,
    /// Whether bytes before it belong to no packet, as if a part of the file were damaged.
    pub(crate) skips: bool,
    /// Place in the file, if it is known.
    pub(crate) place: Option<Place>,
}

impl Stamp {
    fn stored(&self) -> Option<Stored> {
        Some(Stored { raw: self.presentation?, position: self.place?.position })
    }

    fn end(&self) -> Option<i64> {
        Some(self.presentation.or(self.decoding)?.saturating_add(self.length))
    }
}

/// Most video streams of `max_frames` frames each that are measured.
const MOST_STREAMS: u64 = 4;

/// Most frames that a decoder holds back.
pub(crate) const HELD_BACK: usize = 32;

/// Decoding times go back by less than this only because they are rounded or were damaged. In microseconds.
const DISORDER: i64 = 100_000;

/// Bytes below which a packet of MPEG-4 may have no picture, but repeat the one before (`vop_coded`, ISO/IEC 14496-2,
/// section 6.2.5).
const TINY: u64 = 32;

/// Bytes between two packets that are more than the overhead of a container.
const SKIPPED: u64 = 16 << 10;

/// Presentation times may go back by this much, because frames are stored out of their order. In microseconds.
const REORDERED: i64 = 10_000_000;

impl Packets {
    pub(crate) fn new(max_frames: u64) -> Self {
        let (streams, end_of_all) = (BTreeMap::new(), None);
        Self { max_frames, streams, frames: 0, end_of_all, end_in_file: 0, skips: 0, skipped: 0, placed: 0 }
    }

    /// Records a packet that ffprobe printed. Returns `false` if there are too many.
    pub(crate) fn push(&mut self, packet: &Packet) -> bool {
        let Some(stream) = packet.stream_index else {
            return true;
        };
        let number = |text: &Option<String>| text.as_ref()?.parse().ok();
        let place = number(&packet.pos).zip(number(&packet.size)).map(|(position, size)| Place { position, size });
        if let Some(Place { position, size }) = place {
            let between = position.saturating_sub(self.end_in_file);
            if between > SKIPPED {
                self.skips += 1;
                self.skipped = self.skipped.saturating_add(between);
            }
            self.placed += 1;
            self.end_in_file = self.end_in_file.max(position.saturating_add(size));
        }
        // `D`: the frame is decoded only because later frames need it, as before the first frame of an edit list.
        if packet.flags.contains('D') {
            self.streams.entry(stream).or_default().hidden = true;
            return true;
        }
        let (presentation, decoding) =
            (microseconds(packet.pts_time.as_deref()), microseconds(packet.dts_time.as_deref()));
        let length = microseconds(packet.duration_time.as_deref()).unwrap_or(0).max(0);
        let key = packet.flags.contains('K');
        let stamp = Stamp { presentation, decoding, length, key, skips: false, place };
        if packet.codec_type.as_deref() != Some("video") {
            self.ends_at(stamp.end());
            return true;
        }
        let skips = self.skips;
        let before = std::mem::replace(&mut self.streams.entry(stream).or_default().skips, skips);
        self.push_frame(stream, Stamp { skips: skips > before, ..stamp })
    }

    /// Records a packet of a video stream. Returns `false` if there are too many.
    pub(crate) fn push_frame(&mut self, stream: u32, stamp: Stamp) -> bool {
        self.ends_at(stamp.end());
        self.frames += 1;
        let StreamPackets { stamps, key_packets, .. } = self.streams.entry(stream).or_default();
        if stamps.len() as u64 <= self.max_frames {
            stamps.push(stamp);
            if stamp.key {
                key_packets.push(KeyPacket { raw: stamp.presentation.or(stamp.decoding), place: stamp.place });
            }
        }
        self.frames <= self.max_frames.saturating_mul(MOST_STREAMS)
    }

    /// Records the end of a packet of any stream.
    pub(crate) fn ends_at(&mut self, end: Option<i64>) {
        self.end_of_all = self.end_of_all.max(end);
    }

    /// Returns the number of frames of a stream: as counted, or one more than allowed if there are too many.
    pub(crate) fn frames(&self, stream: u32) -> u64 {
        self.streams.get(&stream).map_or(0, |stream| stream.stamps.len() as u64)
    }

    /// Returns the places of all packets of a stream, in the order of the file, and whether they are key frames, or
    /// `None` if not all are known.
    pub(crate) fn places(&self, stream: u32) -> Option<Vec<(Place, bool)>> {
        self.streams.get(&stream)?.stamps.iter().map(|stamp| Some((stamp.place?, stamp.key))).collect()
    }

    /// Returns the packets of a stream in the order of the file.
    pub(crate) fn stamps(&self, stream: u32) -> &[Stamp] {
        self.streams.get(&stream).map_or(&[], |stream| &stream.stamps)
    }

    /// Removes the packets of a stream that `shown`, in the order of the file, says are not shown.
    pub(crate) fn keep_shown(&mut self, stream: u32, shown: &[bool]) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            let mut shown = shown.iter();
            stream.stamps.retain(|_| shown.next().copied().unwrap_or(true));
        }
    }

    /// Sets the times at which the packets of a stream are shown, in the order of the file, and whether a decoder finds
    /// the same ones in any case.
    pub(crate) fn show_at(&mut self, stream: u32, times: &[i64], certain: bool) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.uncertain = !certain;
            stream.stamps.iter_mut().zip(times).for_each(|(stamp, &time)| stamp.presentation = Some(time));
        }
    }

    /// Returns whether the packets fill an AVI file up to a place, in bytes, except for its head, two indexes of all
    /// packets and some that are empty.
    pub(crate) fn fill_up_to(&self, end: u64) -> bool {
        let without = end.saturating_sub(self.end_in_file).saturating_add(self.skipped);
        without <= 4 * SKIPPED + 32 * self.placed
    }

    /// Returns the end of the last packet in the file, in bytes.
    pub(crate) fn end_in_file(&self) -> u64 {
        self.end_in_file
    }

    /// Removes all packets.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.max_frames);
    }

    /// Returns the measurements of `stream`, whose container's clock has ticks of `tick` seconds.
    pub(crate) fn finish(mut self, stream: u32, tick: f64, clock: Clock) -> Scan {
        let StreamPackets { stamps, key_packets, hidden, uncertain, .. } =
            self.streams.remove(&stream).unwrap_or_default();
        let stored: Option<Vec<_>> = stamps.iter().map(Stamp::stored).collect();
        let timed = in_order(&stamps, clock);
        let distances = Distances::of(&timed, clock);
        let times: Vec<_> = timed.iter().map(|frame| (frame.time, frame.key)).collect();
        let (shown, jumps) = clock.bridge(&times, distances.usual);
        let end = shown.iter().zip(&timed).map(|(frame, timed)| frame.time.saturating_add(timed.length)).max();
        Scan {
            frames: stamps.len() as u64,
            end,
            end_of_all: self.end_of_all,
            variable: distances.variable(tick),
            jumps,
            step: distances.usual,
            hidden,
            key_packets,
            uncertain: uncertain || stamps.iter().any(|stamp| stamp.presentation.is_none()),
            tiny: stamps.iter().any(|stamp| stamp.place.is_none_or(|place| place.size < TINY)),
            stored: stored.unwrap_or_default(),
            gaps: gaps(&shown, &timed, distances.usual, clock),
            readable: None,
            shown,
        }
    }
}

/// A frame whose packet states a time. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
struct Timed {
    /// Presentation time on the file's own clock.
    time: i64,
    /// How long the packet says that it is shown; 0 if it does not.
    length: i64,
    key: bool,
    /// Whether bytes before its packet belong to no packet.
    skips: bool,
}

/// Returns the packets that have a time, in the order in which their frames are shown: sorted by presentation time
/// between two jumps of the clock.
fn in_order(stamps: &[Stamp], clock: Clock) -> Vec<Timed> {
    let mut timed: Vec<Timed> = Vec::with_capacity(stamps.len());
    let (mut segment, mut before): (usize, Option<Stamp>) = (0, None);
    for &stamp in stamps {
        let Some(time) = stamp.presentation.or(stamp.decoding) else { continue };
        let between = |of: fn(Stamp) -> Option<i64>| Some(of(stamp)?.saturating_sub(of(before?)?));
        // Some containers have no decoding times, and ffprobe cannot work out all of them.
        let jumps = match (between(|stamp| stamp.decoding), between(|stamp| stamp.presentation)) {
            (Some(gap), _) => gap < -DISORDER || gap > clock.longest_gap,
            (None, Some(gap)) => gap < -REORDERED || gap > clock.longest_gap,
            (None, None) => false,
        };
        if jumps {
            timed[segment..].sort_by_key(|frame| frame.time);
            segment = timed.len();
        }
        before = Some(stamp);
        timed.push(Timed { time, length: stamp.length, key: stamp.key, skips: stamp.skips });
    }
    timed[segment..].sort_by_key(|frame| frame.time);
    timed
}

/// Shortest time without a frame that may be a gap, in microseconds: a twentieth of the clip within these limits.
/// Together with the length of the packet, it keeps a variable frame rate from being taken for a loss.
const SHORTEST_GAP: (i64, i64) = (600_000, 1_000_000);

/// Frames after a gap among which the key frame is with which decoding begins again. Frames that refer to it may be
/// shown before it.
const RESUMED: usize = 8;

/// Returns the stretches in which the file has no frames although it should. `timed` are the packets of the `shown`
/// frames, if they are known, and `usual` is the usual distance of two frames.
///
/// A stretch counts if the packet before it states a much shorter length, and if the file goes on as after a loss: with
/// a key frame, as the next segment of a stream does, or after bytes that belong to no packet. An encoder that leaves
/// out frames because the picture stays goes on with a frame that refers to the one before.
fn gaps(shown: &[Shown], timed: &[Timed], usual: i64, clock: Clock) -> Vec<(i64, i64)> {
    let (Some(first), Some(last)) = (shown.first(), shown.last()) else { return Vec::new() };
    let shortest = (last.time.saturating_sub(first.time) / 20).clamp(SHORTEST_GAP.0, SHORTEST_GAP.1);
    let is_gap = |n: usize| {
        let length = timed.get(n - 1).map_or(0, |frame| frame.length).max(usual);
        let (start, end) = (shown[n - 1].time.saturating_add(length), shown[n].time);
        let is_long = end.saturating_sub(shown[n - 1].time) > length.saturating_mul(3).max(shortest);
        let resumes = || {
            (n..shown.len().min(n + RESUMED))
                .any(|next| shown[next].key || timed.get(next).is_some_and(|frame| frame.skips))
        };
        (is_long && (clock.repeats || resumes())).then_some((start, end))
    };
    (1..shown.len()).filter_map(is_gap).collect()
}

/// Joins stretches that overlap, and puts them in order.
fn joined(mut stretches: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    stretches.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::with_capacity(stretches.len());
    for (start, end) in stretches {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

/// The times between frames that follow each other, without jumps of the clock, in microseconds.
struct Distances {
    shortest: i64,
    longest: i64,
    mean: f64,
    /// The median.
    usual: i64,
}

impl Distances {
    fn of(timed: &[Timed], clock: Clock) -> Self {
        let gaps = timed.windows(2).map(|pair| pair[1].time.saturating_sub(pair[0].time));
        let mut gaps: Vec<_> = gaps.filter(|gap| (0..=clock.longest_gap).contains(gap)).collect();
        let (shortest, longest) = (gaps.iter().min().copied(), gaps.iter().max().copied());
        let mean = gaps.iter().map(|&gap| gap as f64).sum::<f64>() / gaps.len().max(1) as f64;
        let middle = gaps.len() / 2;
        let median = (!gaps.is_empty()).then(|| *gaps.select_nth_unstable(middle).1);
        let usual = median.filter(|&gap| gap > 0).unwrap_or(40_000);
        Self { shortest: shortest.unwrap_or(0), longest: longest.unwrap_or(0), mean, usual }
    }

    fn variable(&self, tick: f64) -> bool {
        // Two rounded times may be off by a tick each. A coarse clock may not raise the tolerance above a quarter of
        // the mean gap.
        let tolerance = (2.0 * tick * 1e6).min(0.25 * self.mean) + 2.0;
        (self.longest - self.shortest) as f64 > tolerance
    }
}

/// Parses seconds with six decimals, as ffprobe prints them, and returns microseconds.
pub(crate) fn microseconds(text: Option<&str>) -> Option<i64> {
    let seconds: f64 = text?.parse().ok()?;
    seconds.is_finite().then(|| (seconds * 1e6).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Clock = Clock { longest_gap: 3_600_000_000, repeats: false };
    const BROADCAST: Clock = Clock { longest_gap: 10_000_000, repeats: true };

    fn scan_of(times: &[&str], tick: f64) -> Scan {
        let mut packets = Packets::new(u64::MAX);
        for time in times {
            packets.push(&packet(0, time, "K_"));
        }
        packets.finish(0, tick, FILE)
    }

    fn packet(stream: u32, time: &str, flags: &str) -> Packet {
        Packet {
            codec_type: Some("video".into()),
            stream_index: Some(stream),
            pts_time: Some(time.into()),
            dts_time: None,
            duration_time: Some("0.033".into()),
            size: None,
            pos: None,
            flags: flags.into(),
        }
    }

    #[test]
    fn frames_stored_out_of_order_are_not_a_variable_rate() {
        let scan = scan_of(&["0.000000", "0.133333", "0.066667", "0.033333", "0.100000"], 1.0 / 90000.0);
        assert_eq!((scan.frames, scan.start(), scan.end, scan.variable), (5, Some(0), Some(166_333), false));
        assert!(!scan.jumps && scan.shown.windows(2).all(|pair| pair[0].time < pair[1].time), "{scan:?}");
    }

    #[test]
    fn packets_without_a_decoding_time_among_others_are_no_jump() {
        let mut packets = Packets::new(u64::MAX);
        for (time, decoding) in
            [("0.0", None), ("0.4", None), ("0.2", Some("-0.1")), ("0.1", Some("0.0")), ("0.3", None)]
        {
            packets.push(&Packet { dts_time: decoding.map(Into::into), ..packet(0, time, "__") });
        }
        let scan = packets.finish(0, 0.001, FILE);
        assert_eq!((scan.jumps, scan.variable, scan.frames), (false, false, 5), "{scan:?}");
    }

    #[test]
    fn rounding_to_the_clock_is_not_a_variable_rate() {
        assert!(!scan_of(&["0.033", "0.067", "0.100", "0.133", "0.167", "0.200"], 0.001).variable);
        assert!(scan_of(&["0.033", "0.067", "0.100", "0.167", "0.200"], 0.001).variable);
    }

    #[test]
    fn packets_that_are_not_shown_do_not_count() {
        let mut packets = Packets::new(u64::MAX);
        packets.push(&packet(0, "0.5", "KD"));
        packets.push(&Packet { codec_type: Some("audio".into()), ..packet(1, "7.0", "K_") });
        let scan = packets.finish(0, 0.001, FILE);
        assert_eq!((scan.frames, scan.start(), scan.end, scan.end_of_all), (0, None, None, Some(7_033_000)));
    }

    #[test]
    fn the_limit_applies_to_each_stream_by_itself_and_four_times_it_to_all() {
        let mut packets = Packets::new(2);
        for (stream, time) in [(0, "0.0"), (1, "0.0"), (0, "0.1"), (1, "0.1"), (1, "0.2"), (1, "0.3")] {
            assert!(packets.push(&packet(stream, time, "__")));
        }
        assert_eq!((packets.frames(0), packets.frames(1), packets.frames(2)), (2, 3, 0));
        assert!(packets.push(&packet(2, "0.0", "__")) && packets.push(&packet(3, "0.0", "__")));
        assert!(!packets.push(&packet(4, "0.0", "__")));
    }

    #[test]
    fn a_long_time_without_frames_is_a_gap_if_nothing_explains_it() {
        /// Returns a scan of 4 s at 25 frames a second and 4 s more after a pause of 5 s. `length` is what the last
        /// packet before the pause states, `flags` are those of the first one after it.
        fn paused(length: &str, flags: &str, skipped: u64, clock: Clock) -> Vec<(i64, i64)> {
            let mut packets = Packets::new(u64::MAX);
            for n in 0..200u64 {
                let after = n >= 100;
                let time = format!("{:.2}", n as f64 * 0.04 + if after { 5.0 } else { 0.0 });
                let position = n * 1000 + if after { skipped } else { 0 };
                let pushed = Packet {
                    duration_time: Some(if n == 99 { length } else { "0.04" }.into()),
                    pos: Some(position.to_string()),
                    size: Some("1000".into()),
                    ..packet(0, &time, if n == 100 { flags } else { "__" })
                };
                packets.push(&pushed);
            }
            packets.finish(0, 0.001, clock).gaps
        }
        let missing = vec![(4_000_000, 9_000_000)];
        assert_eq!(paused("0.04", "K_", 0, FILE), missing, "the next segment of a stream");
        assert_eq!(paused("0.04", "__", 500_000, FILE), missing, "damaged bytes");
        assert_eq!(paused("0.04", "__", 0, BROADCAST), missing, "a broadcast repeats pictures");
        assert_eq!(paused("0.04", "__", 200, FILE), [], "a picture that stays");
        assert_eq!(paused("5.04", "K_", 0, FILE), [], "a picture whose packet says that it stays");
        assert_eq!(paused("4", "K_", 500_000, BROADCAST), [], "a length that was rounded");
        assert_eq!(joined(vec![(7, 9), (1, 3), (2, 5), (5, 6)]), [(1, 6), (7, 9)]);
    }

    #[test]
    fn a_low_or_variable_frame_rate_has_no_gaps() {
        let all_keys = |times: &[f64], clock| {
            let mut packets = Packets::new(u64::MAX);
            for time in times {
                packets.push(&packet(0, &format!("{time:.3}"), "K_"));
            }
            packets.finish(0, 0.001, clock).gaps
        };
        let slides: Vec<f64> = (0..20).map(|n| f64::from(n) * 5.0).collect();
        let uneven_slides = [0.0, 4.0, 9.0, 12.0, 20.0, 24.0, 27.0, 36.0];
        let slow: Vec<f64> =
            (0..840).map(|n| f64::from(n) / 60.0).chain((28..56).map(|n| f64::from(n) * 0.5)).collect();
        for times in [&slides[..], &uneven_slides, &slow] {
            assert_eq!(all_keys(times, FILE), []);
            assert_eq!(all_keys(times, BROADCAST), []);
        }
    }

    #[test]
    fn a_clock_that_jumps_is_bridged() {
        let of = |times: &[&str], clock| {
            let mut packets = Packets::new(u64::MAX);
            for time in times {
                packets.push(&Packet { dts_time: Some((*time).into()), ..packet(0, time, "K_") });
            }
            let scan = packets.finish(0, 0.001, clock);
            (scan.jumps, scan.shown.iter().map(|frame| frame.time / 1000).collect::<Vec<_>>(), scan.variable)
        };
        let even = (true, vec![5000, 5040, 5080, 5120, 5160], false);
        assert_eq!(of(&["5.0", "5.04", "5.08", "36000.0", "36000.04"], BROADCAST), even);
        assert_eq!(of(&["5.0", "5.04", "5.08", "36000.0", "36000.04"], FILE), even);
        assert_eq!(of(&["5.0", "5.04", "5.08", "1.0", "1.04"], FILE), even);
        // A picture that stays for some minutes is no jump, except in a broadcast.
        let stays = ["5.0", "5.04", "5.08", "305.0", "305.04"];
        assert_eq!(of(&stays, FILE), (false, vec![5000, 5040, 5080, 305_000, 305_040], true));
        assert_eq!(of(&stays, BROADCAST), even);
    }
}
