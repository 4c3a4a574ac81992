use serde::{Deserialize, Serialize};

use crate::{Gap, Input, report::ReportFrame};

/// Seconds of a clip for each frame that [`frames_for`] gives it, unless the clip is short or very long.
const SECONDS_PER_FRAME: f64 = 2.0;
/// Number of frames of a short clip.
const FRAMES_AT_LEAST: u64 = 30;
/// Number of frames of a very long clip, which bounds the cost of an analysis.
const FRAMES_AT_MOST: u64 = 600;

/// Distance in seconds up to which two frames count as neighbors in a clip whose decoding failed, however densely it
/// was looked at: frames that a variable frame rate spaces unevenly are no loss.
const NEIGHBORS: f64 = 0.5;

/// Largest number of frames of a closer look, beside those of [`frames_for`]
/// ([`Job::with_closer_look`](crate::Job::with_closer_look)).
pub const CLOSER_FRAMES: usize = 240;

/// Returns the number of frames to look at in a clip of this many seconds, spread evenly: 30, at least one frame every
/// 2 seconds, and at most 600. A clip of more than 20 minutes gets a frame every `seconds` / 600. If the length is
/// unknown (not finite, or negative), the number is 30.
///
/// ```
/// use deepsight_core::frames_for;
///
/// assert_eq!([15.0, 60.0, 300.0, 3600.0, f64::NAN].map(frames_for), [30, 30, 150, 600, 30]);
/// ```
pub fn frames_for(seconds: f64) -> u64 {
    if !seconds.is_finite() {
        return FRAMES_AT_LEAST;
    }
    // The cast saturates, so a negative length gives 0.
    ((seconds / SECONDS_PER_FRAME).ceil() as u64).clamp(FRAMES_AT_LEAST, FRAMES_AT_MOST)
}

/// The part of a clip that an analysis saw, and how densely it looked. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Coverage {
    /// Seconds of the clip that were seen: from the first to the last frame that was looked at, with the mean distance
    /// of two frames added on both sides. The [gaps](Input::gaps) of the file do not count. If decoding failed, at most
    /// twice the planned distance counts between two frames. If frames failed, they count in proportion.
    pub seen: f64,
    /// Length of the clip: as its headers state it, or else as it was measured. `None` if neither is known.
    pub duration: Option<f64>,
    /// `seen` divided by `duration`, `0..=1`; `None` if the duration is not known.
    pub share: Option<f64>,
    /// Mean time between two frames that were looked at, without the seconds between them that were not seen; `None`
    /// for fewer than two frames.
    pub interval: Option<f64>,
    /// Frames that were looked at, without those of a closer look.
    pub frames: u64,
    /// Frames of a closer look at suspicious faces, beside `frames`.
    pub closer_frames: u64,
}

/// Facts about the frames that are missing from a list of frames.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Losses {
    /// Whether decoding failed, so that the clip may go on after the last frame.
    pub(crate) decoding: bool,
    /// Frames that were decoded and could not be searched for faces.
    pub(crate) frames: u64,
    /// Frames that were searched and are no longer in the list.
    pub(crate) forgotten: u64,
    /// Time of the first frame that was searched, if it may no longer be in the list.
    pub(crate) first_time: Option<f64>,
    /// Frames that were expected, if that is known.
    pub(crate) expected: Option<u64>,
}

impl Coverage {
    /// Share of a clip that must be seen for the verdict [`Verdict::Real`](crate::Verdict::Real).
    pub const NEEDED: f64 = 0.9;

    /// Computes the coverage of an input by the frames that were looked at, in order of presentation.
    pub(crate) fn of(input: &Input, frames: &[ReportFrame], losses: Losses) -> Self {
        let positive = |seconds: &f64| seconds.is_finite() && *seconds > 0.0;
        let measured = input.duration.filter(positive);
        let declared = input.declared_duration.filter(positive);
        // A header may understate the length, so the length of the frames counts if it is longer.
        let duration = match (declared, measured) {
            (Some(declared), Some(measured)) => Some(declared.max(measured)),
            (declared, measured) => declared.or(measured),
        };
        let closer_frames = frames.iter().filter(|frame| frame.closer_look).count() as u64;
        let frames: Vec<&ReportFrame> = frames.iter().filter(|frame| !frame.closer_look).collect();
        let (first, last) = match (frames.first(), frames.last()) {
            (Some(first), Some(last)) => (first.time, last.time),
            _ => (0.0, 0.0),
        };
        let first = losses.first_time.unwrap_or(first);
        let count = frames.len() as u64 + losses.forgotten;
        let lost = if losses.decoding && losses.forgotten == 0 {
            lost_between(&frames, &input.gaps, losses.expected, duration)
        } else {
            0.0
        };
        let missing = |from: f64, to: f64| lost + input.gaps.iter().map(|gap| gap.within(from, to)).sum::<f64>();
        let interval = (count > 1).then(|| ((last - first - missing(first, last)) / (count - 1) as f64).max(0.0));
        // A single frame represents the whole file, unless decoding failed after it.
        let reach = interval.or(measured.filter(|_| !losses.decoding)).unwrap_or(0.0);
        let limit = measured.or(duration).unwrap_or(f64::MAX);
        let (from, to) = ((first - reach).max(0.0), (last + reach).min(limit));
        let spanned = (to - from - missing(from, to)).max(0.0);
        let searched = count as f64 / (count + losses.frames).max(1) as f64;
        let seen = if count == 0 { 0.0 } else { spanned * searched };
        let share = duration.map(|duration| (seen / duration).clamp(0.0, 1.0));
        Self { seen, duration, share, interval, frames: count, closer_frames }
    }

    /// Writes the number of frames that were looked at, and their distance: `30 frames, one every 0.50 s`.
    pub fn density(&self) -> String {
        let Self { interval, frames, closer_frames, .. } = *self;
        let every = interval.map(|interval| format!(", one every {interval:.2} s")).unwrap_or_default();
        let closer = match closer_frames {
            0 => String::new(),
            more => format!(", and {more} more around suspicious faces"),
        };
        format!("{frames} {}{every}{closer}", if frames == 1 { "frame" } else { "frames" })
    }

    /// Returns whether too little of the clip was seen to call it real. This is `false` if the length is not known.
    pub fn is_partial(&self) -> bool {
        self.share.is_some_and(|share| share < Self::NEEDED)
    }
}

/// Returns the seconds between frames that were lost because decoding failed: of each distance of two frames, without
/// the file's gaps, what exceeds twice the planned distance.
fn lost_between(frames: &[&ReportFrame], gaps: &[Gap], expected: Option<u64>, duration: Option<f64>) -> f64 {
    let apart = |pair: &[&ReportFrame]| {
        let (from, to) = (pair[0].time, pair[1].time);
        (to - from - gaps.iter().map(|gap| gap.within(from, to)).sum::<f64>()).max(0.0)
    };
    let mut distances: Vec<f64> = frames.windows(2).map(apart).collect();
    distances.sort_by(f64::total_cmp);
    let Some(&median) = distances.get(distances.len() / 2) else { return 0.0 };
    let planned = duration.zip(expected).map(|(duration, frames)| duration / frames.max(1) as f64);
    // Where most of the clip is lost, the median is a lost stretch; where the number of frames is a guess, so is the
    // plan.
    let most = (2.0 * planned.map_or(median, |planned| planned.min(median))).max(NEIGHBORS);
    distances.iter().map(|distance| (distance - most).max(0.0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(times: impl IntoIterator<Item = f64>) -> Vec<ReportFrame> {
        (0..)
            .zip(times)
            .map(|(index, time)| ReportFrame { index, time, faces: Vec::new(), closer_look: false })
            .collect()
    }

    fn input(duration: f64, declared: Option<f64>) -> Input {
        Input { duration: Some(duration), declared_duration: declared, ..Input::new("clip.mp4") }
    }

    fn share(input: &Input, times: impl IntoIterator<Item = f64>, losses: Losses) -> f64 {
        Coverage::of(input, &frames(times), losses).share.unwrap_or(-1.0)
    }

    const NONE: Losses = Losses { decoding: false, frames: 0, forgotten: 0, first_time: None, expected: None };
    const FAILED: Losses = Losses { decoding: true, ..NONE };

    #[test]
    fn a_whole_clip_is_seen_whatever_the_sampling() {
        let evenly = |count: u32| (0..count).map(move |n| 15.0 * f64::from(n) / f64::from(count.max(2) - 1) * 0.998);
        for count in [1, 2, 3, 30] {
            assert_eq!(share(&input(15.0, None), evenly(count), NONE), 1.0, "{count} frames");
        }
        let each_second = (0..3).map(f64::from);
        assert_eq!(share(&input(3.0, Some(3.0)), each_second, NONE), 1.0);
    }

    #[test]
    fn a_file_that_is_cut_short_is_seen_in_part() {
        let cut = input(15.0, Some(58.0));
        let seen = Coverage::of(&cut, &frames((0..30).map(|n| f64::from(n) * 0.5)), FAILED);
        assert_eq!((seen.seen, seen.duration, seen.interval, seen.frames), (15.0, Some(58.0), Some(0.5), 30));
        assert!((seen.share.unwrap_or(0.0) - 15.0 / 58.0).abs() < 1e-9 && seen.is_partial());
    }

    #[test]
    fn decoding_that_stops_half_way_is_seen_half() {
        let stopped = share(&input(100.0, None), (0..50).map(f64::from), FAILED);
        assert!((stopped - 0.5).abs() < 1e-9, "{stopped}");
        let after_one = share(&input(100.0, None), [0.0], FAILED);
        assert!(after_one < 0.01, "{after_one}");
    }

    #[test]
    fn frames_that_could_not_be_searched_and_a_late_start_are_not_seen() {
        let half = share(&input(10.0, None), (0..10).map(f64::from), Losses { frames: 10, ..NONE });
        assert!((half - 0.5).abs() < 1e-9, "{half}");
        let late = share(&input(10.0, None), (5..10).map(f64::from), NONE);
        assert!((late - 0.6).abs() < 1e-9, "{late}");
    }

    #[test]
    fn gaps_of_the_file_are_not_seen() {
        let mut clip = input(15.0, None);
        clip.gaps = vec![Gap::new(3.5, 12.5)];
        let looked = (0..30).map(|n| f64::from(n) * 0.5).filter(|time| !(3.4..12.4).contains(time));
        let seen = Coverage::of(&clip, &frames(looked), NONE);
        assert!((seen.seen - 6.0).abs() < 1e-9 && seen.is_partial(), "{seen:?}");
        // The mean distance is that within the parts that were seen.
        assert!(seen.interval.is_some_and(|interval| (0.4..0.55).contains(&interval)), "{seen:?}");
        clip.gaps = vec![Gap::new(-5.0, f64::NAN), Gap::new(9.0, 2.0), Gap::new(f64::NEG_INFINITY, f64::INFINITY)];
        assert_eq!(share(&clip, (0..30).map(|n| f64::from(n) * 0.5), NONE), 1.0, "damaged numbers do no harm");
    }

    #[test]
    fn stretches_that_could_not_be_decoded_are_not_seen() {
        let clip = input(15.0, None);
        let around = |from: f64, to: f64| (0..30).map(|n| f64::from(n) * 0.5).filter(move |t| !(from..to).contains(t));
        let expected = Losses { expected: Some(30), ..FAILED };
        // From 3.5 s to 12.5 s, of which twice the planned distance counts as seen.
        for losses in [FAILED, expected] {
            let seen = share(&clip, around(3.9, 12.4), losses);
            assert!((seen - 7.0 / 15.0).abs() < 1e-9, "{seen}");
        }
        // Two frames alone do not tell the distance that was planned.
        let seen = share(&clip, [0.0, 14.5], expected);
        assert!(seen < 0.2, "{seen}");
        // A gap that the file is known to have does not count twice.
        let known = Input { gaps: vec![Gap::new(4.0, 12.5)], ..clip.clone() };
        let seen = share(&known, around(3.9, 12.4), expected);
        assert!((seen - 6.5 / 15.0).abs() < 1e-9, "{seen}");
        // Without an error, a long distance is a picture that stays.
        assert_eq!(share(&clip, around(3.9, 12.4), NONE), 1.0);
    }

    #[test]
    fn a_variable_frame_rate_is_no_loss_even_where_the_end_is_missing() {
        let times = (0..240).map(|n| f64::from(n) / 60.0).chain((8..20).map(|n| f64::from(n) * 0.5));
        let seen = share(&input(10.0, None), times, Losses { expected: Some(252), ..FAILED });
        assert!(seen > 0.95, "{seen}");
    }

    #[test]
    fn without_a_length_there_is_no_share_and_nothing_is_partial() {
        for unknown in [Input::new("camera"), Input { duration: Some(f64::NAN), ..Input::new("odd") }, input(0.0, None)]
        {
            let seen = Coverage::of(&unknown, &frames([0.0, 1.0, 2.0]), FAILED);
            assert_eq!((seen.share, seen.duration, seen.is_partial()), (None, None, false));
            assert_eq!(seen.seen, 3.0);
        }
        assert_eq!(Coverage::of(&input(9.0, None), &[], NONE).share, Some(0.0));
    }

    #[test]
    fn a_header_that_understates_the_length_does_not_give_more_than_all() {
        assert_eq!(share(&input(20.0, Some(10.0)), (0..20).map(f64::from), NONE), 1.0);
    }
}
