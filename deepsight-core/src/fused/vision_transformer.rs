//! Vision transformer on the fused kernels.

use std::borrow::Cow;

use rayon::prelude::*;

use super::Canvas;
use super::fold::Folder;
use super::pool::Pool;
use super::rounds::{Work, in_rounds};
use crate::Error;
use crate::model::{Head, MlpActivation, StateDict, VisionTransformerConfig};
use crate::state_dict::Tensors;
use crate::vision_transformer::SMALLEST_NORM;
use deepsight_kernels::{
    Activation, Aligned, InstructionSet, Pointwise, StridedRows, gelu_in_place, quick_gelu_in_place, softmax_in_place,
};

/// A vision transformer for inference on the CPU.
///
/// It is built from the weights of a [`VisionTransformer`](crate::model::VisionTransformer) and gives the same logits,
/// within 1e-3 relative. Threads can share it. The work is spread over rayon's current thread pool. The result for an
/// image depends neither on the number of threads nor on the other images.
///
/// The tokens of an image lie in blocks of channels, `[blocks, tokens, channels / blocks]`, so that each task of a
/// matrix product writes one block, and the queries, keys and values of each attention head are contiguous.
#[derive(Debug)]
pub struct FusedVisionTransformer {
    set: InstructionSet,
    config: VisionTransformerConfig,
    /// Maps a patch, `[patch_size, patch_size, 3]`, to a token.
    patches: Pointwise,
    /// The class token with its position, the registers, then the positions of the patches, `[tokens, width]`.
    positions: Vec<f32>,
    norm_pre: Option<Norm>,
    blocks: Vec<Block>,
    norm: Norm,
    head: Pointwise,
    workspaces: Pool<Workspace>,
    scratch: Pool<Scratch>,
}

/// The weights of a layer norm.
#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    fn new(folder: &mut Folder<'_>, name: &str, config: &VisionTransformerConfig) -> Result<Self, Error> {
        let mut take = |part: &str| folder.take(&format!("{name}.{part}"), &[config.width]).map(Cow::into_owned);
        Ok(Self { weight: take("weight")?, bias: take("bias")?, epsilon: config.norm_epsilon as f32 })
    }

    /// Normalizes one token in place.
    fn apply(&self, token: &mut [f32]) {
        let count = token.len() as f32;
        let mean = sum(token, |value| value) / count;
        let variance = sum(token, |value| (value - mean) * (value - mean)) / count;
        let factor = 1.0 / (variance + self.epsilon).sqrt();
        for ((value, weight), bias) in token.iter_mut().zip(&self.weight).zip(&self.bias) {
            *value = (*value - mean) * factor * weight + bias;
        }
    }
}

/// Sums a function of the values. Several sums run side by side, so that the compiler can use vectors.
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += of(*value));
    }
    sums.iter().sum::<f32>() + rest.iter().map(|value| of(*value)).sum::<f32>()
}

/// A linear layer, divided into parts of consecutive outputs.
#[derive(Debug)]
struct Dense {
    parts: Vec<Pointwise>,
}

impl Dense {
    /// Takes the layer `name` with `[outputs, inputs]` weights. `factors` are multiplied with the outputs.
    fn new(
        folder: &mut Folder<'_>,
        name: &str,
        [outputs, inputs, part]: [usize; 3],
        set: InstructionSet,
        factor: impl Fn(usize) -> f32 + Sync,
    ) -> Result<Self, Error> {
        let weights = folder.take(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = folder.take(&format!("{name}.bias"), &[outputs])?;
        let parts = weights.par_chunks(part * inputs).zip(bias.par_chunks(part)).enumerate();
        let parts = parts.map(|(number, (weights, bias))| {
            let factor = |index: usize| factor(number * part + index);
            let rows = weights.chunks_exact(inputs).enumerate();
            let weights: Vec<f32> = rows
                .flat_map(|(row, values)| values.iter().map(move |value| (row, *value)))
                .map(|(row, value)| value * factor(row))
                .collect();
            let bias: Vec<f32> = bias.iter().enumerate().map(|(row, value)| value * factor(row)).collect();
            Pointwise::new(set, &weights, &bias, Activation::Identity)
        });
        Ok(Self { parts: parts.collect() })
    }
}

#[derive(Debug)]
struct Block {
    norm1: Norm,
    qkv: Dense,
    proj: Dense,
    norm2: Norm,
    fc1: Dense,
    fc2: Dense,
}

impl Block {
    fn new(
        folder: &mut Folder<'_>,
        number: usize,
        config: &VisionTransformerConfig,
        set: InstructionSet,
    ) -> Result<Self, Error> {
        let (width, mlp, part) = (config.width, config.mlp_width, config.head_width());
        let name = |layer: &str| format!("blocks.{number}.{layer}");
        let scale = |folder: &mut Folder<'_>, layer: &str| -> Result<Vec<f32>, Error> {
            match config.layer_scale {
                true => folder.take(&name(&format!("{layer}.gamma")), &[width]).map(Cow::into_owned),
                false => Ok(vec![1.0; width]),
            }
        };
        let (first, second) = (scale(folder, "ls1")?, scale(folder, "ls2")?);
        let query = (part as f32).sqrt().recip();
        Ok(Self {
            norm1: Norm::new(folder, &name("norm1"), config)?,
            // The scale of the attention's logits is part of the queries.
            qkv: Dense::new(folder, &name("attn.qkv"), [3 * width, width, part], set, |output| {
                if output < width { query } else { 1.0 }
            })?,
            proj: Dense::new(folder, &name("attn.proj"), [width, width, part], set, |output| first[output])?,
            norm2: Norm::new(folder, &name("norm2"), config)?,
            fc1: Dense::new(folder, &name("mlp.fc1"), [mlp, width, part_of(mlp)], set, |_| 1.0)?,
            fc2: Dense::new(folder, &name("mlp.fc2"), [width, mlp, part], set, |output| second[output])?,
        })
    }
}

/// Returns the largest divisor of `channels` up to 64: the number of channels of a block.
fn part_of(channels: usize) -> usize {
    (1..=64).rev().find(|part| channels.is_multiple_of(*part)).unwrap_or(1)
}

/// Buffers for one image's forward pass.
#[derive(Debug, Default)]
struct Workspace {
    image: Aligned,
    /// The residual stream, in blocks, and the next one.
    stream: [Aligned; 2],
    /// Normalized tokens, `[tokens, width]`.
    normalized: Aligned,
    /// Queries, keys and values, or the MLP's inner values, in blocks.
    inner: Aligned,
    /// The results of the attention, in blocks.
    attended: Aligned,
}

/// Scratch memory for one attention head: the weights of all tokens for all tokens, and transposed values.
#[derive(Debug, Default)]
struct Scratch {
    weights: Aligned,
    values: Aligned,
}

impl Work {
    /// Calls a function with each block of an output of `length` values, and its number.
    fn each(self, output: &mut [f32], length: usize, run: impl Fn(usize, &mut [f32]) + Sync + Send) {
        match self {
            Self::Alone => output.chunks_mut(length).enumerate().for_each(|(number, block)| run(number, block)),
            Self::Together => {
                output
                    .par_chunks_mut(length)
                    .with_max_len(1)
                    .enumerate()
                    .for_each(|(number, block)| run(number, block));
            }
        }
    }
}

impl FusedVisionTransformer {
    /// Builds the network described by `config` from its weights, for an instruction set.
    ///
    /// # Errors
    /// Returns [`Error::Setting`] if the configuration is out of range, and [`Error::TensorNames`],
    /// [`Error::TensorShape`] or [`Error::TensorNotFinite`] if the weights are not those of the network.
    pub fn new(config: &VisionTransformerConfig, weights: &StateDict, set: InstructionSet) -> Result<Self, Error> {
        Self::from_tensors(config, weights, set)
    }

    /// Builds the network from tensors that are read one by one.
    pub(super) fn from_tensors(
        config: &VisionTransformerConfig,
        tensors: &dyn Tensors,
        set: InstructionSet,
    ) -> Result<Self, Error> {
        config.validate()?;
        let mut left = Folder::without_norms(tensors);
        let folder = &mut left;
        let (width, patch) = (config.width, config.patch_size);
        let kernel = folder.take("patch_embed.proj.weight", &[width, 3, patch, patch])?;
        let bias = match config.patch_bias {
            true => folder.take("patch_embed.proj.bias", &[width])?.into_owned(),
            false => vec![0.0; width],
        };
        let area = patch * patch;
        let kernel: Vec<f32> = kernel
            .chunks_exact(3 * area)
            .flat_map(|planes| (0..3 * area).map(move |index| planes[index % 3 * area + index / 3]))
            .collect();
        let patches = Pointwise::new(set, &kernel, &bias, Activation::Identity);
        let position = folder.take("pos_embed", &[1, 1 + config.patches * config.patches, width])?;
        let class = folder.take("cls_token", &[1, 1, width])?;
        let mut positions: Vec<f32> = class.iter().zip(&*position).map(|(class, position)| class + position).collect();
        if config.registers > 0 {
            positions.extend(&*folder.take("reg_token", &[1, config.registers, width])?);
        }
        positions.extend(&position[width..]);
        let norm_pre = config.pre_norm.then(|| Norm::new(folder, "norm_pre", config)).transpose()?;
        let blocks: Result<_, _> = (0..config.depth).map(|number| Block::new(folder, number, config, set)).collect();
        let (blocks, norm) = (blocks?, Norm::new(folder, "norm", config)?);
        let head = folder.biased("head", &[config.classes, width])?.pointwise(set, Activation::Identity);
        left.finish()?;
        Ok(Self {
            set,
            config: config.clone(),
            patches,
            positions,
            norm_pre,
            blocks,
            norm,
            head,
            workspaces: Pool::new(),
            scratch: Pool::new(),
        })
    }

    /// Returns the instruction set that the network was built for.
    pub fn instruction_set(&self) -> InstructionSet {
        self.set
    }

    /// Returns the number of classes.
    pub fn classes(&self) -> usize {
        self.head.outputs()
    }

    /// Computes the class logits, `[images, classes]`, of a batch of `images` images of `height × width` pixels. Calls
    /// `fill` with the index of each image to write its pixels.
    ///
    /// Images are computed in rounds, one image per thread. If fewer images than threads remain, all threads work
    /// together on each of them, one image after the other.
    ///
    /// # Panics
    /// Panics if `height` or `width` is not that of the network's input.
    pub fn forward(
        &self,
        images: usize,
        (height, width): (usize, usize),
        fill: impl Fn(usize, Canvas<'_>) + Sync,
    ) -> Vec<f32> {
        let side = self.config.image_size();
        assert!(height == side && width == side, "an image of {height} × {width}; {side} × {side} is needed");
        in_rounds(images, self.classes(), |image, logits, work| {
            self.workspaces.with(|workspace| self.classify(workspace, |canvas| fill(image, canvas), work, logits));
        })
    }

    fn classify(&self, workspace: &mut Workspace, fill: impl FnOnce(Canvas<'_>), work: Work, logits: &mut [f32]) {
        let VisionTransformerConfig { width, mlp_width, .. } = self.config;
        let (tokens, part) = (self.config.tokens(), self.config.head_width());
        let Workspace { image, stream, normalized, inner, attended } = workspace;
        let normalized = normalized.at_least(tokens * width);
        let [stream, next] = stream.each_mut().map(|stream| stream.at_least(tokens * width));
        let attended = attended.at_least(tokens * width);
        let inner = inner.at_least(tokens * mlp_width.max(3 * width));

        self.embed(image, fill, work, normalized);
        // To blocks.
        work.each(stream, tokens * part, |block, values| {
            for (value, token) in values.chunks_exact_mut(part).zip(normalized.chunks_exact(width)) {
                value.copy_from_slice(&token[block * part..][..part]);
            }
        });
        for (number, block) in self.blocks.iter().enumerate() {
            normalize(&block.norm1, stream, normalized, part, work);
            let qkv = &mut inner[..3 * tokens * width];
            product(&block.qkv, normalized, contiguous(tokens, width), None, qkv, work);
            self.attend(qkv, attended, work);
            if number + 1 == self.blocks.len() {
                break;
            }
            product(&block.proj, attended, blocked(tokens, width, part), Some(stream), next, work);
            normalize(&block.norm2, next, normalized, part, work);
            let hidden = &mut inner[..tokens * mlp_width];
            self.expand(&block.fc1, normalized, contiguous(tokens, width), hidden, work);
            let rows = blocked(tokens, mlp_width, block.fc1.parts[0].outputs());
            product(&block.fc2, hidden, rows, Some(next), stream, work);
        }
        // After the last attention, only the class token is needed.
        let mut class: Vec<f32> =
            stream.chunks_exact(tokens * part).flat_map(|block| &block[..part]).copied().collect();
        if let Some(block) = self.blocks.last() {
            let rows = StridedRows { count: 1, ..blocked(tokens, width, part) };
            let (next, hidden) = (&mut next[..width], &mut inner[..mlp_width]);
            product(&block.proj, attended, rows, Some(&class), next, work);
            let token = &mut normalized[..width];
            token.copy_from_slice(next);
            block.norm2.apply(token);
            self.expand(&block.fc1, token, contiguous(1, width), hidden, work);
            product(&block.fc2, hidden, contiguous(1, mlp_width), Some(next), &mut class, work);
        }
        self.norm.apply(&mut class);
        if self.config.head == Head::Cosine {
            let norm = sum(&class, |value| value * value).sqrt().max(SMALLEST_NORM as f32);
            class.iter_mut().for_each(|value| *value /= norm);
        }
        self.head.forward(&class, None, logits);
    }

    /// Computes the tokens before the first block, `[tokens, width]`.
    fn embed(&self, image: &mut Aligned, fill: impl FnOnce(Canvas<'_>), work: Work, tokens: &mut [f32]) {
        let VisionTransformerConfig { patch_size, patches, width, registers, .. } = self.config;
        let side = patches * patch_size;
        let image = image.at_least(3 * side * side);
        fill(Canvas { values: image, pitch: side, left: 0, width: side });
        let image: &[f32] = image;
        let (others, grid) = tokens.split_at_mut((1 + registers) * width);
        let (positions, rest) = self.positions.split_at(others.len());
        others.copy_from_slice(positions);
        let row = patches * width;
        work.each(grid, row, |number, tokens| {
            let rows = StridedRows {
                count: patches,
                row_stride: 3 * patch_size,
                runs: patch_size,
                run_stride: 3 * side,
                run_length: 3 * patch_size,
            };
            let strip = &image[number * patch_size * 3 * side..][..patch_size * 3 * side];
            self.patches.forward_strided(strip, rows, Some(&rest[number * row..][..row]), tokens);
        });
        if let Some(norm) = &self.norm_pre {
            work.each(tokens, 16 * width, |_, tokens| {
                tokens.chunks_exact_mut(width).for_each(|token| norm.apply(token));
            });
        }
    }

    /// Computes the attention of every head. `qkv` has the heads' queries, then keys, then values, each
    /// `[tokens, head_width]`.
    fn attend(&self, qkv: &[f32], attended: &mut [f32], work: Work) {
        let (tokens, part, heads) = (self.config.tokens(), self.config.head_width(), self.config.heads);
        let block = |number: usize| &qkv[number * tokens * part..][..tokens * part];
        work.each(attended, tokens * part, |head, output| {
            let (queries, keys, values) = (block(head), block(heads + head), block(2 * heads + head));
            self.scratch.with(|scratch| {
                let weights = scratch.weights.at_least(tokens * tokens);
                let keys = Pointwise::new(self.set, keys, &vec![0.0; tokens], Activation::Identity);
                keys.forward(queries, None, weights);
                softmax_in_place(self.set, weights, tokens);
                let transposed = scratch.values.at_least(tokens * part);
                for (token, values) in values.chunks_exact(part).enumerate() {
                    values
                        .iter()
                        .enumerate()
                        .for_each(|(channel, value)| transposed[channel * tokens + token] = *value);
                }
                Pointwise::new(self.set, transposed, &vec![0.0; part], Activation::Identity)
                    .forward(weights, None, output);
            });
        });
    }

    /// Computes the first layer of an MLP with its activation.
    fn expand(&self, layer: &Dense, tokens: &[f32], rows: StridedRows, output: &mut [f32], work: Work) {
        let block = rows.count * layer.parts[0].outputs();
        work.each(output, block, |number, output| {
            layer.parts[number].forward_strided(tokens, rows, None, output);
            match self.config.activation {
                MlpActivation::Gelu => gelu_in_place(self.set, output),
                MlpActivation::QuickGelu => quick_gelu_in_place(self.set, output),
            }
        });
    }
}

/// Describes tokens in `[tokens, width]`.
fn contiguous(tokens: usize, width: usize) -> StridedRows {
    StridedRows { count: tokens, row_stride: width, runs: 1, run_stride: width, run_length: width }
}

/// Describes tokens in `[width / part, tokens, part]`.
fn blocked(tokens: usize, width: usize, part: usize) -> StridedRows {
    StridedRows { count: tokens, row_stride: part, runs: width / part, run_stride: tokens * part, run_length: part }
}

/// Computes a linear layer of all tokens, plus the residual, in blocks.
fn product(layer: &Dense, input: &[f32], rows: StridedRows, residual: Option<&[f32]>, output: &mut [f32], work: Work) {
    let block = rows.count * layer.parts[0].outputs();
    work.each(output, block, |number, output| {
        let residual = residual.map(|residual| &residual[number * block..][..block]);
        layer.parts[number].forward_strided(input, rows, residual, output);
    });
}

/// Normalizes tokens in blocks, `[blocks, tokens, part]`, to `[tokens, width]`.
fn normalize(norm: &Norm, blocks: &[f32], tokens: &mut [f32], part: usize, work: Work) {
    const TOKENS: usize = 16;
    let width = norm.weight.len();
    let count = tokens.len() / width;
    work.each(tokens, TOKENS * width, |number, tokens| {
        for (index, token) in tokens.chunks_exact_mut(width).enumerate() {
            let at = (number * TOKENS + index) * part;
            for (value, block) in token.chunks_exact_mut(part).zip(blocks.chunks_exact(count * part)) {
                value.copy_from_slice(&block[at..][..part]);
            }
            norm.apply(token);
        }
    });
}
