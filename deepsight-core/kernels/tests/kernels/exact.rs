//! The layers as plain loops in double precision, with bounds of the error of single precision, and values to feed
//! them.

use deepsight_kernels::{Activation, Border};

/// An exact result, and the largest error that a result in single precision may have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exact {
    pub(crate) value: f64,
    pub(crate) error: f64,
}

impl Exact {
    pub(crate) fn of(values: &[f32]) -> Vec<Self> {
        values.iter().map(|value| Self { value: f64::from(*value), error: 0.0 }).collect()
    }

    /// Adds terms one after the other, in any order.
    pub(crate) fn sum(terms: impl Iterator<Item = Self> + Clone) -> Self {
        let magnitude: f64 = terms.clone().map(|term| term.value.abs()).sum();
        let roundings = (terms.clone().count() + 4) as f64;
        let error: f64 = terms.clone().map(|term| term.error).sum();
        Self {
            value: terms.map(|term| term.value).sum(),
            error: error + roundings * f64::from(f32::EPSILON) * magnitude,
        }
    }

    pub(crate) fn times(self, factor: f32) -> Self {
        let factor = f64::from(factor);
        Self { value: self.value * factor, error: self.error * factor.abs() }
    }

    pub(crate) fn plus(self, value: f32) -> Self {
        Self::sum([self, Self { value: f64::from(value), error: 0.0 }].into_iter())
    }

    pub(crate) fn activated(self, activation: &Activation, channel: usize) -> Self {
        let Self { value: x, error } = self;
        let steepest = match activation {
            Activation::Silu => 1.1,
            Activation::PRelu(slopes) => f64::from(slopes[channel].abs().max(1.0)),
            _ => 1.0,
        };
        let value = activate(activation, x, channel);
        Self { value, error: steepest * error + 1e-6 * value.abs() }
    }

    pub(crate) fn assert(self, found: f32, place: impl std::fmt::Debug) {
        let off = (f64::from(found) - self.value).abs();
        assert!(off <= self.error, "{place:?}: {found} is {off:e} off {}, bound {:e}", self.value, self.error);
    }
}

pub(crate) fn activate(activation: &Activation, x: f64, channel: usize) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::PRelu(slopes) if x < 0.0 => f64::from(slopes[channel]) * x,
        _ => x,
    }
}

/// Computes a square convolution over `[height, width, channels]`. Returns rows, columns and
/// `[rows, columns, outputs]`.
pub(crate) fn convolution(
    input: &[Exact],
    (height, width): (usize, usize),
    weights: &[f32],
    bias: &[f32],
    (kernel, stride): (usize, usize),
    activation: &Activation,
) -> (usize, usize, Vec<Exact>) {
    let channels = weights.len() / bias.len() / kernel / kernel;
    let [rows, columns] = [height, width].map(|size| if size < kernel { 0 } else { (size - kernel) / stride + 1 });
    let mut results = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            for (output, bias) in bias.iter().enumerate() {
                let term = |tap: usize| {
                    let (channel, y, x) = (tap / kernel / kernel, tap / kernel % kernel, tap % kernel);
                    let pixel = (row * stride + y) * width + column * stride + x;
                    input[pixel * channels + channel].times(weights[output * channels * kernel * kernel + tap])
                };
                let bias = Exact { value: f64::from(*bias), error: 0.0 };
                let sum = Exact::sum((0..channels * kernel * kernel).map(term).chain([bias]));
                results.push(sum.activated(activation, output));
            }
        }
    }
    (rows, columns, results)
}

/// Convolves every channel separately, with zeros around the image. Returns rows, columns and
/// `[rows, columns, channels]`.
pub(crate) fn depthwise(
    input: &[Exact],
    (height, width, border): (usize, usize, Border),
    weights: &[f32],
    bias: &[f32],
    (kernel, stride): (usize, usize),
    activation: &Activation,
) -> (usize, usize, Vec<Exact>) {
    let channels = bias.len();
    let rows = (border.top + height + border.bottom - kernel) / stride + 1;
    let columns = (border.left + width + border.right - kernel) / stride + 1;
    let pixel = |row: usize, column: usize, channel: usize| {
        let (row, column) = (row.wrapping_sub(border.top), column.wrapping_sub(border.left));
        let inside = row < height && column < width;
        if inside { input[(row * width + column) * channels + channel] } else { Exact::default() }
    };
    let mut results = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            for (channel, bias) in bias.iter().enumerate() {
                let term = |tap: usize| {
                    let (y, x) = (row * stride + tap / kernel, column * stride + tap % kernel);
                    pixel(y, x, channel).times(weights[channel * kernel * kernel + tap])
                };
                let bias = Exact { value: f64::from(*bias), error: 0.0 };
                let sum = Exact::sum((0..kernel * kernel).map(term).chain([bias]));
                results.push(sum.activated(activation, channel));
            }
        }
    }
    (rows, columns, results)
}

/// Returns numbers in `-1..1` that look random, the same for the same seed (SplitMix64).
pub(crate) fn values(seed: u64, count: usize) -> Vec<f32> {
    let value = |index: usize| {
        let mut bits = seed.wrapping_add(index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(value).collect()
}

/// Returns one of the four activations by its number.
pub(crate) fn activation(number: usize, channels: usize) -> Activation {
    match number % 4 {
        0 => Activation::Identity,
        1 => Activation::Silu,
        2 => Activation::Relu6,
        _ => Activation::PRelu(values(99, channels)),
    }
}
