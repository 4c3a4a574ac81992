use crate::VideoError;

/// The choice of frames of a video to decode.
///
/// ```
/// use deepsight_video::Sampling;
/// let sampling = Sampling::fps(2.0).with_max_frames(100);
/// assert_ne!(sampling, Sampling::fps(2.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    kind: Kind,
    max_frames: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Evenly(u64),
    Fps(f64),
    Every(u64),
    All,
}

impl Sampling {
    /// Selects `count` frames spread over the whole video, including the first and the last: those at
    /// `numpy.linspace(0, total - 1, min(count, total), dtype=int)` in order of presentation.
    pub fn evenly(count: u64) -> Self {
        Self { kind: Kind::Evenly(count), max_frames: None }
    }

    /// Selects the first frame of every 1 / `rate` seconds of presentation time. No frame is selected twice, so a video
    /// with fewer than `rate` frames per second gives each of its frames once.
    pub fn fps(rate: f64) -> Self {
        Self { kind: Kind::Fps(rate), max_frames: None }
    }

    /// Selects every `step`-th frame: 0, `step`, 2 `step`, ...
    pub fn every(step: u64) -> Self {
        Self { kind: Kind::Every(step), max_frames: None }
    }

    /// Selects every frame.
    pub fn all() -> Self {
        Self { kind: Kind::All, max_frames: None }
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

/// A [`Sampling`] resolved for one video. The frames are selected twice: ffmpeg selects pictures by [`Plan::filter`]
/// and prints the times of all frames, and [`Plan::picker`] selects the times that belong to the pictures. Both do the
/// same arithmetic on the same doubles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Plan {
    /// `count` frames, `step` apart, the last at `last`.
    Evenly { count: u64, step: f64, last: u64 },
    /// The first frame in each bucket `floor(microseconds × per_microsecond + tolerance)`.
    Buckets { per_microsecond: f64, tolerance: f64 },
    /// Every frame whose index is a multiple of this step.
    Every(u64),
}

impl Plan {
    /// Resolves `sampling` for a video of `total` frames. `tick` is the resolution of the video's clock in seconds.
    pub(crate) fn new(sampling: Sampling, total: u64, tick: f64) -> Result<Self, VideoError> {
        let invalid = |reason: &str| Err(VideoError::InvalidSampling { reason: reason.into() });
        if sampling.max_frames == Some(0) {
            return invalid("a cap of 0 frames leaves none");
        }
        Ok(match sampling.kind {
            Kind::Evenly(0) => return invalid("0 frames were asked for"),
            Kind::Evenly(count) => {
                let count = count.min(sampling.cap()).min(total.max(1));
                let last = total.saturating_sub(1);
                // The quotient is computed as in numpy, because its rounding decides which frames are selected.
                let step = if count > 1 { last as f64 / (count - 1) as f64 } else { 0.0 };
                Plan::Evenly { count, step, last: if count > 1 { last } else { 0 } }
            }
            Kind::Fps(rate) if !(rate.is_finite() && rate > 0.0) => {
                return Err(VideoError::InvalidSampling { reason: format!("{rate} frames per second were asked for") });
            }
            Kind::Fps(rate) => {
                // On a millisecond clock, frame 10 at 30 frames per second is at 0.333 s. Without the tick it would
                // fall into the bucket of frame 9 and be lost.
                let tolerance = ((tick + 1e-6) * rate).min(0.1);
                Plan::Buckets { per_microsecond: rate * 1e-6, tolerance }
            }
            Kind::Every(0) => return invalid("every 0th frame was asked for"),
            Kind::Every(step) => Plan::Every(step),
            Kind::All => Plan::Every(1),
        })
    }

    /// Returns the number of frames to expect from a video of `total` frames and `duration` seconds. It is exact except
    /// for buckets.
    pub(crate) fn expected(&self, total: u64, duration: f64) -> u64 {
        match *self {
            Plan::Evenly { count, .. } => count.min(total),
            Plan::Buckets { per_microsecond, .. } => {
                ((duration * 1e6 * per_microsecond).ceil() as u64).clamp(1, total.max(1))
            }
            Plan::Every(step) => total.div_ceil(step),
        }
    }

    /// Returns the argument of ffmpeg's `select` filter, for times in microseconds. It does not grow with the number of
    /// selected frames.
    pub(crate) fn filter(&self) -> String {
        match *self {
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
        }
    }

    pub(crate) fn picker(self) -> Picker {
        Picker { plan: self, state: 0.0, start: None }
    }
}

/// The state that decides for each frame in turn whether the filter selects it.
#[derive(Debug, Clone)]
pub(crate) struct Picker {
    plan: Plan,
    state: f64,
    start: Option<i64>,
}

impl Picker {
    /// Returns whether frame `index` is selected. `microseconds` is its presentation time, if it has one.
    pub(crate) fn picks(&mut self, index: u64, microseconds: Option<i64>) -> bool {
        match self.plan {
            Plan::Evenly { count, step, last } => {
                let next = if self.state == (count - 1) as f64 { last as f64 } else { (self.state * step).floor() };
                let picked = self.state < count as f64 && index as f64 == next;
                self.state += f64::from(u8::from(picked));
                picked
            }
            Plan::Buckets { per_microsecond, tolerance } => {
                let Some(time) = microseconds else { return false };
                let start = *self.start.get_or_insert(time);
                let bucket = ((time as f64 - start as f64) * per_microsecond + tolerance).floor();
                let picked = bucket >= self.state;
                if picked {
                    self.state = bucket + 1.0;
                }
                picked
            }
            Plan::Every(step) => index.is_multiple_of(step),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn picks(sampling: Sampling, times: impl IntoIterator<Item = i64>, total: u64, tick: f64) -> Vec<u64> {
        let mut picker = Plan::new(sampling, total, tick).unwrap().picker();
        (0..).zip(times).filter(|&(index, time)| picker.picks(index, Some(time))).map(|(index, _)| index).collect()
    }

    fn evenly(count: u64, total: u64) -> Vec<u64> {
        picks(Sampling::evenly(count), (0..total as i64).map(|n| n * 33_333), total, 0.0)
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
    fn frames_per_second_are_exact_on_a_coarse_clock() {
        let thirty = (0..90).map(|n| (f64::from(n) * 1000.0 / 30.0).round() as i64 * 1000);
        assert_eq!(picks(Sampling::fps(30.0), thirty.clone(), 90, 0.001).len(), 90);
        assert_eq!(picks(Sampling::fps(10.0), thirty, 90, 0.001), (0..90).step_by(3).collect::<Vec<_>>());
    }

    #[test]
    fn frames_per_second_never_repeat_a_frame() {
        assert_eq!(picks(Sampling::fps(1000.0), [0, 5_000_000, 5_100_000], 3, 0.001), [0, 1, 2]);
    }

    #[test]
    fn samplings_that_ask_for_nothing_are_refused() {
        let bad = [Sampling::evenly(0), Sampling::every(0), Sampling::fps(0.0), Sampling::all().with_max_frames(0)];
        for sampling in bad.into_iter().chain([-1.0, f64::NAN, f64::INFINITY].map(Sampling::fps)) {
            assert!(matches!(Plan::new(sampling, 9, 0.0), Err(VideoError::InvalidSampling { .. })), "{sampling:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn evenly_spaced_frames_reach_from_first_to_last(count in 1u64..400, total in 1u64..5000) {
            let picked = evenly(count, total);
            proptest::prop_assert_eq!(picked.len() as u64, count.min(total));
            proptest::prop_assert_eq!(picked[0], 0);
            if count > 1 {
                proptest::prop_assert_eq!(*picked.last().unwrap(), total - 1);
            }
            proptest::prop_assert_eq!(picked.len() as u64, Plan::new(Sampling::evenly(count), total, 0.0).unwrap().expected(total, 1.0));
        }
    }
}
