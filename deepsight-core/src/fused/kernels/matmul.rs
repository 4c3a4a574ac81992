//! The matrix product that every layer but the depthwise ones comes down to: rows of an input in memory times packed
//! weights, a register tile at a time, handed to a [`Sink`] while still in registers.

use std::mem::MaybeUninit;

use super::aligned::Aligned;
use super::simd::Simd;

/// Vectors side by side in a panel of weights.
pub(crate) const PANEL: usize = 2;

/// The rows of the left matrix, wherever they lie: row `r` is `segments` runs of `length` values, of which run `s` begins
/// at `r · row_stride + s · segment_stride`.
///
/// An NHWC image under a pointwise convolution is one run per pixel; under a `k × k` convolution, `k` runs of `k` pixels
/// that overlap from row to row. Channels in blocks are one run per block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) count: usize,
    pub(crate) row_stride: usize,
    pub(crate) segments: usize,
    pub(crate) segment_stride: usize,
    pub(crate) length: usize,
}

impl<'a> Rows<'a> {
    /// Rows one after the other.
    pub(crate) fn dense(values: &'a [f32], length: usize) -> Self {
        let count = values.len() / length.max(1);
        Self { values, count, row_stride: length, segments: 1, segment_stride: 0, length }
    }

    /// Whether every row lies within the values.
    pub(crate) fn fit(&self) -> bool {
        let last = |count: usize, stride: usize| count.saturating_sub(1).saturating_mul(stride);
        let end = last(self.count, self.row_stride)
            .saturating_add(last(self.segments, self.segment_stride))
            .saturating_add(self.length);
        self.count == 0 || self.segments == 0 || end <= self.values.len()
    }
}

/// How many values there are of these sizes; one that no slice can have where the product overflows.
pub(crate) fn volume<const N: usize>(sizes: [usize; N]) -> usize {
    sizes.into_iter().fold(1, usize::saturating_mul)
}

/// Where results go.
pub(crate) trait Sink<S: Simd> {
    /// Takes a vector of results: those of `row` for the channels from `vector · LANES` on. A row may come twice, with
    /// the same results.
    ///
    /// # Safety
    /// `row` and `vector` are within the product that [`multiply`] was called for.
    unsafe fn put(&self, simd: S, row: usize, vector: usize, value: S::Vector);
}

/// A matrix of weights with biases, packed for one number of lanes: panels of two vectors of outputs, each with its
/// inputs one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    lanes: usize,
    weights: Aligned,
    bias: Aligned,
}

impl Packed {
    /// Packs `[outputs, inputs]`.
    ///
    /// # Panics
    /// When there are more or fewer weights than the bias and `inputs` say, or none.
    pub(crate) fn new(weights: &[f32], bias: &[f32], inputs: usize, lanes: usize) -> Self {
        let outputs = bias.len();
        assert!(
            !weights.is_empty() && weights.len() == volume([inputs, outputs]),
            "{} weights of {outputs} × {inputs}",
            weights.len()
        );
        let width = PANEL * lanes;
        let panels = outputs.div_ceil(width);
        let mut packed = Aligned::zeros(volume([panels, inputs, width]));
        let mut padded = Aligned::zeros(volume([panels, width]));
        padded[..outputs].copy_from_slice(bias);
        for (output, row) in weights.chunks_exact(inputs).enumerate() {
            let panel = &mut packed[output / width * inputs * width..][..inputs * width];
            for (input, weight) in row.iter().enumerate() {
                panel[input * width + output % width] = *weight;
            }
        }
        Self { inputs, outputs, lanes, weights: packed, bias: padded }
    }

    /// Vectors of outputs, padding of the last one included but not that of the last panel.
    pub(crate) fn vectors(&self) -> usize {
        self.outputs.div_ceil(self.lanes)
    }

    /// Outputs with the padding of whole panels.
    pub(crate) fn padded(&self) -> usize {
        self.bias.len()
    }

    /// The packed weights, as [`multiply_with`] takes them.
    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Writes the packed weights with input `i` scaled by `factors[i]`.
    #[cfg(feature = "model")]
    pub(crate) fn scale_inputs(&self, factors: &[f32], scaled: &mut [f32]) {
        let width = PANEL * self.lanes;
        let panels = self.weights.chunks_exact(self.inputs * width).zip(scaled.chunks_exact_mut(self.inputs * width));
        for (panel, scaled) in panels {
            let rows = panel.chunks_exact(width).zip(scaled.chunks_exact_mut(width));
            for ((row, scaled), factor) in rows.zip(factors) {
                for (value, weight) in scaled.iter_mut().zip(row) {
                    *value = weight * factor;
                }
            }
        }
    }
}

/// `rows · weights + bias` for the output vectors in `vectors`, of all rows.
///
/// # Safety
/// The sink can take every row and every one of these vectors.
///
/// # Panics
/// When the rows are not as long as the weights' inputs, reach beyond their values, or `vectors` beyond the outputs.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd>(
    simd: S,
    rows: &Rows<'_>,
    packed: &Packed,
    vectors: std::ops::Range<usize>,
    sink: &impl Sink<S>,
) {
    // SAFETY: the caller's promise.
    unsafe { multiply_with(simd, rows, packed, &packed.weights, vectors, sink) }
}

/// [`multiply`] with other packed weights in the place of the matrix's own.
///
/// # Safety
/// As for [`multiply`].
#[inline(always)]
pub(crate) unsafe fn multiply_with<S: Simd>(
    simd: S,
    rows: &Rows<'_>,
    packed: &Packed,
    weights: &[f32],
    vectors: std::ops::Range<usize>,
    sink: &impl Sink<S>,
) {
    let width = PANEL * S::LANES;
    let inputs = volume([rows.segments, rows.length]);
    assert!(rows.fit() && inputs == packed.inputs, "rows of {inputs} inputs for {}", packed.inputs);
    assert!(packed.lanes == S::LANES && weights.len() >= packed.weights.len() && vectors.end <= packed.vectors());
    let mut vector = vectors.start;
    while vector < vectors.end {
        let (panel, within) = (vector / PANEL, vector % PANEL);
        let pair = within == 0 && vector + 1 < vectors.end;
        // SAFETY: panel and vector are within the packed weights, which have at least one input, and the biases, by the
        // assertions.
        let (weights, bias) = unsafe {
            let weights = weights.as_ptr().add(panel * packed.inputs * width + within * S::LANES);
            (weights, packed.bias.as_ptr().add(vector * S::LANES))
        };
        let tiles = Tiles { rows, weights, bias, vector };
        // SAFETY: a panel holds its first vector's and its second's weights for every input, and biases are as many as
        // there are vectors; rows are checked above; the sink's part is the caller's promise.
        unsafe {
            if pair {
                tiles.all::<S, 2>(simd, sink);
            } else {
                tiles.all::<S, 1>(simd, sink);
            }
        }
        vector += if pair { 2 } else { 1 };
    }
}

/// The product of all rows with one or two vectors of outputs.
struct Tiles<'a> {
    rows: &'a Rows<'a>,
    weights: *const f32,
    bias: *const f32,
    vector: usize,
}

impl Tiles<'_> {
    /// Full tiles first; what is left goes through smaller ones, or once more through a tile that overlaps the last.
    ///
    /// # Safety
    /// As for [`tile`](Self::tile), for all rows.
    #[inline(always)]
    unsafe fn all<S: Simd, const V: usize>(&self, simd: S, sink: &impl Sink<S>) {
        let count = self.rows.count;
        let mut row = 0;
        // SAFETY: `row` plus the height of each tile is at most `count`.
        unsafe {
            while row + S::ROWS <= count {
                if S::ROWS == 12 {
                    self.tile::<S, 12, V>(simd, row, sink);
                } else {
                    self.tile::<S, 6, V>(simd, row, sink);
                }
                row += S::ROWS;
            }
            if S::ROWS == 12 && count - row > 8 && count >= 12 {
                self.tile::<S, 12, V>(simd, count - 12, sink);
                row = count;
            }
            while row < count {
                if count - row >= 4 || (count - row > 1 && count >= 4) {
                    let start = row.min(count - 4);
                    self.tile::<S, 4, V>(simd, start, sink);
                    row = start + 4;
                } else {
                    self.tile::<S, 1, V>(simd, row, sink);
                    row += 1;
                }
            }
        }
    }

    /// `M` rows from `row` on, `V` vectors of outputs, every sum in a register.
    ///
    /// Each output is summed in the order of the inputs whatever the tile, so results do not depend on how rows are cut.
    ///
    /// # Safety
    /// `row + M` is at most the number of rows, which lie within their values; `V` vectors can be read at the bias, and at
    /// the weights for every input, a panel apart; the sink takes these rows and vectors.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "indices of registers, all known to the compiler")]
    unsafe fn tile<S: Simd, const M: usize, const V: usize>(&self, simd: S, row: usize, sink: &impl Sink<S>) {
        let rows = self.rows;
        let mut sums = [[simd.splat(0.0); V]; M];
        for v in 0..V {
            // SAFETY: the caller's promise.
            let bias = unsafe { simd.load(self.bias.add(v * S::LANES)) };
            for sum in &mut sums {
                sum[v] = bias;
            }
        }
        let mut weights = self.weights;
        for segment in 0..rows.segments {
            // SAFETY: the row lies within the values, and there are as many inputs as weights.
            unsafe {
                let input = rows.values.as_ptr().add(row * rows.row_stride + segment * rows.segment_stride);
                for i in 0..rows.length {
                    let mut weight = [simd.splat(0.0); V];
                    for v in 0..V {
                        weight[v] = simd.load(weights.add(v * S::LANES));
                    }
                    for m in 0..M {
                        let value = simd.splat(*input.add(m * rows.row_stride + i));
                        for v in 0..V {
                            sums[m][v] = simd.mul_add(value, weight[v], sums[m][v]);
                        }
                    }
                    // From a panel's second vector on, the last step leads out of the weights.
                    weights = weights.wrapping_add(PANEL * S::LANES);
                }
            }
        }
        // The sink's code is too long to be repeated for each of up to 24 sums. Looping over registers is impossible, and
        // compilers would keep the sums in memory all along; so they are moved there only now.
        let mut results = [[const { MaybeUninit::<Sums>::uninit() }; V]; M];
        for m in 0..M {
            for v in 0..V {
                // SAFETY: `Sums` has room for the largest vector.
                unsafe { simd.store(results[m][v].as_mut_ptr().cast(), sums[m][v]) };
            }
        }
        for (m, results) in results.iter().enumerate() {
            for (v, result) in results.iter().enumerate() {
                // SAFETY: the caller's promise; the result was stored above.
                unsafe { sink.put(simd, row + m, self.vector + v, simd.load(result.as_ptr().cast())) };
            }
        }
    }
}

/// Lanes of the widest vector.
const LARGEST: usize = 16;

/// Room for one vector.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Sums(#[allow(dead_code, reason = "written and read as vectors")] [f32; LARGEST]);
