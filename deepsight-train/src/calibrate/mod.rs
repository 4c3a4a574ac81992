//! Calibration: fits the temperature of the probabilities and the threshold of the verdict.

use serde::{Deserialize, Serialize};

use crate::metrics::{Scores, balanced_weights, by_source, sigmoid};
use crate::{Error, Label, Scored};

mod alarms;
mod band;
mod correlation;
mod verdicts;

pub use alarms::false_alarms;
pub use band::{VerdictAim, VerdictLimits, fit_verdicts};
pub use correlation::face_correlation;
pub use verdicts::{MeasuredVerdicts, VerdictRates, measure_verdicts};

/// Range of the temperature. A best temperature outside it means that the scores are not probabilities, and scaling
/// cannot help.
const TEMPERATURES: [f64; 2] = [0.05, 20.0];

/// The rule by which a threshold is chosen over videos.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ThresholdRule {
    /// The highest mean of both classes' recalls. The recall of a class is the mean over the sources that have the
    /// class.
    BalancedAccuracy,
    /// The highest recall of fakes for which at most this share of reals, `0..1`, is called fake in every source.
    FalsePositiveRate(f64),
}

/// The temperature that turns logits into probabilities, and the threshold that turns probabilities into verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Calibration {
    /// Divides logits before the softmax, `0.05..=20`.
    pub temperature: f64,
    /// Fake probability from which a video is called fake, `0..=1`. The value is exactly representable in single
    /// precision, because model files store it so.
    pub threshold: f64,
}

impl Calibration {
    /// Creates the calibration of a temperature and a threshold.
    pub fn new(temperature: f64, threshold: f64) -> Self {
        Self { temperature, threshold }
    }
}

/// Fits the temperature on the faces' logits, then the threshold on the videos' probabilities at that temperature.
///
/// ```
/// use deepsight_train::{Label, Scored};
/// use deepsight_train::calibrate::{ThresholdRule, calibrate};
///
/// // The scores are ten times too sure: one in four is wrong.
/// let face = |video: u32, label, logit| Scored::from_logit(video.to_string(), label, logit);
/// let faces: Vec<Scored> = (0..100)
///     .flat_map(|n| {
///         let logit = if n % 4 == 0 { -11.0 } else { 11.0 };
///         [face(n, Label::Real, -logit), face(n, Label::Fake, logit)]
///     })
///     .collect();
/// let calibration = calibrate(&faces, ThresholdRule::BalancedAccuracy)?;
/// assert!((faces[0].calibrated(calibration.temperature).fake_probability - 0.75).abs() < 1e-6);
/// assert_eq!(calibration.threshold, 0.5);
/// # Ok::<(), deepsight_train::Error>(())
/// ```
///
/// # Errors
/// [`Error::OneClass`] when there are only reals or only fakes, [`Error::Setting`] for a false-positive rate outside
/// `0..1`, and the errors of [`Scores::of_faces`].
pub fn calibrate(faces: &[Scored], rule: ThresholdRule) -> Result<Calibration, Error> {
    let temperature = fit_temperature(faces)?;
    let calibrated: Vec<Scored> = faces.iter().map(|face| face.calibrated(temperature)).collect();
    Ok(Calibration { temperature, threshold: fit_threshold(&calibrated, rule)? })
}

/// Returns the temperature of least cross-entropy (Guo et al., ICML 2017). Both classes have the same weight, within a
/// class all sources that have it, within a source all videos, and within a video all faces. Without these weights,
/// videos with many faces and sources with many videos would dominate, although analyzed videos do not resemble them
/// more.
///
/// # Errors
/// As for [`calibrate`].
pub fn fit_temperature(faces: &[Scored]) -> Result<f64, Error> {
    both_classes(faces, "a temperature")?;
    let weighted: Vec<(f64, f64, f64)> = faces
        .iter()
        .zip(balanced_weights(faces))
        .map(|(face, weight)| (weight, face.logit.clamp(-1e6, 1e6), f64::from(face.label == Label::Fake)))
        .collect();
    // The loss is convex in the inverse temperature. Its slope rises, so bisection finds its zero.
    let slope = |inverse: f64| -> f64 {
        weighted.iter().map(|(weight, logit, fake)| weight * logit * (sigmoid(inverse * logit) - fake)).sum()
    };
    let [mut low, mut high] = [1.0 / TEMPERATURES[1], 1.0 / TEMPERATURES[0]];
    for _ in 0..100 {
        let middle = (low * high).sqrt();
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    Ok((1.0 / (low * high).sqrt()).clamp(TEMPERATURES[0], TEMPERATURES[1]))
}

/// Returns the threshold that meets a rule over videos, in the middle between the scores that it separates.
///
/// # Errors
/// As for [`calibrate`].
pub fn fit_threshold(faces: &[Scored], rule: ThresholdRule) -> Result<f64, Error> {
    if let ThresholdRule::FalsePositiveRate(rate) = rule
        && !(0.0..1.0).contains(&rate)
    {
        let rule = "a false-positive rate is at least 0 and less than 1";
        return Err(Error::Setting { name: "false_positive_rate", value: rate.to_string(), rule });
    }
    both_classes(faces, "a threshold")?;
    let sources = sources_of(faces);
    Ok(match rule {
        ThresholdRule::BalancedAccuracy => best_balance(&sources),
        ThresholdRule::FalsePositiveRate(rate) => lowest_within(&sources, rate),
    })
}

/// The videos' probabilities of one source.
struct SourceScores {
    /// Probabilities of the real videos, in descending order.
    reals: Vec<f64>,
    /// Probabilities of the fake videos, in descending order.
    fakes: Vec<f64>,
}

/// Returns the videos' probabilities by source. The faces must have been checked before.
fn sources_of(faces: &[Scored]) -> Vec<SourceScores> {
    let source = |(_, faces): (&str, Vec<Scored>)| {
        let scores = Scores::of_videos(&faces).ok()?;
        let [reals, fakes] = Label::ALL.map(|label| scores.probabilities(label));
        Some(SourceScores { reals, fakes })
    };
    by_source(faces).into_iter().filter_map(source).collect()
}

/// Returns how many scores reach a threshold. The scores are in descending order.
fn at_least(sorted: &[f64], threshold: f64) -> usize {
    sorted.partition_point(|score| *score >= threshold)
}

/// Returns the threshold of the best balanced accuracy. Of equally good ones it is the one nearest to 0.5.
fn best_balance(sources: &[SourceScores]) -> f64 {
    let share = |of: fn(&SourceScores) -> &Vec<f64>, threshold: f64| {
        let classes = sources.iter().map(of).filter(|scores| !scores.is_empty());
        let shares: Vec<f64> = classes.map(|scores| at_least(scores, threshold) as f64 / scores.len() as f64).collect();
        shares.iter().sum::<f64>() / shares.len().max(1) as f64
    };
    // Youden's index.
    let merit = |threshold: f64| share(|source| &source.fakes, threshold) - share(|source| &source.reals, threshold);
    let from_half = |threshold: f64| (threshold - 0.5).abs();
    let mut best = (0.5, merit(0.5));
    for threshold in cuts(sources) {
        let found = merit(threshold);
        // Equal sums of shares may differ in the last bits.
        let equal = (found - best.1).abs() < 1e-12;
        if (!equal && found > best.1) || (equal && from_half(threshold) < from_half(best.0)) {
            best = (threshold, found);
        }
    }
    best.0
}

/// Returns the lowest threshold whose share of reals called fake is at most `rate` in every source.
fn lowest_within(sources: &[SourceScores], rate: f64) -> f64 {
    let within = |threshold: &f64| {
        let of_source = |source: &SourceScores| at_least(&source.reals, *threshold) as f64 / source.reals.len() as f64;
        sources.iter().filter(|source| !source.reals.is_empty()).all(|source| of_source(source) <= rate)
    };
    // Where even the highest possible threshold calls too many reals fake, it is still the best one.
    cuts(sources).into_iter().rev().take_while(within).last().unwrap_or(1.0)
}

/// Returns the thresholds between neighboring scores, in ascending order.
fn cuts(sources: &[SourceScores]) -> Vec<f64> {
    let scores = sources.iter().flat_map(|source| source.reals.iter().chain(&source.fakes));
    let mut scores: Vec<f64> = scores.copied().chain([0.0, 1.0]).collect();
    scores.sort_by(f64::total_cmp);
    scores.dedup();
    let between = |pair: &[f64]| {
        let middle = f64::from(((pair[0] + pair[1]) / 2.0) as f32);
        // Rounding to single precision may reach or pass the lower score, which would then be called fake too.
        if middle > pair[0] { middle } else { f64::from((pair[0] as f32).next_up()) }
    };
    let cuts = scores.windows(2).map(between);
    cuts.filter(|cut| (0.0..=1.0).contains(cut)).collect()
}

fn both_classes(faces: &[Scored], what: &'static str) -> Result<(), Error> {
    match Scores::of_faces(faces)?.only_class() {
        Some(label) => Err(Error::OneClass { what, faces: faces.len(), label }),
        None => Ok(()),
    }
}
