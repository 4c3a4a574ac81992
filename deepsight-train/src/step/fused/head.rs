//! The classifier and the loss, forward and backward.

use super::super::{Noise, Objective};
use super::plan::Parameter;
use crate::Label;

/// The loss of a batch, its probabilities, and the gradients of classifier and pooled features.
pub(super) struct HeadOutput {
    pub(super) loss: f64,
    pub(super) fake_probabilities: Vec<f32>,
    pub(super) classifier: Vec<f32>,
    pub(super) classifier_bias: Vec<f32>,
    /// Gradient of the pooled features, `[batch, features]`.
    pub(super) pooled: Vec<f32>,
}

/// Computes classifier and loss from pooled features, `[batch, features]`, and their gradients. The classes are real
/// and fake.
pub(super) fn loss_and_gradients(
    pooled: &[f32],
    labels: &[Label],
    weights: &Parameter,
    bias: &Parameter,
    noise: &Noise,
    objective: &Objective,
) -> HeadOutput {
    let features = pooled.len() / labels.len();
    let classes = bias.values.len();
    let targets = objective.targets(labels);
    let mut output = HeadOutput {
        loss: 0.0,
        fake_probabilities: Vec::with_capacity(labels.len()),
        classifier: vec![0.0; weights.values.len()],
        classifier_bias: vec![0.0; classes],
        pooled: vec![0.0; pooled.len()],
    };
    let mut kept = vec![0.0; features];
    for (image, shares) in targets.chunks_exact(classes).enumerate() {
        let at = image * features..(image + 1) * features;
        kept.copy_from_slice(&pooled[at.clone()]);
        let factors = noise.dropout.get(at.clone());
        if let Some(factors) = factors {
            kept.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        }
        let mut logits: Vec<f64> = bias.values.iter().map(|bias| f64::from(*bias)).collect();
        for (value, row) in kept.iter().zip(weights.values.chunks_exact(classes)) {
            logits.iter_mut().zip(row).for_each(|(logit, weight)| *logit += f64::from(value * weight));
        }
        let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = highest + logits.iter().map(|logit| (logit - highest).exp()).sum::<f64>().ln();
        let probability = |class: usize| (logits[class] - log_sum).exp();
        output.fake_probabilities.push(probability(Label::Fake.class()) as f32);
        let total: f32 = shares.iter().sum();
        for class in 0..classes {
            output.loss -= f64::from(shares[class]) * (logits[class] - log_sum);
            let gradient = (f64::from(total) * probability(class) - f64::from(shares[class])) as f32;
            output.classifier_bias[class] += gradient;
            for (feature, value) in kept.iter().enumerate() {
                output.classifier[feature * classes + class] += gradient * value;
                output.pooled[at.start + feature] += gradient * weights.values[feature * classes + class];
            }
        }
        if let Some(factors) = factors {
            output.pooled[at].iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        }
    }
    output
}
