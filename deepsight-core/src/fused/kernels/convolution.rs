use super::matmul::Rows;
use super::{Activation, InstructionSet, Pointwise};

/// A square convolution without padding, with bias and activation: `[height, width, inputs]` to
/// `[rows, columns, outputs]`, with `rows = (height − kernel) / stride + 1`, rounded down.
///
/// For few input channels: the kernel's pixels are read where they lie.
#[derive(Debug, Clone)]
pub struct Convolution {
    layer: Pointwise,
    channels: usize,
    kernel: usize,
    stride: usize,
}

impl Convolution {
    /// From weights `[outputs, inputs, kernel, kernel]`, PyTorch's order, and one bias for each output.
    ///
    /// # Panics
    /// When the weights' number is not that product, or kernel or stride is 0.
    pub fn new(
        set: InstructionSet,
        weights: &[f32],
        bias: &[f32],
        kernel: usize,
        stride: usize,
        activation: Activation,
    ) -> Self {
        assert!(kernel > 0 && stride > 0, "kernel {kernel}, stride {stride}");
        let (outputs, area) = (bias.len(), kernel * kernel);
        let channels = weights.len() / (outputs * area).max(1);
        assert_eq!(weights.len(), outputs * area * channels, "weights of {outputs} outputs, kernel {kernel}");
        let mut by_pixel = vec![0.0; weights.len()];
        for (weights, by_pixel) in weights.chunks_exact(area * channels).zip(by_pixel.chunks_exact_mut(area * channels))
        {
            for (channel, taps) in weights.chunks_exact(area).enumerate() {
                for (tap, weight) in taps.iter().enumerate() {
                    by_pixel[tap * channels + channel] = *weight;
                }
            }
        }
        Self { layer: Pointwise::new(set, &by_pixel, bias, activation), channels, kernel, stride }
    }

    /// Channels in.
    pub fn inputs(&self) -> usize {
        self.channels
    }

    /// Channels out.
    pub fn outputs(&self) -> usize {
        self.layer.outputs()
    }

    /// Rows or columns that come of so many; 0 where the kernel does not fit.
    pub fn output_size(&self, size: usize) -> usize {
        if size < self.kernel { 0 } else { (size - self.kernel) / self.stride + 1 }
    }

    /// Computes all rows of `output` from the first rows of `input`, `[height, width, inputs]`.
    ///
    /// # Panics
    /// When the output is not whole rows, or the input has too few.
    pub fn forward(&self, input: &[f32], width: usize, output: &mut [f32]) {
        let columns = self.output_size(width);
        if columns == 0 {
            return assert!(output.is_empty(), "{width} columns under a kernel of {}", self.kernel);
        }
        let pitch = columns * self.outputs();
        assert_eq!(output.len() % pitch, 0, "output of {columns} × {}", self.outputs());
        for (row, output) in output.chunks_exact_mut(pitch).enumerate() {
            let rows = self.rows(&input[row * self.stride * width * self.channels..], width, columns);
            self.layer.forward_rows(rows, self.layer.packed().weights(), None, output);
        }
    }

    /// Rows or columns that so many of the output need.
    pub(crate) fn input_size(&self, size: usize) -> usize {
        (size.max(1) - 1) * self.stride + self.kernel
    }

    /// The first input row that an output row needs.
    pub(crate) fn first_input(&self, row: usize) -> usize {
        row * self.stride
    }

    /// One output row's pixels as rows of a matrix product.
    pub(crate) fn rows<'a>(&self, input: &'a [f32], width: usize, columns: usize) -> Rows<'a> {
        Rows {
            values: input,
            count: columns,
            row_stride: self.stride * self.channels,
            segments: self.kernel,
            segment_stride: width * self.channels,
            length: self.kernel * self.channels,
        }
    }

    pub(crate) fn layer(&self) -> &Pointwise {
        &self.layer
    }
}
