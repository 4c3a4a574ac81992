//! Batch normalization in training (Ioffe & Szegedy, 2015): the statistics of the forward pass, and the constants that
//! the backward pass needs.

use deepsight_kernels::training::Derivative;

/// A layer's batch statistics, and its norm as a scale and a shift for each channel.
#[derive(Debug, Clone, Default)]
pub(super) struct Norm {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) mean: Vec<f64>,
    /// Biased variance, which values are normalized by.
    pub(super) variance: Vec<f64>,
    inverse: Vec<f64>,
}

impl Norm {
    /// Computes the norm from `sums`, `[2, channels]`: the sums over `count` values of each channel, and of their
    /// squares.
    pub(super) fn new(sums: &[f64], count: usize, gamma: &[f32], beta: &[f32], epsilon: f64) -> Self {
        let channels = gamma.len();
        let count = count as f64;
        let mean: Vec<f64> = sums[..channels].iter().map(|sum| sum / count).collect();
        let variance: Vec<f64> =
            sums[channels..].iter().zip(&mean).map(|(sum, mean)| (sum / count - mean * mean).max(0.0)).collect();
        let inverse: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
        let scale = inverse.iter().zip(gamma).map(|(inverse, gamma)| (inverse * f64::from(*gamma)) as f32).collect();
        let shift =
            (0..channels).map(|c| (f64::from(beta[c]) - mean[c] * inverse[c] * f64::from(gamma[c])) as f32).collect();
        Self { scale, shift, mean, variance, inverse }
    }

    /// Returns a norm that leaves values unchanged.
    pub(super) fn identity(channels: usize) -> Self {
        Self { scale: vec![1.0; channels], shift: vec![0.0; channels], ..Self::default() }
    }

    pub(super) fn constants(&self) -> Derivative<'_> {
        Derivative { scale: &self.scale, shift: &self.shift }
    }

    /// Returns the constants of the backward pass, from `sums`, `[2, channels]`: the sums of the gradient `g` of the
    /// normalized values, and of `g` times the values before the norm.
    pub(super) fn back(&self, sums: &[f64], count: usize, gamma: &[f32]) -> NormGradient {
        let channels = gamma.len();
        let count = count as f64;
        let mut back = NormGradient {
            p: self.scale.clone(),
            q: vec![0.0; channels],
            r: vec![0.0; channels],
            gamma: vec![0.0; channels],
            beta: vec![0.0; channels],
        };
        for c in 0..channels {
            let (sum, with_values) = (sums[c], sums[channels + c]);
            let (mean, inverse, gamma) = (self.mean[c], self.inverse[c], f64::from(gamma[c]));
            let with_normalized = inverse * (with_values - mean * sum);
            // dz = γ / σ · (g − Σg / n − ẑ · Σgẑ / n), with ẑ = (z − μ) / σ
            let q = -gamma * inverse * inverse * with_normalized / count;
            back.q[c] = q as f32;
            back.r[c] = (-gamma * inverse * sum / count - q * mean) as f32;
            back.gamma[c] = with_normalized as f32;
            back.beta[c] = sum as f32;
        }
        back
    }
}

/// The constants of a norm's backward pass: the gradient of its input `z` is `g · p + z · q + r`, with the gradient `g`
/// of its output.
#[derive(Debug, Clone)]
pub(super) struct NormGradient {
    pub(super) p: Vec<f32>,
    pub(super) q: Vec<f32>,
    pub(super) r: Vec<f32>,
    /// Gradients of the parameters: scale and shift.
    pub(super) gamma: Vec<f32>,
    pub(super) beta: Vec<f32>,
}

impl NormGradient {
    pub(super) fn constants(&self) -> [&[f32]; 3] {
        [&self.p, &self.q, &self.r]
    }
}
