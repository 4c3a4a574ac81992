use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, activation};

use super::layer::{LayerNorm, apply, linear};
use super::{MlpActivation, VisionTransformerConfig};
use crate::gpu;

/// A block: attention, then an MLP, each normalized before and added to its input.
#[derive(Module, Debug)]
pub struct TransformerBlock<B: Backend> {
    /// The norm before the attention.
    pub norm1: LayerNorm<B>,
    /// The attention.
    pub attn: Attention<B>,
    /// The scale of the attention's result, if there is one.
    pub ls1: Option<LayerScale<B>>,
    /// The norm before the MLP.
    pub norm2: LayerNorm<B>,
    /// The MLP.
    pub mlp: Mlp<B>,
    /// The scale of the MLP's result, if there is one.
    pub ls2: Option<LayerScale<B>>,
}

impl<B: Backend> TransformerBlock<B> {
    pub(super) fn new(config: &VisionTransformerConfig, device: &B::Device) -> Self {
        let norm = || LayerNorm::new(config.width, config.norm_epsilon, device);
        let scale = || {
            // DINOv2's initial value.
            let initializer = Initializer::Constant { value: 1e-5 };
            config.layer_scale.then(|| LayerScale { gamma: initializer.init([config.width], device) })
        };
        Self {
            norm1: norm(),
            attn: Attention {
                qkv: linear(config.width, 3 * config.width, device),
                proj: linear(config.width, config.width, device),
                heads: config.heads,
            },
            ls1: scale(),
            norm2: norm(),
            mlp: Mlp {
                fc1: linear(config.width, config.mlp_width, device),
                fc2: linear(config.mlp_width, config.width, device),
                is_quick: config.activation == MlpActivation::QuickGelu,
            },
            ls2: scale(),
        }
    }

    /// Transforms tokens, `[batch, tokens, width]`.
    pub(super) fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let attended = scaled(self.ls1.as_ref(), self.attn.forward(self.norm1.forward(x.clone())));
        let x = x + attended;
        let mixed = scaled(self.ls2.as_ref(), self.mlp.forward(self.norm2.forward(x.clone())));
        x + mixed
    }
}

fn scaled<B: Backend>(scale: Option<&LayerScale<B>>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    match scale {
        Some(scale) => x * scale.gamma.val().unsqueeze(),
        None => x,
    }
}

/// The factor of each channel of a residual branch.
#[derive(Module, Debug)]
pub struct LayerScale<B: Backend> {
    /// The factors, `[width]`.
    pub gamma: Param<Tensor<B, 1>>,
}

/// Multi-head self-attention (Vaswani et al., NeurIPS 2017) over all tokens.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    /// The projection to queries, keys and values, in this order, `width` to `3 * width`.
    pub qkv: Linear<B>,
    /// The projection of the heads' results, `width` to `width`.
    pub proj: Linear<B>,
    /// Number of heads.
    pub heads: usize,
}

impl<B: Backend> Attention<B> {
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, tokens, width] = x.dims();
        let head = width / self.heads;
        let (products, dtype) = (self.qkv.weight.val().dtype(), x.dtype());
        // [batch, tokens, 3, heads, head] to three of [batch, heads, tokens, head].
        let qkv = apply(&self.qkv, x).reshape([batch, tokens, 3, self.heads, head]).permute([2, 0, 3, 1, 4]);
        let part = |number: usize| {
            let part: Tensor<B, 4> = qkv.clone().narrow(0, number, 1).squeeze_dim(0);
            part.cast(products)
        };
        let (queries, keys, values) = (part(0) * (head as f64).powf(-0.5), part(1), part(2));
        let weights = activation::softmax(gpu::matmul(queries, keys.swap_dims(2, 3)).cast(dtype), 3);
        let mixed = gpu::matmul(weights.cast(products), values).cast(dtype);
        apply(&self.proj, mixed.swap_dims(1, 2).reshape([batch, tokens, width]))
    }
}

/// The MLP of a block: two linear layers with an activation between them.
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    /// The first layer, `width` to `mlp_width`.
    pub fc1: Linear<B>,
    /// The second layer, `mlp_width` to `width`.
    pub fc2: Linear<B>,
    /// Whether the activation is [`MlpActivation::QuickGelu`] instead of [`MlpActivation::Gelu`].
    pub is_quick: bool,
}

impl<B: Backend> Mlp<B> {
    /// Returns the activation.
    pub(super) fn activation(&self) -> MlpActivation {
        if self.is_quick { MlpActivation::QuickGelu } else { MlpActivation::Gelu }
    }

    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let x = apply(&self.fc1, x);
        let x = match self.activation() {
            MlpActivation::Gelu => activation::gelu(x),
            MlpActivation::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
        };
        apply(&self.fc2, x)
    }
}
