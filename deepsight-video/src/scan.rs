use std::{cmp::Reverse, collections::BinaryHeap, path::Path};

use crate::{
    DecodeLimits, Limit, VideoError,
    ffmpeg::{self, Programs},
    probe::{Header, refusal},
    process::Process,
};

/// What the packets of a file say, whatever its headers claim. Times in microseconds on the file's own clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scan {
    /// Frames that will be shown.
    pub(crate) frames: u64,
    /// Presentation time of the first frame.
    pub(crate) start: Option<i64>,
    /// End of the last frame.
    pub(crate) end: Option<i64>,
    /// End of the last packet of any stream.
    pub(crate) end_of_all: Option<i64>,
    pub(crate) variable: bool,
}

/// Reads every packet of `path` once, decoding nothing where packets and frames are one to one.
pub(crate) fn scan(
    path: &Path,
    programs: &Programs,
    limits: &DecodeLimits,
    header: &Header,
) -> Result<Scan, VideoError> {
    let mut packets = Packets::new(header);
    let show = ["-show_entries", "packet=stream_index,pts_time,dts_time,duration_time,flags", "-of", "compact=p=0"];
    each_line(path, programs, limits, &show, |line| {
        packets.push(line);
        packets.scan.frames
    })?;
    let mut scan = packets.finish();
    if !packets_are_frames(header) {
        let threads = limits.threads().to_string();
        let stream = header.stream.to_string();
        let show = ["-threads", &threads, "-select_streams", &stream];
        let entries = ["-show_entries", "frame=best_effort_timestamp_time", "-of", "compact"];
        scan.frames = 0;
        each_line(path, programs, limits, &[&show[..], &entries].concat(), |line| {
            scan.frames += u64::from(line.starts_with("frame|"));
            scan.frames
        })?;
    }
    Ok(scan)
}

/// VP8 hides reference frames in packets of their own, and a broadcast recording begins with frames that refer to what
/// was sent before it: there only decoding tells how many frames come out.
fn packets_are_frames(header: &Header) -> bool {
    header.codec != "vp8" && !["mpegts", "mpeg", "mpegvideo"].contains(&header.container.as_str())
}

/// Calls `count` with each line that ffprobe prints, until its answer is over the limit on frames.
fn each_line(
    path: &Path,
    programs: &Programs,
    limits: &DecodeLimits,
    show: &[&str],
    mut count: impl FnMut(&str) -> u64,
) -> Result<(), VideoError> {
    let mut process = Process::spawn(&mut ffmpeg::ffprobe(&programs.ffprobe, path, limits, show), limits, |_| false)?;
    let failed = |source| VideoError::Spawn { program: programs.ffprobe.clone(), source };
    let mut text = Vec::new();
    loop {
        let got = process.read(&mut text, 1 << 16).map_err(failed)?;
        let whole = if got == 0 { text.len() } else { text.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1) };
        for line in text[..whole].split(|&b| b == b'\n') {
            let value = std::str::from_utf8(line).map(&mut count).unwrap_or(0);
            if value > limits.max_frames {
                let (path, max) = (path.to_path_buf(), limits.max_frames);
                return Err(VideoError::OverLimit { path, limit: Limit::Frames, value, max });
            }
        }
        text.drain(..whole);
        if got == 0 {
            break;
        }
    }
    let ending = process.finish().map_err(failed)?;
    if process.timed_out() {
        return Err(VideoError::TimedOut { path: path.to_path_buf(), program: "ffprobe", limit: limits.max_wait });
    }
    if !ending.status.success() {
        return Err(refusal(path, &ending, limits));
    }
    Ok(())
}

/// More frames than any codec shows in another order than it stores them.
const REORDERED: usize = 32;

struct Packets {
    stream: u32,
    tick: f64,
    scan: Scan,
    /// Presentation times on their way into order.
    pending: BinaryHeap<Reverse<i64>>,
    last: Option<i64>,
    shortest: i64,
    longest: i64,
}

impl Packets {
    fn new(header: &Header) -> Self {
        Self {
            stream: header.stream,
            tick: header.tick,
            scan: Scan::default(),
            pending: BinaryHeap::new(),
            last: None,
            shortest: i64::MAX,
            longest: 0,
        }
    }

    fn push(&mut self, line: &str) {
        let field = |name: &str| line.split('|').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let Some(stream) = field("stream_index").and_then(|index| index.parse::<u32>().ok()) else {
            return;
        };
        // `D`: decoded only because later frames need it, as before the first frame of an edit list.
        if field("flags").is_some_and(|flags| flags.contains('D')) {
            return;
        }
        let time = microseconds(field("pts_time")).or_else(|| microseconds(field("dts_time")));
        let end = time.map(|time| time.saturating_add(microseconds(field("duration_time")).unwrap_or(0).max(0)));
        self.scan.end_of_all = self.scan.end_of_all.max(end);
        if stream != self.stream {
            return;
        }
        self.scan.frames += 1;
        self.scan.end = self.scan.end.max(end);
        if let Some(time) = time {
            self.scan.start = Some(self.scan.start.map_or(time, |start| start.min(time)));
            self.pending.push(Reverse(time));
            if self.pending.len() > REORDERED {
                self.settle();
            }
        }
    }

    /// Takes the earliest pending frame as the next one shown.
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

    fn finish(mut self) -> Scan {
        while !self.pending.is_empty() {
            self.settle();
        }
        if let (Some(last), Some(start), true) = (self.last, self.scan.start, self.shortest <= self.longest) {
            let mean = last.saturating_sub(start) as f64 / (self.scan.frames.max(2) - 1) as f64;
            // Two rounded times may be off by a tick each; a clock too coarse to tell is not asked.
            let tolerance = (2.0 * self.tick * 1e6).min(0.25 * mean) + 2.0;
            self.scan.variable = (self.longest - self.shortest) as f64 > tolerance;
        }
        self.scan
    }
}

/// Seconds with six decimals, as ffprobe prints them.
fn microseconds(text: Option<&str>) -> Option<i64> {
    let seconds: f64 = text?.parse().ok()?;
    seconds.is_finite().then(|| (seconds * 1e6).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orientation::Orientation;

    fn scan_of(times: &[&str], tick: f64) -> Scan {
        let header = Header {
            stream: 0,
            container: "mov".into(),
            codec: "h264".into(),
            pixel_format: None,
            width: 2,
            height: 2,
            orientation: Orientation::default(),
            sample_aspect_ratio: (1, 1),
            average_frame_rate: None,
            nominal_frame_rate: None,
            tick,
            start: None,
            stream_duration: None,
            container_duration: None,
            frames: None,
            old_sync_option: false,
        };
        let mut packets = Packets::new(&header);
        for time in times {
            packets.push(&format!("stream_index=0|pts_time={time}|dts_time=N/A|duration_time=0.033|flags=K_"));
        }
        packets.finish()
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
        let header_scan = scan_of(&[], 0.001);
        assert_eq!((header_scan.frames, header_scan.start, header_scan.end), (0, None, None));
    }
}
