use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::measure::measure;
use super::{Metric, Metrics, Scores};
use crate::Label;

/// Settings of bootstrap intervals (Efron, 1979). Videos are drawn with replacement, reals from reals and fakes from
/// fakes. Faces are not drawn one by one, because the faces of a video are alike and the intervals would be too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Bootstrap {
    /// Number of draws; 0 for no intervals.
    pub replicates: u32,
    /// Seed of the draws. The same seed gives the same intervals on any number of threads.
    pub seed: u64,
    /// Share of the replicates that an interval holds, `0..1`.
    pub level: f64,
}

impl Default for Bootstrap {
    /// Returns a thousand draws with seed 0, and intervals of 95 %.
    fn default() -> Self {
        Self { replicates: 1000, seed: 0, level: 0.95 }
    }
}

impl Bootstrap {
    /// Returns the same settings with another number of draws.
    #[must_use]
    pub fn with_replicates(self, replicates: u32) -> Self {
        Self { replicates, ..self }
    }

    /// Returns the same settings with another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

/// Confidence intervals of every [`Metric`].
#[derive(Debug, Clone, PartialEq)]
pub struct Intervals {
    values: [Option<[f64; 2]>; Metric::ALL.len()],
}

impl Intervals {
    /// Returns the interval's lower and upper end. Returns `None` where the metric is not defined in every draw, or a
    /// class has fewer than two videos to draw from.
    pub fn get(&self, metric: Metric) -> Option<[f64; 2]> {
        self.values[metric as usize]
    }
}

impl Intervals {
    /// Returns the intervals that hold the share `level` of the replicates.
    pub(crate) fn of(replicates: &[Metrics], level: f64) -> Self {
        let interval = |metric| {
            let values: Option<Vec<f64>> = replicates.iter().map(|drawn| drawn.get(metric)).collect();
            Self::percentiles(values?, level)
        };
        Self { values: Metric::ALL.map(interval) }
    }

    /// Returns the interval that holds the middle share `level` of values, as numpy's `percentile` computes it; `None`
    /// for no values.
    pub(crate) fn percentiles(mut values: Vec<f64>, level: f64) -> Option<[f64; 2]> {
        if values.is_empty() {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let outside = (1.0 - level) / 2.0;
        Some([percentile(&values, outside), percentile(&values, 1.0 - outside)])
    }
}

impl Scores {
    /// Returns the intervals of [`metrics`](Self::metrics) at the same threshold: percentiles of the replicates, as
    /// numpy's `percentile` computes them.
    pub fn intervals(&self, threshold: f64, bootstrap: Bootstrap) -> Intervals {
        Intervals::of(&self.replicates(threshold, bootstrap), bootstrap.level)
    }

    /// Returns the metrics of each draw of videos. Returns no draws where a class has a single video.
    pub(crate) fn replicates(&self, threshold: f64, bootstrap: Bootstrap) -> Vec<Metrics> {
        let of = |label| (0..self.videos.len()).filter(|&video| self.videos[video] == label).collect::<Vec<_>>();
        let classes = [of(Label::Real), of(Label::Fake)];
        let too_few = classes.iter().any(|videos| videos.len() == 1) || classes.iter().all(Vec::is_empty);
        if too_few {
            return Vec::new();
        }
        let replicates = (0..bootstrap.replicates).into_par_iter();
        replicates
            .map(|replicate| {
                let times = draw(&classes, self.videos.len(), bootstrap.seed, replicate);
                measure(&self.items, threshold, |video| times[video])
            })
            .collect()
    }
}

/// Returns how often each video is drawn in one replicate.
fn draw(classes: &[Vec<usize>; 2], videos: usize, seed: u64, replicate: u32) -> Vec<u64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(replicate.into());
    let mut times = vec![0; videos];
    for class in classes {
        for _ in class {
            times[class[random.random_range(0..class.len())]] += 1;
        }
    }
    times
}

/// Returns a percentile of sorted values, with linear interpolation between neighbors.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + place.fract() * (above - below)
}
