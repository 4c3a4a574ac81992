//! How the models of an ensemble are combined.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::reliability::{logit, sigmoid};
use crate::{Error, ModelInfo, Reliability};

/// The method by which the probabilities of several models become one.
///
/// Models have different operating points: 0.3 may be suspicious for one and harmless for another. So each probability
/// `p` is first expressed as log-odds relative to the model's threshold `t`, `a = logit(p) − logit(t)`. It is 0 at the
/// threshold, whatever the model. Probabilities are clamped to `1e-6..=1 − 1e-6`, so that no model is infinitely sure.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Combination {
    /// The calibrated mean, `sigmoid(mean of a)`: 0.5 is the common threshold.
    #[default]
    Mean,
    /// Logistic stacking, `sigmoid(intercept + Σ weight · a)` (Wolpert, "Stacked generalization", Neural Networks
    /// 1992). [`fit`](Combination::fit) finds the numbers.
    Stacking {
        /// A weight for each model, in order, `0..=100`.
        weights: Vec<f32>,
        /// The log-odds when every model is at its threshold.
        intercept: f32,
    },
}

impl Combination {
    /// Returns the combined probability, `0..=1`. Both lists have one number for each model, and the thresholds are
    /// between 0 and 1.
    ///
    /// ```
    /// use deepsight_core::Combination;
    ///
    /// let thresholds = [0.3, 0.8];
    /// assert!((Combination::Mean.combine(&[0.3, 0.8], &thresholds) - 0.5).abs() < 1e-6);
    /// let first_alone = Combination::Stacking { weights: vec![1.0, 0.0], intercept: 0.0 };
    /// assert!(first_alone.combine(&[0.6, 0.1], &thresholds) > 0.7);
    /// ```
    pub fn combine(&self, probabilities: &[f32], thresholds: &[f32]) -> f32 {
        let aligned = probabilities.iter().zip(thresholds).map(|(&p, &t)| logit(p.into()) - logit(t.into()));
        let log_odds = match self {
            Self::Mean => aligned.sum::<f64>() / probabilities.len().max(1) as f64,
            Self::Stacking { weights, intercept } => {
                let weighed = weights.iter().zip(aligned).map(|(&weight, aligned)| f64::from(weight) * aligned);
                f64::from(*intercept) + weighed.sum::<f64>()
            }
        };
        sigmoid(log_odds) as f32
    }

    /// Returns the probability that the ensemble gives when all models have these log-odds relative to their
    /// thresholds.
    pub(super) fn agreeing(&self, aligned: f64) -> f32 {
        let log_odds = match self {
            Self::Mean => aligned,
            Self::Stacking { weights, intercept } => {
                f64::from(*intercept) + weights.iter().copied().map(f64::from).sum::<f64>() * aligned
            }
        };
        sigmoid(log_odds) as f32
    }

    /// Returns the weight of a model among this many.
    pub(crate) fn weight(&self, model: usize, models: usize) -> f32 {
        match self {
            Self::Mean => 1.0 / models.max(1) as f32,
            Self::Stacking { weights, .. } => weights.get(model).copied().unwrap_or(0.0),
        }
    }

    pub(super) fn validate(&self, models: usize) -> Result<(), Error> {
        let Self::Stacking { weights, intercept } = self else { return Ok(()) };
        let shown = || weights.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        Error::check("weights", shown(), weights.len() == models, "must have one number for each model")?;
        // With a negative weight, the most cautious limits of the models would not hold for the ensemble.
        let usable = weights.iter().all(|weight| (0.0..=100.0).contains(weight));
        Error::check("weights", shown(), usable, "must have numbers in 0..=100")?;
        Error::check("weights", shown(), weights.iter().sum::<f32>() > 0.0, "must add up to more than 0")?;
        Error::check("intercept", intercept, intercept.abs() <= 100.0, "must lie in -100..=100")
    }
}

impl std::fmt::Display for Combination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mean => f.write_str("calibrated mean"),
            Self::Stacking { weights, intercept } => {
                let weights: Vec<_> = weights.iter().map(|weight| format!("{weight:.3}")).collect();
                write!(f, "logistic stacking (weights {}; intercept {intercept:.3})", weights.join(", "))
            }
        }
    }
}

/// Settings by which an ensemble combines and compares its models. An ensemble file stores them beside the names of the
/// models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EnsembleConfig {
    /// Name of the ensemble in reports; by default made of the names of its models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How the probabilities are combined.
    pub combination: Combination,
    /// Combined probability from which a face counts as fake, above 0 and below 1; 0.5 by default, which is where the
    /// mean of models at their thresholds is.
    pub threshold: f32,
    /// Disagreement of the models above which a clip is UNCERTAIN, `0..=1`; 0.5 by default. See
    /// [`EnsembleAnswer::disagreement`](crate::EnsembleAnswer::disagreement).
    pub max_disagreement: f32,
    /// The measured reliability of the combined probabilities. By default it is derived from that of the models with
    /// the most cautious limit of each: the widest uncertain band, the strictest limits of quality, and the highest
    /// rate of false alarms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reliability: Option<Reliability>,
}

impl Default for EnsembleConfig {
    fn default() -> Self {
        Self { name: None, combination: Combination::Mean, threshold: 0.5, max_disagreement: 0.5, reliability: None }
    }
}

impl EnsembleConfig {
    /// Possible numbers of models.
    pub const SIZES: RangeInclusive<usize> = 2..=8;

    /// Creates the configuration of a calibrated mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Sets [`combination`](Self::combination).
    #[must_use]
    pub fn with_combination(self, combination: Combination) -> Self {
        Self { combination, ..self }
    }

    /// Sets [`threshold`](Self::threshold).
    #[must_use]
    pub fn with_threshold(self, threshold: f32) -> Self {
        Self { threshold, ..self }
    }

    /// Sets [`max_disagreement`](Self::max_disagreement).
    #[must_use]
    pub fn with_max_disagreement(self, max_disagreement: f32) -> Self {
        Self { max_disagreement, ..self }
    }

    /// Sets [`reliability`](Self::reliability).
    #[must_use]
    pub fn with_reliability(self, reliability: Reliability) -> Self {
        Self { reliability: Some(reliability), ..self }
    }

    /// Checks every value, for this many models.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first value outside its range.
    pub fn validate(&self, models: usize) -> Result<(), Error> {
        if let Some(name) = &self.name {
            // A name is printed to terminals, so it must not contain control characters.
            let usable = !name.is_empty() && name.len() <= 200 && !name.contains(char::is_control);
            Error::check("name", name.escape_debug(), usable, "must have 1 to 200 bytes of text on one line")?;
        }
        self.combination.validate(models)?;
        let Self { threshold, max_disagreement: limit, .. } = *self;
        Error::check("threshold", threshold, threshold > 0.0 && threshold < 1.0, "must be above 0 and below 1")?;
        Error::check("max_disagreement", limit, (0.0..=1.0).contains(&limit), "must lie in 0..=1")?;
        self.reliability.as_ref().map_or(Ok(()), Reliability::validate)
    }
}

/// The models of an ensemble and how they are combined, as a report shows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EnsembleInfo {
    /// The models, in order.
    pub models: Vec<ModelInfo>,
    /// How their probabilities are combined.
    pub combination: Combination,
    /// Disagreement above which a clip is UNCERTAIN, `0..=1`.
    pub max_disagreement: f32,
}

impl EnsembleInfo {
    pub(super) fn new(models: Vec<ModelInfo>, config: &EnsembleConfig) -> Self {
        Self { models, combination: config.combination.clone(), max_disagreement: config.max_disagreement }
    }
}
