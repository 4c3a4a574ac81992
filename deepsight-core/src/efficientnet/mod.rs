//! EfficientNet (Tan & Le, ICML 2019) on Burn, with timm's parameter names.

mod block;
mod check;
pub(crate) mod config;
mod layer;
pub(crate) mod names;
pub(crate) mod padding;
mod tensors;
mod training;

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::Conv2d;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

pub use block::{Block, DepthwiseSeparable, InvertedResidual, SqueezeExcitation};
pub use config::{Architecture, EfficientNetConfig};
pub use layer::{Activation, BATCH_NORM_MOMENTUM, BatchNormAct, Depthwise};
pub use names::{TimmName, Variant};
pub use padding::Padding;
pub use training::Noise;

use layer::{TO_PIXELS, TO_PLANES, convolution, convolve, pixel_means};
use padding::{LayerPadding, Paddings};

use crate::gpu;

/// An EfficientNet, which computes class logits from images.
///
/// [`EfficientNetConfig::init`] creates one, and [`load_state_dict`](Self::load_state_dict) sets its weights.
///
/// ```
/// use burn::backend::Flex;
/// use burn::tensor::Tensor;
/// use deepsight_core::model::EfficientNetConfig;
///
/// let device = Default::default();
/// let network = EfficientNetConfig::lite0().init::<Flex>(&device);
/// let logits = network.forward(Tensor::zeros([1, 3, 64, 64], &device));
/// assert_eq!(logits.dims(), [1, 2]);
/// ```
#[derive(Module, Debug)]
pub struct EfficientNet<B: Backend> {
    /// The first convolution, 3 × 3, stride 2.
    pub conv_stem: Conv2d<B>,
    /// The stem's norm.
    pub bn1: BatchNormAct<B>,
    /// Stages of blocks.
    pub blocks: Vec<Vec<Block<B>>>,
    /// The last convolution, 1 × 1.
    pub conv_head: Conv2d<B>,
    /// The head's norm.
    pub bn2: BatchNormAct<B>,
    /// The linear layer from pooled features to logits.
    pub classifier: Linear<B>,
}

/// Module mapper that casts the weights of pointwise convolutions, except those of gates, to another type.
struct CastProducts {
    dtype: DType,
    /// Number of convolutions that enclose the current position; `gates` counts the gates.
    within: usize,
    gates: usize,
}

const CONVOLUTION: &str = "Struct:Conv2d";
const GATE: &str = "Struct:SqueezeExcitation";

impl<B: Backend> ModuleMapper<B> for CastProducts {
    fn enter_module(&mut self, _name: &str, container: &str) {
        self.within += usize::from(container == CONVOLUTION);
        self.gates += usize::from(container == GATE);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.within -= usize::from(container == CONVOLUTION);
        self.gates -= usize::from(container == GATE);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let is_product = self.within > 0 && self.gates == 0 && param.dims().get(2) == Some(&1);
        if is_product { param.map(|tensor| tensor.cast(self.dtype)) } else { param }
    }
}

impl<B: Backend> EfficientNet<B> {
    fn new(config: &EfficientNetConfig, device: &B::Device) -> Self {
        let norm = |channels| BatchNormAct::new(channels, config.batch_norm_epsilon, config.activation, device);
        let stem = config.stem_channels();
        let mut channels = stem;
        let mut paddings = Paddings::new(config.padding, config.pad_stem);
        let conv_stem = convolution([3, stem], 3, 2, 1, paddings.stem(), device);
        let mut blocks = Vec::new();
        for stage in config.stages() {
            let mut row = Vec::new();
            for index in 0..stage.blocks {
                row.push(Block::new(config, &stage, channels, index == 0, &mut paddings, device));
                channels = stage.channels;
            }
            blocks.push(row);
        }
        let features = config.features();
        let bound = 1.0 / (config.classes as f64).sqrt();
        Self {
            conv_stem,
            bn1: norm(stem),
            blocks,
            conv_head: convolution([channels, features], 1, 1, 1, LayerPadding::Symmetric, device),
            bn2: norm(features),
            // As in the reference: uniform in ±1 / √fan-out.
            classifier: LinearConfig::new(features, config.classes)
                .with_initializer(Initializer::Uniform { min: -bound, max: bound })
                .init(device),
        }
    }

    /// Computes the class logits of a batch of normalized RGB images: `[batch, 3, height, width]` to `[batch,
    /// classes]`.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        self.forward_head(self.forward_features(images))
    }

    /// Computes the last feature map: `[batch, 3, height, width]` to `[batch, features, height / 32, width / 32]`,
    /// rounded up.
    pub fn forward_features(&self, images: Tensor<B, 4>) -> Tensor<B, 4> {
        // Channels come last: pointwise convolutions need that order, and GPUs convert to it for the others anyway.
        let mut x = self.bn1.forward(convolve(&self.conv_stem, images.permute(TO_PIXELS)));
        for block in self.blocks.iter().flatten() {
            x = block.forward(x);
        }
        self.bn2.forward(convolve(&self.conv_head, x)).permute(TO_PLANES)
    }

    /// Computes logits from the last feature map, by global average pooling and the classifier.
    pub fn forward_head(&self, features: Tensor<B, 4>) -> Tensor<B, 2> {
        let [batch, channels, _, _] = features.dims();
        let pooled = pixel_means(features.permute(TO_PIXELS)).reshape([batch, channels]);
        let logits = gpu::matmul(pooled, self.classifier.weight.val());
        match &self.classifier.bias {
            Some(bias) => logits + bias.val().unsqueeze(),
            None => logits,
        }
    }

    /// Returns the same network with the operands of its matrix products, which are the pointwise convolutions, in
    /// another floating-point type. Everything else stays in single precision: batch norms, sums, gates, the logits,
    /// and the other convolutions, which GPUs may sum in the operands' type and which are a small part of the
    /// arithmetic. Running statistics are shared, and gradients reach the parameters through the casts.
    #[must_use]
    pub fn with_products_in(&self, dtype: DType) -> Self {
        self.clone().map(&mut CastProducts { dtype, within: 0, gates: 0 })
    }

    /// Returns the classifier's weights, `[features, classes]`. A class activation map is the feature map weighted by
    /// them.
    pub fn classifier_weights(&self) -> Tensor<B, 2> {
        self.classifier.weight.val()
    }
}
