//! The first layers of a mobile inverted bottleneck (Sandler et al., CVPR 2018): expansion and depthwise convolution,
//! computed together.
//!
//! One or two vectors of expanded channels at a time are written, strip by strip, to scratch planes with zero borders.
//! The planes stay in the cache of one core, and the depthwise convolution reads them there. So the expanded image,
//! which is six times as large as the block's input, is never in memory as a whole.

mod convolve;
mod expand;

use std::ops::Range;

use self::convolve::Convolve;
use self::expand::{Expand, Spread};
use super::activation::{Activation, Identity, Relu6, Silu};
use super::aligned::Aligned;
use super::instruction_set::InstructionSet;
use super::matmul::{PANEL, Rows, volume};
use super::{Convolution, Pointwise};

/// Largest scratch size of a strip in bytes. With its weights and input, it fits the second-level cache of one core.
const STRIP_BYTES: usize = 256 << 10;

/// The layer that computes the channels that a depthwise convolution reads.
#[derive(Debug, Clone)]
pub enum Expansion {
    /// No layer: the input's own channels.
    None,
    /// A pointwise convolution to more channels.
    Pointwise(Pointwise),
    /// A convolution over a padded image: a network's stem.
    Convolution(Convolution),
}

/// Zeros around an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Border {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

/// An expansion and the depthwise convolution after it, 3 × 3 or 5 × 5, with stride 1 or 2. Both have biases and the
/// same activation.
///
/// The output consists of blocks of one vector of channels, `[blocks, rows, columns, lanes]`. Lanes beyond the last
/// channel are `activation(0)` if the input is finite.
#[derive(Debug, Clone)]
pub struct ExpandDepthwise {
    set: InstructionSet,
    expansion: Expansion,
    channels: usize,
    kernel: usize,
    stride: usize,
    activation: Activation,
    /// `[blocks, kernel · kernel, lanes]`
    weights: Aligned,
    /// `[blocks, lanes]`
    bias: Aligned,
}

/// The memory layout for one input size. It fits layers of one kernel, stride and instruction set.
#[derive(Debug, Clone)]
pub struct Geometry {
    kernel: usize,
    stride: usize,
    lanes: usize,
    height: usize,
    width: usize,
    border: Border,
    rows: usize,
    columns: usize,
    /// Number of padded rows in a scratch plane.
    strip: usize,
    /// Offset of each pixel of a strip in the plane, relative to the first pixel that is not border.
    offsets: Vec<u32>,
}

impl Geometry {
    /// Returns the number of rows and columns of the output.
    pub fn output(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn padded_width(&self) -> usize {
        self.width + self.border.left + self.border.right
    }
}

impl ExpandDepthwise {
    /// Builds the layers from depthwise weights `[channels, kernel, kernel]` and one bias per channel.
    ///
    /// # Panics
    /// Panics if the sizes do not agree with each other or with the expansion's outputs, if the expansion has another
    /// activation or instruction set, or if there is no kernel for this size, stride or activation.
    pub fn new(
        set: InstructionSet,
        expansion: Expansion,
        weights: &[f32],
        bias: &[f32],
        (kernel, stride): (usize, usize),
        activation: Activation,
    ) -> Self {
        let channels = bias.len();
        assert!(matches!(kernel, 3 | 5) && matches!(stride, 1 | 2), "kernel {kernel}, stride {stride}");
        assert!(!matches!(activation, Activation::PRelu(_)), "no depthwise kernel with PReLU");
        assert_eq!(weights.len(), volume([channels, kernel, kernel]), "weights of {channels} channels");
        let layer = match &expansion {
            Expansion::None => None,
            Expansion::Pointwise(layer) => Some(layer),
            Expansion::Convolution(convolution) => Some(convolution.layer()),
        };
        if let Some(layer) = layer {
            assert_eq!(layer.outputs(), channels, "expanded channels");
            assert!(*layer.activation() == activation && layer.instruction_set() == set, "a layer of another kind");
        }
        let lanes = set.lanes();
        let blocks = channels.div_ceil(lanes);
        let area = kernel * kernel;
        let mut packed = Aligned::zeros(blocks * area * lanes);
        for (channel, taps) in weights.chunks_exact(area).enumerate() {
            for (tap, weight) in taps.iter().enumerate() {
                packed[(channel / lanes * area + tap) * lanes + channel % lanes] = *weight;
            }
        }
        let mut padded = Aligned::zeros(blocks * lanes);
        padded[..channels].copy_from_slice(bias);
        Self { set, expansion, channels, kernel, stride, activation, weights: packed, bias: padded }
    }

    /// Returns the number of output channels, without padding.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Returns the number of output blocks, each one vector of channels.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(self.set.lanes())
    }

    /// Returns the layout for an input of `height × width` pixels with zeros around it. With a stem, this is the size
    /// of the stem's output.
    ///
    /// # Panics
    /// Panics if the image with its border is smaller than the kernel, or so large that a strip of it has 2³² values.
    pub fn geometry(&self, height: usize, width: usize, border: Border) -> Geometry {
        let padded = |size: usize, before, after| size.saturating_add(before).saturating_add(after);
        let padded_height = padded(height, border.top, border.bottom);
        let padded_width = padded(width, border.left, border.right);
        let smallest = padded_height.min(padded_width);
        assert!(smallest >= self.kernel, "{height} × {width} under a kernel of {}", self.kernel);
        let lanes = self.set.lanes();
        let fitting = STRIP_BYTES / volume([4, PANEL, padded_width, lanes]);
        let strip = padded_height.min(fitting.max(2 * self.kernel));
        // This ensures that offsets fit `u32` and that nothing computed from a strip overflows.
        let largest = u32::try_from(volume([PANEL, strip, padded_width, lanes])).is_ok() && padded_height < usize::MAX;
        assert!(largest, "{height} × {width} with {border:?} is too large");
        let offsets = (0..strip * width).map(|pixel| ((pixel / width * padded_width + pixel % width) * lanes) as u32);
        Geometry {
            kernel: self.kernel,
            stride: self.stride,
            lanes,
            height,
            width,
            border,
            rows: (padded_height - self.kernel) / self.stride + 1,
            columns: (padded_width - self.kernel) / self.stride + 1,
            strip,
            offsets: offsets.collect(),
        }
    }

    /// Returns the number of scratch values that [`forward`](Self::forward) needs.
    pub fn scratch(&self, geometry: &Geometry) -> usize {
        PANEL * geometry.strip * geometry.padded_width() * self.set.lanes()
    }

    /// Computes `rows` of the output, and the sums of each channel over each row, for the blocks from `block` on. There
    /// are as many blocks as `outputs`, one or two.
    ///
    /// `input` is `[height, width, inputs]`. With a stem, it is the padded image that the stem reads,
    /// `(width − 1) · stride + kernel` columns wide and `(height − 1) · stride + kernel` rows high. Each of `outputs`
    /// is `[rows, columns, lanes]`, each of `sums` is `[rows, lanes]`.
    ///
    /// # Panics
    /// Panics if the geometry is for another kernel, stride or instruction set, if a slice does not have the length
    /// described above, or if the blocks or rows are out of range. Only `scratch` and `input` may be longer.
    #[allow(clippy::too_many_arguments, reason = "what is read, which part of it, and where each result goes")]
    pub fn forward<'o>(
        &self,
        geometry: &Geometry,
        input: &[f32],
        block: usize,
        rows: Range<usize>,
        scratch: &mut [f32],
        outputs: &mut [&'o mut [f32]],
        sums: &mut [&'o mut [f32]],
    ) {
        let lanes = self.set.lanes();
        let made_for = (geometry.kernel, geometry.stride, geometry.lanes);
        assert_eq!(made_for, (self.kernel, self.stride, lanes), "kernel, stride and lanes of the geometry");
        let blocks = self.blocks();
        assert!((1..=PANEL).contains(&outputs.len()), "{} blocks at once", outputs.len());
        assert!(block < blocks && outputs.len() <= blocks - block, "block {block} of {blocks}");
        assert!(rows.start <= rows.end && rows.end <= geometry.rows, "rows {rows:?} of {}", geometry.rows);
        let expected = volume([rows.len(), geometry.columns, lanes]);
        assert!(outputs.iter().all(|output| output.len() == expected), "outputs of {expected}");
        assert_eq!(sums.len(), outputs.len(), "sums of all blocks");
        let expected = volume([rows.len(), lanes]);
        assert!(sums.iter().all(|sums| sums.len() == expected), "sums of {expected}");
        assert!(scratch.len() >= self.scratch(geometry), "scratch of {}", scratch.len());
        assert!(input.len() >= self.input_len(geometry), "input of {}", input.len());
        Part { layer: self, geometry, input, block, rows, scratch, outputs, sums }.strips();
    }

    /// Returns the number of values of the whole input.
    fn input_len(&self, &Geometry { height, width, .. }: &Geometry) -> usize {
        match &self.expansion {
            Expansion::None => volume([height, width, self.channels]),
            Expansion::Pointwise(layer) => volume([height, width, layer.inputs()]),
            Expansion::Convolution(stem) => volume([stem.input_size(height), stem.input_size(width), stem.inputs()]),
        }
    }
}

/// The arguments of [`ExpandDepthwise::forward`], after its checks.
struct Part<'a, 'o> {
    layer: &'a ExpandDepthwise,
    geometry: &'a Geometry,
    input: &'a [f32],
    block: usize,
    rows: Range<usize>,
    scratch: &'a mut [f32],
    outputs: &'a mut [&'o mut [f32]],
    sums: &'a mut [&'o mut [f32]],
}

impl Part<'_, '_> {
    /// Computes all rows in strips: fills the scratch with as many rows as it holds, convolves them, and keeps those
    /// that the next strip also needs.
    fn strips(mut self) {
        let (kernel, stride) = (self.layer.kernel, self.layer.stride);
        let pitch = self.geometry.padded_width() * self.layer.set.lanes();
        let strip = self.geometry.strip;
        self.clear_sides(pitch);
        let (mut base, mut filled) = (self.rows.start * stride, self.rows.start * stride);
        let mut row = self.rows.start;
        while row < self.rows.end {
            let count = ((strip - kernel) / stride + 1).min(self.rows.end - row);
            self.keep(row * stride - base..filled - base, pitch);
            base = row * stride;
            let end = (row + count - 1) * stride + kernel;
            self.fill(base, filled..end, pitch);
            filled = end;
            for v in 0..self.outputs.len() {
                self.convolve(v, row..row + count, pitch);
            }
            row += count;
        }
    }

    /// Fills the left and right borders with zeros. No pixel is written there later.
    fn clear_sides(&mut self, pitch: usize) {
        let Geometry { border, strip, .. } = *self.geometry;
        let lanes = self.layer.set.lanes();
        for row in self.scratch[..self.outputs.len() * strip * pitch].chunks_exact_mut(pitch) {
            row[..border.left * lanes].fill(0.0);
            row[pitch - border.right * lanes..].fill(0.0);
        }
    }

    /// Moves these rows of the scratch to its start.
    fn keep(&mut self, rows: Range<usize>, pitch: usize) {
        if rows.start == 0 {
            return;
        }
        for v in 0..self.outputs.len() {
            let plane = v * self.geometry.strip * pitch;
            self.scratch.copy_within(plane + rows.start * pitch..plane + rows.end * pitch, plane);
        }
    }

    /// Writes `rows` of the padded image into the scratch, which begins with row `base`.
    fn fill(&mut self, base: usize, rows: Range<usize>, pitch: usize) {
        let Geometry { height, width, border, strip, ref offsets, .. } = *self.geometry;
        let (plane, lanes) = (strip * pitch, self.layer.set.lanes());
        // The rows of the image among them, without the border.
        let first = rows.start.max(border.top).min(rows.end);
        let last = rows.end.min(border.top + height).max(first);
        for v in 0..self.outputs.len() {
            self.scratch[v * plane + (rows.start - base) * pitch..v * plane + (first - base) * pitch].fill(0.0);
            self.scratch[v * plane + (last - base) * pitch..v * plane + (rows.end - base) * pitch].fill(0.0);
        }
        if first == last {
            return;
        }
        let (start, end) = (first - border.top, last - border.top);
        let blocks = self.block..self.block + self.outputs.len();
        let at = (first - base) * pitch + border.left * lanes;
        let target = &mut self.scratch[at..];
        let (packed, rows, bands, band) = match &self.layer.expansion {
            Expansion::Pointwise(layer) => {
                let inputs = layer.inputs();
                let rows = Rows::dense(&self.input[start * width * inputs..end * width * inputs], inputs);
                (layer.packed(), rows, 1, 0)
            }
            Expansion::Convolution(stem) => {
                let across = stem.input_size(width) * stem.inputs();
                let rows = stem.rows(&self.input[stem.first_input(start) * across..], stem.input_size(width), width);
                (stem.layer().packed(), rows, end - start, stem.first_input(1) * across)
            }
            Expansion::None => {
                let (image, channels) = (&self.input[start * width * self.layer.channels..], self.layer.channels);
                let size = (end - start, width);
                return self.layer.set.run(Spread { image, size, channels, blocks, target, plane, pitch });
            }
        };
        let expand = Expand { packed, rows, bands, band, blocks, target, plane, pitch, offsets, activation: () };
        match self.layer.activation {
            Activation::Identity => self.layer.set.run(expand.with(Identity)),
            Activation::Silu => self.layer.set.run(expand.with(Silu)),
            Activation::Relu6 => self.layer.set.run(expand.with(Relu6)),
            Activation::PRelu(_) => unreachable!("refused when the layer was made"),
        }
    }

    /// Computes the given rows of one output from the scratch, which begins with the first row that they need.
    fn convolve(&mut self, v: usize, rows: Range<usize>, pitch: usize) {
        let (lanes, area) = (self.layer.set.lanes(), self.layer.kernel * self.layer.kernel);
        let columns = self.geometry.columns;
        let done = rows.start - self.rows.start..rows.end - self.rows.start;
        let block = self.block + v;
        let plane = self.geometry.strip * pitch;
        let convolve = Convolve {
            input: &self.scratch[v * plane..(v + 1) * plane],
            pitch,
            weights: &self.layer.weights[block * area * lanes..(block + 1) * area * lanes],
            bias: &self.layer.bias[block * lanes..(block + 1) * lanes],
            size: (self.layer.kernel, self.layer.stride),
            columns,
            block,
            output: &mut self.outputs[v][done.start * columns * lanes..done.end * columns * lanes],
            sums: &mut self.sums[v][done.start * lanes..done.end * lanes],
            activation: (),
        };
        match self.layer.activation {
            Activation::Identity => self.layer.set.run(convolve.with(Identity)),
            Activation::Silu => self.layer.set.run(convolve.with(Silu)),
            Activation::Relu6 => self.layer.set.run(convolve.with(Relu6)),
            Activation::PRelu(_) => unreachable!("refused when the layer was made"),
        }
    }
}
