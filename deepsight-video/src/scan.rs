use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use crate::answer::Packet;

/// Measurements on the packets of a file, whatever its headers state. Times are in microseconds on the file's own
/// clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scan {
    /// Number of frames that will be shown.
    pub(crate) frames: u64,
    /// Presentation time of the first frame.
    pub(crate) start: Option<i64>,
    /// End of the last frame.
    pub(crate) end: Option<i64>,
    /// End of the last packet of any stream.
    pub(crate) end_of_all: Option<i64>,
    pub(crate) variable: bool,
}

/// Frames that are held back to be sorted by time: more than any codec stores out of their order of presentation.
const REORDERED: usize = 32;

/// Counts and times of packets as they arrive, before it is known which stream is the video.
#[derive(Debug)]
pub(crate) struct Packets {
    /// The one stream whose frames count, or `None` if those of all video streams count.
    only: Option<u32>,
    max_frames: u64,
    streams: BTreeMap<u32, Shown>,
    end_of_all: Option<i64>,
    over_limit: Option<u64>,
}

impl Packets {
    pub(crate) fn new(only: Option<u32>, max_frames: u64) -> Self {
        Self { only, max_frames, streams: BTreeMap::new(), end_of_all: None, over_limit: None }
    }

    pub(crate) fn push(&mut self, packet: &Packet) {
        let Some(stream) = packet.stream_index else {
            return;
        };
        // `D`: the frame is decoded only because later frames need it, as before the first frame of an edit list.
        if packet.flags.contains('D') {
            return;
        }
        let time = microseconds(packet.pts_time.as_deref()).or_else(|| microseconds(packet.dts_time.as_deref()));
        let length = microseconds(packet.duration_time.as_deref()).unwrap_or(0).max(0);
        let end = time.map(|time| time.saturating_add(length));
        self.end_of_all = self.end_of_all.max(end);
        let counts = match self.only {
            Some(only) => stream == only,
            None => packet.codec_type.as_deref() == Some("video"),
        };
        if !counts {
            return;
        }
        let shown = self.streams.entry(stream).or_default();
        shown.push(time, end);
        if shown.frames > self.max_frames {
            self.over_limit = Some(shown.frames);
        }
    }

    /// Returns the frame count of the stream that exceeded the limit, if one did.
    pub(crate) fn over_limit(&self) -> Option<u64> {
        self.over_limit
    }

    /// Returns the measurements of `stream`, whose clock has ticks of `tick` seconds.
    pub(crate) fn finish(mut self, stream: u32, tick: f64) -> Scan {
        let shown = self.streams.remove(&stream).unwrap_or_default();
        Scan { end_of_all: self.end_of_all, ..shown.finish(tick) }
    }
}

/// The frames of one stream.
#[derive(Debug)]
struct Shown {
    frames: u64,
    start: Option<i64>,
    end: Option<i64>,
    /// Presentation times that are not yet in order.
    pending: BinaryHeap<Reverse<i64>>,
    last: Option<i64>,
    shortest: i64,
    longest: i64,
}

impl Default for Shown {
    fn default() -> Self {
        let pending = BinaryHeap::new();
        Self { frames: 0, start: None, end: None, pending, last: None, shortest: i64::MAX, longest: 0 }
    }
}

impl Shown {
    fn push(&mut self, time: Option<i64>, end: Option<i64>) {
        self.frames += 1;
        self.end = self.end.max(end);
        if let Some(time) = time {
            self.start = Some(self.start.map_or(time, |start| start.min(time)));
            self.pending.push(Reverse(time));
            if self.pending.len() > REORDERED {
                self.settle();
            }
        }
    }

    /// Takes the earliest pending time as that of the next shown frame.
    fn settle(&mut self) {
        let Some(Reverse(time)) = self.pending.pop() else {
            return;
        };
        if let Some(gap) = self.last.and_then(|last| time.checked_sub(last)) {
            self.shortest = self.shortest.min(gap);
            self.longest = self.longest.max(gap);
        }
        self.last = Some(time);
    }

    fn finish(mut self, tick: f64) -> Scan {
        while !self.pending.is_empty() {
            self.settle();
        }
        let mut variable = false;
        if let (Some(last), Some(start), true) = (self.last, self.start, self.shortest <= self.longest) {
            let mean = last.saturating_sub(start) as f64 / (self.frames.max(2) - 1) as f64;
            // Two rounded times may be off by a tick each. A coarse clock may not raise the tolerance above a quarter
            // of the mean gap.
            let tolerance = (2.0 * tick * 1e6).min(0.25 * mean) + 2.0;
            variable = (self.longest - self.shortest) as f64 > tolerance;
        }
        Scan { frames: self.frames, start: self.start, end: self.end, end_of_all: None, variable }
    }
}

/// Parses seconds with six decimals, as ffprobe prints them, and returns microseconds.
fn microseconds(text: Option<&str>) -> Option<i64> {
    let seconds: f64 = text?.parse().ok()?;
    seconds.is_finite().then(|| (seconds * 1e6).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan_of(times: &[&str], tick: f64) -> Scan {
        let mut packets = Packets::new(None, u64::MAX);
        for time in times {
            packets.push(&packet(0, time, "K_"));
        }
        packets.finish(0, tick)
    }

    fn packet(stream: u32, time: &str, flags: &str) -> Packet {
        Packet {
            codec_type: Some("video".into()),
            stream_index: Some(stream),
            pts_time: Some(time.into()),
            dts_time: None,
            duration_time: Some("0.033".into()),
            flags: flags.into(),
        }
    }

    #[test]
    fn frames_stored_out_of_order_are_not_a_variable_rate() {
        let scan = scan_of(&["0.000000", "0.133333", "0.066667", "0.033333", "0.100000"], 1.0 / 90000.0);
        assert_eq!((scan.frames, scan.start, scan.end, scan.variable), (5, Some(0), Some(166_333), false));
    }

    #[test]
    fn rounding_to_the_clock_is_not_a_variable_rate() {
        assert!(!scan_of(&["0.033", "0.067", "0.100", "0.133", "0.167", "0.200"], 0.001).variable);
        assert!(scan_of(&["0.033", "0.067", "0.100", "0.167", "0.200"], 0.001).variable);
    }

    #[test]
    fn packets_that_are_not_shown_do_not_count() {
        let mut packets = Packets::new(None, u64::MAX);
        packets.push(&packet(0, "0.5", "KD"));
        packets.push(&Packet { codec_type: Some("audio".into()), ..packet(1, "7.0", "K_") });
        let scan = packets.finish(0, 0.001);
        assert_eq!((scan.frames, scan.start, scan.end, scan.end_of_all), (0, None, None, Some(7_033_000)));
    }

    #[test]
    fn the_limit_applies_to_each_stream_by_itself_and_only_to_the_video_if_it_is_known() {
        let push = |only| {
            let mut packets = Packets::new(only, 2);
            for (stream, time) in [(0, "0.0"), (1, "0.0"), (0, "0.1"), (1, "0.1"), (1, "0.2")] {
                packets.push(&packet(stream, time, "__"));
            }
            packets
        };
        assert_eq!(push(None).over_limit(), Some(3));
        assert_eq!(push(Some(0)).over_limit(), None);
        assert_eq!(push(Some(0)).finish(0, 0.0).frames, 2);
    }
}
