//! Vectors at the end of a row of channels, where there may be fewer values than lanes.

use super::super::simd::Simd;

/// Loads `lanes` values: without a mask where that is a whole vector.
///
/// # Safety
/// As many values can be read.
#[inline(always)]
pub(super) unsafe fn load<S: Simd, const WHOLE: bool>(simd: S, source: *const f32, lanes: usize) -> S::Vector {
    // SAFETY: the caller's promise.
    unsafe { if WHOLE { simd.load(source) } else { simd.load_first(source, lanes) } }
}

/// Stores the first `lanes` values: without a mask where that is a whole vector.
///
/// # Safety
/// As many values can be written.
#[inline(always)]
pub(super) unsafe fn store<S: Simd, const WHOLE: bool>(simd: S, target: *mut f32, value: S::Vector, lanes: usize) {
    // SAFETY: the caller's promise.
    unsafe { if WHOLE { simd.store(target, value) } else { simd.store_first(target, value, lanes) } }
}
