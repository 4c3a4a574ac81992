//! The measurements by source and, within a source, by forgery method.

use serde::{Serialize, Serializer};

use super::MeasuredValue;
use crate::metrics::grouped;
use crate::metrics::{Bootstrap, Confusion, Intervals, Metric, Metrics, Scores, by_source};
use crate::{Error, Label, Scored};

/// Measurements of the faces or of the videos of one group.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupMetrics {
    /// Number of real ones.
    pub reals: usize,
    /// Number of fake ones.
    pub fakes: usize,
    /// All of [`Metric::ALL`], in that order. In a group of one class only the class's own rates are measured:
    /// false-positive rate and recall for reals, recall for fakes. The other metrics have no value, because with one
    /// class they are not defined or not meaningful.
    pub metrics: Vec<MeasuredValue>,
    /// Counts by class and decision.
    pub confusion: Confusion,
    /// The bootstrap replicates that the intervals are computed from.
    #[serde(skip)]
    replicates: Vec<Metrics>,
}

/// One forgery method of a source: its fakes against all reals of the source.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MethodReport {
    /// The method's name.
    pub name: String,
    /// Measurements over videos.
    pub videos: GroupMetrics,
    /// Measurements over single faces.
    pub faces: GroupMetrics,
}

/// One source of faces.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SourceReport {
    /// The source's name.
    pub name: String,
    /// Measurements over videos.
    pub videos: GroupMetrics,
    /// Measurements over single faces.
    pub faces: GroupMetrics,
    /// The methods of its fakes, sorted by name; empty where no face names one.
    pub methods: Vec<MethodReport>,
}

/// A metric's mean over the sources that have it, all sources with the same weight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MeanValue {
    /// The metric.
    #[serde(serialize_with = "name")]
    pub metric: Metric,
    /// Number of sources with a value.
    pub sources: usize,
    /// The mean; `None` where no source has a value.
    pub value: Option<f64>,
    /// Lower and upper end of the mean's interval; `None` where a source with a value has no interval.
    pub interval: Option<[f64; 2]>,
}

/// Means over sources.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SourceMeans {
    /// All of [`Metric::ALL`] over videos.
    pub videos: Vec<MeanValue>,
    /// All of [`Metric::ALL`] over single faces.
    pub faces: Vec<MeanValue>,
}

fn name<S: Serializer>(metric: &Metric, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(metric.name())
}

impl GroupMetrics {
    fn new(scores: &Scores, threshold: f64, bootstrap: Bootstrap) -> Self {
        let metrics = scores.metrics(threshold);
        let only_class = scores.only_class();
        let is_measured = |metric| match only_class {
            None => true,
            Some(Label::Real) => matches!(metric, Metric::FalsePositiveRate | Metric::RealRecall),
            Some(Label::Fake) => metric == Metric::FakeRecall,
        };
        let replicates = scores.replicates(threshold, bootstrap);
        let intervals = Intervals::of(&replicates, bootstrap.level);
        let measured = |(metric, value): (Metric, Option<f64>)| {
            let value = value.filter(|_| is_measured(metric));
            MeasuredValue { metric, value, interval: intervals.get(metric).filter(|_| value.is_some()) }
        };
        Self {
            reals: scores.count(Label::Real),
            fakes: scores.count(Label::Fake),
            metrics: metrics.iter().map(measured).collect(),
            confusion: metrics.confusion,
            replicates,
        }
    }

    /// Returns one of the metrics.
    pub fn get(&self, metric: Metric) -> MeasuredValue {
        self.metrics[metric as usize]
    }
}

/// Measures the videos and the faces of one group.
fn group(faces: &[Scored], threshold: f64, bootstrap: Bootstrap) -> Result<[GroupMetrics; 2], Error> {
    let measured = |scores: Scores| GroupMetrics::new(&scores, threshold, bootstrap);
    Ok([measured(Scores::of_videos(faces)?), measured(Scores::of_faces(faces)?)])
}

/// Measures every source, in the order of occurrence, and its methods. The bootstrap of each source has a seed of its
/// own, so that the draws of different sources are independent.
pub(super) fn source_reports(
    faces: &[Scored],
    threshold: f64,
    bootstrap: Bootstrap,
) -> Result<Vec<SourceReport>, Error> {
    let report = |(place, (name, faces)): (usize, (&str, Vec<Scored>))| {
        let bootstrap = bootstrap.with_seed(bootstrap.seed.wrapping_add(place as u64));
        let [videos, all_faces] = group(&faces, threshold, bootstrap)?;
        let reals: Vec<Scored> = faces.iter().filter(|face| face.label == Label::Real).cloned().collect();
        let mut methods = Vec::new();
        for (method, mut fakes) in grouped(&faces, |face| face.method.as_deref()) {
            fakes.extend(reals.iter().cloned());
            let [videos, faces] = group(&fakes, threshold, bootstrap)?;
            methods.push(MethodReport { name: method.to_owned(), videos, faces });
        }
        methods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(SourceReport { name: name.to_owned(), videos, faces: all_faces, methods })
    };
    by_source(faces).into_iter().enumerate().map(report).collect()
}

impl SourceMeans {
    pub(super) fn of(sources: &[SourceReport], level: f64) -> Self {
        let videos: Vec<&GroupMetrics> = sources.iter().map(|source| &source.videos).collect();
        let faces: Vec<&GroupMetrics> = sources.iter().map(|source| &source.faces).collect();
        Self { videos: means(&videos, level), faces: means(&faces, level) }
    }
}

fn means(groups: &[&GroupMetrics], level: f64) -> Vec<MeanValue> {
    let of_metric = |metric: Metric| {
        let with_value: Vec<_> = groups.iter().filter(|group| group.get(metric).value.is_some()).collect();
        let count = with_value.len() as f64;
        let values: Option<Vec<f64>> = with_value.iter().map(|group| group.get(metric).value).collect();
        let mean_of = |draw: usize| {
            let drawn = with_value.iter().map(|group| group.replicates.get(draw)?.get(metric));
            Some(drawn.sum::<Option<f64>>()? / count)
        };
        let draws = with_value.iter().map(|group| group.replicates.len()).min().unwrap_or(0);
        let drawn: Option<Vec<f64>> = (0..draws).map(mean_of).collect();
        MeanValue {
            metric,
            sources: with_value.len(),
            value: values.filter(|values| !values.is_empty()).map(|values| values.iter().sum::<f64>() / count),
            interval: drawn.and_then(|drawn| Intervals::percentiles(drawn, level)),
        }
    };
    Metric::ALL.into_iter().map(of_metric).collect()
}

/// A row of the tables by source.
pub(super) struct GroupRow<'a> {
    pub(super) name: &'a str,
    /// Whether the row is a method of the source above it.
    pub(super) of_source: bool,
    /// Number of real and fake ones; `None` for means.
    pub(super) counts: Option<[usize; 2]>,
    /// Value and interval, by metric.
    values: Vec<(Option<f64>, Option<[f64; 2]>)>,
}

impl GroupRow<'_> {
    pub(super) fn value(&self, metric: Metric) -> Option<f64> {
        self.values[metric as usize].0
    }

    pub(super) fn interval(&self, metric: Metric) -> Option<[f64; 2]> {
        self.values[metric as usize].1
    }
}

/// Returns the tables: over videos, and over faces.
pub(super) fn tables<'a>(
    sources: &'a [SourceReport],
    means: Option<&'a SourceMeans>,
) -> [(&'static str, Vec<GroupRow<'a>>); 2] {
    fn row<'a>(name: &'a str, of_source: bool, group: &'a GroupMetrics) -> GroupRow<'a> {
        let values = group.metrics.iter().map(|measured| (measured.value, measured.interval)).collect();
        GroupRow { name, of_source, counts: Some([group.reals, group.fakes]), values }
    }
    let mean = |means: &'a [MeanValue]| GroupRow {
        name: "mean over sources",
        of_source: false,
        counts: None,
        values: means.iter().map(|mean| (mean.value, mean.interval)).collect(),
    };
    let (mut videos, mut faces) = (Vec::new(), Vec::new());
    for source in sources {
        videos.push(row(&source.name, false, &source.videos));
        faces.push(row(&source.name, false, &source.faces));
        for method in &source.methods {
            videos.push(row(&method.name, true, &method.videos));
            faces.push(row(&method.name, true, &method.faces));
        }
    }
    if let Some(means) = means {
        videos.push(mean(&means.videos));
        faces.push(mean(&means.faces));
    }
    [("videos", videos), ("faces", faces)]
}
