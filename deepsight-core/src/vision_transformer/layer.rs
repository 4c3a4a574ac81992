use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::gpu;

/// Layer normalization (Ba et al., 2016) over the last dimension, with PyTorch's parameter names.
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// The factor of each value, `[width]`.
    pub weight: Param<Tensor<B, 1>>,
    /// The summand of each value, `[width]`.
    pub bias: Param<Tensor<B, 1>>,
    /// Number that is added to the variance.
    pub epsilon: f64,
}

impl<B: Backend> LayerNorm<B> {
    pub(super) fn new(width: usize, epsilon: f64, device: &B::Device) -> Self {
        let [weight, bias] = [Initializer::Ones, Initializer::Zeros].map(|values| values.init([width], device));
        Self { weight, bias, epsilon }
    }

    /// Normalizes the values of each row: `[..., width]`, the same shape.
    pub(super) fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let centered = x.clone() - x.mean_dim(D - 1);
        let variance = centered.clone().powi_scalar(2).mean_dim(D - 1);
        centered / (variance + self.epsilon).sqrt() * self.weight.val().unsqueeze() + self.bias.val().unsqueeze()
    }
}

/// Creates a linear layer with bias.
pub(super) fn linear<B: Backend>(inputs: usize, outputs: usize, device: &B::Device) -> Linear<B> {
    // As in the reference: a narrow normal distribution.
    let initializer = Initializer::Normal { mean: 0.0, std: 0.02 };
    LinearConfig::new(inputs, outputs).with_initializer(initializer).init(device)
}

/// Applies a linear layer to every token: `[batch, tokens, inputs]` to `[batch, tokens, outputs]`. Multiplies in the
/// type of the weights, keeps all digits on devices that would round them, and returns single precision.
pub(super) fn apply<B: Backend>(layer: &Linear<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    let weight = layer.weight.val();
    let ([batch, tokens, inputs], [_, outputs], dtype) = (x.dims(), weight.dims(), x.dtype());
    let rows = x.reshape([batch * tokens, inputs]).cast(weight.dtype());
    let product = gpu::matmul(rows, weight).cast(dtype);
    let product = match &layer.bias {
        Some(bias) => product + bias.val().unsqueeze(),
        None => product,
    };
    product.reshape([batch, tokens, outputs])
}
