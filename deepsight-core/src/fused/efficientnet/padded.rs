use crate::Padding;

/// One side of an image under a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Padded {
    /// Zeros before the first pixel.
    pub(super) before: usize,
    /// Zeros after the last one.
    pub(super) after: usize,
    /// All that the convolution reads, without the padding that its stride leaves over.
    pub(super) padded: usize,
    pub(super) output: usize,
}

impl Padded {
    pub(super) fn of(padding: Padding, size: usize, kernel: usize, stride: usize) -> Self {
        let (before, output) = match padding {
            Padding::Symmetric => (kernel / 2, (size + kernel / 2 * 2 - kernel) / stride + 1),
            Padding::TensorFlowSame => {
                let output = size.div_ceil(stride);
                (((output - 1) * stride + kernel).saturating_sub(size) / 2, output)
            }
        };
        // Never less than the image: a stride that leaves pixels over at its end still has them in memory.
        let padded = ((output - 1) * stride + kernel).max(before + size);
        Self { before, after: padded - before - size, padded, output }
    }
}
