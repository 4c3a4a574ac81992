//! Four lanes in plain Rust. Compilers translate them into the vector instructions that every 64-bit processor has
//! (SSE2, NEON).

use super::simd::{Kernel, Simd};

/// The instruction set that every processor supports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

const LANES: usize = 4;

/// Four values in one register.
#[derive(Debug, Clone, Copy)]
#[repr(align(16))]
pub(crate) struct F32x4([f32; LANES]);

#[inline(always)]
fn zip(a: F32x4, b: F32x4, f: impl Fn(f32, f32) -> f32) -> F32x4 {
    F32x4([f(a.0[0], b.0[0]), f(a.0[1], b.0[1]), f(a.0[2], b.0[2]), f(a.0[3], b.0[3])])
}

/// 1.5 · 2²³. After adding it to a number, the lowest bits of the sum are that number, rounded to a whole one.
const ROUNDING: f32 = 12_582_912.0;

impl Simd for Portable {
    type Vector = F32x4;

    const LANES: usize = LANES;
    // x86 has sixteen vector registers, Arm has thirty-two.
    const ROWS: usize = if cfg!(target_arch = "aarch64") { 12 } else { 6 };

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> F32x4 {
        F32x4([value; LANES])
    }

    #[inline(always)]
    fn add(self, a: F32x4, b: F32x4) -> F32x4 {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: F32x4, b: F32x4) -> F32x4 {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: F32x4, b: F32x4) -> F32x4 {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, a: F32x4, b: F32x4, c: F32x4) -> F32x4 {
        // Uses the fused instruction if the processor has one. Elsewhere, `f32::mul_add` would be a function call per
        // lane.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            F32x4(std::array::from_fn(|i| a.0[i].mul_add(b.0[i], c.0[i])))
        } else {
            zip(zip(a, b, |a, b| a * b), c, |a, b| a + b)
        }
    }

    #[inline(always)]
    fn max(self, a: F32x4, b: F32x4) -> F32x4 {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: F32x4, b: F32x4) -> F32x4 {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn reciprocal(self, a: F32x4) -> F32x4 {
        zip(self.splat(1.0), a, |one, a| one / a)
    }

    #[inline(always)]
    fn round(self, a: F32x4) -> F32x4 {
        self.sub(self.add(a, self.splat(ROUNDING)), self.splat(ROUNDING))
    }

    #[inline(always)]
    fn scale(self, a: F32x4, n: F32x4) -> F32x4 {
        // Builds 2ⁿ from its exponent bits. The shift drops all other bits of the sum.
        zip(a, n, |a, n| a * f32::from_bits(((n + ROUNDING).to_bits() << 23).wrapping_add(1.0_f32.to_bits())))
    }

    #[inline(always)]
    unsafe fn load(self, source: *const f32) -> F32x4 {
        // SAFETY: guaranteed by the caller; an array of `f32` has the alignment of `f32`.
        F32x4(unsafe { source.cast::<[f32; LANES]>().read() })
    }

    #[inline(always)]
    unsafe fn load_first(self, source: *const f32, count: usize) -> F32x4 {
        let mut values = [0.0; LANES];
        for (lane, value) in values.iter_mut().enumerate().take(count) {
            // SAFETY: guaranteed by the caller.
            *value = unsafe { source.add(lane).read() };
        }
        F32x4(values)
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32, value: F32x4) {
        // SAFETY: guaranteed by the caller; an array of `f32` has the alignment of `f32`.
        unsafe { target.cast::<[f32; LANES]>().write(value.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, target: *mut f32, value: F32x4, count: usize) {
        for (lane, value) in value.0.into_iter().enumerate().take(count) {
            // SAFETY: guaranteed by the caller.
            unsafe { target.add(lane).write(value) }
        }
    }
}
