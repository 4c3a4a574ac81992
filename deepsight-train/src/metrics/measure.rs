//! Computation of all metrics in one pass over the sorted scores, so that a thousand resamples need a thousand passes
//! and no sorting.

use super::{CALIBRATION_BINS, Confusion, Metric, Metrics};

/// One face, or one video.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Score {
    pub(super) probability: f64,
    pub(super) fake: bool,
    /// Index in `Scores::videos`.
    pub(super) video: usize,
}

/// Computes all metrics. `items` are in descending order, and each counts `times(video)` times.
pub(super) fn measure(items: &[Score], threshold: f64, times: impl Fn(usize) -> u64) -> Metrics {
    let mut confusion = Confusion::default();
    let mut sums = ProbabilitySums::default();
    for item in items {
        let times = times(item.video);
        let called_fake = item.probability >= threshold;
        *match (item.fake, called_fake) {
            (false, false) => &mut confusion.real_as_real,
            (false, true) => &mut confusion.real_as_fake,
            (true, false) => &mut confusion.fake_as_real,
            (true, true) => &mut confusion.fake_as_fake,
        } += times;
        sums.add(item, times as f64);
    }
    let mut metrics = Metrics { threshold, confusion, values: Default::default() };
    metrics.decisions();
    metrics.probabilities(&sums);
    metrics.ranking(items, times);
    metrics
}

impl Metrics {
    fn set(&mut self, metric: Metric, value: Option<f64>) {
        self.values[metric as usize] = value.filter(|value| value.is_finite());
    }

    fn decisions(&mut self) {
        let counts = self.confusion;
        let [real_as_real, real_as_fake, fake_as_real, fake_as_fake] =
            [counts.real_as_real, counts.real_as_fake, counts.fake_as_real, counts.fake_as_fake].map(|n| n as f64);
        // A value of 0 / 0 is not defined, and `set` drops it because it is not finite.
        let share = |part: f64, rest: f64| Some(part / (part + rest));
        let f1 = |hits: f64, misses: f64| Some(2.0 * hits / (2.0 * hits + misses));
        let (real_recall, fake_recall) = (share(real_as_real, real_as_fake), share(fake_as_fake, fake_as_real));
        self.set(Metric::Accuracy, share(real_as_real + fake_as_fake, real_as_fake + fake_as_real));
        self.set(Metric::BalancedAccuracy, real_recall.zip(fake_recall).map(|(real, fake)| (real + fake) / 2.0));
        self.set(Metric::FalsePositiveRate, share(real_as_fake, real_as_real));
        self.set(Metric::RealPrecision, share(real_as_real, fake_as_real));
        self.set(Metric::RealRecall, real_recall);
        self.set(Metric::RealF1, f1(real_as_real, real_as_fake + fake_as_real));
        self.set(Metric::FakePrecision, share(fake_as_fake, real_as_fake));
        self.set(Metric::FakeRecall, fake_recall);
        self.set(Metric::FakeF1, f1(fake_as_fake, real_as_fake + fake_as_real));
    }

    fn probabilities(&mut self, sums: &ProbabilitySums) {
        let off: f64 = sums.bins.iter().map(|(_, probability, fakes)| (probability - fakes).abs()).sum();
        self.set(Metric::LogLoss, Some(sums.loss / sums.weight));
        self.set(Metric::Brier, Some(sums.squared / sums.weight));
        self.set(Metric::ExpectedCalibrationError, Some(off / sums.weight));
    }

    fn ranking(&mut self, items: &[Score], times: impl Fn(usize) -> u64) {
        let (reals, fakes) = (self.confusion.reals() as f64, self.confusion.fakes() as f64);
        if reals == 0.0 || fakes == 0.0 {
            return;
        }
        let (mut false_positives, mut true_positives) = (0.0, 0.0);
        let (mut area, mut precision_sum, mut equal_error) = (0.0, 0.0, None);
        let (mut at_one_percent, mut at_one_per_mille): (f64, f64) = (0.0, 0.0);
        // No threshold separates equal scores, so they are processed together.
        for tied in items.chunk_by(|a, b| a.probability == b.probability) {
            let counted =
                |fake| tied.iter().filter(|item| item.fake == fake).map(|item| times(item.video)).sum::<u64>();
            let (more_false, more_true) = (counted(false) as f64, counted(true) as f64);
            if more_false + more_true == 0.0 {
                continue;
            }
            let before = (false_positives / reals, 1.0 - true_positives / fakes);
            area += more_false * (true_positives + more_true / 2.0);
            false_positives += more_false;
            true_positives += more_true;
            precision_sum += more_true * true_positives / (true_positives + false_positives);
            let rates = (false_positives / reals, 1.0 - true_positives / fakes);
            if equal_error.is_none() && rates.0 >= rates.1 {
                equal_error = Some(crossing(before, rates));
            }
            let recall = true_positives / fakes;
            // Compares counts, because 0.01 is not exact in binary.
            if 100.0 * false_positives <= reals {
                at_one_percent = recall;
            }
            if 1000.0 * false_positives <= reals {
                at_one_per_mille = recall;
            }
        }
        self.set(Metric::Auc, Some(area / (reals * fakes)));
        self.set(Metric::AveragePrecision, Some(precision_sum / fakes));
        self.set(Metric::EqualErrorRate, equal_error);
        self.set(Metric::TprAtOnePercent, Some(at_one_percent));
        self.set(Metric::TprAtOnePerMille, Some(at_one_per_mille));
    }
}

/// Returns where the line from one pair of rates to the next has equal rates. The first rate rises from below the
/// second.
fn crossing(before: (f64, f64), after: (f64, f64)) -> f64 {
    let (gap_before, gap_after) = (before.1 - before.0, after.0 - after.1);
    let share = gap_before / (gap_before + gap_after);
    before.0 + share * (after.0 - before.0)
}

/// Sums for the metrics of the probabilities themselves.
#[derive(Default)]
struct ProbabilitySums {
    weight: f64,
    loss: f64,
    squared: f64,
    /// Sum of weights, of probabilities and of fakes in each bin.
    bins: [(f64, f64, f64); CALIBRATION_BINS],
}

impl ProbabilitySums {
    fn add(&mut self, item: &Score, times: f64) {
        let truth = f64::from(item.fake);
        // Clamped as in scikit-learn, so that one confident mistake does not make the loss infinite.
        let kept = item.probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        self.weight += times;
        self.loss -= times * if item.fake { kept.ln() } else { (1.0 - kept).ln() };
        self.squared += times * (item.probability - truth).powi(2);
        let bin = &mut self.bins[calibration_bin(item.probability)];
        bin.0 += times;
        bin.1 += times * item.probability;
        bin.2 += times * truth;
    }
}

/// Returns the bin of a probability. A bin includes its lower end, and the last bin includes 1.
pub(super) fn calibration_bin(probability: f64) -> usize {
    ((probability * CALIBRATION_BINS as f64) as usize).min(CALIBRATION_BINS - 1)
}
