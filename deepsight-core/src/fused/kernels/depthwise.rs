//! The inside of a mobile inverted bottleneck (Sandler et al., CVPR 2018): expansion and depthwise convolution at once.
//!
//! A vector or two of expanded channels at a time goes, strip by strip, into a scratch plane with zero borders that
//! stays in the cache of one core; the depthwise convolution reads it there. So the expanded image, six times as large
//! as the block's input, is never in memory as a whole.

use std::ops::Range;

use super::activation::{Activation, Apply, Identity, Relu6, Silu};
use super::aligned::Aligned;
use super::instruction_set::InstructionSet;
use super::matmul::{PANEL, Rows, Sink, multiply, volume};
use super::simd::{Kernel, Simd};
use super::{Convolution, Pointwise};

/// Bytes of scratch that a strip may take: with its weights and input it fits the second-level cache of one core.
const STRIP_BYTES: usize = 256 << 10;

/// What makes the channels that a depthwise convolution reads.
#[derive(Debug, Clone)]
pub enum Expansion {
    /// The input's own channels, as they are.
    None,
    /// More channels, pixel by pixel.
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

/// An expansion and the depthwise convolution after it, 3 × 3 or 5 × 5, stride 1 or 2, each with bias and one activation.
///
/// Its output is in blocks of one vector of channels, `[blocks, rows, columns, lanes]`; lanes beyond the last channel are
/// `activation(0)` where the input is finite.
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

/// Where everything lies for one size of the input; for layers of one kernel, stride and instruction set.
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
    /// Padded rows of the scratch plane.
    strip: usize,
    /// Offset in the plane of each pixel of a strip, counted from its first row that is no border.
    offsets: Vec<u32>,
}

impl Geometry {
    /// Rows and columns of the output.
    pub fn output(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn padded_width(&self) -> usize {
        self.width + self.border.left + self.border.right
    }
}

impl ExpandDepthwise {
    /// From depthwise weights `[channels, kernel, kernel]` and one bias for each channel.
    ///
    /// # Panics
    /// When the sizes do not agree with each other or with the expansion's outputs, the expansion has another activation
    /// or instruction set, or there is no kernel for this size, stride or activation.
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

    /// Channels out, without padding.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Whether the input is to be [narrowed](super::narrow).
    pub fn reads_bf16(&self) -> bool {
        matches!(&self.expansion, Expansion::Pointwise(layer) if layer.is_bf16())
    }

    /// Vectors of channels out.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(self.set.lanes())
    }

    /// The layout for an input (after a stem, for its output) of `height × width` with zeros around it.
    ///
    /// # Panics
    /// When the image with its border is smaller than the kernel, or so large that a strip of it has 2³² values.
    pub fn geometry(&self, height: usize, width: usize, border: Border) -> Geometry {
        let padded = |size: usize, before, after| size.saturating_add(before).saturating_add(after);
        let padded_height = padded(height, border.top, border.bottom);
        let padded_width = padded(width, border.left, border.right);
        let smallest = padded_height.min(padded_width);
        assert!(smallest >= self.kernel, "{height} × {width} under a kernel of {}", self.kernel);
        let lanes = self.set.lanes();
        let fitting = STRIP_BYTES / volume([4, PANEL, padded_width, lanes]);
        let strip = padded_height.min(fitting.max(2 * self.kernel));
        // So no offset is cut off, and nothing overflows that is computed from a strip.
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

    /// Values of scratch that [`forward`](Self::forward) needs.
    pub fn scratch(&self, geometry: &Geometry) -> usize {
        PANEL * geometry.strip * geometry.padded_width() * self.set.lanes()
    }

    /// Computes `rows` of the output for as many blocks from `block` on as there are `outputs`, one or two, and the sums
    /// of each channel over each row.
    ///
    /// `input` is `[height, width, inputs]`; before a stem it is the padded image, `(width − 1) · stride + kernel` columns
    /// wide and as many rows high. Each of `outputs` is `[rows, columns, lanes]`, each of `sums` is `[rows, lanes]`.
    ///
    /// # Panics
    /// When the geometry is one for another kernel, stride or instruction set, a slice has not the length that it says, or
    /// blocks or rows are not there. Only `scratch` and `input` may be longer.
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
        let part = Part { layer: self, geometry, input, block, rows, scratch, outputs, sums };
        match self.activation {
            Activation::Identity => self.set.run(Activated { part, activation: Identity }),
            Activation::Silu => self.set.run(Activated { part, activation: Silu }),
            Activation::Relu6 => self.set.run(Activated { part, activation: Relu6 }),
            // Refused when the layer was made.
            Activation::PRelu(_) => unreachable!(),
        }
    }

    /// Values of the whole input.
    fn input_len(&self, &Geometry { height, width, .. }: &Geometry) -> usize {
        match &self.expansion {
            Expansion::None => volume([height, width, self.channels]),
            Expansion::Pointwise(layer) => volume([height, width, layer.inputs()]),
            Expansion::Convolution(stem) => volume([stem.input_size(height), stem.input_size(width), stem.inputs()]),
        }
    }
}

/// What [`ExpandDepthwise::forward`] has checked.
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

struct Activated<'a, 'o, A> {
    part: Part<'a, 'o>,
    activation: A,
}

impl<A: Apply> Kernel for Activated<'_, '_, A> {
    type Output = ();
    const PAIRS: bool = true;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { part, activation } = self;
        assert_eq!(part.layer.set.lanes(), S::LANES);
        match (part.layer.kernel, part.layer.stride) {
            (3, 1) => part.strips::<S, A, 3, 1>(simd, activation),
            (3, _) => part.strips::<S, A, 3, 2>(simd, activation),
            (_, 1) => part.strips::<S, A, 5, 1>(simd, activation),
            _ => part.strips::<S, A, 5, 2>(simd, activation),
        }
    }
}

impl Part<'_, '_> {
    /// Fills the scratch with as many rows as it holds, convolves them, keeps those that the next strip needs too.
    #[inline(always)]
    fn strips<S: Simd, A: Apply, const K: usize, const T: usize>(mut self, simd: S, activation: A) {
        let Geometry { columns, strip, .. } = *self.geometry;
        let pitch = self.geometry.padded_width() * S::LANES;
        assert!(((columns - 1) * T + K) * S::LANES <= pitch && K <= strip);
        self.clear_sides(pitch);
        let (mut base, mut filled) = (self.rows.start * T, self.rows.start * T);
        let mut row = self.rows.start;
        while row < self.rows.end {
            let count = ((strip - K) / T + 1).min(self.rows.end - row);
            self.keep(row * T - base..filled - base, pitch);
            base = row * T;
            let end = (row + count - 1) * T + K;
            self.fill(simd, activation, base, filled..end, pitch);
            filled = end;
            for v in 0..self.outputs.len() {
                let block = self.block + v;
                for index in 0..count {
                    let input = &self.scratch[v * strip * pitch + index * T * pitch..][..K * pitch];
                    let at = (row + index - self.rows.start) * columns * S::LANES;
                    let output = &mut self.outputs[v][at..at + columns * S::LANES];
                    let weights = &self.layer.weights[block * K * K * S::LANES..][..K * K * S::LANES];
                    let bias = &self.layer.bias[block * S::LANES..][..S::LANES];
                    let line = Line { input, pitch, weights, bias, columns };
                    let sums = &mut self.sums[v][(row + index - self.rows.start) * S::LANES..][..S::LANES];
                    // SAFETY: the slices were cut to K rows, in each of which `columns` windows at stride T lie (asserted
                    // above), to the block's weights and bias, to one row of results, and to one vector of sums.
                    unsafe {
                        let sum = line.convolve::<S, A, K, T>(simd, activation, block, output);
                        simd.store(sums.as_mut_ptr(), sum);
                    }
                }
            }
            row += count;
        }
    }

    /// Zeros to the left and right, where no pixel will be written.
    #[inline(always)]
    fn clear_sides(&mut self, pitch: usize) {
        let Geometry { border, strip, .. } = *self.geometry;
        let lanes = self.layer.set.lanes();
        for row in self.scratch[..self.outputs.len() * strip * pitch].chunks_exact_mut(pitch) {
            row[..border.left * lanes].fill(0.0);
            row[pitch - border.right * lanes..].fill(0.0);
        }
    }

    /// Moves these rows of the scratch to its start.
    #[inline(always)]
    fn keep(&mut self, rows: Range<usize>, pitch: usize) {
        if rows.start == 0 {
            return;
        }
        for v in 0..self.outputs.len() {
            let plane = v * self.geometry.strip * pitch;
            self.scratch.copy_within(plane + rows.start * pitch..plane + rows.end * pitch, plane);
        }
    }

    /// Writes the padded image's `rows` into the scratch, which begins with row `base`.
    #[inline(always)]
    fn fill<S: Simd, A: Apply>(&mut self, simd: S, activation: A, base: usize, rows: Range<usize>, pitch: usize) {
        let Geometry { height, width, border, strip, ref offsets, .. } = *self.geometry;
        let plane = strip * pitch;
        // The image's own rows among them.
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
        let at = (first - base) * pitch + border.left * S::LANES;
        assert!(self.scratch.len() >= blocks.len() * plane && offsets.len() >= (end - start) * width);
        let target = self.scratch[at..].as_mut_ptr();
        let planes = Planes { target, plane, offsets, first: blocks.start, activation };
        match &self.layer.expansion {
            Expansion::Pointwise(layer) => {
                let inputs = layer.inputs();
                let rows = Rows::dense(&self.input[start * width * inputs..end * width * inputs], inputs);
                // SAFETY: each of these rows is a pixel that has an offset; with it, the pixel lies within the strip, of which
                // the scratch has a plane for every block.
                unsafe { multiply(simd, &rows, layer.packed(), blocks, &planes) };
            }
            Expansion::Convolution(stem) => {
                let across = stem.input_size(width);
                for row in start..end {
                    let input = &self.input[stem.first_input(row) * across * stem.inputs()..];
                    let rows = stem.rows(input, across, width);
                    let target = self.scratch[at + (row - start) * pitch..].as_mut_ptr();
                    let planes = Planes { target, plane, offsets, first: blocks.start, activation };
                    // SAFETY: as above, from a row of the strip on.
                    unsafe { multiply(simd, &rows, stem.layer().packed(), blocks.clone(), &planes) };
                }
            }
            Expansion::None => self.spread::<S>(simd, start..end, at, pitch),
        }
    }

    /// Copies the input's own channels into the planes.
    #[inline(always)]
    fn spread<S: Simd>(&mut self, simd: S, rows: Range<usize>, at: usize, pitch: usize) {
        let (width, channels) = (self.geometry.width, self.layer.channels);
        let plane = self.geometry.strip * pitch;
        for v in 0..self.outputs.len() {
            let first = (self.block + v) * S::LANES;
            let count = (channels - first).min(S::LANES);
            for row in rows.clone() {
                let input = &self.input[row * width * channels..][..width * channels];
                let output = &mut self.scratch[v * plane + at + (row - rows.start) * pitch..][..width * S::LANES];
                for (pixel, output) in input.chunks_exact(channels).zip(output.chunks_exact_mut(S::LANES)) {
                    // SAFETY: the input was cut to `count` values, at most one vector, and the output to one vector.
                    unsafe {
                        let value = simd.load_first(pixel[first..first + count].as_ptr(), count);
                        simd.store(output.as_mut_ptr(), value);
                    }
                }
            }
        }
    }
}

/// Writes each vector of channels into a plane of its own.
struct Planes<'a, A> {
    target: *mut f32,
    plane: usize,
    offsets: &'a [u32],
    first: usize,
    activation: A,
}

impl<S: Simd, A: Apply> Sink<S> for Planes<'_, A> {
    #[inline(always)]
    unsafe fn put(&self, simd: S, row: usize, vector: usize, value: S::Vector) {
        // SAFETY: every row has an offset within its plane, and every vector from `first` on a plane (`fill`).
        unsafe {
            let value = self.activation.apply(simd, value, vector * S::LANES);
            let offset = *self.offsets.get_unchecked(row) as usize + (vector - self.first) * self.plane;
            simd.store(self.target.add(offset), value);
        }
    }
}

/// One row of windows of one block.
struct Line<'a> {
    input: &'a [f32],
    pitch: usize,
    weights: &'a [f32],
    bias: &'a [f32],
    columns: usize,
}

impl Line<'_> {
    /// Writes the row and returns the sum of its windows.
    ///
    /// # Safety
    /// The input holds `K` rows of `pitch`, each of `columns` windows of `K` at stride `T`; the weights `K · K` vectors, the
    /// bias one; the output `columns`.
    #[inline(always)]
    unsafe fn convolve<S: Simd, A: Apply, const K: usize, const T: usize>(
        &self,
        simd: S,
        activation: A,
        block: usize,
        output: &mut [f32],
    ) -> S::Vector {
        let mut sum = simd.splat(0.0);
        let mut column = 0;
        // SAFETY: `column` and the width of each tile stay within `columns`.
        unsafe {
            while column + 8 <= self.columns {
                sum = self.tile::<S, A, K, T, 8>(simd, activation, block, column, output, sum);
                column += 8;
            }
            if column + 7 == self.columns {
                return self.tile::<S, A, K, T, 7>(simd, activation, block, column, output, sum);
            }
            if column + 4 <= self.columns {
                sum = self.tile::<S, A, K, T, 4>(simd, activation, block, column, output, sum);
                column += 4;
            }
            if column + 2 <= self.columns {
                sum = self.tile::<S, A, K, T, 2>(simd, activation, block, column, output, sum);
                column += 2;
            }
            if column < self.columns {
                sum = self.tile::<S, A, K, T, 1>(simd, activation, block, column, output, sum);
            }
        }
        sum
    }

    /// `N` neighbouring windows.
    ///
    /// # Safety
    /// As for [`convolve`](Self::convolve), and `column + N` is at most `columns`.
    #[inline(always)]
    unsafe fn tile<S: Simd, A: Apply, const K: usize, const T: usize, const N: usize>(
        &self,
        simd: S,
        activation: A,
        block: usize,
        column: usize,
        output: &mut [f32],
        mut sum: S::Vector,
    ) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe {
            let mut results = [simd.load(self.bias.as_ptr()); N];
            for y in 0..K {
                let input = self.input.as_ptr().add(y * self.pitch + column * T * S::LANES);
                for x in 0..K {
                    let weight = simd.load(self.weights.as_ptr().add((y * K + x) * S::LANES));
                    for (n, result) in results.iter_mut().enumerate() {
                        *result = simd.mul_add(simd.load(input.add((n * T + x) * S::LANES)), weight, *result);
                    }
                }
            }
            for (n, result) in results.into_iter().enumerate() {
                let result = activation.apply(simd, result, block * S::LANES);
                sum = simd.add(sum, result);
                simd.store(output.as_mut_ptr().add((column + n) * S::LANES), result);
            }
        }
        sum
    }
}
