//! Tests of the training kernels against plain loops in double precision.

use deepsight_kernels::training::{
    Depthwise, DepthwiseShape, Derivative, Scratch, add_moments, add_outer, affine, combine, differentiate,
};
use deepsight_kernels::{Activation, InstructionSet};
use proptest::prelude::*;

use crate::exact::{activate, values};
use crate::{cases, up_to};

/// Returns one of the activations that training supports, by its number.
fn activation(which: u8) -> Activation {
    [Activation::Identity, Activation::Silu, Activation::Relu6][usize::from(which) % 3].clone()
}

/// Returns the derivative, or `None` so close to the corners of ReLU6 that rounding could move a value across them.
fn slope(activation: &Activation, x: f64) -> Option<f64> {
    match activation {
        Activation::Relu6 if x.abs() < 1e-4 || (x - 6.0).abs() < 1e-4 => None,
        Activation::Relu6 => Some(f64::from(u8::from(x > 0.0 && x < 6.0))),
        Activation::Silu => {
            let s = 1.0 / (1.0 + (-x).exp());
            Some(s * (1.0 + x * (1.0 - s)))
        }
        _ => Some(1.0),
    }
}

/// Returns values in -2..2.
fn spread(seed: u64, count: usize) -> Vec<f32> {
    values(seed, count).into_iter().map(|value| 2.0 * value).collect()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, magnitude: f64, place: impl std::fmt::Debug) {
    let off = (found - expected).abs();
    assert!(off <= 2e-5 * magnitude.max(1.0), "{place:?}: {found} for {expected}, off by {off:e}");
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn passes_over_channels_match_their_formulas(
        pixels in 1..=up_to(300, 40), channels in 1..=up_to(70, 19), which in 0..3_u8, seed: u32,
    ) {
        let seed = u64::from(seed);
        let activation = activation(which);
        let (input, gradients) = (spread(seed, pixels * channels), spread(seed + 1, pixels * channels));
        let constants: Vec<Vec<f32>> = (2..5).map(|n| spread(seed + n, channels)).collect();
        let [p, q, r] = [&constants[0][..], &constants[1][..], &constants[2][..]];
        for set in InstructionSet::available() {
            let mut moments = vec![1.0; 2 * channels];
            add_moments(set, &input, &mut moments);
            let mut output = vec![f32::NAN; input.len()];
            affine(set, &activation, &input, p, q, &mut output);
            let mut combined = vec![f32::NAN; input.len()];
            combine(set, &gradients, &input, [p, q, r], &mut combined);
            let mut slopes = gradients.clone();
            let mut sums = vec![0.0; 2 * channels];
            differentiate(set, &activation, &input, Derivative { scale: p, shift: q }, &mut slopes, &mut sums);
            let mut expected_sums = vec![0.0; 2 * channels];
            for at in 0..input.len() {
                let channel = at % channels;
                let [p, q, r] = [p, q, r].map(|constants| f64::from(constants[channel]));
                let (value, gradient) = (f64::from(input[at]), f64::from(gradients[at]));
                let normalized = value * p + q;
                assert_close(output[at].into(), activate(&activation, normalized, channel), 4.0, (set, "affine", at));
                assert_close(combined[at].into(), gradient * p + value * q + r, 8.0, (set, "combine", at));
                if let Some(slope) = slope(&activation, normalized) {
                    assert_close(slopes[at].into(), gradient * slope, 4.0, (set, "differentiate", at));
                }
                // Sums the kernel's own products, because the derivative at the corners is left open above.
                expected_sums[channel] += f64::from(slopes[at]);
                expected_sums[channels + channel] += f64::from(slopes[at]) * value;
            }
            for channel in 0..channels {
                let column = || input.iter().skip(channel).step_by(channels).map(|value| f64::from(*value));
                assert_close(moments[channel], 1.0 + column().sum::<f64>(), pixels as f64, (set, "sum", channel));
                let squares = 1.0 + column().map(|value| value * value).sum::<f64>();
                assert_close(moments[channels + channel], squares, 4.0 * pixels as f64, (set, "squares", channel));
            }
            for (found, expected) in sums.iter().zip(&expected_sums) {
                assert_close(*found, *expected, 8.0 * pixels as f64, (set, "sums"));
            }
        }
    }

    #[test]
    fn outer_products_are_added_to_the_existing_sums(
        pixels in 0..=up_to(60, 9), rows in 1..=up_to(40, 15), columns in 1..=up_to(70, 19), seed: u32,
    ) {
        let (left, right) = (spread(seed.into(), pixels * rows), spread(u64::from(seed) + 1, pixels * columns));
        for set in InstructionSet::available() {
            let mut sums = vec![0.5; rows * columns];
            add_outer(set, &left, &right, columns, &mut sums);
            for row in 0..rows {
                for column in 0..columns {
                    let term = |p: usize| f64::from(left[p * rows + row]) * f64::from(right[p * columns + column]);
                    let expected = 0.5 + (0..pixels).map(term).sum::<f64>();
                    let found = sums[row * columns + column].into();
                    assert_close(found, expected, 4.0 * pixels as f64, (set, row, column));
                }
            }
        }
    }

    #[test]
    fn depthwise_convolutions_and_their_gradients_match_plain_loops(
        height in 1..=up_to(13, 6), width in 1..=up_to(13, 6), channels in 1..=up_to(37, 5), large: bool,
        stride in 1..=2_usize, same: bool, which in 0..3_u8, seed: u32,
    ) {
        let kernel = if large { 5 } else { 3 };
        let case = Case::new((height, width), channels, kernel, stride, same, which, seed.into());
        for set in InstructionSet::available() {
            case.check(set);
        }
    }
}

/// A depthwise convolution of one image, and a gradient of its output.
struct Case {
    shape: DepthwiseShape,
    activation: Activation,
    weights: Vec<f32>,
    input: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    gradients: Vec<f32>,
    constants: [Vec<f32>; 3],
}

impl Case {
    fn new(
        input: (usize, usize),
        channels: usize,
        kernel: usize,
        stride: usize,
        same: bool,
        which: u8,
        seed: u64,
    ) -> Self {
        // PyTorch pads half a kernel on every side, TensorFlow pads as little as needed.
        let side = |size: usize| match same {
            true => (((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size) / 2, size.div_ceil(stride)),
            false => (kernel / 2, (size - 1) / stride + 1),
        };
        let (rows, columns) = (side(input.0), side(input.1));
        let output = (rows.1, columns.1);
        let shape = DepthwiseShape { channels, input, output, kernel, stride, padding: (rows.0, columns.0) };
        Self {
            shape,
            activation: activation(which),
            weights: spread(seed, channels * kernel * kernel),
            input: spread(seed + 1, input.0 * input.1 * channels),
            scale: spread(seed + 2, channels),
            shift: spread(seed + 3, channels),
            gradients: spread(seed + 4, output.0 * output.1 * channels),
            constants: [5, 6, 7].map(|n| spread(seed + n, channels)),
        }
    }

    /// Returns the input pixel under a tap of a window, or none if the tap lies on padding.
    fn under(&self, (row, column): (usize, usize), (y, x): (usize, usize)) -> Option<usize> {
        let DepthwiseShape { input, stride, padding, .. } = self.shape;
        let at = |window: usize, tap: usize, padding: usize, size: usize| {
            (window * stride + tap).checked_sub(padding).filter(|at| *at < size)
        };
        Some(at(row, y, padding.0, input.0)? * input.1 + at(column, x, padding.1, input.1)?)
    }

    fn check(&self, set: InstructionSet) {
        let DepthwiseShape { channels, output: (rows, columns), kernel, .. } = self.shape;
        let layer = Depthwise::new(set, &self.weights, self.shape, self.activation.clone());
        let norm = Derivative { scale: &self.scale, shift: &self.shift };
        let constants = [0, 1, 2].map(|i| &self.constants[i][..]);
        let mut scratch = Scratch::default();
        let mut output = vec![f32::NAN; self.gradients.len()];
        layer.forward(&self.input, norm, &mut scratch, &mut output);
        let mut taps = vec![0.25; self.weights.len()];
        layer.add_weight_gradient(&self.input, norm, &self.gradients, &output, constants, &mut scratch, &mut taps);
        let mut result = vec![f32::NAN; self.input.len()];
        let mut sums = vec![0.0; 2 * channels];
        layer.input_gradient(
            &self.input,
            norm,
            &self.gradients,
            &output,
            constants,
            &mut scratch,
            &mut result,
            &mut sums,
        );

        let normalized =
            |at: usize, c: usize| f64::from(self.input[at]) * f64::from(self.scale[c]) + f64::from(self.shift[c]);
        let mut expected = vec![0.0; output.len()];
        let mut expected_taps = vec![0.25; taps.len()];
        let mut expected_result = vec![0.0; result.len()];
        for window in 0..rows * columns {
            for c in 0..channels {
                let at = window * channels + c;
                let [p, q, r] = [0, 1, 2].map(|i| f64::from(self.constants[i][c]));
                let gradient = f64::from(self.gradients[at]) * p + f64::from(output[at]) * q + r;
                for tap in 0..kernel * kernel {
                    let place = ((window / columns, window % columns), (tap / kernel, tap % kernel));
                    let Some(pixel) = self.under(place.0, place.1) else { continue };
                    let weight = f64::from(self.weights[c * kernel * kernel + tap]);
                    let value = activate(&self.activation, normalized(pixel * channels + c, c), c);
                    expected[at] += value * weight;
                    expected_taps[tap * channels + c] += value * gradient;
                    expected_result[pixel * channels + c] += weight * gradient;
                }
            }
        }
        let case = (set, self.shape);
        for (found, expected) in output.iter().zip(&expected) {
            assert_close((*found).into(), *expected, 100.0, ("output", case));
        }
        for (found, expected) in taps.iter().zip(&expected_taps) {
            assert_close((*found).into(), *expected, 1e3 * (rows * columns) as f64, ("taps", case));
        }
        let mut expected_sums = vec![0.0; 2 * channels];
        for (at, (found, expected)) in result.iter().zip(&expected_result).enumerate() {
            let c = at % channels;
            if let Some(slope) = slope(&self.activation, normalized(at, c)) {
                assert_close((*found).into(), expected * slope, 1e3, ("gradient", case, at));
            }
            expected_sums[c] += f64::from(*found);
            expected_sums[channels + c] += f64::from(*found) * f64::from(self.input[at]);
        }
        for (found, expected) in sums.iter().zip(&expected_sums) {
            assert_close(*found, *expected, 1e3 * result.len() as f64, ("sums", case));
        }
    }
}

#[test]
fn the_gradient_of_a_depthwise_convolution_matches_its_finite_difference() {
    let case = Case::new((7, 6), 3, 3, 2, true, 1, 11);
    let set = InstructionSet::best();
    let norm = Derivative { scale: &case.scale, shift: &case.shift };
    let (one, zero) = (vec![1.0; 3], vec![0.0; 3]);
    let loss = |weights: &[f32], shift: &[f32]| {
        let layer = Depthwise::new(set, weights, case.shape, case.activation.clone());
        let mut output = vec![0.0; case.gradients.len()];
        let norm = Derivative { scale: &case.scale, shift };
        layer.forward(&case.input, norm, &mut Scratch::default(), &mut output);
        output.iter().zip(&case.gradients).map(|(y, g)| f64::from(*y) * f64::from(*g)).sum::<f64>()
    };
    let layer = Depthwise::new(set, &case.weights, case.shape, case.activation.clone());
    let mut scratch = Scratch::default();
    let (mut taps, mut result, mut sums) = (vec![0.0; 27], vec![0.0; case.input.len()], vec![0.0; 6]);
    let back = [&one[..], &zero[..], &zero[..]];
    layer.add_weight_gradient(&case.input, norm, &case.gradients, &case.gradients, back, &mut scratch, &mut taps);
    layer.input_gradient(
        &case.input,
        norm,
        &case.gradients,
        &case.gradients,
        back,
        &mut scratch,
        &mut result,
        &mut sums,
    );
    let step = 1e-2;
    for (channel, tap) in [(0, 0), (1, 4), (2, 8), (2, 3)] {
        let moved = |by: f32| {
            let mut weights = case.weights.clone();
            weights[channel * 9 + tap] += by;
            loss(&weights, &case.shift)
        };
        let slope = (moved(step) - moved(-step)) / f64::from(2.0 * step);
        assert!((slope - f64::from(taps[tap * 3 + channel])).abs() < 1e-2, "channel {channel}, tap {tap}: {slope}");
    }
    // A shift moves every pixel of its channel, so its gradient is the sum that the backward pass returns.
    for channel in 0..3 {
        let moved = |by: f32| {
            let mut shift = case.shift.clone();
            shift[channel] += by;
            loss(&case.weights, &shift)
        };
        let slope = (moved(step) - moved(-step)) / f64::from(2.0 * step);
        assert!(
            (slope - sums[channel]).abs() < 1e-2 * slope.abs().max(1.0),
            "channel {channel}: {slope} and {}",
            sums[channel]
        );
    }
}
