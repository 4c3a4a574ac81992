//! How the answers of an ensemble's models are formed, and their disagreement.

use super::{Decision, Findings};
use crate::aggregate::{Weighed, weighed_mean};
use crate::reason::add_doubt;
use crate::reliability::{logit, sigmoid};
use crate::{AnalyzerConfig, EnsembleAnswer, EnsembleInfo, ModelAnswer, ModelInfo, Reason, Reliability, Verdict};

/// Returns the answer of a model.
fn answer(model: &ModelInfo, weight: f32, decision: &Decision) -> ModelAnswer {
    ModelAnswer {
        name: model.name.clone(),
        sha256: model.sha256.clone(),
        weight,
        verdict: decision.verdict,
        fake_probability: decision.fake_probability,
        threshold: model.threshold,
    }
}

/// The evidence of an ensemble: the findings by the combined probabilities and by those of each model.
pub(crate) struct Consultation<'a> {
    pub(crate) ensemble: &'a EnsembleInfo,
    /// Findings by the combined probabilities.
    pub(crate) combined: &'a Findings,
    /// Findings by the probabilities of each model. They have the same tracks and faces as the combined ones.
    pub(crate) by_model: &'a [Findings],
    /// Whether each track counts for the verdict.
    pub(crate) counts: &'a [bool],
    pub(crate) reliability: Option<&'a Reliability>,
}

/// Faces of one person, or of all people, by which models are compared.
enum Faces {
    Track(usize),
    Segment { slot: usize, from: f64, to: f64 },
    All,
}

impl Consultation<'_> {
    /// Adds the answers of the models to the decision of the ensemble. A disagreement above the limit makes the verdict
    /// uncertain.
    pub(crate) fn complete(&self, decision: &mut Decision, config: &AnalyzerConfig) {
        let alone = AnalyzerConfig { threshold: None, uncertain_band: None, ..config.clone() };
        let models = self.ensemble.models.iter().zip(self.by_model).enumerate().map(|(position, (model, findings))| {
            let weight = self.ensemble.combination.weight(position, self.ensemble.models.len());
            let decision = findings.decide(&alone, model.threshold, model.reliability.as_ref());
            answer(model, weight, &decision)
        });
        let models: Vec<ModelAnswer> = models.collect();
        let spreads = self.compared(decision).into_iter().filter_map(|faces| self.spread(&faces, config));
        let disagreement = spreads.reduce(f32::max).filter(|_| decision.fake_probability.is_some());
        let limit = self.ensemble.max_disagreement;
        if let Some(disagreement) = disagreement.filter(|&disagreement| disagreement > limit) {
            decision.doubt(Reason::ModelsDisagree { disagreement, limit, models: models.clone() });
        }
        decision.ensemble = Some(EnsembleAnswer { disagreement, limit, models });
    }

    /// Returns the groups of faces by which the models are compared.
    fn compared(&self, decision: &Decision) -> Vec<Faces> {
        let slot = |track: usize| match self.combined.ids.is_empty() {
            true => Some(track),
            false => self.combined.ids.iter().position(|&id| id == track),
        };
        if decision.verdict == Verdict::Fake {
            let decides = decision.reasons.iter().find_map(|reason| match *reason {
                Reason::DecidedBySegment { track, from, to, .. } => {
                    Some(Faces::Segment { slot: slot(track)?, from, to })
                }
                Reason::DecidedByTrack { track, .. } => Some(Faces::Track(slot(track)?)),
                _ => None,
            });
            return vec![decides.unwrap_or(Faces::All)];
        }
        let counting = self.counts.iter().enumerate().filter(|&(_, &counts)| counts);
        let people: Vec<Faces> = counting.map(|(slot, _)| Faces::Track(slot)).collect();
        if people.is_empty() { vec![Faces::All] } else { people }
    }

    /// Returns the difference between the highest and the lowest probability that a model gives these faces, relative
    /// to its threshold; `None` if there are no faces.
    fn spread(&self, faces: &Faces, config: &AnalyzerConfig) -> Option<f32> {
        let (mut lowest, mut highest) = (f32::MAX, f32::MIN);
        for (model, findings) in self.ensemble.models.iter().zip(self.by_model) {
            let weighed = self.weighed(findings, faces, config);
            if weighed.is_empty() {
                return None;
            }
            let relative = logit(weighed_mean(&weighed).into()) - logit(model.threshold.into());
            let probability = sigmoid(relative) as f32;
            (lowest, highest) = (lowest.min(probability), highest.max(probability));
        }
        (highest >= lowest).then_some(highest - lowest)
    }

    /// Returns the faces with the weights that they have for the ensemble, so that all models are compared by the same
    /// faces.
    fn weighed(&self, findings: &Findings, faces: &Faces, config: &AnalyzerConfig) -> Vec<Weighed> {
        match *faces {
            Faces::Track(slot) => findings.weighed(slot, config, self.reliability),
            Faces::All => (0..findings.probabilities.len())
                .flat_map(|slot| findings.weighed(slot, config, self.reliability))
                .collect(),
            Faces::Segment { slot, from, to } => {
                let seen = findings.seen[slot].iter().filter(|seen| (from..=to).contains(&seen.time));
                let weight = |seen: &super::Seen| seen.weight(self.reliability);
                seen.map(|seen| Weighed { probability: seen.probability, weight: weight(seen) }).collect()
            }
        }
    }
}

impl Decision {
    /// Adds a doubt, which makes the verdict uncertain.
    pub(crate) fn doubt(&mut self, doubt: Reason) {
        add_doubt(&mut self.verdict, &mut self.reasons, doubt);
    }
}
