//! EfficientNet on the fused kernels.

mod block;
mod padded;
mod spread;

use std::sync::{Arc, Mutex, PoisonError};

use self::block::{Block, Buffers};
use self::padded::Padded;
use self::spread::Spread;
use super::fold::Folder;
use super::pool::Pool;
use super::rounds::{Work, in_rounds};
use crate::efficientnet::padding::{LayerPadding, Paddings};
use crate::model::EfficientNetConfig;
use crate::state_dict::Tensors;
use crate::{
    Error,
    model::{Activation, StateDict},
};
use deepsight_kernels::{self as kernels, Aligned, Convolution, Geometry, InstructionSet, Pointwise};

/// An EfficientNet for inference on the CPU. The batch norms are folded into the convolutions, and each block is
/// computed in the cache.
///
/// It is built from the weights of an [`EfficientNet`](crate::model::EfficientNet) and gives the same logits, within
/// 1e-4 relative. Threads can share it. The work is spread over rayon's current thread pool. The result for an image
/// depends neither on the number of threads nor on the other images.
#[derive(Debug)]
pub struct FusedEfficientNet {
    set: InstructionSet,
    stem_padding: LayerPadding,
    blocks: Vec<Block>,
    head: Pointwise,
    /// Maps the pooled features to the logits.
    classifier: Pointwise,
    workspaces: Pool<Workspace>,
    scratch: Pool<Scratch>,
    /// Layout of the last input size.
    layout: Mutex<Option<Arc<Layout>>>,
}

/// The sizes and padding of all layers for one input size.
#[derive(Debug)]
struct Layout {
    size: (usize, usize),
    /// Padding of the rows and of the columns for the stem.
    stem: [Padded; 2],
    blocks: Vec<Geometry>,
}

/// Buffers for one image's forward pass.
#[derive(Debug, Default)]
struct Workspace {
    image: Aligned,
    input: Aligned,
    output: Aligned,
    features: Aligned,
    pooled: Aligned,
    buffers: Buffers,
}

/// Scratch memory for one expansion task.
#[derive(Debug, Default)]
struct Scratch(Aligned);

/// A writable image: rows of `[width, 3]`.
#[derive(Debug)]
pub struct Canvas<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) pitch: usize,
    pub(super) left: usize,
    pub(super) width: usize,
}

impl Canvas<'_> {
    /// Returns the rows from top to bottom, each `[width, 3]`: RGB, normalized.
    pub fn rows(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let (left, width) = (3 * self.left, 3 * self.width);
        self.values.chunks_exact_mut(3 * self.pitch).map(move |row| &mut row[left..left + width])
    }
}

impl FusedEfficientNet {
    /// Builds the network described by `config` from its weights, for an instruction set.
    ///
    /// # Errors
    /// Returns [`Error::TensorNames`], [`Error::TensorShape`] or [`Error::TensorNotFinite`] if the weights are not
    /// those of the network.
    pub fn new(config: &EfficientNetConfig, weights: &StateDict, set: InstructionSet) -> Result<Self, Error> {
        Self::from_tensors(config, weights, set)
    }

    /// Builds the network from tensors that are read one by one.
    pub(in crate::fused) fn from_tensors(
        config: &EfficientNetConfig,
        tensors: &dyn Tensors,
        set: InstructionSet,
    ) -> Result<Self, Error> {
        let mut folder = Folder::new(config, tensors);
        let act = activation(config.activation);
        let mut channels = config.stem_channels();
        let stem = folder.normalized("conv_stem", "bn1", &[channels, 3, 3, 3])?;
        let mut stem = Some(Convolution::new(set, &stem.weights, &stem.bias, 3, 2, act.clone()));
        let mut paddings = Paddings::new(config.padding, config.pad_stem);
        let stem_padding = paddings.stem();
        let mut blocks = Vec::new();
        for (number, stage) in config.stages().iter().enumerate() {
            for index in 0..stage.blocks {
                let name = format!("blocks.{number}.{index}");
                let place = (name.as_str(), channels, index == 0);
                blocks.push(Block::new(config, stage, place, stem.take(), &mut paddings, set, &mut folder)?);
                channels = stage.channels;
            }
        }
        let features = config.features();
        let head = folder.normalized("conv_head", "bn2", &[features, channels, 1, 1])?.pointwise(set, act);
        let classifier = folder.biased("classifier", &[config.classes, features])?;
        let classifier = classifier.pointwise(set, kernels::Activation::Identity);
        folder.finish()?;
        Ok(Self {
            set,
            stem_padding,
            blocks,
            head,
            classifier,
            workspaces: Pool::new(),
            scratch: Pool::new(),
            layout: Mutex::default(),
        })
    }

    /// Returns the instruction set that the network was built for.
    pub fn instruction_set(&self) -> InstructionSet {
        self.set
    }

    /// Returns the number of channels of the last feature map.
    pub fn features(&self) -> usize {
        self.head.outputs()
    }

    /// Returns the number of classes.
    pub fn classes(&self) -> usize {
        self.classifier.outputs()
    }

    /// Computes the class logits, `[images, classes]`, of a batch of `images` images of `height × width` pixels. Calls
    /// `fill` with the index of each image to write its pixels.
    ///
    /// Images are computed in rounds, one image per thread. If fewer images than threads remain, all threads work
    /// together on each of them, one image after the other.
    ///
    /// # Panics
    /// Panics if `height` or `width` is 0.
    pub fn forward(
        &self,
        images: usize,
        (height, width): (usize, usize),
        fill: impl Fn(usize, Canvas<'_>) + Sync,
    ) -> Vec<f32> {
        let layout = self.layout(height, width);
        in_rounds(images, self.classes(), |image, logits, work| {
            let spread = match work {
                Work::Alone => Spread::OneThread,
                Work::Together => Spread::Threads(rayon::current_num_threads()),
            };
            self.workspaces.with(|workspace| {
                let features = self.features_of(&layout, workspace, |canvas| fill(image, canvas), spread);
                self.classify(&workspace.features[..features], &mut workspace.pooled, logits);
            });
        })
    }

    /// Computes the last feature map of one image, `[⌈height / 32⌉, ⌈width / 32⌉, features]`. Returns it with its
    /// height and width.
    ///
    /// # Panics
    /// Panics if `height` or `width` is 0.
    pub fn forward_features(
        &self,
        (height, width): (usize, usize),
        fill: impl FnOnce(Canvas<'_>),
    ) -> (Vec<f32>, usize, usize) {
        let layout = self.layout(height, width);
        let (rows, columns) = layout.output();
        let features = self.workspaces.with(|workspace| {
            let spread = Spread::Threads(rayon::current_num_threads());
            let features = self.features_of(&layout, workspace, fill, spread);
            workspace.features[..features].to_vec()
        });
        (features, rows, columns)
    }

    /// Runs an image through stem, blocks and head, and stores the last feature map in the workspace. Returns its
    /// number of values.
    fn features_of(
        &self,
        layout: &Layout,
        workspace: &mut Workspace,
        fill: impl FnOnce(Canvas<'_>),
        spread: Spread,
    ) -> usize {
        let [rows, columns] = layout.stem;
        let (height, width) = layout.size;
        let image = workspace.image.at_least(rows.padded * columns.padded * 3);
        clear_border(image, rows, columns, height, width);
        let first = rows.before * columns.padded * 3;
        let inside = &mut image[first..first + height * columns.padded * 3];
        fill(Canvas { values: inside, pitch: columns.padded, left: columns.before, width });

        let (mut input, mut output) = (&mut workspace.input, &mut workspace.output);
        // The stem takes exactly the pixels that it reads. Without padding these may be fewer than the image has.
        if columns.read < columns.padded {
            for row in 1..rows.read {
                let start = row * columns.padded * 3;
                image.copy_within(start..start + columns.read * 3, row * columns.read * 3);
            }
        }
        let mut length = rows.read * columns.read * 3;
        for (number, (block, geometry)) in self.blocks.iter().zip(&layout.blocks).enumerate() {
            let (rows, columns) = geometry.output();
            let outputs = rows * columns * block.outputs();
            let from: &[f32] = if number == 0 { &image[..length] } else { &input[..length] };
            let to = output.at_least(outputs);
            block.forward(geometry, from, to, &mut workspace.buffers, &self.scratch, spread);
            std::mem::swap(&mut input, &mut output);
            length = outputs;
        }
        let (rows, columns) = layout.output();
        let features = workspace.features.at_least(rows * columns * self.features());
        let channels = self.head.inputs();
        let input: &[f32] = &input[..length];
        spread.rows(features, self.features(), |first, features| {
            let count = features.len() / self.features();
            self.head.forward(&input[first * channels..][..count * channels], None, features);
        });
        features.len()
    }

    /// Applies global average pooling and the classifier.
    fn classify(&self, features: &[f32], pooled: &mut Aligned, logits: &mut [f32]) {
        let pooled = pooled.at_least(self.features());
        pooled.fill(0.0);
        for pixel in features.chunks_exact(pooled.len()) {
            pooled.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
        }
        let pixels = (features.len() / pooled.len()) as f32;
        pooled.iter_mut().for_each(|sum| *sum /= pixels);
        self.classifier.forward(pooled, None, logits);
    }

    /// Returns the layout for an input size. It is computed again only when the size changes.
    fn layout(&self, height: usize, width: usize) -> Arc<Layout> {
        assert!(height > 0 && width > 0, "an image of {height} × {width}");
        let mut last = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layout) = last.as_ref().filter(|layout| layout.size == (height, width)) {
            return layout.clone();
        }
        let stem = [height, width].map(|size| Padded::of(self.stem_padding, size, 3, 2));
        let (mut rows, mut columns) = (stem[0].output, stem[1].output);
        let blocks = self.blocks.iter().map(|block| {
            let geometry = block.geometry(rows, columns);
            (rows, columns) = geometry.output();
            geometry
        });
        let layout = Arc::new(Layout { size: (height, width), stem, blocks: blocks.collect() });
        *last = Some(layout.clone());
        layout
    }
}

impl Layout {
    /// Returns the number of rows and columns of the last feature map.
    fn output(&self) -> (usize, usize) {
        self.blocks.last().map_or((0, 0), Geometry::output)
    }
}

/// Fills the padding around the image with zeros.
fn clear_border(padded: &mut [f32], rows: Padded, columns: Padded, height: usize, width: usize) {
    for (row, values) in padded.chunks_exact_mut(columns.padded * 3).enumerate() {
        if row < rows.before || row >= rows.before + height {
            values.fill(0.0);
        } else {
            values[..columns.before * 3].fill(0.0);
            values[(columns.before + width) * 3..].fill(0.0);
        }
    }
}

fn activation(activation: Activation) -> kernels::Activation {
    match activation {
        Activation::Identity => kernels::Activation::Identity,
        Activation::Silu => kernels::Activation::Silu,
        Activation::Relu6 => kernels::Activation::Relu6,
    }
}
