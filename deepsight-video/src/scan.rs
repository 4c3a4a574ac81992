use std::collections::BTreeMap;

use crate::{answer::Packet, parameter_sets::Place};

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
    /// Packets of key frames, in the order of the file.
    pub(crate) key_packets: Vec<KeyPacket>,
}

/// A packet from which decoding can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyPacket {
    /// Presentation time in microseconds on the file's own clock, if it is known.
    pub(crate) raw: Option<i64>,
    /// Place in the file, if it is known.
    pub(crate) place: Option<Place>,
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

    /// Replaces the measurements on packets by the frames that a decoder returned, in their order.
    pub(crate) fn decoded(&mut self, frames: u64, times: &[(i64, bool)], clock: Clock) {
        self.frames = frames;
        (self.shown, self.jumps) = clock.bridge(times, self.step);
    }
}

/// The rule by which the clock of a container is bridged, as players do it. Broadcast streams and their recordings
/// restart their clocks. In other containers a long gap is intended: a picture that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The longest time between two frames, in microseconds. A longer one is a jump of the clock.
    pub(crate) longest_gap: i64,
}

impl Clock {
    /// Returns the rule for a container, by ffmpeg's name for it.
    pub(crate) fn of(container: &str) -> Self {
        let restarts = ["mpegts", "mpeg", "ogg"].contains(&container);
        Self { longest_gap: if restarts { 10_000_000 } else { 3_600_000_000 } }
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
}

/// The measurements of the packets of one stream.
#[derive(Debug, Default)]
struct StreamPackets {
    stamps: Vec<Stamp>,
    key_packets: Vec<KeyPacket>,
    hidden: bool,
}

/// The times of one packet in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) presentation: Option<i64>,
    pub(crate) decoding: Option<i64>,
    pub(crate) length: i64,
    /// Whether it holds a key frame.
    pub(crate) key: bool,
}

impl Stamp {
    fn end(&self) -> Option<i64> {
        Some(self.presentation.or(self.decoding)?.saturating_add(self.length))
    }
}

/// Most video streams of `max_frames` frames each that are measured.
const MOST_STREAMS: u64 = 4;

/// Decoding times go back by less than this only because they are rounded or were damaged. In microseconds.
const DISORDER: i64 = 100_000;

/// Presentation times may go back by this much, because frames are stored out of their order. In microseconds.
const REORDERED: i64 = 10_000_000;

impl Packets {
    pub(crate) fn new(max_frames: u64) -> Self {
        Self { max_frames, streams: BTreeMap::new(), frames: 0, end_of_all: None }
    }

    /// Records a packet that ffprobe printed. Returns `false` if there are too many.
    pub(crate) fn push(&mut self, packet: &Packet) -> bool {
        let Some(stream) = packet.stream_index else {
            return true;
        };
        // `D`: the frame is decoded only because later frames need it, as before the first frame of an edit list.
        if packet.flags.contains('D') {
            self.streams.entry(stream).or_default().hidden = true;
            return true;
        }
        let (presentation, decoding) =
            (microseconds(packet.pts_time.as_deref()), microseconds(packet.dts_time.as_deref()));
        let length = microseconds(packet.duration_time.as_deref()).unwrap_or(0).max(0);
        let stamp = Stamp { presentation, decoding, length, key: packet.flags.contains('K') };
        if packet.codec_type.as_deref() != Some("video") {
            self.ends_at(stamp.end());
            return true;
        }
        let number = |text: &Option<String>| text.as_ref()?.parse().ok();
        let place = number(&packet.pos).zip(number(&packet.size)).map(|(position, size)| Place { position, size });
        self.push_frame(stream, stamp, place)
    }

    /// Records a packet of a video stream. Returns `false` if there are too many.
    pub(crate) fn push_frame(&mut self, stream: u32, stamp: Stamp, place: Option<Place>) -> bool {
        self.ends_at(stamp.end());
        self.frames += 1;
        let StreamPackets { stamps, key_packets, .. } = self.streams.entry(stream).or_default();
        if stamps.len() as u64 <= self.max_frames {
            stamps.push(stamp);
            if stamp.key {
                key_packets.push(KeyPacket { raw: stamp.presentation.or(stamp.decoding), place });
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

    /// Removes all packets.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.max_frames);
    }

    /// Returns the measurements of `stream`, whose container's clock has ticks of `tick` seconds.
    pub(crate) fn finish(mut self, stream: u32, tick: f64, clock: Clock) -> Scan {
        let StreamPackets { stamps, key_packets, hidden } = self.streams.remove(&stream).unwrap_or_default();
        let timed = in_order(&stamps, clock);
        let gaps = Gaps::of(&timed, clock);
        let times: Vec<_> = timed.iter().map(|&(time, _, key)| (time, key)).collect();
        let (shown, jumps) = clock.bridge(&times, gaps.usual);
        let end = shown.iter().zip(&timed).map(|(frame, &(_, length, _))| frame.time.saturating_add(length)).max();
        let frames = stamps.len() as u64;
        let variable = gaps.variable(tick);
        Scan { frames, shown, end, end_of_all: self.end_of_all, variable, jumps, step: gaps.usual, hidden, key_packets }
    }
}

/// Returns time, length and key mark of the packets that have a time, in the order in which their frames are shown:
/// sorted by presentation time between two jumps of the clock.
fn in_order(stamps: &[Stamp], clock: Clock) -> Vec<(i64, i64, bool)> {
    let mut timed: Vec<(i64, i64, bool)> = Vec::with_capacity(stamps.len());
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
            timed[segment..].sort_by_key(|&(time, ..)| time);
            segment = timed.len();
        }
        before = Some(stamp);
        timed.push((time, stamp.length, stamp.key));
    }
    timed[segment..].sort_by_key(|&(time, ..)| time);
    timed
}

/// The times between frames that follow each other, without jumps of the clock, in microseconds.
struct Gaps {
    shortest: i64,
    longest: i64,
    mean: f64,
    /// The median.
    usual: i64,
}

impl Gaps {
    fn of(timed: &[(i64, i64, bool)], clock: Clock) -> Self {
        let gaps = timed.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0));
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

    const FILE: Clock = Clock { longest_gap: 3_600_000_000 };
    const BROADCAST: Clock = Clock { longest_gap: 10_000_000 };

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
