use burn::module::{Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{DType, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::padding::LayerPadding;
use crate::gpu;

/// The non-linearity after a batch norm. Model files name it in lower case: `silu`, `relu6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Activation {
    /// No activation, as at the end of a block, whose output is linear.
    Identity,
    /// `x · sigmoid(x)`, also called swish.
    Silu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    pub(super) fn forward<B: Backend>(self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        match self {
            Self::Identity => x,
            Self::Silu => activation::silu(x),
            Self::Relu6 => x.clamp(0.0, 6.0),
        }
    }
}

/// Creates a convolution without bias, because a batch norm follows. Channels are `[input, output]`.
pub(super) fn convolution<B: Backend>(
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
    padding: LayerPadding,
    device: &B::Device,
) -> Conv2d<B> {
    let padding = match padding {
        LayerPadding::Symmetric => PaddingConfig2d::Explicit(kernel / 2, kernel / 2, kernel / 2, kernel / 2),
        LayerPadding::Same => PaddingConfig2d::Same,
        LayerPadding::Fixed { before, after } => PaddingConfig2d::Explicit(before, before, after, after),
    };
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_groups(groups)
        .with_padding(padding)
        .with_bias(false)
        // As in the reference: normal with variance 2 / fan-out.
        .with_initializer(Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: true })
        .init(device)
}

/// Applies a convolution to `x`, `[batch, height, width, channels]`. Computes in the type of the weights, and keeps all
/// digits on devices that would round them.
pub(super) fn convolve<B: Backend>(convolution: &Conv2d<B>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    computed(convolution, x, gpu::matmul, gpu::conv2d)
}

/// Applies a convolution as in training. The device may round single precision, as it may in PyTorch, and `depthwise`
/// computes the depthwise convolutions, so that the caller can supply a fast backward pass.
pub(super) fn convolve_training<B: Backend>(
    convolution: &Conv2d<B>,
    x: Tensor<B, 4>,
    depthwise: Depthwise<'_, B>,
) -> Tensor<B, 4> {
    computed(convolution, x, Tensor::matmul, |x, weight, bias, options| match bias {
        None if options.groups > 1 => depthwise(x, weight, options),
        bias => conv2d(x, weight, bias, options),
    })
}

/// Function that computes a depthwise convolution without bias from the input, `[batch, channels, height, width]`, and
/// the weights, `[channels, 1, kernel, kernel]`.
pub type Depthwise<'a, B> = &'a dyn Fn(Tensor<B, 4>, Tensor<B, 4>, ConvOptions<2>) -> Tensor<B, 4>;

/// Computes a convolution, by `product` if it is pointwise and by `conv2d` otherwise. A pointwise convolution is the
/// matrix product of all pixels with the weights. In half precision, GPUs sum matrix products in single precision and
/// can fuse the next operations with them; neither is certain for convolutions.
fn computed<B: Backend>(
    convolution: &Conv2d<B>,
    x: Tensor<B, 4>,
    product: impl FnOnce(Tensor<B, 2>, Tensor<B, 2>) -> Tensor<B, 2>,
    conv2d: impl FnOnce(Tensor<B, 4>, Tensor<B, 4>, Option<Tensor<B, 1>>, ConvOptions<2>) -> Tensor<B, 4>,
) -> Tensor<B, 4> {
    let (weight, bias) = (convolution.weight.val(), convolution.bias.as_ref().map(|bias| bias.val()));
    let x = x.cast(weight.dtype());
    let ([outputs, _, _, _], [batch, height, width, inputs]) = (weight.dims(), x.dims());
    if is_pointwise(convolution) {
        let pixels = x.reshape([batch * height * width, inputs]);
        let y = product(pixels, weight.reshape([outputs, inputs]).transpose());
        let y = match bias {
            Some(bias) => y + bias.reshape([1, outputs]),
            None => y,
        };
        return y.reshape([batch, height, width, outputs]);
    }
    let (x, options) = padded(convolution, x.permute(TO_PLANES));
    conv2d(x, weight, bias, options).permute(TO_PIXELS)
}

fn is_pointwise<B: Backend>(convolution: &Conv2d<B>) -> bool {
    convolution.kernel_size == [1, 1] && convolution.stride == [1, 1] && convolution.groups == 1
}

/// Permutation from `[batch, height, width, channels]` to `[batch, channels, height, width]`.
pub(super) const TO_PLANES: [isize; 4] = [0, 3, 1, 2];
/// Permutation from `[batch, channels, height, width]` to `[batch, height, width, channels]`.
pub(super) const TO_PIXELS: [isize; 4] = [0, 2, 3, 1];

/// Returns the input, padded if the convolution's padding is uneven, and the options for the convolution.
fn padded<B: Backend>(convolution: &Conv2d<B>, x: Tensor<B, 4>) -> (Tensor<B, 4>, ConvOptions<2>) {
    let options = |padding| ConvOptions::new(convolution.stride, padding, convolution.dilation, convolution.groups);
    let [_, _, height, width] = x.dims();
    let around = |size: usize, axis: usize| {
        let needed = (size.div_ceil(convolution.stride[axis]) - 1) * convolution.stride[axis];
        let total = (needed + convolution.kernel_size[axis]).saturating_sub(size);
        (total / 2, total - total / 2)
    };
    let ((top, bottom), (left, right)) = match convolution.padding {
        PaddingConfig2d::Valid => ((0, 0), (0, 0)),
        PaddingConfig2d::Explicit(top, left, bottom, right) => ((top, bottom), (left, right)),
        PaddingConfig2d::Same => (around(height, 0), around(width, 1)),
    };
    if top == bottom && left == right {
        return (x, options([top, left]));
    }
    // Burn 0.21 pads in the backend's own type only.
    let dtype = x.dtype();
    let x = x.cast(DType::F32).pad((left, right, top, bottom), PadMode::Constant(0.0)).cast(dtype);
    (x, options([0, 0]))
}

/// Batch normalization (Ioffe & Szegedy, 2015) and the activation after it, with PyTorch's parameter names.
///
/// Both passes take and return `[batch, height, width, channels]`. They compute in single precision and return it,
/// whatever the type of the input.
///
/// [`forward`](Self::forward) normalizes by the running statistics on every backend.
/// [`forward_training`](Self::forward_training) normalizes by the statistics of the batch.
#[derive(Module, Debug)]
pub struct BatchNormAct<B: Backend> {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<B, 1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<B, 1>>,
    /// Mean over the training set, `[channels]`.
    pub running_mean: RunningState<Tensor<B, 1>>,
    /// Variance over the training set, `[channels]`.
    pub running_var: RunningState<Tensor<B, 1>>,
    /// Added to the variance.
    pub epsilon: f64,
    /// Applied to the result.
    #[module(skip)]
    pub activation: Activation,
}

impl<B: Backend> BatchNormAct<B> {
    pub(super) fn new(channels: usize, epsilon: f64, activation: Activation, device: &B::Device) -> Self {
        Self {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
            running_mean: RunningState::new(Tensor::zeros([channels], device)),
            running_var: RunningState::new(Tensor::ones([channels], device)),
            epsilon,
            activation,
        }
    }

    /// Normalizes by the running statistics.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        // One scale and one shift for each channel take two passes over the feature map instead of four.
        let scale = self.weight.val() / (self.running_var.value() + self.epsilon).sqrt();
        let shift = self.bias.val() - self.running_mean.value() * scale.clone();
        let y = x.cast(DType::F32) * scale.unsqueeze() + shift.unsqueeze();
        self.activation.forward(y)
    }

    /// Normalizes by the batch's mean and variance, and updates the running statistics as PyTorch does: they move by a
    /// tenth towards those of the batch, with the sample variance rather than the population variance.
    pub fn forward_training(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch, height, width, _] = x.dims();
        let x = x.cast(DType::F32);
        let mean = pixel_means(x.clone()).mean_dim(0);
        let centered = x - mean.clone();
        let variance = pixel_means(centered.clone().square()).mean_dim(0);
        self.update_running_statistics(mean, variance.clone(), batch * height * width);
        let scale = self.weight.val().unsqueeze() / (variance + self.epsilon).sqrt();
        self.activation.forward(centered * scale + self.bias.val().unsqueeze())
    }

    /// Moves the running statistics towards `mean` and `variance` of a batch, `[1, 1, 1, channels]` each. The batch has
    /// `count` values in each channel.
    fn update_running_statistics(&self, mean: Tensor<B, 4>, variance: Tensor<B, 4>, count: usize) {
        let channels = mean.dims()[3];
        let unbiased = variance * (count as f64 / count.saturating_sub(1).max(1) as f64);
        for (running, batch) in [(&self.running_mean, mean), (&self.running_var, unbiased)] {
            let batch = batch.detach().reshape([channels]);
            running.update(running.value_sync() * (1.0 - BATCH_NORM_MOMENTUM) + batch * BATCH_NORM_MOMENTUM);
            // Applies the update now. Otherwise it is applied at the next one, and a network saved before that lacks
            // it.
            running.value_sync();
        }
    }
}

/// Returns the mean over the pixels of each image: `[batch, height, width, channels]` to `[batch, 1, 1, channels]`.
/// Reduces one axis after the other, so that there are enough sums for all threads of a GPU.
pub(super) fn pixel_means<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    x.mean_dim(2).mean_dim(1)
}

/// Weight of a batch in the update of the running statistics; PyTorch's default.
pub const BATCH_NORM_MOMENTUM: f64 = 0.1;
