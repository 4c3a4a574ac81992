//! Squeeze-and-excitation (Hu et al., CVPR 2018), forward and backward, for one image.

use super::plan::{Gate, Parameter};

/// The gates of an image, and the values that they were computed from.
pub(super) struct Squeezed {
    /// Mean of each channel.
    means: Vec<f32>,
    /// Reduced channels before SiLU.
    reduced: Vec<f32>,
    pub(super) gates: Vec<f32>,
}

impl Gate {
    pub(super) fn forward(&self, means: Vec<f32>) -> Squeezed {
        let reduced = product(&self.reduce, &self.reduce_bias, &means);
        let hidden: Vec<f32> = reduced.iter().map(|x| x * sigmoid(*x)).collect();
        let gates = product(&self.expand, &self.expand_bias, &hidden).into_iter().map(sigmoid).collect();
        Squeezed { means, reduced, gates }
    }

    /// Adds the gradients of the four parameters to `sums`, and returns the gradient of the means.
    pub(super) fn backward(&self, squeezed: &Squeezed, of_gates: &[f32], sums: &mut [Vec<f32>; 4]) -> Vec<f32> {
        let outer = |g: f32, s: f32| g * s * (1.0 - s);
        let of_expanded: Vec<f32> = of_gates.iter().zip(&squeezed.gates).map(|(g, s)| outer(*g, *s)).collect();
        let hidden: Vec<f32> = squeezed.reduced.iter().map(|x| x * sigmoid(*x)).collect();
        let [reduce, reduce_bias, expand, expand_bias] = sums;
        let mut of_reduced = back(&self.expand, &of_expanded, &hidden, expand, expand_bias);
        for (gradient, x) in of_reduced.iter_mut().zip(&squeezed.reduced) {
            let s = sigmoid(*x);
            *gradient *= s * (1.0 + x * (1.0 - s));
        }
        back(&self.reduce, &of_reduced, &squeezed.means, reduce, reduce_bias)
    }

    /// Returns zeros for the gradients of reduce, its bias, expand and its bias.
    pub(super) fn zeros(&self) -> [Vec<f32>; 4] {
        [&self.reduce, &self.reduce_bias, &self.expand, &self.expand_bias].map(|weight| vec![0.0; weight.values.len()])
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn product(weights: &Parameter, bias: &Parameter, input: &[f32]) -> Vec<f32> {
    let rows = weights.values.chunks_exact(input.len()).zip(&bias.values);
    rows.map(|(row, bias)| bias + row.iter().zip(input).map(|(a, b)| a * b).sum::<f32>()).collect()
}

/// Adds the gradients of the weights to `sums` and those of the bias to `bias`, and returns the gradient of the input.
fn back(weights: &Parameter, gradient: &[f32], input: &[f32], sums: &mut [f32], bias: &mut [f32]) -> Vec<f32> {
    let mut of_input = vec![0.0; input.len()];
    let rows = weights.values.chunks_exact(input.len()).zip(sums.chunks_exact_mut(input.len()));
    for (((row, sums), gradient), bias) in rows.zip(gradient).zip(bias) {
        *bias += gradient;
        sums.iter_mut().zip(input).for_each(|(sum, value)| *sum += gradient * value);
        of_input.iter_mut().zip(row).for_each(|(sum, weight)| *sum += gradient * weight);
    }
    of_input
}
