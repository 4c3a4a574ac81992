use burn::module::{Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{DType, Tensor, activation};

use crate::gpu;

/// The non-linearity after a batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// None: the output of a block is linear.
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

/// How convolutions pad their input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Padding {
    /// Half the kernel on every side, whatever the stride: PyTorch's habit.
    Symmetric,
    /// As little as gives `ceil(size / stride)`, an odd pixel going to the right and bottom: TensorFlow's `SAME`.
    TensorFlowSame,
}

/// A convolution without bias, as batch-normalised networks use; channels are `[input, output]`.
pub(super) fn convolution<B: Backend>(
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
    padding: Padding,
    device: &B::Device,
) -> Conv2d<B> {
    let padding = match padding {
        Padding::Symmetric => PaddingConfig2d::Explicit(kernel / 2, kernel / 2, kernel / 2, kernel / 2),
        Padding::TensorFlowSame => PaddingConfig2d::Same,
    };
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_groups(groups)
        .with_padding(padding)
        .with_bias(false)
        // The reference's: normal, variance 2 / fan-out.
        .with_initializer(Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: true })
        .init(device)
}

/// What a convolution gives, computed in the type of its weights without losing digits on devices that would round them.
pub(super) fn convolve<B: Backend>(convolution: &Conv2d<B>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    let weight = convolution.weight.val();
    let (x, options) = padded(convolution, x.cast(weight.dtype()));
    gpu::conv2d(x, weight, convolution.bias.as_ref().map(|bias| bias.val()), options)
}

/// The same as training computes it: single precision may be rounded as the device likes, as PyTorch does it, and depthwise
/// convolutions are done by whoever knows a fast way back.
pub(super) fn convolve_training<B: Backend>(
    convolution: &Conv2d<B>,
    x: Tensor<B, 4>,
    depthwise: Depthwise<'_, B>,
) -> Tensor<B, 4> {
    let weight = convolution.weight.val();
    let (x, options) = padded(convolution, x.cast(weight.dtype()));
    match &convolution.bias {
        None if options.groups > 1 => depthwise(x, weight, options),
        bias => conv2d(x, weight, bias.as_ref().map(|bias| bias.val()), options),
    }
}

/// A depthwise convolution without bias: input `[batch, channels, height, width]`, weights `[channels, 1, kernel, kernel]`.
pub type Depthwise<'a, B> = &'a dyn Fn(Tensor<B, 4>, Tensor<B, 4>, ConvOptions<2>) -> Tensor<B, 4>;

/// The input with what a convolution pads unevenly, and the options for the rest.
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

/// Batch normalisation (Ioffe & Szegedy, 2015) and the activation after it, with PyTorch's parameter names.
///
/// Both compute in, and return, single precision, whatever comes in.
///
/// [`forward`](Self::forward) normalises by the running statistics, on every backend; training by those of the batch.
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

    /// `[batch, channels, height, width]` to the same shape.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let channels = x.dims()[1];
        // Folded into one scale and one shift a channel: two passes over the feature map instead of four.
        let scale = self.weight.val() / (self.running_var.value() + self.epsilon).sqrt();
        let shift = self.bias.val() - self.running_mean.value() * scale.clone();
        let shape = [1, channels, 1, 1];
        self.activation.forward(x.cast(DType::F32) * scale.reshape(shape) + shift.reshape(shape))
    }

    /// As [`forward`](Self::forward), by the batch's own mean and variance, which the running statistics move towards as
    /// PyTorch's do: by a tenth, with the variance of a sample rather than of a population.
    ///
    pub fn forward_training(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch, channels, height, width] = x.dims();
        // Over planes and then over pictures: reductions over the last dimension are the fast ones.
        let planes = x.cast(DType::F32).reshape([batch, channels, height * width]);
        let mean = planes.clone().mean_dim(2).mean_dim(0);
        let centred = planes - mean.clone();
        let variance = centred.clone().square().mean_dim(2).mean_dim(0);
        self.follow(mean.clone(), variance.clone(), batch * height * width);
        let shape = [1, channels, 1];
        let scale = self.weight.val().reshape(shape) / (variance + self.epsilon).sqrt();
        let y = centred * scale + self.bias.val().reshape(shape);
        self.activation.forward(y.reshape([batch, channels, height, width]))
    }

    /// Moves the running statistics towards those of a batch of `count` values a channel, `[1, channels, 1]` each.
    fn follow(&self, mean: Tensor<B, 3>, variance: Tensor<B, 3>, count: usize) {
        let channels = mean.dims()[1];
        let unbiased = variance * (count as f64 / count.saturating_sub(1).max(1) as f64);
        for (running, batch) in [(&self.running_mean, mean), (&self.running_var, unbiased)] {
            let batch = batch.detach().reshape([channels]);
            running.update(running.value_sync() * (1.0 - BATCH_NORM_MOMENTUM) + batch * BATCH_NORM_MOMENTUM);
            // An update waits for the next one otherwise, and a network saved meanwhile would lack it.
            running.value_sync();
        }
    }
}

/// Share of a batch in the running statistics of training: PyTorch's.
pub const BATCH_NORM_MOMENTUM: f64 = 0.1;
