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
    /// Loads the layer `name`. `channels` are the numbers of input and output channels.
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

    /// Joins layers that share one input into one layer, which gives their outputs one after the other.
    pub(super) fn side_by_side(layers: [Self; 2]) -> Self {
        let weights = layers.iter().map(|layer| layer.weight.val()).collect();
        let biases = layers.iter().map(|layer| layer.bias.val()).collect();
        Self { weight: Param::from_tensor(Tensor::cat(weights, 0)), bias: Param::from_tensor(Tensor::cat(biases, 0)) }
    }

    /// Maps `[batch, input, height, width]` to `[batch, output, height − kernel + 1, width − kernel + 1]`.
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

    /// Loads a layer that follows a convolution with output `[batch, channels, height, width]`.
    ///
    /// The weights were trained with Caffe's MATLAB interface, which flattens width first. They are reordered here to
    /// channels, height, width.
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

    /// Joins layers that share one input into one layer, which gives their outputs one after the other.
    pub(super) fn side_by_side<const N: usize>(layers: [Self; N]) -> Self {
        let weights = layers.iter().map(|layer| layer.weight.val()).collect();
        let biases = layers.iter().map(|layer| layer.bias.val()).collect();
        Self { weight: Param::from_tensor(Tensor::cat(weights, 1)), bias: Param::from_tensor(Tensor::cat(biases, 1)) }
    }

    /// Maps `[batch, input]` to `[batch, output]`.
    pub(super) fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        gpu::matmul(x, self.weight.val()) + self.bias.val()
    }
}

/// A parametric ReLU (He et al., 2015): `x` where positive, `alpha · x` where negative, with one `alpha` per channel.
#[derive(Module, Debug)]
pub(super) struct PRelu<B: Backend> {
    alpha: Param<Tensor<B, 1>>,
}

impl<B: Backend> PRelu<B> {
    pub(super) fn load(name: &str, channels: usize, weights: &Weights, device: &B::Device) -> Result<Self, Error> {
        Ok(Self { alpha: Param::from_tensor(weights.tensor(&format!("{name}.weight"), [channels], device)?) })
    }

    /// Maps `[batch, channels, ...]` to the same shape.
    pub(super) fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let mut shape = [1; D];
        shape[1] = x.dims()[1];
        x.clone().clamp_max(0.0) * self.alpha.val().reshape(shape) + relu(x)
    }
}

/// Max-pools `[batch, channels, height, width]` over `kernel × kernel` windows with stride 2.
///
/// The last window may extend beyond the border. This is Caffe's rounding, which the weights were trained with.
pub(super) fn max_pool<B: Backend>(x: Tensor<B, 4>, kernel: usize) -> Tensor<B, 4> {
    max_pool2d(x, [kernel, kernel], [2, 2], [0, 0], [1, 1], true)
}
