use super::matmul::{Rows, volume};
use super::{Activation, InstructionSet, Pointwise};

/// Values under a kernel from which on copying them costs little beside the product.
const WORTH_GATHERING: usize = 128;
/// Columns that fill the registers well enough without.
const WIDE: usize = 48;
/// Pixels gathered at a time: a multiple of every instruction set's rows.
const GATHERED: usize = 48;

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
    /// When the weights' number is not that product, there is none, kernel or stride is 0, or an activation by channel has not
    /// one value for each output.
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
        let pitch = volume([columns, self.outputs()]);
        assert_eq!(output.len() % pitch, 0, "output of {columns} × {}", self.outputs());
        for (row, output) in output.chunks_exact_mut(pitch).enumerate() {
            let first = volume([self.first_input(row), width, self.channels]);
            let rows = self.rows(&input[first..], width, columns);
            self.layer.forward_rows(rows, self.layer.packed().weights(), None, output);
        }
    }

    /// Computes whole images that lie one after the other, `[images, height, width, inputs]` to
    /// `[images, rows, columns, outputs]`.
    ///
    /// For images so small that a row would not fill the processor's registers: the pixels under the kernel are gathered
    /// from one row, and one image, to the next. `gathered` is a buffer to be reused.
    ///
    /// # Panics
    /// When the kernel does not fit into an image, or input and output are not of one number of images.
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
        // The output pixel to be gathered next.
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

    /// Rows or columns that so many of the output need.
    pub(crate) fn input_size(&self, size: usize) -> usize {
        if size == 0 { 0 } else { volume([size - 1, self.stride]).saturating_add(self.kernel) }
    }

    /// The first input row that an output row needs.
    pub(crate) fn first_input(&self, row: usize) -> usize {
        volume([row, self.stride])
    }

    /// One output row's pixels as rows of a matrix product.
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
