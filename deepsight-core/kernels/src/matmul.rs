//! The matrix product behind every layer except the depthwise ones: rows of an input in memory times packed weights. It
//! computes one register tile at a time and passes the results to a [`Sink`] before they are written to the output.

use std::mem::MaybeUninit;

use super::aligned::Aligned;
use super::simd::Simd;

/// Number of vectors side by side in a panel of weights.
pub(crate) const PANEL: usize = 2;

/// The rows of the left matrix, which need not be contiguous. Row `r` consists of `segments` runs of `length` values,
/// and run `s` begins at `r · row_stride + s · segment_stride`.
///
/// An NHWC image under a pointwise convolution has one run per pixel. Under a `k × k` convolution, it has `k` runs of
/// `k` pixels, which overlap from row to row. Channels in blocks have one run per block.
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
    /// Returns contiguous rows of `length` values.
    pub(crate) fn dense(values: &'a [f32], length: usize) -> Self {
        let count = values.len() / length.max(1);
        Self { values, count, row_stride: length, segments: 1, segment_stride: 0, length }
    }

    /// Returns whether every row lies within the values.
    pub(crate) fn fit(&self) -> bool {
        let last = |count: usize, stride: usize| count.saturating_sub(1).saturating_mul(stride);
        let end = last(self.count, self.row_stride)
            .saturating_add(last(self.segments, self.segment_stride))
            .saturating_add(self.length);
        self.count == 0 || self.segments == 0 || end <= self.values.len()
    }
}

/// Returns the product of the sizes. If the product overflows, returns a length that no slice can have.
pub(crate) fn volume<const N: usize>(sizes: [usize; N]) -> usize {
    sizes.into_iter().fold(1, usize::saturating_mul)
}

/// A consumer of results.
pub(crate) trait Sink<S: Simd> {
    /// Takes a vector of results: those of `row` for the channels from `vector · LANES` on. A row may be passed twice,
    /// with the same results.
    ///
    /// # Safety
    /// `row` and `vector` are within the product that [`multiply`] was called for.
    unsafe fn put(&self, simd: S, row: usize, vector: usize, value: S::Vector);
}

/// A matrix of weights with biases, packed for one number of lanes. A panel holds two vectors of outputs: for each
/// input in turn, the weights of these outputs.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    lanes: usize,
    weights: Aligned,
    bias: Aligned,
}

impl Packed {
    /// Packs weights `[outputs, inputs]`.
    ///
    /// # Panics
    /// Panics if `weights` is empty or if `weights.len() != bias.len() * inputs`.
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

    /// Returns the number of output vectors. The padding of the last vector is included, that of the last panel is not.
    pub(crate) fn vectors(&self) -> usize {
        self.outputs.div_ceil(self.lanes)
    }

    /// Returns the number of outputs, padded to whole panels.
    pub(crate) fn padded(&self) -> usize {
        self.bias.len()
    }

    /// Returns the packed weights, as [`multiply_with`] takes them.
    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Writes the packed weights to `scaled`, those of input `i` multiplied by `factors[i]`.
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

/// Computes `rows · weights + bias` of all rows for the output vectors in `vectors`.
///
/// # Safety
/// The sink can take every row and every one of these vectors.
///
/// # Panics
/// Panics if the rows do not have as many values as the weights have inputs, if they reach beyond their values, or if
/// `vectors` reaches beyond the outputs.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd>(
    simd: S,
    rows: &Rows<'_>,
    packed: &Packed,
    vectors: std::ops::Range<usize>,
    sink: &impl Sink<S>,
) {
    // SAFETY: guaranteed by the caller.
    unsafe { multiply_with(simd, rows, packed, &packed.weights, vectors, sink) }
}

/// Computes the same as [`multiply`], with other packed weights in place of the matrix's own.
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
        // SAFETY: the assertions ensure that panel and vector are within the packed weights, which have at least one
        // input, and within the biases.
        let (weights, bias) = unsafe {
            let weights = weights.as_ptr().add(panel * packed.inputs * width + within * S::LANES);
            (weights, packed.bias.as_ptr().add(vector * S::LANES))
        };
        let tiles = Tiles { rows, weights, bias, vector };
        // SAFETY: a panel holds the weights of both its vectors for every input, and there are as many biases as
        // vectors. The rows are checked above. The caller guarantees that the sink takes the results.
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
    /// Computes full tiles first. The remaining rows go through smaller tiles, or through a tile that overlaps the
    /// previous one.
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

    /// Computes `M` rows from `row` on and `V` vectors of outputs, with every sum in a register.
    ///
    /// Each output is summed in the order of the inputs in every tile, so the results do not depend on how the rows are
    /// divided.
    ///
    /// # Safety
    /// `row + M` is at most the number of rows, and the rows lie within their values. `V` vectors can be read at the
    /// bias. For every input, `V` vectors can be read at the weights, one panel apart. The sink takes these rows and
    /// vectors.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "indices of registers, all known to the compiler")]
    unsafe fn tile<S: Simd, const M: usize, const V: usize>(&self, simd: S, row: usize, sink: &impl Sink<S>) {
        let rows = self.rows;
        let mut sums = [[simd.splat(0.0); V]; M];
        for v in 0..V {
            // SAFETY: guaranteed by the caller.
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
                    // Wraps because the last step from a panel's second vector ends beyond the weights.
                    weights = weights.wrapping_add(PANEL * S::LANES);
                }
            }
        }
        // The sink's code is too long to repeat for each of up to 24 sums, so it is called in a loop. A loop cannot
        // index registers. If it read the sums directly, compilers would keep them in memory during the whole product.
        // So the sums are stored to memory only here.
        let mut results = [[const { MaybeUninit::<Sums>::uninit() }; V]; M];
        for m in 0..M {
            for v in 0..V {
                // SAFETY: `Sums` has room for the largest vector.
                unsafe { simd.store(results[m][v].as_mut_ptr().cast(), sums[m][v]) };
            }
        }
        for (m, results) in results.iter().enumerate() {
            for (v, result) in results.iter().enumerate() {
                // SAFETY: guaranteed by the caller; the result was stored above.
                unsafe { sink.put(simd, row + m, self.vector + v, simd.load(result.as_ptr().cast())) };
            }
        }
    }
}

/// Number of lanes of the widest vector.
const LARGEST: usize = 16;

/// Memory for one vector.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Sums(#[allow(dead_code, reason = "written and read as vectors")] [f32; LARGEST]);
