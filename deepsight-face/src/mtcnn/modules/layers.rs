//! The layers of the three networks on tensors of `[channels, height, width, batch]`.
//!
//! With the batch innermost, and channels outermost, every layer comes down to a matrix product, copies of whole rows
//! and element by element operations: what every backend is fast at. Burn's own convolutions, pools and `PRelu` want
//! `[batch, channels, height, width]`; on the CPU backends they spend most of these small networks' time outside of
//! the arithmetic (layout changes, indices of the maxima, broadcasts element by element).

use burn::{
    module::{Module, Param},
    tensor::{Tensor, activation::relu, backend::Backend},
};

use crate::{Error, mtcnn::weights::Weights};

/// A square convolution without padding, stride 1.
#[derive(Module, Debug)]
pub(super) struct Conv<B: Backend> {
    /// `[output, kernel · kernel · input + 1]`: for each tap, row by row, all input channels; then the bias, whose input
    /// is one everywhere, because a column more in the product costs less than a pass over its result.
    weight: Param<Tensor<B, 2>>,
    kernel: usize,
}

impl<B: Backend> Conv<B> {
    /// The layer of that name; `channels` are those of input and output.
    pub(super) fn load(
        name: &str,
        channels: [usize; 2],
        kernel: usize,
        weights: &Weights,
        device: &B::Device,
    ) -> Result<Self, Error> {
        let [input, output] = channels;
        let weight: Tensor<B, 4> =
            weights.tensor(&format!("{name}.weight"), [output, input, kernel, kernel], device)?;
        let weight = weight.permute([0, 2, 3, 1]).reshape([output, kernel * kernel * input]);
        let bias: Tensor<B, 1> = weights.tensor(&format!("{name}.bias"), [output], device)?;
        let weight = Tensor::cat(vec![weight, bias.reshape([output, 1])], 1);
        Ok(Self { weight: Param::from_tensor(weight), kernel })
    }

    /// `[input, height, width, batch]` → `[output, height − kernel + 1, width − kernel + 1, batch]`
    pub(super) fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [input, height, width, batch] = x.dims();
        let kernel = self.kernel;
        let (rows, columns) = (height + 1 - kernel, width + 1 - kernel);
        // First along one axis and then along the other: either way whole rows are copied, and no backend has to walk
        // the elements of a slice that is cut on both.
        let across = (0..kernel).map(|tap| x.clone().slice([0..input, 0..height, tap..tap + columns, 0..batch]));
        let across = concatenate(across.collect());
        let taps =
            (0..kernel).map(|tap| across.clone().slice([0..kernel * input, tap..tap + rows, 0..columns, 0..batch]));
        let one = Tensor::ones([1, rows, columns, batch], &x.device());
        let patches = concatenate(taps.chain([one]).collect());
        let patches = patches.reshape([kernel * kernel * input + 1, rows * columns * batch]);
        let output = self.weight.val().matmul(patches);
        output.reshape([self.weight.dims()[0], rows, columns, batch])
    }
}

/// A fully connected layer.
#[derive(Module, Debug)]
pub(super) struct Linear<B: Backend> {
    /// `[output, input]`
    weight: Param<Tensor<B, 2>>,
    /// `[output, 1]`
    bias: Param<Tensor<B, 2>>,
}

impl<B: Backend> Linear<B> {
    pub(super) fn load(
        name: &str,
        [input, output]: [usize; 2],
        weights: &Weights,
        device: &B::Device,
    ) -> Result<Self, Error> {
        let bias: Tensor<B, 1> = weights.tensor(&format!("{name}.bias"), [output], device)?;
        Ok(Self {
            weight: Param::from_tensor(weights.tensor(&format!("{name}.weight"), [output, input], device)?),
            bias: Param::from_tensor(bias.reshape([output, 1])),
        })
    }

    /// A layer that follows a convolution of `[channels, height, width, batch]`.
    ///
    /// Caffe's MATLAB interface, which trained the weights, flattened width first; here they are put in our order.
    pub(super) fn load_after_convolution(
        name: &str,
        [channels, height, width]: [usize; 3],
        output: usize,
        weights: &Weights,
        device: &B::Device,
    ) -> Result<Self, Error> {
        let input = channels * height * width;
        let layer = Self::load(name, [input, output], weights, device)?;
        let weight = layer.weight.val().reshape([output, width, height, channels]);
        let weight = weight.permute([0, 3, 2, 1]).reshape([output, input]);
        Ok(Self { weight: Param::from_tensor(weight), ..layer })
    }

    /// `[input, batch]` → `[output, batch]`
    pub(super) fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.weight.val().matmul(x) + self.bias.val()
    }
}

/// `x` where positive, `alpha · x` where negative, with one `alpha` per channel (He et al., 2015).
#[derive(Module, Debug)]
pub(super) struct PRelu<B: Backend> {
    /// `[channels, 1]`
    alpha: Param<Tensor<B, 2>>,
}

impl<B: Backend> PRelu<B> {
    pub(super) fn load(name: &str, channels: usize, weights: &Weights, device: &B::Device) -> Result<Self, Error> {
        let alpha: Tensor<B, 1> = weights.tensor(&format!("{name}.weight"), [channels], device)?;
        Ok(Self { alpha: Param::from_tensor(alpha.reshape([channels, 1])) })
    }

    /// `[channels, ...]` → the same shape.
    pub(super) fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        let shape = x.dims();
        let rows = x.reshape([shape[0] as i64, -1]);
        let positive = relu(rows.clone());
        (rows.clamp_max(0.0) * self.alpha.val() + positive).reshape(shape)
    }
}

/// Max-pooling over `kernel × kernel`, 2 or 3, with stride 2, `[channels, height, width, batch]`.
///
/// The last window may stick out over the border (Caffe's rounding, which the weights were trained with).
pub(super) fn max_pool<B: Backend>(x: Tensor<B, 4>, kernel: usize) -> Tensor<B, 4> {
    let [channels, height, width, batch] = x.dims();
    let rows = max_of_windows(x.reshape([channels, height, width * batch]), kernel);
    let height = rows.dims()[1];
    let both = max_of_windows(rows.reshape([channels * height, width, batch]), kernel);
    let width = both.dims()[1];
    both.reshape([channels, height, width, batch])
}

/// Maxima of windows of 2 or 3 with stride 2 along the middle axis.
fn max_of_windows<B: Backend>(x: Tensor<B, 3>, kernel: usize) -> Tensor<B, 3> {
    let [outer, size, inner] = x.dims();
    let windows = size.saturating_sub(kernel).div_ceil(2) + 1;
    // Past the border the last window repeats the border, which it contains.
    let pairs = if kernel == 3 { windows + 1 } else { windows };
    let border = x.clone().slice([0..outer, size - 1..size, 0..inner]);
    let mut parts = vec![x];
    parts.resize(1 + 2 * pairs - size, border);
    let padded = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 1) };

    // Each tap copied side by side with the others, so that each is plain memory again.
    let paired = padded.reshape([outer * pairs, 2, inner]);
    let tap = |offset: usize| {
        let values = paired.clone().slice([0..outer * pairs, offset % 2..offset % 2 + 1, 0..inner]);
        let values = values.reshape([outer, pairs, inner]);
        values.slice([0..outer, offset / 2..offset / 2 + windows, 0..inner])
    };
    let taps = concatenate((0..kernel).map(tap).collect()).reshape([kernel, outer * windows * inner]);
    let mut best = taps.clone().slice([0..1, 0..outer * windows * inner]);
    for offset in 1..kernel {
        let next = taps.clone().slice([offset..offset + 1, 0..outer * windows * inner]);
        // max(a, b) = a + relu(b − a), within one rounding; comparing and choosing would be two passes over booleans.
        best = relu(next - best.clone()) + best;
    }
    best.reshape([outer, windows, inner])
}

/// One after the other along the first axis.
fn concatenate<B: Backend, const D: usize>(mut tensors: Vec<Tensor<B, D>>) -> Tensor<B, D> {
    if tensors.len() == 1 { tensors.remove(0) } else { Tensor::cat(tensors, 0) }
}
