use super::activation::{Activation, Apply, Identity, PRelu, Relu6, Silu, slopes};
use super::aligned::Aligned;
use super::instruction_set::InstructionSet;
use super::matmul::{Packed, Rows, Sink, multiply_with, volume};
use super::simd::{Kernel, Simd};

/// A 1 × 1 convolution, or fully connected layer, with bias, activation and residual: `[pixels, inputs]` to
/// `[pixels, outputs]`.
///
/// ```
/// use deepsight_kernels::{Activation, InstructionSet, Pointwise};
///
/// let layer = Pointwise::new(InstructionSet::best(), &[1.0, 2.0, 3.0, 4.0], &[0.5, 0.0], Activation::Identity);
/// let mut output = [0.0; 2];
/// layer.forward(&[1.0, 10.0], None, &mut output);
/// assert_eq!(output, [21.5, 43.0]);
/// ```
#[derive(Debug, Clone)]
pub struct Pointwise {
    set: InstructionSet,
    packed: Packed,
    activation: Activation,
    slopes: Aligned,
}

impl Pointwise {
    /// Builds the layer from weights `[outputs, inputs]` and one bias per output.
    ///
    /// # Panics
    /// Panics if the number of weights is not a multiple of the number of biases, if there are no weights or biases, or
    /// if an activation per channel does not have one value per output.
    pub fn new(set: InstructionSet, weights: &[f32], bias: &[f32], activation: Activation) -> Self {
        assert!(
            !bias.is_empty() && weights.len() >= bias.len(),
            "{} weights for {} outputs",
            weights.len(),
            bias.len()
        );
        if let Activation::PRelu(slopes) = &activation {
            assert_eq!(slopes.len(), bias.len(), "slopes of {} channels", bias.len());
        }
        let packed = Packed::new(weights, bias, weights.len() / bias.len(), set.lanes());
        let slopes = slopes(&activation, packed.padded());
        Self { set, packed, activation, slopes }
    }

    /// Returns the number of input values per pixel.
    pub fn inputs(&self) -> usize {
        self.packed.inputs
    }

    /// Returns the number of output values per pixel.
    pub fn outputs(&self) -> usize {
        self.packed.outputs
    }

    /// Computes `activation(input · weights + bias) + residual`; `residual` and `output` are `[pixels, outputs]`.
    ///
    /// # Panics
    /// Panics if `input`, `residual` and `output` do not hold the same number of pixels.
    pub fn forward(&self, input: &[f32], residual: Option<&[f32]>, output: &mut [f32]) {
        assert_eq!(input.len() % self.inputs(), 0, "input of {} channels", self.inputs());
        let rows = Rows::dense(input, self.inputs());
        self.forward_rows(rows, self.packed.weights(), residual, output);
    }

    /// Returns the number of values that [`scale_weights`](Self::scale_weights) writes.
    pub fn packed_len(&self) -> usize {
        self.packed.weights().len()
    }

    /// Writes the packed weights to `scaled`, those of input `i` multiplied by `factors[i]`.
    /// [`forward_blocks`](Self::forward_blocks) takes them. Scaling the weights gives the same result as scaling the
    /// inputs.
    ///
    /// # Panics
    /// Panics unless there is a factor for every input and `scaled` has [`packed_len`](Self::packed_len) values.
    pub fn scale_weights(&self, factors: &[f32], scaled: &mut [f32]) {
        assert_eq!(factors.len(), self.inputs(), "factors of {} inputs", self.inputs());
        assert_eq!(scaled.len(), self.packed_len(), "scaled weights");
        self.packed.scale_inputs(factors, scaled);
    }

    /// Computes the same as [`forward`](Self::forward) for an image whose channels lie in blocks of one vector,
    /// `[inputs / lanes, pixels, lanes]`, and for its pixels from `first` on, as many as `output` holds. `weights` are
    /// packed weights that replace the layer's own.
    ///
    /// # Panics
    /// Panics if `inputs` is not a multiple of the lanes, or if the lengths of `input`, `weights`, `residual` and
    /// `output` do not fit.
    pub fn forward_blocks(
        &self,
        input: &[f32],
        pixels: usize,
        first: usize,
        weights: Option<&[f32]>,
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        let lanes = self.set.lanes();
        let blocks = self.inputs() / lanes;
        let count = output.len() / self.outputs();
        assert_eq!(blocks * lanes, self.inputs(), "blocks of {lanes} channels");
        assert_eq!(input.len(), volume([blocks, pixels, lanes]), "input of {pixels} pixels");
        assert!(first.saturating_add(count) <= pixels, "pixels {first} to {first} + {count} of {pixels}");
        let weights = weights.unwrap_or(self.packed.weights());
        assert_eq!(weights.len(), self.packed_len(), "packed weights");
        let rows = Rows {
            values: &input[first * lanes..],
            count,
            row_stride: lanes,
            segments: blocks,
            segment_stride: pixels * lanes,
            length: lanes,
        };
        self.forward_rows(rows, weights, residual, output);
    }

    /// Computes the same as [`forward`](Self::forward) for rows that are not contiguous: an image's patches, or tokens
    /// whose channels lie in blocks. `residual` and `output` are `[rows, outputs]`.
    ///
    /// ```
    /// use deepsight_kernels::{Activation, InstructionSet, Pointwise, StridedRows};
    ///
    /// // Two tokens of four channels in two blocks, `[blocks, tokens, 2]`.
    /// let blocks = [1.0, 2.0, 10.0, 20.0, 3.0, 4.0, 30.0, 40.0];
    /// let sum = Pointwise::new(InstructionSet::best(), &[1.0; 4], &[0.0], Activation::Identity);
    /// let rows = StridedRows { count: 2, row_stride: 2, runs: 2, run_stride: 4, run_length: 2 };
    /// let mut output = [0.0; 2];
    /// sum.forward_strided(&blocks, rows, None, &mut output);
    /// assert_eq!(output, [10.0, 100.0]);
    /// ```
    ///
    /// # Panics
    /// Panics if a row does not have [`inputs`](Self::inputs) values, if a row reaches beyond `input`, or if the
    /// lengths of `residual` and `output` do not fit.
    pub fn forward_strided(&self, input: &[f32], rows: StridedRows, residual: Option<&[f32]>, output: &mut [f32]) {
        let StridedRows { count, row_stride, runs, run_stride, run_length } = rows;
        assert_eq!(volume([runs, run_length]), self.inputs(), "{runs} runs of {run_length} values");
        let rows =
            Rows { values: input, count, row_stride, segments: runs, segment_stride: run_stride, length: run_length };
        self.forward_rows(rows, self.packed.weights(), residual, output);
    }

    pub(crate) fn activation(&self) -> &Activation {
        &self.activation
    }

    pub(crate) fn instruction_set(&self) -> InstructionSet {
        self.set
    }

    pub(crate) fn packed(&self) -> &Packed {
        &self.packed
    }

    /// Computes the same as [`forward`](Self::forward), for rows in any layout and with packed weights that may be
    /// scaled.
    pub(crate) fn forward_rows(&self, rows: Rows<'_>, weights: &[f32], residual: Option<&[f32]>, output: &mut [f32]) {
        let outputs = self.outputs();
        assert_eq!(output.len(), volume([rows.count, outputs]), "output of {} × {outputs}", rows.count);
        assert!(rows.fit(), "{} rows of an input of {}", rows.count, rows.values.len());
        assert!(residual.is_none_or(|residual| residual.len() == output.len()), "residual of {} values", output.len());
        // Each activation gets its own compiled copy, so that no loop has to look it up.
        let packed = &self.packed;
        match self.activation {
            Activation::Identity => {
                self.set.run(Product { packed, weights, rows, residual, output, activation: Identity });
            }
            Activation::Silu => self.set.run(Product { packed, weights, rows, residual, output, activation: Silu }),
            Activation::Relu6 => self.set.run(Product { packed, weights, rows, residual, output, activation: Relu6 }),
            Activation::PRelu(_) => {
                let activation = PRelu(&self.slopes);
                self.set.run(Product { packed, weights, rows, residual, output, activation });
            }
        }
    }
}

/// Where the rows of [`Pointwise::forward_strided`] lie in their input. Row `r` consists of `runs` runs of `run_length`
/// values, and run `s` begins at `r · row_stride + s · run_stride`. Rows may overlap.
#[derive(Debug, Clone, Copy)]
pub struct StridedRows {
    /// Number of rows.
    pub count: usize,
    /// Distance from the beginning of a row to that of the next.
    pub row_stride: usize,
    /// Number of runs of a row.
    pub runs: usize,
    /// Distance from the beginning of a run to that of the next.
    pub run_stride: usize,
    /// Number of values of a run.
    pub run_length: usize,
}

/// Size in bytes of the input that stays in the second-level cache during a pass over all weights.
const BLOCK_BYTES: usize = 96 << 10;

struct Product<'a, A> {
    packed: &'a Packed,
    weights: &'a [f32],
    rows: Rows<'a>,
    residual: Option<&'a [f32]>,
    output: &'a mut [f32],
    activation: A,
}

impl<A: Apply> Kernel for Product<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { packed, rows, .. } = self;
        let outputs = packed.outputs;
        let block = (BLOCK_BYTES / 4 / packed.inputs.max(1)).clamp(2 * S::ROWS, 12 * S::ROWS) / S::ROWS * S::ROWS;
        let mut start = 0;
        while start < rows.count {
            let count = block.min(rows.count - start);
            let part = Rows { values: &rows.values[start * rows.row_stride..], count, ..rows };
            let first = start * outputs;
            let sink = Write {
                output: self.output[first..first + count * outputs].as_mut_ptr(),
                residual: self.residual.map(|residual| residual[first..first + count * outputs].as_ptr()),
                outputs,
                activation: self.activation,
            };
            // SAFETY: the sink's slices hold `count` rows of all outputs, and there are as many PReLU slopes as packed
            // biases (`Pointwise::new`).
            unsafe { multiply_with(simd, &part, packed, self.weights, 0..packed.vectors(), &sink) };
            start += count;
        }
    }
}

/// A sink that writes contiguous rows, `[rows, outputs]`.
struct Write<A> {
    output: *mut f32,
    residual: Option<*const f32>,
    outputs: usize,
    activation: A,
}

impl<S: Simd, A: Apply> Sink<S> for Write<A> {
    #[inline(always)]
    unsafe fn put(&self, simd: S, row: usize, vector: usize, value: S::Vector) {
        let channel = vector * S::LANES;
        let at = row * self.outputs + channel;
        let lanes = self.outputs - channel;
        // SAFETY: the channel is the first of a vector of the layer. The pointers hold all rows and outputs
        // (`Product`), and nothing beyond a row's last output is accessed.
        unsafe {
            let mut value = self.activation.apply(simd, value, channel);
            if lanes >= S::LANES {
                if let Some(residual) = self.residual {
                    value = simd.add(value, simd.load(residual.add(at)));
                }
                simd.store(self.output.add(at), value);
            } else {
                if let Some(residual) = self.residual {
                    value = simd.add(value, simd.load_first(residual.add(at), lanes));
                }
                simd.store_first(self.output.add(at), value, lanes);
            }
        }
    }
}
