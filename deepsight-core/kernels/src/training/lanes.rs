//! Loads and stores at the end of a row of channels, where fewer values than lanes may remain.

use super::super::simd::Simd;

/// Loads `lanes` values, without a mask if they are a `WHOLE` vector.
///
/// # Safety
/// `lanes` values can be read.
#[inline(always)]
pub(super) unsafe fn load<S: Simd, const WHOLE: bool>(simd: S, source: *const f32, lanes: usize) -> S::Vector {
    // SAFETY: guaranteed by the caller.
    unsafe { if WHOLE { simd.load(source) } else { simd.load_first(source, lanes) } }
}

/// Stores the first `lanes` values, without a mask if they are a `WHOLE` vector.
///
/// # Safety
/// `lanes` values can be written.
#[inline(always)]
pub(super) unsafe fn store<S: Simd, const WHOLE: bool>(simd: S, target: *mut f32, value: S::Vector, lanes: usize) {
    // SAFETY: guaranteed by the caller.
    unsafe { if WHOLE { simd.store(target, value) } else { simd.store_first(target, value, lanes) } }
}
