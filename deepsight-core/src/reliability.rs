use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;

/// How far a model's probabilities can be trusted, measured on people that the model was not trained on.
///
/// A model file carries one, so that a verdict rests on measured rates and not on constants in code. A model without one
/// (a network of another project, say) is judged by the defaults of [`AnalyzerConfig`](crate::AnalyzerConfig) alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reliability {
    /// Distance from the threshold within which a verdict is uncertain, `0..=0.5`.
    pub uncertain_band: f32,
    /// Which faces can be judged at all.
    pub quality: QualityLimits,
    /// How often one real person reaches a probability, by rising probability and falling rate. Empty where not measured.
    #[serde(default)]
    pub false_alarms: Vec<FalseAlarms>,
    /// Share of the fake videos of each source that are called REAL, `0..=1`, by the source's name.
    #[serde(default)]
    pub missed_fakes: BTreeMap<String, f32>,
}

/// The limits within which a face's probability means something. Units are those of
/// [`FaceQuality`](crate::FaceQuality).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QualityLimits {
    /// Detail below which a face does not count, in pixels, `0..=4096`.
    pub min_detail: f32,
    /// Detail from which a face counts in full, in pixels, at least `min_detail`.
    pub full_detail: f32,
    /// Light below which a face does not count, `0..=1`.
    pub min_light: f32,
    /// Turn above which a face does not count, in degrees, `0..=90`.
    pub max_turn: f32,
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
    /// Creates the reliability of a model of which only the uncertain band is known.
    pub fn new(uncertain_band: f32) -> Self {
        Self {
            uncertain_band,
            quality: QualityLimits::default(),
            false_alarms: Vec::new(),
            missed_fakes: BTreeMap::new(),
        }
    }

    /// Checks every value against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first value outside its range.
    pub fn validate(&self) -> Result<(), Error> {
        let unit = |value: f32| (0.0..=1.0).contains(&value);
        let band = self.uncertain_band;
        Error::check("uncertain_band", band, (0.0..=0.5).contains(&band), "must lie in 0..=0.5")?;
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
        for rate in self.missed_fakes.values() {
            Error::check("missed_fakes", *rate, unit(*rate), "must lie in 0..=1")?;
        }
        Ok(())
    }
}
