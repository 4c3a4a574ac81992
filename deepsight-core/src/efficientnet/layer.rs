use burn::module::{Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, activation};

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

/// Batch normalisation (Ioffe & Szegedy, 2015) and the activation after it, with PyTorch's parameter names.
///
/// It normalises by the running statistics, on every backend.
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
        self.activation.forward(x * scale.reshape(shape) + shift.reshape(shape))
    }
}
