use burn::{
    module::{Module, Param},
    tensor::{Tensor, activation::relu, backend::Backend, module::max_pool2d, ops::ConvOptions},
};
use deepsight_core::gpu;

use crate::{Error, mtcnn::weights::Weights};

/// A square convolution without padding, stride 1.
#[derive(Module, Debug)]
pub(super) struct Conv<B: Backend> {
    /// `[output, input, kernel, kernel]`
    weight: Param<Tensor<B, 4>>,
    /// `[output]`
    bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Conv<B> {
    /// The layer of that name; `channels` are those of input and output.
    pub(super) fn load(
        name: &str,
        channels: [usize; 2],
        kernel: usize,
        weights: &Weights,
        device: &B::Device,
    ) -> Result<Self, Error> {
        let [input, output] = channels;
        let shape = [output, input, kernel, kernel];
        Ok(Self {
            weight: Param::from_tensor(weights.tensor(&format!("{name}.weight"), shape, device)?),
            bias: Param::from_tensor(weights.tensor(&format!("{name}.bias"), [output], device)?),
        })
    }

    /// Layers of one input as one, whose outputs come one after the other.
    pub(super) fn side_by_side(layers: [Self; 2]) -> Self {
        let weights = layers.iter().map(|layer| layer.weight.val()).collect();
        let biases = layers.iter().map(|layer| layer.bias.val()).collect();
        Self { weight: Param::from_tensor(Tensor::cat(weights, 0)), bias: Param::from_tensor(Tensor::cat(biases, 0)) }
    }

    /// `[batch, input, height, width]` → `[batch, output, height − kernel + 1, width − kernel + 1]`
    pub(super) fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
        gpu::conv2d(x, self.weight.val(), Some(self.bias.val()), options)
    }
}

/// A fully connected layer.
#[derive(Module, Debug)]
pub(super) struct Linear<B: Backend> {
    /// `[input, output]`
    weight: Param<Tensor<B, 2>>,
    /// `[1, output]`
    bias: Param<Tensor<B, 2>>,
}

impl<B: Backend> Linear<B> {
    pub(super) fn load(
        name: &str,
        [input, output]: [usize; 2],
        weights: &Weights,
        device: &B::Device,
    ) -> Result<Self, Error> {
        let weight: Tensor<B, 2> = weights.tensor(&format!("{name}.weight"), [output, input], device)?;
        let bias: Tensor<B, 1> = weights.tensor(&format!("{name}.bias"), [output], device)?;
        Ok(Self { weight: Param::from_tensor(weight.transpose()), bias: Param::from_tensor(bias.reshape([1, output])) })
    }

    /// A layer that follows a convolution of `[batch, channels, height, width]`.
    ///
    /// Caffe's MATLAB interface, which trained the weights, flattened width first; here they are put in our order.
    pub(super) fn load_after_convolution(
        name: &str,
        [channels, height, width]: [usize; 3],
        output: usize,
        weights: &Weights,
        device: &B::Device,
    ) -> Result<Self, Error> {
        let input = channels * height * width;
        let layer = Self::load(name, [input, output], weights, device)?;
        let weight = layer.weight.val().reshape([width, height, channels, output]);
        let weight = weight.permute([2, 1, 0, 3]).reshape([input, output]);
        Ok(Self { weight: Param::from_tensor(weight), ..layer })
    }

    /// Layers of one input as one, whose outputs come one after the other.
    pub(super) fn side_by_side<const N: usize>(layers: [Self; N]) -> Self {
        let weights = layers.iter().map(|layer| layer.weight.val()).collect();
        let biases = layers.iter().map(|layer| layer.bias.val()).collect();
        Self { weight: Param::from_tensor(Tensor::cat(weights, 1)), bias: Param::from_tensor(Tensor::cat(biases, 1)) }
    }

    /// `[batch, input]` → `[batch, output]`
    pub(super) fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        gpu::matmul(x, self.weight.val()) + self.bias.val()
    }
}

/// `x` where positive, `alpha · x` where negative, with one `alpha` per channel (He et al., 2015).
#[derive(Module, Debug)]
pub(super) struct PRelu<B: Backend> {
    alpha: Param<Tensor<B, 1>>,
}

impl<B: Backend> PRelu<B> {
    pub(super) fn load(name: &str, channels: usize, weights: &Weights, device: &B::Device) -> Result<Self, Error> {
        Ok(Self { alpha: Param::from_tensor(weights.tensor(&format!("{name}.weight"), [channels], device)?) })
    }

    /// `[batch, channels, ...]` → the same shape.
    pub(super) fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let mut shape = [1; D];
        shape[1] = x.dims()[1];
        x.clone().clamp_max(0.0) * self.alpha.val().reshape(shape) + relu(x)
    }
}

/// Max-pooling over `kernel × kernel` with stride 2, `[batch, channels, height, width]`.
///
/// The last window may stick out over the border (Caffe's rounding, which the weights were trained with).
pub(super) fn max_pool<B: Backend>(x: Tensor<B, 4>, kernel: usize) -> Tensor<B, 4> {
    max_pool2d(x, [kernel, kernel], [2, 2], [0, 0], [1, 1], true)
}
