//! Fitting of quality limits: faces are degraded step by step, measured and scored, to find the lowest quality at which
//! their scores are meaningful.

use deepsight_core::{CancelToken, Landmarks, QualityLimits};
use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;

use super::faces::{CHUNK, read};
use super::{Degradation, TestSet};
use crate::metrics::{Scores, by_source};
use crate::{Error, Label, Scored};

/// Number of bins of each measure of quality. All bins hold about equally many faces.
const BINS: usize = 12;
/// Least number of faces of a class that a source needs in a bin for its figures to count.
const LEAST_FACES: usize = 20;

/// A face at one level of degradation, with its measured quality and its score.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GradedFace {
    /// The face and its score.
    pub scored: Scored,
    /// The degradation; `None` for the undegraded face.
    pub level: Option<Degradation>,
    /// Its measured detail in pixels, light in `0..=1` and turn in degrees.
    pub measured: [f32; 3],
}

impl GradedFace {
    /// Creates a graded face from its score, its degradation and its measured detail, light and turn.
    pub fn new(scored: Scored, level: Option<Degradation>, measured: [f32; 3]) -> Self {
        Self { scored, level, measured }
    }
}

impl TestSet {
    /// Keeps at most `most` faces, evenly spread over the list, because [`grade`](Self::grade) scores each of them at
    /// every level.
    #[must_use]
    pub fn spread(mut self, most: usize) -> Self {
        let (all, most) = (self.faces.len(), most.max(1));
        if all > most {
            let mut place = 0;
            self.faces.retain(|_| {
                // Keeps a face whenever `place * most / all` steps to the next whole number.
                let kept = (place + 1) * most / all > place * most / all;
                place += 1;
                kept
            });
        }
        self
    }

    /// Measures and scores every face, undegraded and at every level of [`Degradation::LEVELS`]. `logits` and
    /// `temperature` are as for [`score`](Self::score). `measure` returns detail, light and turn of a picture with
    /// these landmarks.
    ///
    /// # Errors
    /// [`Error::UnknownLandmarks`] for a face without landmarks in the manifest, and the errors of `score`.
    pub fn grade(
        &self,
        logits: impl Fn(&[RgbImage]) -> Result<Vec<f64>, deepsight_core::Error>,
        measure: impl Fn(&RgbImage, &Landmarks) -> [f32; 3] + Sync,
        temperature: f64,
        cancel: &CancelToken,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<GradedFace>, Error> {
        if let Some(face) = self.faces.iter().find(|face| face.landmarks.is_none()) {
            return Err(Error::UnknownLandmarks { file: face.path.clone() });
        }
        let levels = || std::iter::once(None).chain(Degradation::LEVELS.into_iter().map(Some));
        let mut graded = Vec::new();
        for (place, faces) in self.faces.chunks(CHUNK).enumerate() {
            let pictures = faces.par_iter().map(|face| read(&face.path)).collect::<Result<Vec<_>, _>>()?;
            for level in levels() {
                if cancel.is_cancelled() {
                    return Err(deepsight_core::Error::Cancelled.into());
                }
                let degrade = |(face, picture): (&super::TestFace, &RgbImage)| {
                    let picture = level.map_or(Ok(picture.clone()), |level| level.apply(picture))?;
                    let measured = face.landmarks.map_or([0.0; 3], |landmarks| measure(&picture, &landmarks));
                    Ok((picture, measured))
                };
                let degraded = faces.par_iter().zip(&pictures).map(degrade).collect::<Result<Vec<_>, Error>>()?;
                let (pictures, measured): (Vec<RgbImage>, Vec<[f32; 3]>) = degraded.into_iter().unzip();
                let logits = logits(&pictures).map_err(|error| super::faces::at_face(error, faces))?;
                for ((face, logit), measured) in faces.iter().zip(logits).zip(measured) {
                    let scored = self.scored(face, logit, temperature);
                    graded.push(GradedFace { scored, level, measured });
                }
            }
            progress((place * CHUNK + faces.len()).min(self.faces.len()));
        }
        Ok(graded)
    }
}

/// The aim that faces must reach to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QualityAim {
    /// Least area under the ROC curve over faces, as the mean over sources; 0.75.
    pub auc: f64,
    /// Largest false-positive rate, as a multiple of that of undegraded faces, which is taken as at least 2.5 %, so
    /// that the bound is at least the 5 % that verdicts may have; 2.
    pub false_positives: f64,
    /// How much lower than that of undegraded faces the area under the ROC curve may be where a face still has full
    /// weight; 0.02.
    pub full_loss: f64,
}

impl Default for QualityAim {
    fn default() -> Self {
        Self { auc: 0.75, false_positives: 2.0, full_loss: 0.02 }
    }
}

/// Figures over faces of one source, or means over sources.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QualityFigures {
    /// The source; `None` for the mean over sources.
    pub source: Option<String>,
    /// Number of real faces.
    pub reals: usize,
    /// Number of fake faces.
    pub fakes: usize,
    /// Area under the ROC curve.
    pub auc: Option<f64>,
    /// Share of the real faces called fake at the model's threshold.
    pub false_positive_rate: Option<f64>,
    /// Mean fake probability of the real faces.
    pub mean_real: Option<f64>,
    /// Mean fake probability of the fake faces.
    pub mean_fake: Option<f64>,
}

/// All sources at one level of degradation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QualityLevel {
    /// The degradation, such as `32 pixels a side`.
    pub level: String,
    /// The sources, then their mean.
    pub figures: Vec<QualityFigures>,
}

/// The faces of all sources within a range of one measure of quality.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QualityBin {
    /// Lowest value in the bin.
    pub from: f64,
    /// Highest value in the bin.
    pub to: f64,
    /// Means over the sources that have enough faces of the class.
    pub figures: QualityFigures,
    /// Whether the bin's faces reach the aim.
    pub reached: bool,
}

/// The fitted limits of quality, and the figures that they are based on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QualityReport {
    /// The aim that faces must reach.
    pub aim: QualityAim,
    /// The model's threshold, from which a face counts as fake.
    pub threshold: f64,
    /// Largest false-positive rate that is within the aim.
    pub false_positive_bound: f64,
    /// Figures of undegraded faces, then of every level.
    pub levels: Vec<QualityLevel>,
    /// Bins by detail in pixels, over undegraded, shrunk and blurred faces.
    pub detail: Vec<QualityBin>,
    /// Bins by light, over undegraded and darkened faces.
    pub light: Vec<QualityBin>,
    /// Bins by turn in degrees, over undegraded faces.
    pub turn: Vec<QualityBin>,
    /// The limits. A measure whose best faces do not reach the aim has no limit.
    pub limits: QualityLimits,
    /// The measures that have no limit because their best faces do not reach the aim.
    pub not_reached: Vec<&'static str>,
}

/// Fits the limits of quality within which faces reach the aim.
///
/// The faces are sorted by a measure and divided into bins of about equally many faces. Starting at the best bin, the
/// limit is the far end of the last bin before the first one that does not reach the aim. No limit lies beyond the
/// measured range: where all bins reach the aim, the limit is the worst value of any face.
///
/// # Errors
/// [`Error::OneClass`] when the undegraded faces have one class only, and the errors of [`Scores::of_faces`].
pub fn fit_quality(faces: &[GradedFace], threshold: f64, aim: QualityAim) -> Result<QualityReport, Error> {
    let at_level = |level: Option<Degradation>| {
        faces.iter().filter(|face| face.level == level).map(|face| face.scored.clone()).collect::<Vec<_>>()
    };
    let plain = at_level(None);
    if let Some(label) = Scores::of_faces(&plain)?.only_class() {
        return Err(Error::OneClass { what: "a limit of quality", faces: plain.len(), label });
    }
    let mut levels = vec![QualityLevel { level: "as they are".into(), figures: by_each_source(&plain, threshold) }];
    for level in Degradation::LEVELS {
        let scored = at_level(Some(level));
        if !scored.is_empty() {
            levels.push(QualityLevel { level: level.to_string(), figures: by_each_source(&scored, threshold) });
        }
    }
    let undegraded = mean_over_sources(&plain, threshold, 1);
    let false_positive_bound = aim.false_positives * undegraded.false_positive_rate.unwrap_or(0.0).max(0.025);
    let reaches = |figures: &QualityFigures, auc: f64| {
        figures.auc.is_some_and(|value| value >= auc)
            && figures.false_positive_rate.is_some_and(|rate| rate <= false_positive_bound)
    };
    let bins = |measure: usize, counts: &dyn Fn(Option<Degradation>) -> bool| {
        let of = |face: &&GradedFace| counts(face.level) && face.measured[measure].is_finite();
        let faces: Vec<&GradedFace> = faces.iter().filter(of).collect();
        binned(faces, measure, threshold, |figures| reaches(figures, aim.auc))
    };
    let is_dark = |level: Option<Degradation>| matches!(level, Some(Degradation::Darker(_)));
    let detail = bins(0, &|level| !is_dark(level));
    let light = bins(1, &|level| level.is_none() || is_dark(level));
    let turn = bins(2, &|level| level.is_none());

    let rounded = |value: f64| (100.0 * value).floor() as f32 / 100.0;
    let mut limits = QualityLimits::default();
    let mut not_reached = Vec::new();
    let reached = |bin: &QualityBin| bin.reached;
    match lowest(&detail, reached) {
        Some(limit) => {
            limits.min_detail = rounded(limit).clamp(0.0, 4096.0);
            let full_auc = undegraded.auc.unwrap_or(aim.auc) - aim.full_loss;
            let best = detail.last().map_or(limit, |bin| bin.from);
            let full = lowest(&detail, |bin| reached(bin) && reaches(&bin.figures, full_auc)).unwrap_or(best);
            limits.full_detail = rounded(full).clamp(limits.min_detail, 4096.0);
        }
        None => not_reached.push("detail"),
    }
    match lowest(&light, reached) {
        Some(limit) => limits.min_light = rounded(limit).clamp(0.0, 1.0),
        None => not_reached.push("light"),
    }
    match turn.iter().take_while(|bin| bin.reached).last() {
        Some(bin) => limits.max_turn = (bin.to.ceil() as f32).clamp(0.0, 90.0),
        None => not_reached.push("turn"),
    }
    Ok(QualityReport { aim, threshold, false_positive_bound, levels, detail, light, turn, limits, not_reached })
}

/// Returns the lower end of the lowest bin from which on all bins are good.
fn lowest(bins: &[QualityBin], good: impl Fn(&QualityBin) -> bool) -> Option<f64> {
    bins.iter().rev().take_while(|bin| good(bin)).last().map(|bin| bin.from)
}

/// Sorts faces by a measure and divides them into bins. Faces with equal values go into the same bin.
fn binned(
    mut faces: Vec<&GradedFace>,
    measure: usize,
    threshold: f64,
    reached: impl Fn(&QualityFigures) -> bool,
) -> Vec<QualityBin> {
    faces.sort_by(|a, b| a.measured[measure].total_cmp(&b.measured[measure]));
    let value = |face: &GradedFace| f64::from(face.measured[measure]);
    let (mut bins, mut begin) = (Vec::new(), 0);
    for bin in 1..=BINS {
        let mut end = (bin * faces.len() / BINS).max(begin);
        while end > begin && end < faces.len() && value(faces[end]) == value(faces[end - 1]) {
            end += 1;
        }
        if end == begin {
            continue;
        }
        let scored: Vec<Scored> = faces[begin..end].iter().map(|face| face.scored.clone()).collect();
        let figures = mean_over_sources(&scored, threshold, LEAST_FACES);
        let (from, to) = (value(faces[begin]), value(faces[end - 1]));
        bins.push(QualityBin { from, to, reached: reached(&figures), figures });
        begin = end;
    }
    bins
}

fn by_each_source(faces: &[Scored], threshold: f64) -> Vec<QualityFigures> {
    let of_source = |(name, faces): (&str, Vec<Scored>)| QualityFigures {
        source: Some(name.to_owned()),
        ..figures(&faces, threshold)
    };
    let mut all: Vec<QualityFigures> = by_source(faces).into_iter().map(of_source).collect();
    all.push(mean_over_sources(faces, threshold, 1));
    all
}

/// Returns means over the sources that have at least `least` faces of the class, or of both classes for the AUC.
fn mean_over_sources(faces: &[Scored], threshold: f64, least: usize) -> QualityFigures {
    let sources: Vec<QualityFigures> =
        by_source(faces).into_iter().map(|(_, faces)| figures(&faces, threshold)).collect();
    let mean = |least_reals: usize, least_fakes: usize, get: fn(&QualityFigures) -> Option<f64>| {
        let enough = |source: &&QualityFigures| source.reals >= least_reals && source.fakes >= least_fakes;
        let values: Vec<f64> = sources.iter().filter(enough).filter_map(get).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    QualityFigures {
        source: None,
        reals: sources.iter().map(|source| source.reals).sum(),
        fakes: sources.iter().map(|source| source.fakes).sum(),
        auc: mean(least, least, |source| source.auc),
        false_positive_rate: mean(least, 0, |source| source.false_positive_rate),
        mean_real: mean(least, 0, |source| source.mean_real),
        mean_fake: mean(0, least, |source| source.mean_fake),
    }
}

fn figures(faces: &[Scored], threshold: f64) -> QualityFigures {
    let of = |label| faces.iter().filter(move |face| face.label == label).map(|face| face.fake_probability);
    let mean = |label| {
        let count = of(label).count();
        (count > 0).then(|| of(label).sum::<f64>() / count as f64)
    };
    let reals = of(Label::Real).count();
    let called_fake = of(Label::Real).filter(|probability| *probability >= threshold).count();
    QualityFigures {
        source: None,
        reals,
        fakes: of(Label::Fake).count(),
        auc: Scores::of_faces(faces).ok().and_then(|scores| scores.auc()),
        false_positive_rate: (reals > 0).then(|| called_fake as f64 / reals as f64),
        mean_real: mean(Label::Real),
        mean_fake: mean(Label::Fake),
    }
}
