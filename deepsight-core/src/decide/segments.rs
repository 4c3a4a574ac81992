//! The moments of a long track, which are judged beside the whole track.

use serde::{Deserialize, Serialize};

use super::people::People;
use super::{Findings, has_enough_weight, total};
use crate::aggregate::{Weighed, weighed_mean};
use crate::reliability::logit;
use crate::{Aggregation, AnalyzerConfig, Error, Reliability};

/// Largest number of segments of one track that a report lists.
const MAX_SEGMENTS: usize = 20;

/// Settings by which moments of a long track are judged, so that a few seconds of forgery are not averaged away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SegmentConfig {
    /// Length of a moment in seconds, more than 0; 4 by default. Where the frames are so far apart that fewer than
    /// [`min_track_faces`](AnalyzerConfig::min_track_faces) faces lie within it, a moment is that many faces, however
    /// long they take.
    pub seconds: f64,
    /// Number of moments from which a track is judged by moments too, at least 2; 4 by default. A shorter track is
    /// judged as a whole only.
    pub min_moments: usize,
    /// Spread of a real person's moments around the rest of the same shot: the scale of a logistic distribution of
    /// log-odds, more than 0; 0.5 by default. The moments of 33 real videos of Celeb-DF v2 that the bundled model was
    /// not trained on spread by 0.45 to 0.5 in the upper tail.
    pub spread: f64,
}

impl Default for SegmentConfig {
    fn default() -> Self {
        Self { seconds: 4.0, min_moments: 4, spread: 0.5 }
    }
}

impl SegmentConfig {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        Error::check("segments.seconds", self.seconds, positive(self.seconds), "must be finite seconds above 0")?;
        Error::check("segments.min_moments", self.min_moments, self.min_moments >= 2, "must be at least 2")?;
        Error::check("segments.spread", self.spread, positive(self.spread), "must be finite log-odds above 0")
    }
}

/// A part of a long track: its most suspicious moment, and each further one whose probability reaches the threshold. A
/// segment reaches over all neighboring faces that are as suspicious, so it may be longer than a moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Segment {
    /// The track.
    pub track: usize,
    /// Time of its first face in seconds.
    pub start: f64,
    /// Time of its last face in seconds.
    pub end: f64,
    /// Scored faces in it.
    pub faces: usize,
    /// Mean probability of its faces, weighed as that of the track.
    pub fake_probability: f32,
}

/// A segment, and the probability that it is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judged {
    pub(super) segment: Segment,
    /// Mean probability of the faces of the same shot of the same track that are not in the segment; `None` if they are
    /// too few.
    pub(super) rest: Option<f32>,
}

/// A scored face of a track with its weight.
#[derive(Debug, Clone, Copy)]
struct Moment {
    time: f64,
    shot: u32,
    face: Weighed,
}

/// The segment that is the best evidence of a forgery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Best {
    pub(super) segment: Segment,
    /// Whether the verdict may rest on it.
    pub(super) decides: bool,
    /// The probability from which it would decide if each moment were another person.
    pub(super) corrected: f32,
}

/// The segments of a clip.
#[derive(Debug, Clone, Default)]
pub(super) struct Segments {
    /// Segments by track and time.
    pub(super) found: Vec<Judged>,
    /// Number of separate moments of all tracks that are judged, where a short track counts once. With each of them, a
    /// real clip has one more chance to look forged.
    pub(super) moments: usize,
}

impl Segments {
    /// Divides the tracks of people who can be judged into moments. Returns none if faces decide instead of tracks.
    pub(super) fn of(
        findings: &Findings,
        people: &People,
        config: &AnalyzerConfig,
        suspicious: f32,
        reliability: Option<&Reliability>,
    ) -> Self {
        let mut segments = Self { moments: findings.forgotten_moments, ..Self::default() };
        if config.aggregation != Aggregation::WorstTrack || people.nobody_is_sure {
            return segments;
        }
        for track in (0..people.judged.len()).filter(|&track| people.is_able(track, config)) {
            let faces = findings.moments(track, reliability);
            let windows = windows(&faces, config);
            let separate = separate(&windows);
            if separate < config.segments.min_moments.max(2) {
                segments.moments += 1;
                continue;
            }
            segments.moments += separate;
            segments.found.extend(in_track(track, &faces, &windows, config, suspicious));
        }
        segments
    }

    /// Returns the segment that is the best evidence of a forgery. It decides if a real clip reaches it by chance no
    /// more often than a single real person reaches the probability `alone`. `people` is the number of people who can
    /// be judged.
    ///
    /// A segment decides in one of two ways. Its probability reaches the limit for the most suspicious of all moments,
    /// as if each moment were another person. Or it reaches the limit for the most suspicious of the people, and it is
    /// further above the rest of the same shot than moments of real people are, by [`SegmentConfig::spread`].
    pub(super) fn best(
        &self,
        people: usize,
        alone: f32,
        config: &AnalyzerConfig,
        reliability: Option<&Reliability>,
    ) -> Option<Best> {
        let corrected =
            reliability.map_or(1.0, |reliability| reliability.uncapped_threshold_among(self.moments, alone));
        let decides = |judged: &Judged| {
            let Some(reliability) = reliability.filter(|reliability| reliability.has_false_alarms()) else {
                return false;
            };
            let probability = judged.segment.fake_probability;
            let stands_out = judged.rest.is_some_and(|rest| {
                let allowed = reliability.allowed_among(self.moments, alone);
                log_odds(probability) - log_odds(rest) >= config.segments.spread * ((1.0 - allowed) / allowed).ln()
            });
            probability >= corrected || (probability >= reliability.threshold_among(people, alone) && stands_out)
        };
        let mut best: Option<(Judged, bool)> = None;
        for judged in &self.found {
            let rank = |&(judged, decides): &(Judged, bool)| (decides, judged.segment.fake_probability);
            let candidate = (*judged, decides(judged));
            // Of two that are equal, the earlier one is kept.
            if best.as_ref().is_none_or(|best| rank(best) < rank(&candidate)) {
                best = Some(candidate);
            }
        }
        best.map(|(judged, decides)| Best { segment: judged.segment, decides, corrected })
    }
}

impl Findings {
    /// Returns all scored faces of a track in order of time, with their weights.
    fn moments(&self, track: usize, reliability: Option<&Reliability>) -> Vec<Moment> {
        let seen = self.seen.get(track).into_iter().flatten();
        let moment = |seen: &super::Seen| Moment {
            time: seen.time,
            shot: seen.shot,
            face: Weighed { probability: seen.probability, weight: seen.weight(reliability) },
        };
        seen.map(moment).collect()
    }

    /// Returns the times, in rising order, at which a closer look may tell a few seconds of forgery from a few odd
    /// faces: two per second around the highest faces from the probability `suspicious` on, at most `max_frames` of
    /// them. There are none if the frames are not further apart.
    pub(crate) fn closer_times(
        &self,
        config: &AnalyzerConfig,
        suspicious: f32,
        reliability: Option<&Reliability>,
        max_frames: usize,
    ) -> Vec<f64> {
        /// Frames per second of a closer look.
        const RATE: f64 = 2.0;
        if self.coverage.interval.is_none_or(|interval| interval < 1.5 / RATE) {
            return Vec::new();
        }
        let is_odd = |seen: &&super::Seen| seen.probability >= suspicious && seen.weight(reliability) > 0.0;
        let mut peaks: Vec<(f64, f32)> =
            self.seen.iter().flatten().filter(is_odd).map(|seen| (seen.time, seen.probability)).collect();
        peaks.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.total_cmp(&b.0)));
        let around = config.segments.seconds;
        let mut times = std::collections::BTreeSet::new();
        let mut looked_at: Vec<f64> = Vec::new();
        for (peak, _) in peaks {
            if looked_at.iter().any(|time| (time - peak).abs() < around) {
                continue;
            }
            looked_at.push(peak);
            let (from, to) = ((peak - around).max(0.0).max(self.first_time), (peak + around).min(self.last_time));
            let (from, to) = ((from * RATE).ceil() as i64, (to * RATE).floor() as i64);
            for time in from..=to {
                if times.len() == max_frames {
                    return times.into_iter().map(|time| time as f64 / RATE).collect();
                }
                times.insert(time);
            }
        }
        times.into_iter().map(|time| time as f64 / RATE).collect()
    }
}

/// Returns the runs of consecutive faces (first and last index) that are one moment long.
fn windows(faces: &[Moment], config: &AnalyzerConfig) -> Vec<(usize, usize)> {
    let needed = config.min_track_faces.max(1);
    let mut windows = Vec::new();
    let mut last = 0;
    for first in 0..faces.len() {
        last = last.max(first);
        while last + 1 < faces.len() && faces[last + 1].time < faces[first].time + config.segments.seconds {
            last += 1;
        }
        let end = last.max(first + needed - 1);
        if end >= faces.len() {
            break;
        }
        windows.push((first, end));
        // Those that begin later would be shorter than a moment.
        if end + 1 == faces.len() {
            break;
        }
    }
    windows
}

/// Returns the number of windows that do not overlap.
fn separate(windows: &[(usize, usize)]) -> usize {
    let mut free = 0;
    let mut count = 0;
    for &(first, last) in windows {
        if first >= free {
            (count, free) = (count + 1, last + 1);
        }
    }
    count
}

/// The first and the last face of a window, and its probability.
type ScoredWindow = ((usize, usize), f32);

fn in_track(
    track: usize,
    faces: &[Moment],
    windows: &[(usize, usize)],
    config: &AnalyzerConfig,
    suspicious: f32,
) -> Vec<Judged> {
    let mean = |first: usize, last: usize| {
        let run: Vec<Weighed> = faces[first..=last].iter().map(|moment| moment.face).collect();
        has_enough_weight(total(&run), run.len(), config.min_track_faces).then(|| weighed_mean(&run))
    };
    let scored: Vec<ScoredWindow> =
        windows.iter().filter_map(|&(first, last)| Some(((first, last), mean(first, last)?))).collect();
    // The best window of each group of overlapping windows that are suspicious.
    let mut groups: Vec<(usize, ScoredWindow)> = Vec::new();
    for &(window, probability) in scored.iter().filter(|(_, probability)| *probability >= suspicious) {
        match groups.last_mut() {
            Some((end, best)) if window.0 <= *end => {
                *end = window.1;
                if probability > best.1 {
                    *best = (window, probability);
                }
            }
            _ => groups.push((window.1, (window, probability))),
        }
    }
    let mut best: Vec<ScoredWindow> = groups.into_iter().map(|(_, best)| best).collect();
    if best.is_empty() {
        best.extend(scored.into_iter().reduce(|a, b| if b.1 > a.1 { b } else { a }));
    }
    best.sort_by(|a, b| b.1.total_cmp(&a.1));
    best.truncate(MAX_SEGMENTS);
    best.sort_by_key(|(window, _)| *window);
    let judged = best.into_iter().map(|((first, last), probability)| {
        let (first, last, probability) = grown(faces, (first, last), probability, suspicious, &mean);
        let shot = faces[first].shot;
        let one_shot = faces[first..=last].iter().all(|moment| moment.shot == shot);
        let outside = faces.iter().enumerate().filter(|&(face, _)| face < first || face > last);
        let rest: Vec<Weighed> =
            outside.filter(|(_, moment)| moment.shot == shot).map(|(_, moment)| moment.face).collect();
        // The rest must have more faces than the segment.
        let enough = one_shot
            && rest.len() > last - first
            && has_enough_weight(total(&rest), rest.len(), config.min_track_faces);
        let (start, end) = (faces[first].time, faces[last].time);
        let segment = Segment { track, start, end, faces: last + 1 - first, fake_probability: probability };
        Judged { segment, rest: enough.then(|| weighed_mean(&rest)) }
    });
    judged.collect()
}

/// Extends a run over the faces beside it that are as suspicious, so that a segment reaches from where the suspicion
/// begins to where it ends.
fn grown(
    faces: &[Moment],
    (mut first, mut last): (usize, usize),
    probability: f32,
    suspicious: f32,
    mean: &impl Fn(usize, usize) -> Option<f32>,
) -> (usize, usize, f32) {
    let level = suspicious.max(0.75 * probability);
    let is_alike = |moment: &Moment| moment.face.weight > 0.0 && moment.face.probability >= level;
    while first > 0 && is_alike(&faces[first - 1]) {
        first -= 1;
    }
    while last + 1 < faces.len() && is_alike(&faces[last + 1]) {
        last += 1;
    }
    (first, last, mean(first, last).unwrap_or(probability))
}

/// Returns the log-odds of a probability, which is clamped so that they are finite.
fn log_odds(probability: f32) -> f64 {
    logit(f64::from(probability).clamp(1e-4, 1.0 - 1e-4))
}
