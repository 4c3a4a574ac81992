use crate::Padding;

/// The padding of one axis of an image for a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Padded {
    /// Zeros before the first pixel.
    pub(super) before: usize,
    /// Zeros after the last pixel.
    pub(super) after: usize,
    /// Size of the padded axis, without padding that no window reads because of the stride.
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
        // The axis always holds the whole image, even the last pixels that no window reads because of the stride.
        let padded = ((output - 1) * stride + kernel).max(before + size);
        Self { before, after: padded - before - size, padded, output }
    }
}
