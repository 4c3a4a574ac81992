use super::aligned::Aligned;
use super::instruction_set::InstructionSet;
use super::simd::{Kernel, Simd};

/// The function that a layer applies to its results before it writes them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// `x`
    Identity,
    /// `x · sigmoid(x)`, also called swish. The relative error is within 1e-6 from `x` = −16 on, and within 4e-6 from
    /// −87 on. Lower values, including minus infinity, give (almost) zero.
    Silu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` if positive, `slope · x` if negative, with one finite slope per channel (He et al., 2015).
    PRelu(Vec<f32>),
}

/// An activation prepared for a layer. It is applied to one vector of neighboring channels at a time.
pub(crate) trait Apply: Copy + Send + Sync {
    /// # Safety
    /// `channel` is the first of a whole vector of channels of the layer, padding included.
    unsafe fn apply<S: Simd>(self, simd: S, value: S::Vector, channel: usize) -> S::Vector;
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Silu;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Relu6;

/// One slope per channel of the layer, including its padding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PRelu<'a>(pub(crate) &'a [f32]);

impl Apply for Identity {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, _: S, value: S::Vector, _: usize) -> S::Vector {
        value
    }
}

impl Apply for Silu {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, simd: S, value: S::Vector, _: usize) -> S::Vector {
        silu(simd, value)
    }
}

impl Apply for Relu6 {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, simd: S, value: S::Vector, _: usize) -> S::Vector {
        // The value is the last argument, so that NaN stays NaN.
        simd.min(simd.splat(6.0), simd.max(simd.splat(0.0), value))
    }
}

impl Apply for PRelu<'_> {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, simd: S, value: S::Vector, channel: usize) -> S::Vector {
        debug_assert!(channel + S::LANES <= self.0.len());
        // SAFETY: guaranteed by the caller.
        let slope = unsafe { simd.load(self.0.as_ptr().add(channel)) };
        let zero = simd.splat(0.0);
        simd.mul_add(slope, simd.min(zero, value), simd.max(zero, value))
    }
}

/// Returns the slopes of a layer's channels, padded with zeros to `padded`. Returns no values for other activations.
pub(crate) fn slopes(activation: &Activation, padded: usize) -> Aligned {
    let Activation::PRelu(given) = activation else { return Aligned::default() };
    let mut slopes = Aligned::zeros(padded);
    slopes[..given.len()].copy_from_slice(given);
    slopes
}

/// The smallest `x` that is computed. Below it, `x · sigmoid(x)` is practically zero, and `e⁻ˣ` is about to overflow.
const LOWEST: f32 = -87.0;

/// `x · sigmoid(x)`
#[inline(always)]
pub(crate) fn silu<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let x = simd.max(simd.splat(LOWEST), x);
    simd.mul(x, sigmoid_above_lowest(simd, x))
}

/// `1 / (1 + e⁻ˣ)`
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    sigmoid_above_lowest(simd, simd.max(simd.splat(LOWEST), x))
}

#[inline(always)]
fn sigmoid_above_lowest<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let t = simd.mul(x, simd.splat(-std::f32::consts::LOG2_E));
    simd.reciprocal(simd.add(simd.splat(1.0), power_of_two(simd, t)))
}

/// Computes `2ᵗ` for `t` up to 126. Values below −126 count as −126.
#[inline(always)]
fn power_of_two<S: Simd>(simd: S, t: S::Vector) -> S::Vector {
    // 2ᵗ = 2ⁿ · 2ᶠ, with a whole n and f in ±½. The limit keeps 2ⁿ a normal number.
    let t = simd.max(simd.splat(-126.0), t);
    let n = simd.round(t);
    let f = simd.sub(t, n);
    // The power series of the exponential in f · ln 2. Its seventh term is below half a unit in the last place.
    let mut power = simd.splat(SERIES[6]);
    for coefficient in [SERIES[5], SERIES[4], SERIES[3], SERIES[2], SERIES[1], SERIES[0]] {
        power = simd.mul_add(power, f, simd.splat(coefficient));
    }
    simd.scale(power, n)
}

/// Computes `eˣ` for `x` up to 87. Values below −87 give (almost) zero.
#[inline(always)]
pub(crate) fn exponential<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    power_of_two(simd, simd.mul(x, simd.splat(std::f32::consts::LOG2_E)))
}

/// `(ln 2)ᵏ / k!`
const SERIES: [f32; 7] = {
    let mut series = [1.0; 7];
    let mut exact = 1.0_f64;
    let mut k = 1;
    while k < 7 {
        exact *= std::f64::consts::LN_2 / k as f64;
        series[k] = exact as f32;
        k += 1;
    }
    series
};

/// Replaces every value with `1 / (1 + e⁻ˣ)`. The relative error is within 1e-6 from `x` = −16 on, and within 4e-6 from
/// −87 on. Lower values give (almost) zero.
pub fn sigmoid_in_place(set: InstructionSet, values: &mut [f32]) {
    set.run(Sigmoid(values));
}

struct Sigmoid<'a>(&'a mut [f32]);

impl Kernel for Sigmoid<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for values in self.0.chunks_mut(S::LANES) {
            let count = values.len();
            // SAFETY: the slice has `count` values, at most one vector.
            unsafe {
                let value = simd.load_first(values.as_ptr(), count);
                simd.store_first(values.as_mut_ptr(), sigmoid(simd, value), count);
            }
        }
    }
}
