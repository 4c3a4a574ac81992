//! The functions of transformers that are not matrix products.

use super::activation::{exponential, sigmoid};
use super::instruction_set::InstructionSet;
use super::simd::{Kernel, Simd};

/// Replaces every value `x` with `x · Φ(x)`, where `Φ` is the standard normal distribution: GELU (Hendrycks & Gimpel,
/// 2016). The error is within 4e-7 of the larger of 1 and the absolute value of `x`.
pub fn gelu_in_place(set: InstructionSet, values: &mut [f32]) {
    set.run(Each { values, function: Gelu });
}

/// Replaces every value `x` with `x · sigmoid(1.702 x)`, the approximation of GELU in CLIP of OpenAI. The error is
/// within 4e-7 of the larger of 1 and the absolute value of `x`.
pub fn quick_gelu_in_place(set: InstructionSet, values: &mut [f32]) {
    set.run(Each { values, function: QuickGelu });
}

/// Replaces every row of `length` values with its softmax. The sum of a row is 1 within 1e-5, and the relative error of
/// a result is within 1e-5, unless it is below 1e-37.
///
/// # Panics
/// Panics if `length` is 0, or if `values` does not hold whole rows.
pub fn softmax_in_place(set: InstructionSet, values: &mut [f32], length: usize) {
    assert!(length > 0 && values.len().is_multiple_of(length), "{} values in rows of {length}", values.len());
    for row in values.chunks_exact_mut(length) {
        set.run(Softmax(row));
    }
}

/// A function of one vector.
trait Function: Copy {
    fn apply<S: Simd>(self, simd: S, value: S::Vector) -> S::Vector;
}

#[derive(Clone, Copy)]
struct Gelu;

/// Abramowitz & Stegun's approximation 7.1.26 of the error function: the factor in `t = 1 / (1 + FACTOR · x)`, and the
/// coefficients of `t`, `t²` and so on.
const FACTOR: f32 = 0.327_591_1;
const COEFFICIENTS: [f32; 5] = [0.254_829_6, -0.284_496_72, 1.421_413_8, -1.453_152, 1.061_405_4];

/// From this absolute value on, GELU is practically `max(x, 0)`.
const HIGHEST: f32 = 13.0;

impl Function for Gelu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::Vector) -> S::Vector {
        // The value is the last argument, so that NaN stays NaN.
        let absolute = simd.max(simd.sub(simd.splat(0.0), x), x);
        let bounded = simd.min(simd.splat(HIGHEST), absolute);
        let z = simd.mul(bounded, simd.splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = simd.reciprocal(simd.mul_add(z, simd.splat(FACTOR), simd.splat(1.0)));
        let mut series = simd.splat(COEFFICIENTS[4]);
        for coefficient in [COEFFICIENTS[3], COEFFICIENTS[2], COEFFICIENTS[1], COEFFICIENTS[0]] {
            series = simd.mul_add(series, t, simd.splat(coefficient));
        }
        let decay = exponential(simd, simd.mul(simd.sub(simd.splat(0.0), z), z));
        let complement = simd.mul(simd.mul(series, t), decay);
        // x · Φ(x) is x − h for x ≥ 0 and −h for x < 0, with h = |x| · erfc(|x| / √2) / 2.
        let h = simd.mul(simd.mul(simd.splat(0.5), bounded), complement);
        simd.sub(simd.max(simd.splat(0.0), x), h)
    }
}

#[derive(Clone, Copy)]
struct QuickGelu;

impl Function for QuickGelu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::Vector) -> S::Vector {
        // Below the limit the result is practically zero, and minus infinity must not be multiplied by zero.
        let x = simd.max(simd.splat(-60.0), x);
        simd.mul(x, sigmoid(simd, simd.mul(x, simd.splat(1.702))))
    }
}

struct Each<'a, F> {
    values: &'a mut [f32],
    function: F,
}

impl<F: Function> Kernel for Each<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for values in self.values.chunks_mut(S::LANES) {
            let count = values.len();
            // SAFETY: the slice has `count` values, at most one vector.
            unsafe {
                let value = simd.load_first(values.as_ptr(), count);
                simd.store_first(values.as_mut_ptr(), self.function.apply(simd, value), count);
            }
        }
    }
}

/// Number of lanes of the widest vector.
const LARGEST: usize = 16;

/// The softmax of one row.
struct Softmax<'a>(&'a mut [f32]);

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let row = self.0;
        // The largest value becomes 0, so that no exponential overflows.
        let mut vectors = simd.splat(f32::NEG_INFINITY);
        let whole = row.chunks_exact(S::LANES);
        let rest = whole.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for values in whole {
            // SAFETY: the slice has one vector.
            vectors = simd.max(vectors, unsafe { simd.load(values.as_ptr()) });
        }
        let mut lanes = [f32::NEG_INFINITY; LARGEST];
        // SAFETY: the largest vector fits.
        unsafe { simd.store(lanes.as_mut_ptr(), vectors) };
        let shift = simd.splat(-lanes.into_iter().fold(rest, f32::max));
        let mut sums = simd.splat(0.0);
        let mut tail = 0.0;
        for values in row.chunks_mut(S::LANES) {
            let count = values.len();
            // SAFETY: the slice has `count` values, at most one vector.
            unsafe {
                let value = simd.add(simd.load_first(values.as_ptr(), count), shift);
                let power = exponential(simd, value);
                simd.store_first(values.as_mut_ptr(), power, count);
                if count == S::LANES {
                    sums = simd.add(sums, power);
                } else {
                    tail += values.iter().sum::<f32>();
                }
            }
        }
        let mut lanes = [0.0; LARGEST];
        // SAFETY: the largest vector fits.
        unsafe { simd.store(lanes.as_mut_ptr(), sums) };
        let factor = simd.splat(1.0 / (lanes.iter().sum::<f32>() + tail));
        for values in row.chunks_mut(S::LANES) {
            let count = values.len();
            // SAFETY: the slice has `count` values, at most one vector.
            unsafe {
                let value = simd.load_first(values.as_ptr(), count);
                simd.store_first(values.as_mut_ptr(), simd.mul(value, factor), count);
            }
        }
    }
}
