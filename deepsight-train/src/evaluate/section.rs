use serde::{Serialize, Serializer};

use crate::Label;
use crate::metrics::{Bootstrap, Confusion, Metric, Metrics, PrecisionRecallCurve, ReliabilityBin, RocCurve, Scores};
use crate::plot::Figure;

/// Number of bins of the histogram.
const HISTOGRAM_BINS: usize = 20;

/// One metric's value and its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MeasuredValue {
    /// The metric.
    #[serde(rename = "metric", serialize_with = "name")]
    pub metric: Metric,
    /// Its value; `None` where it is not defined.
    pub value: Option<f64>,
    /// Lower and upper end of its interval; `None` where it has none.
    pub interval: Option<[f64; 2]>,
}

fn name<S: Serializer>(metric: &Metric, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(metric.name())
}

/// Measurements of one kind of item: faces, videos or clips.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Section {
    /// The kind, such as `videos`.
    pub name: String,
    /// Number of real ones.
    pub reals: usize,
    /// Number of fake ones.
    pub fakes: usize,
    /// Fake probability from which one is called fake.
    pub threshold: f64,
    /// All of [`Metric::ALL`], in that order.
    pub metrics: Vec<MeasuredValue>,
    /// Counts by class and decision.
    pub confusion: Confusion,
    /// ROC curve; `None` when there is only one class.
    pub roc: Option<RocCurve>,
    /// Precision-recall curve; `None` when there is only one class.
    pub precision_recall: Option<PrecisionRecallCurve>,
    /// Mean probability and share of fakes by bin of probability.
    pub reliability: Vec<ReliabilityBin>,
    /// Number of reals and fakes in twenty equal parts of `0..=1`.
    pub histogram: Vec<[u64; 2]>,
    /// The scores that were measured. Not part of the JSON.
    #[serde(skip)]
    pub scores: Scores,
}

impl Section {
    /// Computes metrics, intervals and curves of scores.
    pub fn new(name: impl Into<String>, scores: Scores, threshold: f64, bootstrap: Bootstrap) -> Self {
        let (metrics, intervals) = (scores.metrics(threshold), scores.intervals(threshold, bootstrap));
        let measured = |(metric, value)| MeasuredValue {
            metric,
            value,
            interval: intervals.get(metric).filter(|_| value.is_some()),
        };
        Self {
            name: name.into(),
            reals: scores.count(Label::Real),
            fakes: scores.count(Label::Fake),
            threshold,
            metrics: metrics.iter().map(measured).collect(),
            confusion: metrics.confusion,
            roc: scores.roc_curve(),
            precision_recall: scores.precision_recall_curve(),
            reliability: scores.reliability(),
            histogram: scores.histogram(HISTOGRAM_BINS),
            scores,
        }
    }

    /// Returns one of the metrics.
    pub fn get(&self, metric: Metric) -> MeasuredValue {
        self.metrics[metric as usize]
    }

    /// Returns the metrics without intervals.
    pub fn plain(&self) -> Metrics {
        self.scores.metrics(self.threshold)
    }

    /// Returns its figures. Curves are included only where there are two classes.
    pub fn figures(&self) -> Vec<Figure<'_>> {
        let (name, scores, threshold) = (self.name.as_str(), &self.scores, self.threshold);
        let mut figures = vec![Figure::Confusion { name, counts: self.confusion }];
        if self.roc.is_some() {
            figures.push(Figure::Roc { series: vec![(name, scores)], threshold });
            figures.push(Figure::PrecisionRecall { series: vec![(name, scores)], threshold });
        }
        figures.push(Figure::Reliability { name, scores });
        figures.push(Figure::Histogram { name, scores, threshold });
        figures
    }
}
