use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, activation};

use super::config::Stage;
use super::layer::{BatchNormAct, Depthwise, convolution, convolve, convolve_training, pixel_means};
use super::padding::{LayerPadding, Paddings};
use super::{Activation, EfficientNetConfig};

/// One block of an EfficientNet, `[batch, height, width, channels]` to the stage's resolution and channels.
// All but one or two of a network's blocks are the larger variant, so a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Block<B: Backend> {
    /// The first stage's block, which has no expansion.
    DepthwiseSeparable(DepthwiseSeparable<B>),
    /// Every other block.
    InvertedResidual(InvertedResidual<B>),
}

impl<B: Backend> Block<B> {
    /// Creates a block of `stage` whose input has `input` channels. `first` says whether it applies the stage's stride.
    pub(super) fn new(
        config: &EfficientNetConfig,
        stage: &Stage,
        input: usize,
        first: bool,
        paddings: &mut Paddings,
        device: &B::Device,
    ) -> Self {
        let stride = if first { stage.stride } else { 1 };
        let padding = paddings.next(stage.kernel, stride);
        if stage.expansion == 1 {
            Self::DepthwiseSeparable(DepthwiseSeparable::new(config, stage, input, (stride, padding), device))
        } else {
            Self::InvertedResidual(InvertedResidual::new(config, stage, input, (stride, padding), device))
        }
    }

    /// Runs the block. Input and output are in single precision.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        match self {
            Self::DepthwiseSeparable(block) => block.forward(x),
            Self::InvertedResidual(block) => block.forward(x),
        }
    }

    /// Returns the block's convolutions that a batch norm follows, with their names and norms, in the order of the
    /// computation.
    pub(super) fn layers(&self) -> Vec<(&'static str, &Conv2d<B>, &BatchNormAct<B>)> {
        match self {
            Self::DepthwiseSeparable(block) => {
                vec![("conv_dw", &block.conv_dw, &block.bn1), ("conv_pw", &block.conv_pw, &block.bn2)]
            }
            Self::InvertedResidual(block) => vec![
                ("conv_pw", &block.conv_pw, &block.bn1),
                ("conv_dw", &block.conv_dw, &block.bn2),
                ("conv_pwl", &block.conv_pwl, &block.bn3),
            ],
        }
    }

    /// Returns whether the block adds its input to its output. Stochastic depth can drop only such blocks.
    pub fn is_residual(&self) -> bool {
        match self {
            Self::DepthwiseSeparable(block) => block.residual,
            Self::InvertedResidual(block) => block.residual,
        }
    }

    /// Runs the block with the batch's statistics. If it is residual, the branch of each image is multiplied by
    /// `branch`, `[batch, 1, 1, 1]`.
    pub(super) fn forward_training(
        &self,
        x: Tensor<B, 4>,
        branch: Option<Tensor<B, 4>>,
        depthwise: Depthwise<'_, B>,
    ) -> Tensor<B, 4> {
        let y = match self {
            Self::DepthwiseSeparable(block) => block.branch_training(x.clone(), depthwise),
            Self::InvertedResidual(block) => block.branch_training(x.clone(), depthwise),
        };
        match (self.is_residual(), branch) {
            (false, _) => y,
            (true, None) => x + y,
            (true, Some(branch)) => x + y * branch,
        }
    }
}

/// Depthwise convolution, gate, pointwise projection (Howard et al., 2017).
#[derive(Module, Debug)]
pub struct DepthwiseSeparable<B: Backend> {
    /// The depthwise convolution.
    pub conv_dw: Conv2d<B>,
    /// Its norm.
    pub bn1: BatchNormAct<B>,
    /// The gate, where the family has one.
    pub se: Option<SqueezeExcitation<B>>,
    /// The projection, 1 × 1.
    pub conv_pw: Conv2d<B>,
    /// Its norm.
    pub bn2: BatchNormAct<B>,
    /// Whether the block's input is added to its output.
    pub residual: bool,
}

impl<B: Backend> DepthwiseSeparable<B> {
    fn new(
        config: &EfficientNetConfig,
        stage: &Stage,
        input: usize,
        (stride, padding): (usize, LayerPadding),
        device: &B::Device,
    ) -> Self {
        let norm = |channels, activation| BatchNormAct::new(channels, config.batch_norm_epsilon, activation, device);
        Self {
            conv_dw: convolution([input, input], stage.kernel, stride, input, padding, device),
            bn1: norm(input, config.activation),
            se: config.squeeze_excitation.then(|| SqueezeExcitation::new(input, input, device)),
            conv_pw: convolution([input, stage.channels], 1, 1, 1, LayerPadding::Symmetric, device),
            bn2: norm(stage.channels, Activation::Identity),
            residual: stride == 1 && input == stage.channels,
        }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let y = self.bn1.forward(convolve(&self.conv_dw, x.clone()));
        let y = gated(&self.se, y);
        let y = self.bn2.forward(convolve(&self.conv_pw, y));
        if self.residual { x + y } else { y }
    }

    fn branch_training(&self, x: Tensor<B, 4>, depthwise: Depthwise<'_, B>) -> Tensor<B, 4> {
        let y = self.bn1.forward_training(convolve_training(&self.conv_dw, x, depthwise));
        let y = gated(&self.se, y);
        self.bn2.forward_training(convolve_training(&self.conv_pw, y, depthwise))
    }
}

/// Pointwise expansion, depthwise convolution, gate, pointwise projection: MBConv (Sandler et al., CVPR 2018).
#[derive(Module, Debug)]
pub struct InvertedResidual<B: Backend> {
    /// The expansion, 1 × 1.
    pub conv_pw: Conv2d<B>,
    /// Its norm.
    pub bn1: BatchNormAct<B>,
    /// The depthwise convolution.
    pub conv_dw: Conv2d<B>,
    /// Its norm.
    pub bn2: BatchNormAct<B>,
    /// The gate, where the family has one.
    pub se: Option<SqueezeExcitation<B>>,
    /// The projection, 1 × 1.
    pub conv_pwl: Conv2d<B>,
    /// Its norm.
    pub bn3: BatchNormAct<B>,
    /// Whether the block's input is added to its output.
    pub residual: bool,
}

impl<B: Backend> InvertedResidual<B> {
    fn new(
        config: &EfficientNetConfig,
        stage: &Stage,
        input: usize,
        (stride, padding): (usize, LayerPadding),
        device: &B::Device,
    ) -> Self {
        let inner = input * stage.expansion;
        let norm = |channels, activation| BatchNormAct::new(channels, config.batch_norm_epsilon, activation, device);
        Self {
            conv_pw: convolution([input, inner], 1, 1, 1, LayerPadding::Symmetric, device),
            bn1: norm(inner, config.activation),
            conv_dw: convolution([inner, inner], stage.kernel, stride, inner, padding, device),
            bn2: norm(inner, config.activation),
            se: config.squeeze_excitation.then(|| SqueezeExcitation::new(inner, input, device)),
            conv_pwl: convolution([inner, stage.channels], 1, 1, 1, LayerPadding::Symmetric, device),
            bn3: norm(stage.channels, Activation::Identity),
            residual: stride == 1 && input == stage.channels,
        }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let y = self.bn1.forward(convolve(&self.conv_pw, x.clone()));
        let y = self.bn2.forward(convolve(&self.conv_dw, y));
        let y = gated(&self.se, y);
        let y = self.bn3.forward(convolve(&self.conv_pwl, y));
        if self.residual { x + y } else { y }
    }

    fn branch_training(&self, x: Tensor<B, 4>, depthwise: Depthwise<'_, B>) -> Tensor<B, 4> {
        let y = self.bn1.forward_training(convolve_training(&self.conv_pw, x, depthwise));
        let y = self.bn2.forward_training(convolve_training(&self.conv_dw, y, depthwise));
        let y = gated(&self.se, y);
        self.bn3.forward_training(convolve_training(&self.conv_pwl, y, depthwise))
    }
}

fn gated<B: Backend>(gate: &Option<SqueezeExcitation<B>>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    match gate {
        Some(gate) => gate.forward(x),
        None => x,
    }
}

/// Scales each channel by a gate computed from the means of all channels (Hu et al., CVPR 2018).
#[derive(Module, Debug)]
pub struct SqueezeExcitation<B: Backend> {
    /// Reduces the means of all channels to a few values, 1 × 1.
    pub conv_reduce: Conv2d<B>,
    /// Expands these values to a gate for each channel, 1 × 1.
    pub conv_expand: Conv2d<B>,
}

impl<B: Backend> SqueezeExcitation<B> {
    /// Creates a gate for `channels` in a block whose input has `block_input` channels. As in the paper, it squeezes to
    /// a quarter of `block_input`.
    fn new(channels: usize, block_input: usize, device: &B::Device) -> Self {
        let squeezed = block_input / 4;
        Self {
            conv_reduce: Conv2dConfig::new([channels, squeezed], [1, 1]).init(device),
            conv_expand: Conv2dConfig::new([squeezed, channels], [1, 1]).init(device),
        }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        // The gate uses SiLU in every EfficientNet that has gates.
        let squeezed = activation::silu(convolve(&self.conv_reduce, pixel_means(x.clone())));
        x * sigmoid(convolve(&self.conv_expand, squeezed))
    }
}
