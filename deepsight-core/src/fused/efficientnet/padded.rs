use crate::efficientnet::padding::LayerPadding;

/// The padding of one axis of an image for a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Padded {
    /// Zeros before the first pixel.
    pub(super) before: usize,
    /// Zeros after the last pixel.
    pub(super) after: usize,
    /// Size of the padded axis, without padding that no window reads because of the stride.
    pub(super) padded: usize,
    /// Size of the part of the padded axis that windows read; at most `padded`.
    pub(super) read: usize,
    pub(super) output: usize,
}

impl Padded {
    pub(super) fn of(padding: LayerPadding, size: usize, kernel: usize, stride: usize) -> Self {
        let (before, output) = match padding {
            LayerPadding::Symmetric => (kernel / 2, (size + kernel / 2 * 2 - kernel) / stride + 1),
            LayerPadding::Same => {
                let output = size.div_ceil(stride);
                (((output - 1) * stride + kernel).saturating_sub(size) / 2, output)
            }
            LayerPadding::Fixed { before, after } => {
                (before, (size + before + after).saturating_sub(kernel) / stride + 1)
            }
        };
        // The axis always holds the whole image, even the last pixels that no window reads because of the stride.
        let read = (output - 1) * stride + kernel;
        let padded = read.max(before + size);
        Self { before, after: padded - before - size, padded, read, output }
    }
}
