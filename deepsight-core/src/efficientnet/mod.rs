//! EfficientNet (Tan & Le, ICML 2019) on Burn, with timm's parameter names.

mod block;
mod checkpoint;
pub(crate) mod config;
mod import;
mod layer;
mod pickle;
mod state_dict;
mod training;

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

pub use block::{Block, DepthwiseSeparable, InvertedResidual, SqueezeExcitation};
pub use config::{Architecture, EfficientNetConfig};
pub use layer::{Activation, BATCH_NORM_MOMENTUM, BatchNormAct, Padding};
pub use state_dict::{StateDict, Weight};
pub use training::Noise;

use block::channel_means;
use layer::convolution;

/// An EfficientNet: an image to class logits.
///
/// Made by [`EfficientNetConfig::init`]; weights come in by [`load_state_dict`](Self::load_state_dict).
///
/// ```
/// use burn::backend::Flex;
/// use burn::tensor::Tensor;
/// use deepsight_core::EfficientNetConfig;
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
    /// From pooled features to logits.
    pub classifier: Linear<B>,
}

impl<B: Backend> EfficientNet<B> {
    fn new(config: &EfficientNetConfig, device: &B::Device) -> Self {
        let norm = |channels| BatchNormAct::new(channels, config.batch_norm_epsilon, config.activation, device);
        let stem = config.stem_channels();
        let mut channels = stem;
        let mut blocks = Vec::new();
        for stage in config.stages() {
            let mut row = Vec::new();
            for index in 0..stage.blocks {
                row.push(Block::new(config, &stage, channels, index == 0, device));
                channels = stage.channels;
            }
            blocks.push(row);
        }
        let features = config.features();
        let bound = 1.0 / (config.classes as f64).sqrt();
        Self {
            conv_stem: convolution([3, stem], 3, 2, 1, config.padding, device),
            bn1: norm(stem),
            blocks,
            conv_head: convolution([channels, features], 1, 1, 1, config.padding, device),
            bn2: norm(features),
            // The reference's: uniform in ±1 / √fan-out.
            classifier: LinearConfig::new(features, config.classes)
                .with_initializer(Initializer::Uniform { min: -bound, max: bound })
                .init(device),
        }
    }

    /// Class logits of a batch of normalised RGB images: `[batch, 3, height, width]` to `[batch, classes]`.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        self.forward_head(self.forward_features(images))
    }

    /// The last feature map: `[batch, 3, height, width]` to `[batch, features, height / 32, width / 32]`, rounded up.
    pub fn forward_features(&self, images: Tensor<B, 4>) -> Tensor<B, 4> {
        let mut x = self.bn1.forward(self.conv_stem.forward(images));
        for block in self.blocks.iter().flatten() {
            x = block.forward(x);
        }
        self.bn2.forward(self.conv_head.forward(x))
    }

    /// Logits from the last feature map: global average pooling and the classifier.
    pub fn forward_head(&self, features: Tensor<B, 4>) -> Tensor<B, 2> {
        let [batch, channels, _, _] = features.dims();
        self.classifier.forward(channel_means(features).reshape([batch, channels]))
    }

    /// The classifier's weights, `[features, classes]`: what a class activation map multiplies the feature map with.
    pub fn classifier_weights(&self) -> Tensor<B, 2> {
        self.classifier.weight.val()
    }
}
