use std::{fmt::Display, sync::Arc};

use deepsight_core::frames_for;

use crate::{VideoError, scan::Shown};

/// The choice of frames of a video to decode.
///
/// ```
/// use deepsight_video::Sampling;
/// let sampling = Sampling::fps(2.0).with_max_frames(100);
/// assert_ne!(sampling, Sampling::fps(2.0));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    kind: SamplingKind,
    max_frames: Option<u64>,
    near_key_frames: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum SamplingKind {
    Evenly(u64),
    Fps(f64),
    Every(u64),
    All,
    Times(Arc<[f64]>),
}

impl Sampling {
    /// Selects `count` frames spread evenly over the time of the whole video, including the first and the last, or all
    /// frames if there are fewer. At a constant frame rate they are those at
    /// `numpy.linspace(0, total - 1, min(count, total), dtype=int)` in order of presentation. At a variable frame rate
    /// they are the nearest to evenly spaced times. No frame is selected twice: where two times are nearest to one
    /// frame, another frame of the video takes the place of the second.
    pub fn evenly(count: u64) -> Self {
        Self { kind: SamplingKind::Evenly(count), max_frames: None, near_key_frames: false }
    }

    /// Selects the first frame of every 1 / `rate` seconds of presentation time. No frame is selected twice, so a video
    /// with fewer than `rate` frames per second gives each of its frames once.
    pub fn fps(rate: f64) -> Self {
        Self { kind: SamplingKind::Fps(rate), max_frames: None, near_key_frames: false }
    }

    /// Selects every `step`-th frame: 0, `step`, 2 `step`, ...
    pub fn every(step: u64) -> Self {
        Self { kind: SamplingKind::Every(step), max_frames: None, near_key_frames: false }
    }

    /// Selects every frame.
    pub fn all() -> Self {
        Self { kind: SamplingKind::All, max_frames: None, near_key_frames: false }
    }

    /// Selects the frame that is shown at each of these times, in seconds from the start of the video: the last one
    /// that begins no later. Before the first frame that is the first, after the end it is the last. The times need not
    /// be in order. A frame that is shown at several of them is selected once.
    pub fn times(seconds: impl Into<Vec<f64>>) -> Self {
        Self { kind: SamplingKind::Times(seconds.into().into()), max_frames: None, near_key_frames: false }
    }

    /// Selects the number of frames for a video of `seconds` seconds ([`frames_for`](deepsight_core::frames_for)),
    /// spread evenly. If they are more than two seconds apart, [key frames are preferred](Self::near_key_frames).
    pub fn auto(seconds: f64) -> Self {
        /// Seconds between two frames up to which each frame is the one at its time.
        const DENSE: f64 = 2.0;
        let count = frames_for(seconds);
        let sampling = Self::evenly(count);
        if seconds > DENSE * count as f64 { sampling.near_key_frames() } else { sampling }
    }

    /// Moves each frame of [`Sampling::evenly`] to the nearest key frame, if there is one nearer than half the distance
    /// to the next frame, because a key frame costs the least to decode. The first and the last frame stay. Two frames
    /// are then up to twice as far apart, and one as near as a single frame. The other samplings are not changed.
    #[must_use]
    pub fn near_key_frames(mut self) -> Self {
        self.near_key_frames = true;
        self
    }

    /// Selects no more than `max` frames. [`Sampling::evenly`] spreads the fewer frames over the whole video. The other
    /// samplings stop after the first `max` frames, and the rest of the video is not decoded.
    #[must_use]
    pub fn with_max_frames(mut self, max: u64) -> Self {
        self.max_frames = Some(max);
        self
    }

    /// Returns the maximum number of frames.
    pub(crate) fn cap(&self) -> u64 {
        self.max_frames.unwrap_or(u64::MAX)
    }
}

/// The properties of a video that a [`Plan`] needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline<'a> {
    /// Number of frames.
    pub(crate) total: u64,
    /// The frames in order of presentation. There are fewer than `total` if some have no time.
    pub(crate) shown: &'a [Shown],
    /// Start of the video in microseconds, on the clock of `shown`.
    pub(crate) start: i64,
    /// Length of the video in seconds.
    pub(crate) duration: f64,
    /// Length of one tick of the video's clock in seconds.
    pub(crate) tick: f64,
    /// Whether frames are spaced unevenly in time.
    pub(crate) variable: bool,
}

/// Returns the most seconds by which times are rounded where frames are `step` seconds apart: a tick, unless the clock
/// has few of them for each frame, as in AVI, whose ticks are frames.
pub(crate) fn rounding(tick: f64, step: f64) -> f64 {
    tick.min(0.25 * step)
}

impl Timeline<'_> {
    /// Returns the most seconds by which times are rounded.
    fn rounding(&self) -> f64 {
        let step = self.duration / self.total as f64;
        if step > 0.0 { rounding(self.tick, step) } else { self.tick }
    }

    /// Returns the presentation times of all frames in microseconds. They are estimated if not all are known.
    fn times(&self) -> Vec<i64> {
        if self.shown.len() as u64 == self.total {
            return self.shown.iter().map(|frame| frame.time).collect();
        }
        let step = self.duration * 1e6 / self.total.max(1) as f64;
        (0..self.total).map(|index| self.start.saturating_add((index as f64 * step) as i64)).collect()
    }
}

/// A [`Sampling`] resolved for one video. The frames are selected twice: ffmpeg selects pictures by [`Plan::filter`]
/// and prints the times of all frames, and [`Plan::picker`] selects the times that belong to the pictures. Both do the
/// same arithmetic on the same doubles.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plan {
    /// `count` frames, `step` apart, the last at `last`.
    Evenly { count: u64, step: f64, last: u64 },
    /// The first frame in each bucket `floor(microseconds × per_microsecond + tolerance)`.
    Buckets { per_microsecond: f64, tolerance: f64 },
    /// Every frame whose index is a multiple of this step.
    Every(u64),
    /// The frames with these indices.
    Listed(List),
}

/// Indices of frames in ascending order, and the ranges that ffmpeg selects for them. A range may include frames that
/// are not wanted, so that the argument of the filter has a bounded length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List {
    wanted: Arc<[u64]>,
    ranges: Arc<[(u64, u64)]>,
    /// Whether the frames after the last one need not be decoded.
    stops: bool,
}

/// Most ranges in the argument of a filter. Each takes about 40 bytes, and Linux allows 128 KiB for one argument.
const MAX_RANGES: usize = 2000;

impl List {
    fn new(wanted: Vec<u64>, stops: bool) -> Self {
        let mut distance = 1;
        let ranges = loop {
            let mut ranges: Vec<(u64, u64)> = Vec::new();
            for &index in &wanted {
                match ranges.last_mut() {
                    Some((_, last)) if index - *last <= distance => *last = index,
                    _ => ranges.push((index, index)),
                }
            }
            if ranges.len() <= MAX_RANGES {
                break ranges;
            }
            distance *= 2;
        };
        Self { wanted: wanted.into(), ranges: ranges.into(), stops }
    }
}

impl Plan {
    /// Resolves `sampling` for a video.
    pub(crate) fn new(sampling: &Sampling, video: &Timeline) -> Result<Self, VideoError> {
        let invalid = |reason: String| Err(VideoError::InvalidSampling { reason });
        if sampling.max_frames == Some(0) {
            return invalid("a cap of 0 frames leaves none".into());
        }
        let (total, last) = (video.total, video.total.saturating_sub(1));
        Ok(match &sampling.kind {
            SamplingKind::Evenly(0) => return invalid("0 frames were asked for".into()),
            SamplingKind::Evenly(count) => {
                let count = (*count).min(sampling.cap()).min(total.max(1));
                let nears_keys = sampling.near_key_frames && video.shown.len() as u64 == total;
                if (video.variable || nears_keys) && count > 1 {
                    let times = video.times();
                    let even = if video.variable { spread(&times, count as usize) } else { linspace(count, last) };
                    let frames = if nears_keys { nearest_keys(&even, video.shown) } else { even };
                    return Ok(Plan::Listed(List::new(frames, false)));
                }
                if count == 1 {
                    return Ok(Plan::Listed(List::new(vec![0], true)));
                }
                // The quotient is computed as in numpy, because its rounding decides which frames are selected.
                Plan::Evenly { count, step: last as f64 / (count - 1) as f64, last }
            }
            SamplingKind::Fps(rate) if !(rate.is_finite() && *rate > 0.0) => {
                return invalid(format!("{rate} frames per second were asked for"));
            }
            SamplingKind::Fps(rate) => {
                // On a millisecond clock, frame 10 at 30 frames per second is at 0.333 s. Without the tick it would
                // fall into the bucket of frame 9 and be lost.
                let tolerance = ((video.rounding() + 1e-6) * rate).min(0.1);
                Plan::Buckets { per_microsecond: rate * 1e-6, tolerance }
            }
            SamplingKind::Every(0) => return invalid("every 0th frame was asked for".into()),
            SamplingKind::Every(step) => Plan::Every(*step),
            SamplingKind::All => Plan::Every(1),
            SamplingKind::Times(seconds) if seconds.is_empty() => return invalid("no times were asked for".into()),
            SamplingKind::Times(seconds) => {
                if let Some(bad) = seconds.iter().find(|seconds| !seconds.is_finite()) {
                    return invalid(format!("the frame at {bad} s was asked for"));
                }
                let times = video.times();
                // A frame at 0.333 s on a millisecond clock is that of the time 1/3.
                let tolerance = (video.rounding() * 1e6).min(1e5) + 1.0;
                let shown_at = |seconds: &f64| {
                    let time = (seconds * 1e6 + tolerance) as i64;
                    times.partition_point(|&start| start.saturating_sub(video.start) <= time).saturating_sub(1) as u64
                };
                let mut wanted: Vec<_> = seconds.iter().map(shown_at).collect();
                wanted.sort_unstable();
                wanted.dedup();
                wanted.truncate(usize::try_from(sampling.cap()).unwrap_or(usize::MAX));
                Plan::Listed(List::new(wanted, true))
            }
        })
    }

    /// Resolves `sampling` for a stream of unknown length, whose clock has ticks of `tick` seconds.
    pub(crate) fn of_stream(sampling: &Sampling, tick: f64) -> Result<Self, VideoError> {
        if matches!(sampling.kind, SamplingKind::Evenly(_) | SamplingKind::Times(_)) {
            let reason =
                "the length of a stream is not known; sample it by frames per second, every k-th frame, or all";
            return Err(VideoError::InvalidSampling { reason: reason.into() });
        }
        Self::new(sampling, &Timeline { total: 0, shown: &[], start: 0, duration: 0.0, tick, variable: false })
    }

    /// Returns the number of frames to expect from a video of `total` frames and `duration` seconds. It is exact except
    /// for buckets.
    pub(crate) fn expected(&self, total: u64, duration: f64) -> u64 {
        match self {
            Plan::Evenly { count, .. } => (*count).min(total),
            Plan::Buckets { per_microsecond, .. } => {
                ((duration * 1e6 * per_microsecond).ceil() as u64).clamp(1, total.max(1))
            }
            Plan::Every(step) => total.div_ceil(*step),
            Plan::Listed(list) => list.wanted.len() as u64,
        }
    }

    /// Returns the number of wanted frames after which decoding may stop, for a caller who wants at most `cap` of them.
    pub(crate) fn stops_after(&self, cap: u64) -> u64 {
        match self {
            Plan::Listed(list) if list.stops => cap.min(list.wanted.len() as u64),
            _ => cap,
        }
    }

    /// Returns the number of frames that ffmpeg gives up to there, if it can then stop.
    pub(crate) fn most_given(&self, cap: u64) -> Option<u64> {
        match self {
            Plan::Listed(list) if list.stops => Some(list.ranges.iter().map(|(first, last)| last - first + 1).sum()),
            Plan::Listed(_) => None,
            _ => (cap < u64::MAX).then_some(cap),
        }
    }

    /// Returns whether the exact times of frames decide which ones are wanted.
    pub(crate) fn depends_on_times(&self) -> bool {
        matches!(self, Plan::Buckets { .. })
    }

    /// Returns the argument of ffmpeg's `select` filter, for times in microseconds. Its length is bounded.
    pub(crate) fn filter(&self) -> String {
        match self {
            // Variable 0 counts the selected frames. `{:?}` prints a double so that it parses back to the same value.
            Plan::Evenly { count, step, last } => {
                let next = format!("if(eq(ld(0),{}),{last},floor(ld(0)*{step:?}))", count - 1);
                format!("if(lt(ld(0),{count})*eq(n,{next}),st(0,ld(0)+1),0)")
            }
            // Variable 0 is the number of the first bucket without a frame.
            Plan::Buckets { per_microsecond, tolerance } => {
                let bucket = format!("floor((pts-start_pts)*{per_microsecond:?}+{tolerance:?})");
                format!("if(gte({bucket},ld(0)),st(0,{bucket}+1),0)")
            }
            Plan::Every(step) => format!("not(mod(n,{step}))"),
            Plan::Listed(list) => {
                let mut filter = String::new();
                search("n", &list.ranges, &mut filter);
                filter
            }
        }
    }

    pub(crate) fn picker(self) -> Picker {
        Picker { plan: self, state: 0.0, start: None, next: 0, range: 0 }
    }
}

/// Writes an expression that is true for the frames whose `variable`, such as the number `n` or the time `pts`, lies in
/// one of the ascending `ranges`. It is a binary search, because it is evaluated for each frame.
pub(crate) fn search<T: Display>(variable: &str, ranges: &[(T, T)], filter: &mut String) {
    match ranges {
        [] => filter.push('0'),
        [(first, last)] => filter.push_str(&format!("between({variable},{first},{last})")),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            filter.push_str(&format!("if(lt({variable},{}),", high[0].0));
            search(variable, low, filter);
            filter.push(',');
            search(variable, high, filter);
            filter.push(')');
        }
    }
}

/// Returns the indices of `count` frames from the first to the last, as numpy's `linspace`.
fn linspace(count: u64, last: u64) -> Vec<u64> {
    let step = last as f64 / (count - 1) as f64;
    (0..count).map(|n| if n + 1 == count { last } else { (n as f64 * step).floor() as u64 }).collect()
}

/// Returns the indices with each one between the first and the last moved to the nearest key frame, if that is nearer
/// than half the mean distance of two frames.
fn nearest_keys(even: &[u64], shown: &[Shown]) -> Vec<u64> {
    let (Some(&first), Some(&last)) = (even.first(), even.last()) else { return Vec::new() };
    let time = |index: u64| shown[index as usize].time;
    let half = time(last).saturating_sub(time(first)) / (2 * (even.len() as i64 - 1)).max(1);
    let keys: Vec<u64> = (0..).zip(shown).filter(|(_, frame)| frame.key).map(|(index, _)| index).collect();
    let moved = |&index: &u64| {
        let after = keys.partition_point(|&key| time(key) < time(index));
        let around = after.checked_sub(1).into_iter().chain([after]).filter_map(|place| keys.get(place));
        let distance = |key: &&u64| time(**key).abs_diff(time(index));
        let nearest = around.min_by_key(distance).filter(|key| distance(key) < half.unsigned_abs());
        if index == first || index == last { index } else { nearest.copied().unwrap_or(index) }
    };
    let mut frames: Vec<u64> = even.iter().map(moved).collect();
    // At a variable rate, two frames may be nearest to one key frame.
    frames.sort_unstable();
    frames.dedup();
    frames
}

/// Returns the indices of `count` different frames, those nearest to evenly spaced times from the first to the last.
/// `times` are in ascending order, at least `count`, and `count` is at least 2.
fn spread(times: &[i64], count: usize) -> Vec<u64> {
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
        return Vec::new();
    };
    let length = last.saturating_sub(first) as f64;
    let nearest = |n: usize| {
        let time = first.saturating_add((length * n as f64 / (count - 1) as f64).round() as i64);
        let after = times.partition_point(|&t| t < time).min(times.len() - 1);
        let before = after.saturating_sub(1);
        if time.saturating_sub(times[before]) <= times[after].saturating_sub(time) { before } else { after }
    };
    let mut taken = vec![false; times.len()];
    (0..count).map(nearest).for_each(|index| taken[index] = true);
    taken[times.len() - 1] = true;
    // Where a frame stays for long, it is the nearest to several times. The frames that this saves are spread over the
    // frames that are left.
    let spare = count.saturating_sub(taken.iter().filter(|&&taken| taken).count());
    let free: Vec<_> = (0..times.len()).filter(|&index| !taken[index]).collect();
    for n in 0..spare.min(free.len()) {
        taken[free[(2 * n + 1) * free.len() / (2 * spare)]] = true;
    }
    (0u64..).zip(taken).filter(|&(_, taken)| taken).map(|(index, _)| index).collect()
}

/// The use of a decoded frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// ffmpeg does not return it.
    Skipped,
    /// ffmpeg returns it, but it is not wanted.
    Unwanted,
    Wanted,
}

/// The state that decides for each frame in turn whether the filter selects it.
#[derive(Debug, Clone)]
pub(crate) struct Picker {
    plan: Plan,
    state: f64,
    start: Option<i64>,
    /// Position of the next frame in a list.
    next: usize,
    /// Position of the next range in a list.
    range: usize,
}

impl Picker {
    /// Returns the use of frame `index`. `microseconds` is its presentation time, if it has one.
    pub(crate) fn pick(&mut self, index: u64, microseconds: Option<i64>) -> Pick {
        let picked = match &self.plan {
            Plan::Evenly { count, step, last } => {
                let next = if self.state == (count - 1) as f64 { *last as f64 } else { (self.state * step).floor() };
                let picked = self.state < *count as f64 && index as f64 == next;
                self.state += f64::from(u8::from(picked));
                picked
            }
            Plan::Buckets { per_microsecond, tolerance } => {
                let Some(time) = microseconds else { return Pick::Skipped };
                let start = *self.start.get_or_insert(time);
                let bucket = ((time as f64 - start as f64) * per_microsecond + tolerance).floor();
                let picked = bucket >= self.state;
                if picked {
                    self.state = bucket + 1.0;
                }
                picked
            }
            Plan::Every(step) => index.is_multiple_of(*step),
            Plan::Listed(list) => {
                while list.wanted.get(self.next).is_some_and(|&wanted| wanted < index) {
                    self.next += 1;
                }
                while list.ranges.get(self.range).is_some_and(|&(_, last)| last < index) {
                    self.range += 1;
                }
                if list.ranges.get(self.range).is_some_and(|&(first, _)| first <= index)
                    && list.wanted.get(self.next) != Some(&index)
                {
                    return Pick::Unwanted;
                }
                list.wanted.get(self.next) == Some(&index)
            }
        };
        if picked { Pick::Wanted } else { Pick::Skipped }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Resolves a sampling for a video with frames at `times`, in microseconds.
    fn plan(sampling: &Sampling, times: &[i64], variable: bool, tick: f64) -> Result<Plan, VideoError> {
        let shown: Vec<_> = times.iter().map(|&time| Shown { time, raw: time, key: false }).collect();
        let start = times.first().copied().unwrap_or(0);
        let duration = 1.0;
        Plan::new(sampling, &Timeline { total: times.len() as u64, shown: &shown, start, duration, tick, variable })
    }

    fn picked(plan: &Plan, times: &[i64]) -> Vec<u64> {
        let mut picker = plan.clone().picker();
        let wanted = (0..).zip(times).filter(|&(index, &time)| picker.pick(index, Some(time)) == Pick::Wanted);
        wanted.map(|(index, _)| index).collect()
    }

    fn picks(sampling: Sampling, times: impl IntoIterator<Item = i64>, tick: f64) -> Vec<u64> {
        let times: Vec<_> = times.into_iter().collect();
        picked(&plan(&sampling, &times, false, tick).unwrap(), &times)
    }

    fn uneven(sampling: Sampling, times: &[i64]) -> Vec<u64> {
        picked(&plan(&sampling, times, true, 0.0).unwrap(), times)
    }

    fn evenly(count: u64, total: u64) -> Vec<u64> {
        picks(Sampling::evenly(count), (0..total as i64).map(|n| n * 33_333), 0.0)
    }

    #[test]
    fn evenly_spaced_frames_are_those_of_numpy_linspace() {
        // numpy.linspace(0, total - 1, count, dtype=int)
        assert_eq!(evenly(8, 303), [0, 43, 86, 129, 172, 215, 258, 302]);
        assert_eq!(evenly(5, 10), [0, 2, 4, 6, 9]);
        assert_eq!(evenly(1, 10), [0]);
        assert_eq!(evenly(2, 10), [0, 9]);
        assert_eq!(evenly(30, 4), [0, 1, 2, 3]);
        assert_eq!(evenly(7, 7), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn frames_are_spread_evenly_over_the_time_of_a_variable_rate() {
        let fast = (0..14 * 60).map(|n| n * 1_000_000 / 60);
        let slow = (0..14 * 2).map(|n| 14_000_000 + n * 500_000);
        let times: Vec<_> = fast.chain(slow).collect();
        let picked = uneven(Sampling::evenly(30), &times);
        let late = picked.iter().filter(|&&index| index >= 14 * 60).count();
        assert_eq!((picked.len(), late, picked[0], picked[29]), (30, 15, 0, times.len() as u64 - 1));
        assert!(
            picked.windows(2).all(|pair| times[pair[1] as usize] - times[pair[0] as usize] > 400_000),
            "{picked:?}"
        );
    }

    #[test]
    fn near_key_frames_moves_frames_only_where_a_key_frame_is_near() {
        // 25 frames a second, with a key frame every 4 seconds.
        let shown: Vec<_> = (0..2500).map(|n| Shown { time: n * 40_000, raw: n * 40_000, key: n % 100 == 0 }).collect();
        let picked = |sampling: &Sampling| {
            let (total, duration) = (shown.len() as u64, 100.0);
            let video = Timeline { total, shown: &shown, start: 0, duration, tick: 0.0, variable: false };
            let plan = Plan::new(sampling, &video).unwrap();
            assert_eq!(plan.expected(total, duration), sampling_count(sampling));
            let mut picker = plan.picker();
            let wanted = shown.iter().enumerate();
            let wanted = wanted.filter(|(n, shown)| picker.pick(*n as u64, Some(shown.time)) == Pick::Wanted);
            wanted.map(|(n, _)| n as u64).collect::<Vec<_>>()
        };
        // They are 10 seconds apart, so a key frame is always near.
        assert_eq!(
            picked(&Sampling::evenly(11).near_key_frames()),
            [0, 200, 500, 700, 1000, 1200, 1500, 1700, 2000, 2200, 2499]
        );
        // They are a second apart: three of four have no key frame within half a second.
        let dense = picked(&Sampling::evenly(101).near_key_frames());
        assert_eq!((dense.len(), dense.iter().filter(|&&n| n % 100 == 0).count()), (101, 25));
        assert!(dense.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= 50), "{dense:?}");
        assert_eq!(picked(&Sampling::evenly(1).near_key_frames()), [0]);
    }

    fn sampling_count(sampling: &Sampling) -> u64 {
        let SamplingKind::Evenly(count) = sampling.kind else { panic!("{sampling:?}") };
        count
    }

    #[test]
    fn the_length_decides_what_auto_selects() {
        assert_eq!(Sampling::auto(15.0), Sampling::evenly(30));
        assert_eq!(Sampling::auto(1200.0), Sampling::evenly(600));
        assert_eq!(Sampling::auto(3600.0), Sampling::evenly(600).near_key_frames());
        assert_eq!(Sampling::auto(f64::NAN), Sampling::evenly(30));
    }

    #[test]
    fn a_frame_that_stays_for_long_is_selected_once_and_others_take_its_places() {
        let times: Vec<_> = (0..100).map(|n| n * 10_000).chain([3_600_000_000]).collect();
        let picked = uneven(Sampling::evenly(30), &times);
        assert_eq!((picked.len(), picked[0], picked[29]), (30, 0, 100));
        assert!(picked.windows(2).all(|pair| (1..8).contains(&(pair[1] - pair[0]))), "{picked:?}");
        assert_eq!(uneven(Sampling::evenly(500), &times).len(), 101);
    }

    #[test]
    fn the_frame_shown_at_a_time_is_the_last_that_began() {
        let times = [500_000, 533_000, 567_000, 600_000, 2_600_000];
        let at = |seconds: &[f64]| uneven(Sampling::times(seconds), &times);
        assert_eq!(at(&[0.0, 0.033, 0.04, 0.066]), [0, 1]);
        assert_eq!(at(&[1.9, 0.1, 2.1, 99.0, -1.0, 0.1]), [0, 3, 4]);
        assert_eq!(uneven(Sampling::times([0.0, 0.07, 2.1]).with_max_frames(2), &times), [0, 2]);
        for bad in [&[][..], &[f64::NAN], &[0.0, f64::INFINITY]] {
            let error = plan(&Sampling::times(bad), &times, true, 0.0).unwrap_err();
            assert!(matches!(error, VideoError::InvalidSampling { .. }), "{error}");
        }
    }

    #[test]
    fn frames_per_second_are_exact_on_a_coarse_clock() {
        let thirty = (0..90).map(|n| (f64::from(n) * 1000.0 / 30.0).round() as i64 * 1000);
        assert_eq!(picks(Sampling::fps(30.0), thirty.clone(), 0.001).len(), 90);
        assert_eq!(picks(Sampling::fps(10.0), thirty, 0.001), (0..90).step_by(3).collect::<Vec<_>>());
    }

    #[test]
    fn frames_per_second_never_repeat_a_frame() {
        assert_eq!(picks(Sampling::fps(1000.0), [0, 5_000_000, 5_100_000], 0.001), [0, 1, 2]);
    }

    #[test]
    fn samplings_that_ask_for_nothing_are_refused() {
        let bad = [Sampling::evenly(0), Sampling::every(0), Sampling::fps(0.0), Sampling::all().with_max_frames(0)];
        for sampling in bad.into_iter().chain([-1.0, f64::NAN, f64::INFINITY].map(Sampling::fps)) {
            let refused = plan(&sampling, &[0; 9], false, 0.0);
            assert!(matches!(refused, Err(VideoError::InvalidSampling { .. })), "{sampling:?}");
        }
    }

    #[test]
    fn the_filter_of_a_long_list_is_bounded_and_the_picker_knows_what_it_gives() {
        let wanted: Vec<u64> = (0..100_000).filter(|n| n % 7 == 0 || n % 11 == 0).collect();
        let list = List::new(wanted.clone(), true);
        assert!(list.ranges.len() <= MAX_RANGES);
        let plan = Plan::Listed(list.clone());
        assert!(plan.filter().len() < 100_000);
        let mut picker = plan.clone().picker();
        let picks: Vec<_> = (0..100_000).map(|index| picker.pick(index, None)).collect();
        let all = |kind| (0u64..).zip(&picks).filter(|&(_, &pick)| pick == kind).map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!(all(Pick::Wanted), wanted);
        let given = (wanted.len() + all(Pick::Unwanted).len()) as u64;
        assert_eq!(plan.most_given(u64::MAX), Some(given));
        let inside = |index: &u64| list.ranges.iter().any(|(first, last)| (first..=last).contains(&index));
        assert!(all(Pick::Unwanted).iter().take(100).all(inside) && !all(Pick::Skipped).iter().take(100).any(inside));
    }

    proptest::proptest! {
        #[test]
        fn evenly_spaced_frames_reach_from_first_to_last(count in 1u64..400, total in 1u64..5000, variable: bool) {
            let times: Vec<_> = (0..total as i64).map(|n| n * 33_333 + n % 3 * 999).collect();
            let plan = plan(&Sampling::evenly(count), &times, variable, 0.0).unwrap();
            let picked = picked(&plan, &times);
            proptest::prop_assert_eq!(picked.len() as u64, count.min(total));
            proptest::prop_assert_eq!(picked[0], 0);
            if count > 1 {
                proptest::prop_assert_eq!(*picked.last().unwrap(), total - 1);
            }
            proptest::prop_assert_eq!(picked.len() as u64, plan.expected(total, 1.0));
        }
    }
}
