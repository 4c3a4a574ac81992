use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, FaceQuality};

/// The reliability of a model's probabilities, measured on people that the model was not trained on.
///
/// A model file can contain one, so that a verdict is based on measured rates and not on constants in code. For a model
/// without one (such as a network of another project), the defaults of [`AnalyzerConfig`](crate::AnalyzerConfig) apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reliability {
    /// Distance from the threshold within which a verdict on a single face is uncertain, `0..=0.5`.
    pub uncertain_band: f32,
    /// Correlation of two faces of the same video: the share of the variance of log-odds within a class that lies
    /// between videos, `0..=1` (intraclass correlation; Shrout & Fleiss, Psychological Bulletin 1979). `None` if not
    /// measured: then several faces are no better than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub face_correlation: Option<f32>,
    /// The limits of quality within which faces can be judged.
    pub quality: QualityLimits,
    /// The share of real people who reach a probability, as a curve of rising probabilities and falling rates. Empty if
    /// not measured.
    #[serde(default)]
    pub false_alarms: Vec<FalseAlarms>,
    /// Share of the fake videos of each source that are called REAL, `0..=1`, by the source's name.
    #[serde(default)]
    pub missed_fakes: BTreeMap<String, f32>,
}

/// The limits of quality within which a face's probability is meaningful. Units are those of
/// [`FaceQuality`](crate::FaceQuality).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QualityLimits {
    /// Detail below which a face does not count, in pixels, `0..=4096`.
    pub min_detail: f32,
    /// Detail from which a face has full weight, in pixels, at least `min_detail`.
    pub full_detail: f32,
    /// Light below which a face does not count, `0..=1`.
    pub min_light: f32,
    /// Turn above which a face does not count, in degrees, `0..=90`.
    pub max_turn: f32,
}

impl QualityLimits {
    /// Returns the weight of a face of this quality, `0..=1`. It is the product of three factors. Each is 1 for a face
    /// that is good enough and 0 for one beyond the limit.
    ///
    /// - Detail: 0 up to `min_detail`, rising linearly to 1 at `full_detail`.
    /// - Light: 0 below `min_light`, rising linearly to 1 at 1.25 times `min_light`.
    /// - Turn: 1 up to 10 degrees below `max_turn`, falling linearly to 0 at `max_turn`. A `max_turn` of 90 means no
    ///   limit.
    ///
    /// ```
    /// use deepsight_core::{FaceQuality, QualityLimits};
    ///
    /// let clear = FaceQuality::new(120.0, 1.0, 15.0);
    /// assert_eq!(QualityLimits::default().weight(&clear), 1.0);
    /// ```
    pub fn weight(&self, quality: &FaceQuality) -> f32 {
        self.factors(quality).iter().product()
    }

    /// Returns the factors of detail, light and turn.
    pub(crate) fn factors(&self, quality: &FaceQuality) -> [f32; 3] {
        /// Rises linearly from 0 at `zero` to 1 at `full`. If the two are equal, steps from 0 to 1 there.
        fn ramp(value: f32, zero: f32, full: f32) -> f32 {
            if value >= full { 1.0 } else { ((value - zero) / (full - zero)).clamp(0.0, 1.0) }
        }
        let turn = if self.max_turn >= 90.0 { 1.0 } else { ramp(-quality.turn, -self.max_turn, -self.full_turn()) };
        [
            ramp(quality.detail, self.min_detail, self.full_detail),
            ramp(quality.light, self.min_light, self.full_light()),
            turn,
        ]
    }

    /// Returns the light from which a face has full weight, at most 1.
    pub(crate) fn full_light(&self) -> f32 {
        (1.25 * self.min_light).min(1.0)
    }

    /// Returns the turn up to which a face has full weight, in degrees.
    pub(crate) fn full_turn(&self) -> f32 {
        (self.max_turn - 10.0).max(0.0)
    }
}

/// A point of the curve of false alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FalseAlarms {
    /// Probability of a person, `0..=1`.
    pub probability: f32,
    /// Share of real people whose probability is at least that, `0..=1`.
    pub rate: f32,
}

impl FalseAlarms {
    /// Creates a point of the curve.
    pub fn new(probability: f32, rate: f32) -> Self {
        Self { probability, rate }
    }
}

impl Default for QualityLimits {
    /// Returns limits that refuse no face.
    fn default() -> Self {
        Self { min_detail: 0.0, full_detail: 0.0, min_light: 0.0, max_turn: 90.0 }
    }
}

impl Reliability {
    /// Creates a reliability of which only the uncertain band is known.
    pub fn new(uncertain_band: f32) -> Self {
        Self {
            uncertain_band,
            face_correlation: None,
            quality: QualityLimits::default(),
            false_alarms: Vec::new(),
            missed_fakes: BTreeMap::new(),
        }
    }

    /// Returns the uncertain band of a verdict on the mean probability of several looks at a person. A look is a face
    /// that counts in full, at least half a second from the next one. The mean varies less than a single face does, so
    /// the same probability is stronger evidence.
    ///
    /// With a [`face_correlation`](Self::face_correlation) of `c`, the variance of the mean of `n` log-odds is
    /// `c + (1 − c) / n` times that of one face. The same factor leads from the log-odds of a single face to those of a
    /// mean that is evidence as strong. Each end of the band is moved by it, and the farther one decides how wide the
    /// band is on both sides. It is never wider than that of a single face.
    ///
    /// ```
    /// use deepsight_core::Reliability;
    ///
    /// let mut reliability = Reliability::new(0.3);
    /// assert_eq!(reliability.band_over(12.0, 0.5), 0.3);
    /// reliability.face_correlation = Some(0.6);
    /// assert_eq!(reliability.band_over(1.0, 0.5), 0.3);
    /// assert!((reliability.band_over(12.0, 0.5) - 0.2064).abs() < 1e-4);
    /// ```
    pub fn band_over(&self, looks: f32, threshold: f32) -> f32 {
        let band = self.uncertain_band;
        if self.face_correlation.is_none() || looks <= 1.0 {
            return band;
        }
        let lower = self.limit_over(looks, (threshold - band).max(0.0));
        let upper = self.limit_over(looks, (threshold + band).min(1.0));
        (threshold - lower).max(upper - threshold).min(band).max(0.0)
    }

    /// Returns the mean of several looks that is evidence as strong as a single face of that probability.
    pub(crate) fn limit_over(&self, looks: f32, probability: f32) -> f32 {
        let correlation = f64::from(self.face_correlation.unwrap_or(1.0));
        let variance = correlation + (1.0 - correlation) / f64::from(looks.max(1.0));
        sigmoid(logit(probability.into()) * variance) as f32
    }

    /// Returns the threshold that the most suspicious of `people` must reach, so that a clip of real people is no more
    /// often called FAKE than a clip of one of them is at `threshold`.
    ///
    /// Each person is allowed the rate `1 − (1 − rate)^(1 / people)`, where `rate` is the false-alarm rate at
    /// `threshold` (Šidák, "Rectangular confidence regions for the means of multivariate normal distributions", JASA
    /// 1967). The logarithm of the rate is interpolated linearly over the logit of the probability, and continued
    /// beyond the last point. The result is at most 0.999, unless `threshold` is higher, and `threshold` itself where
    /// no false alarms were measured.
    ///
    /// ```
    /// use deepsight_core::{FalseAlarms, Reliability};
    ///
    /// let mut reliability = Reliability::new(0.05);
    /// assert_eq!(reliability.threshold_among(25, 0.6), 0.6);
    /// reliability.false_alarms =
    ///     [(0.5, 0.1), (0.7, 0.03), (0.9, 0.005), (0.95, 0.002)].map(|(p, rate)| FalseAlarms::new(p, rate)).into();
    /// assert_eq!(reliability.threshold_among(1, 0.7), 0.7);
    /// assert!((0.9..0.96).contains(&reliability.threshold_among(10, 0.7)));
    /// ```
    pub fn threshold_among(&self, people: usize, threshold: f32) -> f32 {
        const HIGHEST: f32 = 0.999;
        self.uncapped_threshold_among(people, threshold).min(HIGHEST).max(threshold)
    }

    /// Works as [`threshold_among`](Self::threshold_among) does, up to a result of 1: for numbers of chances at which
    /// 0.999 would let too many pass.
    pub(crate) fn uncapped_threshold_among(&self, chances: usize, threshold: f32) -> f32 {
        let curve = self.curve();
        if chances <= 1 || curve.is_empty() {
            return threshold;
        }
        let allowed = self.allowed_among(chances, threshold);
        let corrected = falls_to(&curve, allowed.ln()).map_or(1.0, sigmoid);
        corrected.max(threshold.into()) as f32
    }

    /// Returns the rate of false alarms that each of several chances is allowed, so that all of them together have the
    /// rate that was measured at `threshold`. It is above 0.
    pub(crate) fn allowed_among(&self, chances: usize, threshold: f32) -> f64 {
        let rate = line_at(&self.curve(), logit(threshold.into())).exp().min(1.0);
        (-((-rate).ln_1p() / chances.max(1) as f64).exp_m1()).max(f64::MIN_POSITIVE)
    }

    /// Returns whether false alarms were measured.
    pub(crate) fn has_false_alarms(&self) -> bool {
        !self.curve().is_empty()
    }

    /// Returns the curve of false alarms as log-odds of the probability and logarithms of the rate. A rate of 0 is left
    /// out: it only means that none of a few hundred people reached the probability.
    fn curve(&self) -> Vec<(f64, f64)> {
        let points = self.false_alarms.iter().filter(|point| point.rate > 0.0);
        points.map(|point| (logit(point.probability.into()), f64::from(point.rate).ln())).collect()
    }

    /// Checks every value against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first value outside its range.
    pub fn validate(&self) -> Result<(), Error> {
        let unit = |value: f32| (0.0..=1.0).contains(&value);
        let band = self.uncertain_band;
        Error::check("uncertain_band", band, (0.0..=0.5).contains(&band), "must lie in 0..=0.5")?;
        if let Some(correlation) = self.face_correlation {
            Error::check("face_correlation", correlation, unit(correlation), "must lie in 0..=1")?;
        }
        let QualityLimits { min_detail, full_detail, min_light, max_turn } = self.quality;
        Error::check("min_detail", min_detail, (0.0..=4096.0).contains(&min_detail), "must lie in 0..=4096 pixels")?;
        let full_is_usable = full_detail >= min_detail && full_detail <= 4096.0;
        Error::check("full_detail", full_detail, full_is_usable, "must lie in min_detail..=4096 pixels")?;
        Error::check("min_light", min_light, unit(min_light), "must lie in 0..=1")?;
        Error::check("max_turn", max_turn, (0.0..=90.0).contains(&max_turn), "must lie in 0..=90 degrees")?;
        for point in &self.false_alarms {
            Error::check("false_alarms.probability", point.probability, unit(point.probability), "must lie in 0..=1")?;
            Error::check("false_alarms.rate", point.rate, unit(point.rate), "must lie in 0..=1")?;
        }
        for pair in self.false_alarms.windows(2) {
            let ordered = pair[0].probability < pair[1].probability && pair[0].rate >= pair[1].rate;
            let rule = "probabilities must rise and rates must not";
            Error::check("false_alarms.probability", pair[1].probability, ordered, rule)?;
        }
        for (source, rate) in &self.missed_fakes {
            // A name is printed in a sentence, so it must not contain control characters for a terminal.
            let usable = source.len() <= 100 && !source.contains(char::is_control);
            Error::check("missed_fakes", source, usable, "must be named by up to 100 bytes of text on one line")?;
            Error::check("missed_fakes", *rate, unit(*rate), "must lie in 0..=1")?;
        }
        Ok(())
    }
}

/// Returns the log-odds of a probability, which is clamped so that they are finite.
pub(crate) fn logit(probability: f64) -> f64 {
    let probability = probability.clamp(1e-6, 1.0 - 1e-6);
    (probability / (1.0 - probability)).ln()
}

/// Returns the probability that has these log-odds, `1 / (1 + exp(−x))`.
pub(crate) fn sigmoid(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// Returns the curve's value at `x`: linear between points, constant before the first point, and with the last slope
/// after the last point.
fn line_at(curve: &[(f64, f64)], x: f64) -> f64 {
    let Some(next) = curve.iter().position(|&(at, _)| at >= x) else {
        let Some(&(last_x, last_y)) = curve.last() else { return 0.0 };
        return last_y + last_slope(curve).unwrap_or(0.0) * (x - last_x);
    };
    if next == 0 {
        return curve[0].1;
    }
    let ((x0, y0), (x1, y1)) = (curve[next - 1], curve[next]);
    if x1 > x0 { y0 + (y1 - y0) * (x - x0) / (x1 - x0) } else { y1 }
}

/// Returns the `x` at which the falling curve reaches `y`; `None` if it never does.
fn falls_to(curve: &[(f64, f64)], y: f64) -> Option<f64> {
    let &(last_x, last_y) = curve.last()?;
    match curve.iter().position(|&(_, at)| at <= y) {
        Some(0) => Some(curve[0].0),
        Some(next) => {
            let ((x0, y0), (x1, y1)) = (curve[next - 1], curve[next]);
            Some(x0 + (x1 - x0) * (y - y0) / (y1 - y0))
        }
        None => Some(last_x + (y - last_y) / last_slope(curve)?),
    }
}

/// Returns the slope from the last earlier point with a higher rate to the last point; `None` if the curve does not
/// fall.
fn last_slope(curve: &[(f64, f64)]) -> Option<f64> {
    let &(last_x, last_y) = curve.last()?;
    let &(x, y) = curve.iter().rev().find(|&&(x, y)| y > last_y && x < last_x)?;
    Some((last_y - y) / (last_x - x))
}
