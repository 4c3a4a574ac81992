//! The answers of an ensemble's models.

use serde::{Deserialize, Serialize};

use crate::Verdict;

/// The answers of an ensemble's models to one clip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EnsembleAnswer {
    /// The largest difference between the probabilities of two models for the same person, `0..=1`; `None` if no face
    /// was scored.
    ///
    /// Each probability is the mean over the person's faces, expressed relative to the model's threshold:
    /// `sigmoid(logit(p) − logit(threshold))`, which is 0.5 at the threshold of any model. If the clip is FAKE, the
    /// person is the one who decides (or the seconds that decide); otherwise the largest difference among all people
    /// who count.
    pub disagreement: Option<f32>,
    /// The disagreement above which the clip is UNCERTAIN, `0..=1`.
    pub limit: f32,
    /// The answer of each model, in the order of the ensemble.
    pub models: Vec<ModelAnswer>,
}

/// The answer that one model of an ensemble gives alone, by its own threshold and reliability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelAnswer {
    /// Name of the model.
    pub name: String,
    /// SHA-256 of its file, if it was read from one.
    pub sha256: Option<String>,
    /// Its weight in the ensemble.
    pub weight: f32,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its probability that the clip is forged, `0..=1`; `None` if no face was scored.
    pub fake_probability: Option<f32>,
    /// Its threshold.
    pub threshold: f32,
}
