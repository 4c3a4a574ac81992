use serde::{Deserialize, Serialize};

use super::measure::calibration_bin;
use super::{CALIBRATION_BINS, Scores};
use crate::Label;

/// Receiver operating characteristic (ROC), as scikit-learn's `roc_curve` returns it: one point for each threshold that
/// is a corner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RocCurve {
    /// Share of reals called fake, ascending from 0 to 1.
    pub false_positive_rate: Vec<f64>,
    /// Share of fakes called fake, ascending from 0 to 1.
    pub true_positive_rate: Vec<f64>,
    /// Fake probability from which a score is called fake, descending. The first one is 2, where scikit-learn has
    /// infinity: it is above any probability, and JSON can represent it.
    pub thresholds: Vec<f64>,
}

/// Precision against recall, as scikit-learn's `precision_recall_curve` returns it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrecisionRecallCurve {
    /// Share of those called fake that are fake. The last point is 1, and has no threshold.
    pub precision: Vec<f64>,
    /// Share of fakes called fake, descending from 1 to 0.
    pub recall: Vec<f64>,
    /// Fake probability from which a score is called fake, ascending. There is one threshold fewer than points.
    pub thresholds: Vec<f64>,
}

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Lower end of the bin. It ends where the next one begins.
    pub from: f64,
    /// Number of scores in the bin.
    pub count: usize,
    /// Mean of their probabilities; `None` in an empty bin.
    pub mean_probability: Option<f64>,
    /// Share of them that are fake; `None` in an empty bin.
    pub share_of_fakes: Option<f64>,
}

impl Scores {
    /// Returns the ROC curve without the points that lie on straight lines between others; `None` when there is only
    /// one class.
    pub fn roc_curve(&self) -> Option<RocCurve> {
        let (reals, fakes) = self.both_classes()?;
        let mut points = vec![(0, 0, 2.0)];
        points.extend(self.cumulated());
        let is_corner = |at: usize| {
            let [before, here, after] = [points[at - 1], points[at], points[at + 1]];
            // Uses second differences, as scikit-learn does, so only points between equally long steps are dropped.
            here.0 - before.0 != after.0 - here.0 || here.1 - before.1 != after.1 - here.1
        };
        let kept: Vec<_> = (0..points.len())
            // The point of the highest score is always kept, because the point before it has no score as its threshold.
            .filter(|&at| at < 2 || at + 1 == points.len() || is_corner(at))
            .map(|at| points[at])
            .collect();
        Some(RocCurve {
            false_positive_rate: kept.iter().map(|point| point.0 as f64 / reals as f64).collect(),
            true_positive_rate: kept.iter().map(|point| point.1 as f64 / fakes as f64).collect(),
            thresholds: kept.iter().map(|point| point.2).collect(),
        })
    }

    /// Returns precision against recall; `None` when there is only one class.
    pub fn precision_recall_curve(&self) -> Option<PrecisionRecallCurve> {
        let (_, fakes) = self.both_classes()?;
        let mut points = self.cumulated();
        points.reverse();
        let precision = points.iter().map(|(reals, fakes, _)| *fakes as f64 / (reals + fakes) as f64);
        let recall = points.iter().map(|point| point.1 as f64 / fakes as f64);
        Some(PrecisionRecallCurve {
            precision: precision.chain([1.0]).collect(),
            recall: recall.chain([0.0]).collect(),
            thresholds: points.iter().map(|point| point.2).collect(),
        })
    }

    /// Returns mean probability and share of fakes in [`CALIBRATION_BINS`] bins of probability.
    pub fn reliability(&self) -> Vec<ReliabilityBin> {
        let mut sums = [(0, 0.0, 0); CALIBRATION_BINS];
        for item in &self.items {
            let (count, sum, fakes) = &mut sums[calibration_bin(item.probability)];
            *count += 1;
            *sum += item.probability;
            *fakes += usize::from(item.fake);
        }
        let bin = |(place, (count, sum, fakes)): (usize, (usize, f64, usize))| ReliabilityBin {
            from: place as f64 / CALIBRATION_BINS as f64,
            count,
            mean_probability: (count > 0).then(|| sum / count as f64),
            share_of_fakes: (count > 0).then(|| fakes as f64 / count as f64),
        };
        sums.into_iter().enumerate().map(bin).collect()
    }

    /// Returns the number of reals and of fakes in each of `bins` equal parts of `0..=1`.
    pub fn histogram(&self, bins: usize) -> Vec<[u64; 2]> {
        let bins = bins.max(1);
        let mut counts = vec![[0; 2]; bins];
        for item in &self.items {
            counts[((item.probability * bins as f64) as usize).min(bins - 1)][usize::from(item.fake)] += 1;
        }
        counts
    }

    fn both_classes(&self) -> Option<(usize, usize)> {
        let counts = (self.count(Label::Real), self.count(Label::Fake));
        (counts.0 > 0 && counts.1 > 0).then_some(counts)
    }

    /// Returns the number of reals and of fakes with at least each score that occurs, from the highest score down.
    fn cumulated(&self) -> Vec<(i64, i64, f64)> {
        let (mut reals, mut fakes) = (0, 0);
        let mut point = |tied: &[super::measure::Score]| {
            let more = tied.iter().filter(|item| item.fake).count();
            fakes += more as i64;
            reals += (tied.len() - more) as i64;
            (reals, fakes, tied[0].probability)
        };
        self.items.chunk_by(|a, b| a.probability == b.probability).map(&mut point).collect()
    }
}
