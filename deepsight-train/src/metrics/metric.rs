use std::fmt;

use serde::{Deserialize, Serialize};

/// A measure of scores against labels. Fake is the positive class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Metric {
    /// Area under the ROC curve: how often a fake scores higher than a real. Ties count half.
    Auc,
    /// Mean of the precision over the fakes, from the highest score down.
    AveragePrecision,
    /// Rate at which the false-positive and the false-negative rate are equal, with linear interpolation between the
    /// points of the ROC curve.
    EqualErrorRate,
    /// Highest true-positive rate that a threshold attains with a false-positive rate of at most 1 %.
    #[serde(rename = "tpr_at_fpr_0.01")]
    TprAtOnePercent,
    /// Highest true-positive rate that a threshold attains with a false-positive rate of at most 0.1 %.
    #[serde(rename = "tpr_at_fpr_0.001")]
    TprAtOnePerMille,
    /// Share of scores that are classified rightly.
    Accuracy,
    /// Mean of the two classes' recalls.
    BalancedAccuracy,
    /// Share of reals that are called fake.
    FalsePositiveRate,
    /// Share of those called real that are real.
    RealPrecision,
    /// Share of reals that are called real.
    RealRecall,
    /// Harmonic mean of precision and recall of reals.
    RealF1,
    /// Share of those called fake that are fake.
    FakePrecision,
    /// Share of fakes that are called fake.
    FakeRecall,
    /// Harmonic mean of precision and recall of fakes.
    FakeF1,
    /// Mean negative logarithm of the probability of the true class.
    LogLoss,
    /// Mean squared difference between the fake probability and the label, 1 for fake.
    Brier,
    /// Mean distance between probability and share of fakes in bins of probability
    /// ([`CALIBRATION_BINS`](crate::metrics::CALIBRATION_BINS)), weighted by the number of scores in each bin.
    ExpectedCalibrationError,
}

impl Metric {
    /// All metrics, in the order of reports.
    pub const ALL: [Self; 17] = [
        Self::Auc,
        Self::AveragePrecision,
        Self::EqualErrorRate,
        Self::TprAtOnePercent,
        Self::TprAtOnePerMille,
        Self::Accuracy,
        Self::BalancedAccuracy,
        Self::FalsePositiveRate,
        Self::RealPrecision,
        Self::RealRecall,
        Self::RealF1,
        Self::FakePrecision,
        Self::FakeRecall,
        Self::FakeF1,
        Self::LogLoss,
        Self::Brier,
        Self::ExpectedCalibrationError,
    ];

    /// Returns the name for readers.
    pub fn title(self) -> &'static str {
        match self {
            Self::Auc => "AUC",
            Self::AveragePrecision => "average precision",
            Self::EqualErrorRate => "equal error rate",
            Self::TprAtOnePercent => "TPR at 1 % FPR",
            Self::TprAtOnePerMille => "TPR at 0.1 % FPR",
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced accuracy",
            Self::FalsePositiveRate => "false-positive rate",
            Self::RealPrecision => "precision, real",
            Self::RealRecall => "recall, real",
            Self::RealF1 => "F1, real",
            Self::FakePrecision => "precision, fake",
            Self::FakeRecall => "recall, fake",
            Self::FakeF1 => "F1, fake",
            Self::LogLoss => "log loss",
            Self::Brier => "Brier score",
            Self::ExpectedCalibrationError => "calibration error",
        }
    }

    /// Returns the name in files, such as `tpr_at_fpr_0.01`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auc => "auc",
            Self::AveragePrecision => "average_precision",
            Self::EqualErrorRate => "equal_error_rate",
            Self::TprAtOnePercent => "tpr_at_fpr_0.01",
            Self::TprAtOnePerMille => "tpr_at_fpr_0.001",
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced_accuracy",
            Self::FalsePositiveRate => "false_positive_rate",
            Self::RealPrecision => "real_precision",
            Self::RealRecall => "real_recall",
            Self::RealF1 => "real_f1",
            Self::FakePrecision => "fake_precision",
            Self::FakeRecall => "fake_recall",
            Self::FakeF1 => "fake_f1",
            Self::LogLoss => "log_loss",
            Self::Brier => "brier",
            Self::ExpectedCalibrationError => "expected_calibration_error",
        }
    }

    /// Returns the condition under which the metric is defined.
    pub fn needs(self) -> &'static str {
        match self {
            Self::RealPrecision => "something must be called real",
            Self::FakePrecision => "something must be called fake",
            Self::FalsePositiveRate | Self::RealRecall => "it needs reals",
            Self::FakeRecall => "it needs fakes",
            Self::RealF1 => "something must be real or called so",
            Self::FakeF1 => "something must be fake or called so",
            Self::Accuracy | Self::LogLoss | Self::Brier | Self::ExpectedCalibrationError => "it needs scores",
            _ => "it needs reals and fakes",
        }
    }
}

/// Writes [`Metric::title`].
impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}

/// Counts by true class and decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confusion {
    /// Reals called real: true negatives.
    pub real_as_real: u64,
    /// Reals called fake: false positives.
    pub real_as_fake: u64,
    /// Fakes called real: false negatives.
    pub fake_as_real: u64,
    /// Fakes called fake: true positives.
    pub fake_as_fake: u64,
}

impl Confusion {
    /// Returns the number of reals.
    pub fn reals(&self) -> u64 {
        self.real_as_real + self.real_as_fake
    }

    /// Returns the number of fakes.
    pub fn fakes(&self) -> u64 {
        self.fake_as_real + self.fake_as_fake
    }

    /// Returns the number of all.
    pub fn total(&self) -> u64 {
        self.reals() + self.fakes()
    }
}

/// Every [`Metric`] of one set of scores at one threshold.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// Fake probability from which a score is called fake.
    pub threshold: f64,
    /// Counts by true class and decision.
    pub confusion: Confusion,
    pub(super) values: [Option<f64>; Metric::ALL.len()],
}

impl Metrics {
    /// Returns the value, or `None` where it is not defined: [`Metric::needs`] says why. A value that is not defined is
    /// never 0.
    ///
    /// Defined values agree with scikit-learn's. For precision without predictions, scikit-learn warns and returns 0.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.values[metric as usize]
    }

    /// Returns the metrics with their values, in the order of [`Metric::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Metric, Option<f64>)> {
        Metric::ALL.into_iter().zip(self.values)
    }
}
