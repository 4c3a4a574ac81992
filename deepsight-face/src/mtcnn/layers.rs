use burn::{
    module::{Module, Param},
    nn::{
        Linear, LinearConfig,
        conv::{Conv2d, Conv2dConfig},
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Tensor, activation::relu, backend::Backend},
};

use super::weights::Weights;
use crate::Error;

/// `x` where positive, `alpha · x` where negative, with one `alpha` per channel (He et al., 2015).
///
/// Written with whole-tensor operations instead of Burn's `PRelu`: the CPU backends have fast loops for each of these,
/// and a slow one for the broadcast comparison.
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
        let [batch, channels] = [x.dims()[0], x.dims()[1]];
        let mut shape = [1; D];
        shape[1] = channels;
        let mut alpha = self.alpha.val().reshape(shape);
        if D > 2 {
            // One slope per plane, so that every plane is a row with a scalar.
            alpha = alpha.repeat_dim(0, batch);
        }
        relu(x.clone()) + x.clamp_max(0.0) * alpha
    }
}

/// A convolution without padding, stride 1.
pub(super) fn conv<B: Backend>(
    name: &str,
    channels: [usize; 2],
    kernel: usize,
    weights: &Weights,
    device: &B::Device,
) -> Result<Conv2d<B>, Error> {
    let mut conv = Conv2dConfig::new(channels, [kernel, kernel]).init(device);
    let shape = [channels[1], channels[0], kernel, kernel];
    conv.weight = Param::from_tensor(weights.tensor(&format!("{name}.weight"), shape, device)?);
    conv.bias = Some(Param::from_tensor(weights.tensor(&format!("{name}.bias"), [channels[1]], device)?));
    Ok(conv)
}

/// A fully connected layer; the file has PyTorch's `[output, input]`, Burn wants the transpose.
pub(super) fn linear<B: Backend>(
    name: &str,
    input: usize,
    output: usize,
    weights: &Weights,
    device: &B::Device,
) -> Result<Linear<B>, Error> {
    let mut linear = LinearConfig::new(input, output).init(device);
    let weight: Tensor<B, 2> = weights.tensor(&format!("{name}.weight"), [output, input], device)?;
    linear.weight = Param::from_tensor(weight.transpose());
    linear.bias = Some(Param::from_tensor(weights.tensor(&format!("{name}.bias"), [output], device)?));
    Ok(linear)
}

/// Max-pooling with stride 2 whose last window may stick out (Caffe's rounding, which the weights were trained with).
pub(super) fn pool(kernel: usize) -> MaxPool2d {
    MaxPool2dConfig::new([kernel, kernel]).with_strides([2, 2]).with_ceil_mode(true).init()
}

/// `[batch, channels, height, width]` → `[batch, width · height · channels]`, the order Caffe's MATLAB interface left
/// in the weights.
pub(super) fn flatten<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 2> {
    let [batch, channels, height, width] = x.dims();
    x.permute([0, 3, 2, 1]).reshape([batch, width * height * channels])
}
