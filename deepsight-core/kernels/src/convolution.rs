use super::matmul::{Rows, volume};
use super::{Activation, InstructionSet, Pointwise};

/// Number of values under a kernel from which on gathering them costs little compared with the product.
const WORTH_GATHERING: usize = 128;
/// Number of output columns that fill the registers well enough without gathering.
const WIDE: usize = 48;
/// Number of output pixels gathered at a time: a multiple of `ROWS` of every instruction set.
const GATHERED: usize = 48;

/// A square convolution without padding, with bias and activation: `[height, width, inputs]` to
/// `[rows, columns, outputs]`, with `rows = (height − kernel) / stride + 1`, rounded down.
///
/// It is meant for few input channels: the pixels under the kernel are read in place.
#[derive(Debug, Clone)]
pub struct Convolution {
    layer: Pointwise,
    channels: usize,
    kernel: usize,
    stride: usize,
}

impl Convolution {
    /// Builds the layer from weights `[outputs, inputs, kernel, kernel]`, in PyTorch's order, and one bias per output.
    ///
    /// # Panics
    /// Panics if `weights` is empty or its length is not a multiple of `outputs * kernel²`, if `kernel` or `stride` is
    /// 0, or if an activation per channel does not have one value per output.
    pub fn new(
        set: InstructionSet,
        weights: &[f32],
        bias: &[f32],
        kernel: usize,
        stride: usize,
        activation: Activation,
    ) -> Self {
        assert!(kernel > 0 && stride > 0, "kernel {kernel}, stride {stride}");
        let (outputs, area) = (bias.len(), volume([kernel, kernel]));
        let channels = weights.len() / volume([outputs, area]).max(1);
        assert!(
            channels > 0 && weights.len() == volume([outputs, area, channels]),
            "{} weights of {outputs} outputs, kernel {kernel}",
            weights.len()
        );
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

    /// Returns the number of input channels.
    pub fn inputs(&self) -> usize {
        self.channels
    }

    /// Returns the number of output channels.
    pub fn outputs(&self) -> usize {
        self.layer.outputs()
    }

    /// Returns the output size along an axis of `size` pixels, or 0 if the kernel does not fit.
    pub fn output_size(&self, size: usize) -> usize {
        if size < self.kernel { 0 } else { (size - self.kernel) / self.stride + 1 }
    }

    /// Computes all rows of `output` from the first rows of `input`, `[height, width, inputs]`.
    ///
    /// # Panics
    /// Panics if `output` is not a whole number of rows, or if `input` has too few rows.
    pub fn forward(&self, input: &[f32], width: usize, output: &mut [f32]) {
        let columns = self.output_size(width);
        if columns == 0 {
            return assert!(output.is_empty(), "{width} columns under a kernel of {}", self.kernel);
        }
        let pitch = volume([columns, self.outputs()]);
        assert_eq!(output.len() % pitch, 0, "output of {columns} × {}", self.outputs());
        for (row, output) in output.chunks_exact_mut(pitch).enumerate() {
            let first = volume([self.first_input(row), width, self.channels]);
            let rows = self.rows(&input[first..], width, columns);
            self.layer.forward_rows(rows, self.layer.packed().weights(), None, output);
        }
    }

    /// Computes contiguous images, `[images, height, width, inputs]` to `[images, rows, columns, outputs]`.
    ///
    /// It is meant for images so small that one row does not fill the processor's registers: pixels under the kernel
    /// are gathered across the ends of rows and images. `gathered` is a reusable buffer.
    ///
    /// # Panics
    /// Panics if the kernel does not fit into an image, or if `input` and `output` do not hold the same number of
    /// images.
    pub fn forward_images(
        &self,
        input: &[f32],
        height: usize,
        width: usize,
        gathered: &mut Vec<f32>,
        output: &mut [f32],
    ) {
        let (rows, columns) = (self.output_size(height), self.output_size(width));
        let (image, result) = (volume([height, width, self.channels]), volume([rows, columns, self.outputs()]));
        assert!(result > 0, "{height} × {width} pixels under a kernel of {}", self.kernel);
        assert!(
            input.len().is_multiple_of(image) && output.len() == volume([input.len() / image, result]),
            "images of {height} × {width}"
        );
        let inputs = self.layer.inputs();
        if inputs < WORTH_GATHERING || columns >= WIDE {
            for (input, output) in input.chunks_exact(image).zip(output.chunks_exact_mut(result)) {
                self.forward(input, width, output);
            }
            return;
        }
        if gathered.len() < GATHERED * inputs {
            gathered.resize(GATHERED * inputs, 0.0);
        }
        let segment = self.kernel * self.channels;
        let line = width * self.channels;
        // The output pixel to gather next.
        let (mut at, mut row, mut column) = (0, 0, 0);
        for output in output.chunks_mut(GATHERED * self.outputs()) {
            let count = output.len() / self.outputs();
            for pixel in gathered[..count * inputs].chunks_exact_mut(inputs) {
                let corner = &input[at + row * self.stride * line + column * self.stride * self.channels..];
                for (y, pixel) in pixel.chunks_exact_mut(segment).enumerate() {
                    pixel.copy_from_slice(&corner[y * line..][..segment]);
                }
                column += 1;
                if column == columns {
                    (column, row) = (0, row + 1);
                }
                if row == rows {
                    (row, at) = (0, at + image);
                }
            }
            let rows = Rows::dense(&gathered[..count * inputs], inputs);
            self.layer.forward_rows(rows, self.layer.packed().weights(), None, output);
        }
    }

    /// Returns the input size along an axis that `size` output pixels need.
    pub(crate) fn input_size(&self, size: usize) -> usize {
        if size == 0 { 0 } else { volume([size - 1, self.stride]).saturating_add(self.kernel) }
    }

    /// Returns the first input row that an output row needs.
    pub(crate) fn first_input(&self, row: usize) -> usize {
        volume([row, self.stride])
    }

    /// Returns the pixels of one output row as rows of a matrix product.
    pub(crate) fn rows<'a>(&self, input: &'a [f32], width: usize, columns: usize) -> Rows<'a> {
        Rows {
            values: input,
            count: columns,
            row_stride: volume([self.stride, self.channels]),
            segments: self.kernel,
            segment_stride: volume([width, self.channels]),
            length: self.kernel * self.channels,
        }
    }

    pub(crate) fn layer(&self) -> &Pointwise {
        &self.layer
    }
}
