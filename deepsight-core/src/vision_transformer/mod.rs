//! Vision transformer (Dosovitskiy et al., ICLR 2021) of CLIP and DINOv2 on Burn, with timm's parameter names.

mod block;
pub(crate) mod config;
mod layer;
pub(crate) mod positions;

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, Linear, PaddingConfig2d};
use burn::tensor::backend::Backend;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor};

pub use block::{Attention, LayerScale, Mlp, TransformerBlock};
pub use config::{Head, MlpActivation, TransformerSize, VisionTransformerConfig};
pub use layer::LayerNorm;

use layer::linear;

use crate::state_dict::{self, StateDict, check_shapes};
use crate::{Error, gpu};

/// A vision transformer with a class token, which computes class logits from images.
///
/// [`VisionTransformerConfig::init`] creates one, and [`load_state_dict`](Self::load_state_dict) sets its weights.
///
/// ```
/// use burn::backend::Flex;
/// use burn::tensor::Tensor;
/// use deepsight_core::model::VisionTransformerConfig;
///
/// let device = Default::default();
/// let mut config: VisionTransformerConfig = "vit_small_patch14_dinov2".parse()?;
/// (config.depth, config.patches) = (1, 2);
/// let logits = config.init::<Flex>(&device)?.forward(Tensor::zeros([3, 3, 28, 28], &device));
/// assert_eq!(logits.dims(), [3, 2]);
/// # Ok::<(), deepsight_core::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct VisionTransformer<B: Backend> {
    /// The projection of patches to tokens.
    pub patch_embed: PatchEmbedding<B>,
    /// The class token, `[1, 1, width]`.
    pub cls_token: Param<Tensor<B, 3>>,
    /// The register tokens, `[1, registers, width]`, if there are any. They have no position.
    pub reg_token: Option<Param<Tensor<B, 3>>>,
    /// The positions of the class token and of the patches, row by row, `[1, 1 + patches², width]`.
    pub pos_embed: Param<Tensor<B, 3>>,
    /// The norm before the blocks, if there is one.
    pub norm_pre: Option<LayerNorm<B>>,
    /// The blocks.
    pub blocks: Vec<TransformerBlock<B>>,
    /// The norm after the blocks.
    pub norm: LayerNorm<B>,
    /// The linear layer from the class token's features to logits.
    pub head: Linear<B>,
    /// Whether the head gets features of Euclidean norm 1.
    pub is_cosine: bool,
}

/// The projection of patches to tokens: a convolution whose stride is its kernel's size.
#[derive(Module, Debug)]
pub struct PatchEmbedding<B: Backend> {
    /// The convolution, `[width, 3, patch_size, patch_size]`.
    pub proj: Conv2d<B>,
}

/// Smallest Euclidean norm by which features are divided, as in PyTorch's `normalize`.
pub(crate) const SMALLEST_NORM: f64 = 1e-12;

impl<B: Backend> VisionTransformer<B> {
    fn new(config: &VisionTransformerConfig, device: &B::Device) -> Self {
        let (width, patch) = (config.width, config.patch_size);
        let small = Initializer::Normal { mean: 0.0, std: 0.02 };
        let norm = || LayerNorm::new(width, config.norm_epsilon, device);
        let proj = Conv2dConfig::new([3, width], [patch, patch])
            .with_stride([patch, patch])
            .with_padding(PaddingConfig2d::Valid)
            .with_bias(config.patch_bias)
            .init(device);
        Self {
            patch_embed: PatchEmbedding { proj },
            cls_token: small.init([1, 1, width], device),
            reg_token: (config.registers > 0).then(|| small.init([1, config.registers, width], device)),
            pos_embed: small.init([1, 1 + config.patches * config.patches, width], device),
            norm_pre: config.pre_norm.then(norm),
            blocks: (0..config.depth).map(|_| TransformerBlock::new(config, device)).collect(),
            norm: norm(),
            head: linear(width, config.classes, device),
            is_cosine: config.head == Head::Cosine,
        }
    }

    /// Computes the class logits of a batch of normalized RGB images: `[batch, 3, side, side]` to `[batch, classes]`.
    /// The side is the patch size times the number of patches.
    ///
    /// # Panics
    /// Panics if the images have another size.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let features = self.forward_features(images);
        let features = match self.is_cosine {
            true => {
                let norms = features.clone().powi_scalar(2).sum_dim(1).sqrt();
                features / norms.clamp_min(SMALLEST_NORM)
            }
            false => features,
        };
        let logits = gpu::matmul(features, self.head.weight.val());
        match &self.head.bias {
            Some(bias) => logits + bias.val().unsqueeze(),
            None => logits,
        }
    }

    /// Computes the normalized features of the class token: `[batch, 3, side, side]` to `[batch, width]`.
    ///
    /// # Panics
    /// As for [`forward`](Self::forward).
    pub fn forward_features(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let mut tokens = self.embed(images);
        for block in &self.blocks {
            tokens = block.forward(tokens);
        }
        let [batch, _, width] = tokens.dims();
        let class = tokens.narrow(1, 0, 1).reshape([batch, width]);
        self.norm.forward(class)
    }

    /// Computes the input of the first block: `[batch, 3, side, side]` to `[batch, tokens, width]`.
    fn embed(&self, images: Tensor<B, 4>) -> Tensor<B, 3> {
        let proj = &self.patch_embed.proj;
        let options = ConvOptions::new(proj.stride, [0, 0], [1, 1], 1);
        let bias = proj.bias.as_ref().map(|bias| bias.val());
        let patches = gpu::conv2d(images, proj.weight.val(), bias, options);
        let [batch, width, rows, columns] = patches.dims();
        let patches = patches.reshape([batch, width, rows * columns]).swap_dims(1, 2);
        let class = self.cls_token.val().expand([batch, 1, width]);
        let mut tokens = Tensor::cat(vec![class, patches], 1) + self.pos_embed.val();
        if let Some(registers) = &self.reg_token {
            let registers = registers.val();
            let count = registers.dims()[1];
            let (class, patches) = (tokens.clone().narrow(1, 0, 1), tokens.narrow(1, 1, rows * columns));
            tokens = Tensor::cat(vec![class, registers.expand([batch, count, width]), patches], 1);
        }
        match &self.norm_pre {
            Some(norm) => norm.forward(tokens),
            None => tokens,
        }
    }

    /// Returns the same network with the operands of its blocks' matrix products in another floating-point type.
    /// Everything else stays in single precision: norms, softmax, residuals, the projection of patches and the head.
    #[must_use]
    pub fn with_products_in(&self, dtype: DType) -> Self {
        let mut other = self.clone();
        other.blocks = other.blocks.map(&mut CastLinears(dtype));
        other
    }

    /// Returns the shape of every tensor of this network, by name.
    pub fn state_shapes(&self) -> std::collections::BTreeMap<String, Vec<usize>> {
        state_dict::shapes(self)
    }

    /// Returns the network's parameters, by timm's names.
    pub fn state_dict(&self) -> StateDict {
        state_dict::collect(self)
    }

    /// Checks that the weights are exactly the tensors of this network, in its shapes, and finite.
    pub(crate) fn check_state_dict(&self, weights: &StateDict) -> Result<(), Error> {
        state_dict::check(&self.state_shapes(), weights)
    }

    /// Replaces the network's parameters.
    ///
    /// # Errors
    /// [`Error::TensorNames`] with every missing and every unexpected name, [`Error::TensorShape`] and
    /// [`Error::TensorNotFinite`] with the first tensor that is wrong.
    pub fn load_state_dict(self, weights: StateDict) -> Result<Self, Error> {
        self.check_state_dict(&weights)?;
        Ok(state_dict::load(self, weights))
    }

    /// Checks that this network is of the given shape: its tensors, heads, epsilon, activation and head. Weights do not
    /// tell networks apart that differ only in the latter four.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::TensorNames`], [`Error::TensorShape`] or [`Error::NetworkSetting`] with the first
    /// difference.
    pub fn check_config(&self, config: &VisionTransformerConfig) -> Result<(), Error> {
        // Parameters are computed when they are first used, so this network costs nothing.
        let expected = config.init::<B>(&self.cls_token.lazy_device())?;
        check_shapes(&expected.state_shapes(), &self.state_shapes())?;
        for ((layer, setting, found), (_, _, expected)) in self.settings().into_iter().zip(expected.settings()) {
            if found != expected {
                return Err(Error::NetworkSetting { layer, setting, found, expected });
            }
        }
        Ok(())
    }

    /// Returns the settings that the tensors do not tell: the layer, the setting's name and its value.
    fn settings(&self) -> Vec<(String, &'static str, String)> {
        let epsilon = |layer: String, norm: &LayerNorm<B>| (layer, "epsilon", norm.epsilon.to_string());
        let mut settings: Vec<_> = self.norm_pre.iter().map(|norm| epsilon("norm_pre".into(), norm)).collect();
        for (number, block) in self.blocks.iter().enumerate() {
            let name = |layer: &str| format!("blocks.{number}.{layer}");
            settings.push(epsilon(name("norm1"), &block.norm1));
            settings.push((name("attn"), "heads", block.attn.heads.to_string()));
            settings.push(epsilon(name("norm2"), &block.norm2));
            settings.push((name("mlp"), "activation", block.mlp.activation().to_string()));
        }
        settings.push(epsilon("norm".into(), &self.norm));
        let head = if self.is_cosine { Head::Cosine } else { Head::Linear };
        settings.push(("head".into(), "kind", head.to_string()));
        settings
    }
}

/// Module mapper that casts the weights of linear layers to another type, and leaves their biases.
struct CastLinears(DType);

impl<B: Backend> ModuleMapper<B> for CastLinears {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        // In a block, the weights of linear layers are the only matrices.
        if D == 2 { param.map(|tensor| tensor.cast(self.0)) } else { param }
    }
}
