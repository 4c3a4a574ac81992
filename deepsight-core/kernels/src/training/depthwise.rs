//! Depthwise convolutions of whole images and their gradients.
//!
//! A ring buffer holds a few padded rows at a time. Input rows are activated as they enter it, and gradient rows pass
//! backward through the batch norm. So neither the activated image nor the norm's gradient is ever in memory as a
//! whole.

use super::super::activation::Activation;
use super::super::aligned::Aligned;
use super::super::instruction_set::InstructionSet;
use super::super::matmul::volume;
use super::super::simd::{Kernel, Simd};
use super::channelwise::{Derivative, affine, combine, differentiate};
use super::lanes::{load, store};

/// The sizes of a depthwise convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthwiseShape {
    /// Number of channels. Each channel is convolved separately.
    pub channels: usize,
    /// Rows and columns of the input.
    pub input: (usize, usize),
    /// Rows and columns of the output.
    pub output: (usize, usize),
    /// Side of the kernel: 3 or 5.
    pub kernel: usize,
    /// Pixels from window to window: 1 or 2.
    pub stride: usize,
    /// Rows of zeros above and columns of zeros to the left. Below and to the right, there are as many as the output
    /// needs.
    pub padding: (usize, usize),
}

/// Buffers of one thread, reusable from image to image.
#[derive(Debug, Default)]
pub struct Scratch {
    ring: Aligned,
    row: Aligned,
}

/// A depthwise convolution after a batch norm and an activation, with weights for its forward and backward passes.
#[derive(Debug, Clone)]
pub struct Depthwise {
    set: InstructionSet,
    shape: DepthwiseShape,
    activation: Activation,
    /// `[kernel · kernel, channels]`
    weights: Aligned,
    /// The same weights, with each kernel rotated by 180°.
    turned: Aligned,
}

impl Depthwise {
    /// Builds the layer from weights `[channels, kernel, kernel]`. `activation` is the one between the batch norm and
    /// the convolution.
    ///
    /// # Panics
    /// Panics if `weights` does not have the shape's length, if there is no kernel of that size and stride, or if the
    /// window of an output covers no part of the input.
    pub fn new(set: InstructionSet, weights: &[f32], shape: DepthwiseShape, activation: Activation) -> Self {
        let DepthwiseShape { channels, input, output, kernel, stride, padding } = shape;
        assert!(matches!(kernel, 3 | 5) && matches!(stride, 1 | 2), "kernel {kernel}, stride {stride}");
        let area = kernel * kernel;
        assert!(channels > 0 && weights.len() == volume([channels, area]), "{} weights", weights.len());
        let covered = |input: usize, output: usize, padding: usize| {
            padding < kernel && input > 0 && output > 0 && (output - 1) * stride < input + padding
        };
        assert!(covered(input.0, output.0, padding.0) && covered(input.1, output.1, padding.1), "{shape:?}");
        let (mut plain, mut turned) = (Aligned::zeros(weights.len()), Aligned::zeros(weights.len()));
        for (channel, taps) in weights.chunks_exact(area).enumerate() {
            for (tap, weight) in taps.iter().enumerate() {
                plain[tap * channels + channel] = *weight;
                turned[(area - 1 - tap) * channels + channel] = *weight;
            }
        }
        Self { set, shape, activation, weights: plain, turned }
    }

    /// Convolves `activation(values · scale + shift)`: `[height, width, channels]` to `[rows, columns, channels]`.
    ///
    /// # Panics
    /// Panics if the slices do not have the lengths of one image of the shape.
    pub fn forward(&self, values: &[f32], norm: Derivative<'_>, scratch: &mut Scratch, output: &mut [f32]) {
        self.check(values, norm, output);
        let DepthwiseShape { channels, output: (rows, columns), kernel, stride, .. } = self.shape;
        let pitch = self.padded_width() * channels;
        let ring = scratch.ring.at_least(kernel * pitch);
        ring.fill(0.0);
        let mut filled = 0;
        for row in 0..rows {
            self.activate(values, norm, row, &mut filled, ring);
            let lines = self.under(row, ring);
            let taps: [&[f32]; 5] = std::array::from_fn(|y| match y < kernel {
                true => &self.weights[y * kernel * channels..][..kernel * channels],
                false => &[],
            });
            let output = &mut output[row * columns * channels..][..columns * channels];
            self.line(&lines[..kernel], &taps[..kernel], stride, output);
        }
    }

    /// Adds the gradient of the weights of one image to `sums`, `[kernel · kernel, channels]`. `values` are those of
    /// [`forward`](Self::forward). The gradient of the output is `gradients · p + outputs · q + r`, with `p`, `q` and
    /// `r` from `constants`.
    ///
    /// # Panics
    /// Panics if the slices do not have the lengths of one image of the shape.
    #[allow(clippy::too_many_arguments, reason = "what came in, what went out, and where each result goes")]
    pub fn add_weight_gradient(
        &self,
        values: &[f32],
        norm: Derivative<'_>,
        gradients: &[f32],
        outputs: &[f32],
        constants: [&[f32]; 3],
        scratch: &mut Scratch,
        sums: &mut [f32],
    ) {
        self.check(values, norm, outputs);
        assert!(gradients.len() == outputs.len() && sums.len() == self.weights.len(), "gradients and sums");
        assert_eq!(constants.map(<[f32]>::len), [self.shape.channels; 3], "constants");
        let DepthwiseShape { channels, output: (rows, columns), kernel, stride, .. } = self.shape;
        let pitch = self.padded_width() * channels;
        let Scratch { ring, row: line } = scratch;
        let ring = ring.at_least(kernel * pitch);
        ring.fill(0.0);
        let line = line.at_least(columns * channels);
        let mut filled = 0;
        for row in 0..rows {
            self.activate(values, norm, row, &mut filled, ring);
            let at = row * columns * channels..(row + 1) * columns * channels;
            combine(self.set, &gradients[at.clone()], &outputs[at], constants, line);
            let lines = self.under(row, ring);
            self.set.run(WeightGradient { lines: &lines[..kernel], gradients: line, channels, stride, sums });
        }
    }

    /// Computes the gradient of the batch norm's output, which is the gradient of the convolution's input times the
    /// activation's derivative. Writes it to `result`, `[height, width, channels]`, and adds its sums to `sums` as
    /// [`differentiate`] does. The other arguments are those of [`add_weight_gradient`](Self::add_weight_gradient).
    ///
    /// # Panics
    /// Panics if the slices do not have the lengths of one image of the shape.
    #[allow(clippy::too_many_arguments, reason = "what came in, what went out, and where each result goes")]
    pub fn input_gradient(
        &self,
        values: &[f32],
        norm: Derivative<'_>,
        gradients: &[f32],
        outputs: &[f32],
        constants: [&[f32]; 3],
        scratch: &mut Scratch,
        result: &mut [f32],
        sums: &mut [f64],
    ) {
        self.check(values, norm, outputs);
        assert!(gradients.len() == outputs.len() && result.len() == values.len(), "gradients and result");
        assert_eq!(constants.map(<[f32]>::len), [self.shape.channels; 3], "constants");
        let DepthwiseShape { channels, input: (height, width), output: (rows, columns), kernel, stride, padding } =
            self.shape;
        // A row of gradients has zeros beyond both ends, and between the values if windows are two pixels apart. Its
        // first value lies at `kernel − 1`. Column `c` of the input reads from `c + padding` on.
        let pitch = (width + padding.1 + kernel).max((columns - 1) * stride + kernel) * channels;
        let Scratch { ring, row: line } = scratch;
        let ring = ring.at_least(kernel * pitch);
        ring.fill(0.0);
        let line = line.at_least(columns * channels);
        let mut filled = 0;
        for y in 0..height {
            // The windows over this row begin at most `kernel − 1` rows above it.
            let below = y + padding.0;
            let first = (below + 1).saturating_sub(kernel).div_ceil(stride);
            let last = (below / stride).min(rows - 1);
            while filled <= last {
                let at = filled * columns * channels..(filled + 1) * columns * channels;
                combine(self.set, &gradients[at.clone()], &outputs[at], constants, line);
                let target = &mut ring[filled % kernel * pitch + (kernel - 1) * channels..];
                for (column, pixel) in line.chunks_exact(channels).enumerate() {
                    target[column * stride * channels..][..channels].copy_from_slice(pixel);
                }
                filled += 1;
            }
            let mut lines: [&[f32]; 5] = [&[]; 5];
            let mut taps: [&[f32]; 5] = [&[]; 5];
            let mut count = 0;
            for row in first..=last {
                let turned = kernel - 1 - (below - row * stride);
                lines[count] = &ring[row % kernel * pitch + padding.1 * channels..(row % kernel + 1) * pitch];
                taps[count] = &self.turned[turned * kernel * channels..][..kernel * channels];
                count += 1;
            }
            let at = y * width * channels..(y + 1) * width * channels;
            let result = &mut result[at.clone()];
            self.line(&lines[..count], &taps[..count], 1, result);
            differentiate(self.set, &self.activation, &values[at], norm, result, sums);
        }
    }

    /// Activates the input rows under an output row and stores them in the ring.
    fn activate(&self, values: &[f32], norm: Derivative<'_>, row: usize, filled: &mut usize, ring: &mut [f32]) {
        let DepthwiseShape { channels, input: (height, width), kernel, stride, padding, .. } = self.shape;
        let pitch = self.padded_width() * channels;
        while *filled < row * stride + kernel {
            let slot = &mut ring[*filled % kernel * pitch..][..pitch];
            let inside = &mut slot[padding.1 * channels..][..width * channels];
            match filled.checked_sub(padding.0).filter(|y| *y < height) {
                Some(y) => {
                    let values = &values[y * width * channels..][..width * channels];
                    affine(self.set, &self.activation, values, norm.scale, norm.shift, inside);
                }
                None => inside.fill(0.0),
            }
            *filled += 1;
        }
    }

    /// Returns the padded rows under an output row from the ring, one for each row of the kernel.
    fn under<'r>(&self, row: usize, ring: &'r [f32]) -> [&'r [f32]; 5] {
        let DepthwiseShape { channels, kernel, stride, .. } = self.shape;
        let pitch = self.padded_width() * channels;
        std::array::from_fn(|y| match y < kernel {
            true => &ring[(row * stride + y) % kernel * pitch..][..pitch],
            false => &[],
        })
    }

    /// Computes one row of results from the rows under its windows and the taps for each of them.
    fn line(&self, lines: &[&[f32]], taps: &[&[f32]], stride: usize, output: &mut [f32]) {
        let channels = self.shape.channels;
        match (self.shape.kernel, stride) {
            (3, 1) => self.set.run(OutputRow::<3, 1> { lines, taps, channels, output }),
            (3, _) => self.set.run(OutputRow::<3, 2> { lines, taps, channels, output }),
            (_, 1) => self.set.run(OutputRow::<5, 1> { lines, taps, channels, output }),
            (_, _) => self.set.run(OutputRow::<5, 2> { lines, taps, channels, output }),
        }
    }

    fn padded_width(&self) -> usize {
        let DepthwiseShape { input, output, kernel, stride, padding, .. } = self.shape;
        (input.1 + padding.1).max((output.1 - 1) * stride + kernel)
    }

    fn check(&self, values: &[f32], norm: Derivative<'_>, outputs: &[f32]) {
        let DepthwiseShape { channels, input, output, .. } = self.shape;
        assert!(norm.scale.len() == channels && norm.shift.len() == channels, "a norm of {channels} channels");
        assert_eq!(values.len(), volume([input.0, input.1, channels]), "input of {:?}", self.shape);
        assert_eq!(outputs.len(), volume([output.0, output.1, channels]), "output of {:?}", self.shape);
    }
}

/// A row of results: each is a sum over lines of `K` taps, with stride `T`.
struct OutputRow<'a, const K: usize, const T: usize> {
    lines: &'a [&'a [f32]],
    taps: &'a [&'a [f32]],
    channels: usize,
    output: &'a mut [f32],
}

impl<const K: usize, const T: usize> Kernel for OutputRow<'_, K, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let columns = self.output.len() / self.channels;
        let reach = volume([(columns - 1) * T + K, self.channels]);
        assert!(self.lines.len() == self.taps.len());
        assert!(self.lines.iter().all(|line| line.len() >= reach));
        assert!(self.taps.iter().all(|taps| taps.len() >= K * self.channels));
        let mut channel = 0;
        while channel < self.channels {
            let lanes = S::LANES.min(self.channels - channel);
            let mut column = 0;
            // SAFETY: columns and channels are within lines, taps and output (asserted above).
            unsafe {
                macro_rules! tiles {
                    ($n:literal) => {
                        while column + $n <= columns {
                            if lanes == S::LANES {
                                self.tile::<S, $n, true>(simd, column, channel, lanes);
                            } else {
                                self.tile::<S, $n, false>(simd, column, channel, lanes);
                            }
                            column += $n;
                        }
                    };
                }
                tiles!(8);
                tiles!(4);
                while column < columns {
                    if lanes == S::LANES {
                        self.tile::<S, 1, true>(simd, column, channel, lanes);
                    } else {
                        self.tile::<S, 1, false>(simd, column, channel, lanes);
                    }
                    column += 1;
                }
            }
            channel += lanes;
        }
    }
}

impl<const K: usize, const T: usize> OutputRow<'_, K, T> {
    /// Computes `N` neighboring windows for one vector of channels.
    ///
    /// # Safety
    /// The `N` windows from `column` on and the `lanes` channels from `channel` on are within the slices.
    #[inline(always)]
    unsafe fn tile<S: Simd, const N: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        column: usize,
        channel: usize,
        lanes: usize,
    ) {
        let mut results = [simd.splat(0.0); N];
        // SAFETY: guaranteed by the caller.
        unsafe {
            for (line, taps) in self.lines.iter().zip(self.taps) {
                let input = line.as_ptr().add(column * T * self.channels + channel);
                let taps = taps.as_ptr().add(channel);
                for x in 0..K {
                    let weight = load::<S, WHOLE>(simd, taps.add(x * self.channels), lanes);
                    for (n, result) in results.iter_mut().enumerate() {
                        *result = simd.mul_add(
                            load::<S, WHOLE>(simd, input.add((n * T + x) * self.channels), lanes),
                            weight,
                            *result,
                        );
                    }
                }
            }
            for (n, result) in results.into_iter().enumerate() {
                let target = self.output.as_mut_ptr().add((column + n) * self.channels + channel);
                store::<S, WHOLE>(simd, target, result, lanes);
            }
        }
    }
}

/// The contribution of one output row to the gradient of the taps.
struct WeightGradient<'a> {
    /// One line for each row of the kernel.
    lines: &'a [&'a [f32]],
    /// `[columns, channels]`
    gradients: &'a [f32],
    channels: usize,
    stride: usize,
    /// `[kernel · kernel, channels]`
    sums: &'a mut [f32],
}

impl Kernel for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        match self.lines.len() {
            3 => self.all::<S, 3>(simd),
            5 => self.all::<S, 5>(simd),
            other => unreachable!("kernel {other}, refused when the layer was made"),
        }
    }
}

impl WeightGradient<'_> {
    #[inline(always)]
    fn all<S: Simd, const K: usize>(&mut self, simd: S) {
        let columns = self.gradients.len() / self.channels;
        let reach = volume([(columns - 1) * self.stride + K, self.channels]);
        assert!(self.lines.iter().all(|line| line.len() >= reach) && self.sums.len() == K * K * self.channels);
        let mut channel = 0;
        while channel < self.channels {
            let lanes = S::LANES.min(self.channels - channel);
            for y in 0..K {
                // SAFETY: columns and channels are within lines, gradients and sums (asserted above).
                unsafe {
                    if lanes == S::LANES {
                        self.taps::<S, K, true>(simd, y, columns, channel, lanes);
                    } else {
                        self.taps::<S, K, false>(simd, y, columns, channel, lanes);
                    }
                }
            }
            channel += lanes;
        }
    }

    /// Adds the gradient of the taps in row `y` of the kernel.
    ///
    /// # Safety
    /// The `columns` columns and the `lanes` channels from `channel` on are within the slices.
    #[inline(always)]
    unsafe fn taps<S: Simd, const K: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        y: usize,
        columns: usize,
        channel: usize,
        lanes: usize,
    ) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let target = self.sums.as_mut_ptr().add(y * K * self.channels + channel);
            let mut sums = [simd.splat(0.0); K];
            let line = self.lines[y].as_ptr().add(channel);
            let gradients = self.gradients.as_ptr().add(channel);
            for column in 0..columns {
                let gradient = load::<S, WHOLE>(simd, gradients.add(column * self.channels), lanes);
                let window = line.add(column * self.stride * self.channels);
                for (x, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.mul_add(load::<S, WHOLE>(simd, window.add(x * self.channels), lanes), gradient, *sum);
                }
            }
            for (x, sum) in sums.into_iter().enumerate() {
                let target = target.add(x * self.channels);
                let sum = simd.add(load::<S, WHOLE>(simd, target, lanes), sum);
                store::<S, WHOLE>(simd, target, sum, lanes);
            }
        }
    }
}
