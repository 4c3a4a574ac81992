//! Tests of the kernels against plain loops in double precision, on every instruction set that this processor has, and
//! at the edges of mapped memory. Under Miri, the same tests run with the portable set, in fewer and smaller cases.

#![allow(clippy::unwrap_used)]

mod activation;
mod area;
mod convolution;
mod depthwise;
mod exact;
#[cfg(all(unix, not(miri)))]
mod guarded;
mod pointwise;
mod pool;
mod refused;
mod training;
mod transformer;

use proptest::test_runner::Config;

/// Returns the configuration of property tests. There are few cases under Miri, which takes a thousand times as long.
/// No failures are saved for the next run.
fn cases() -> Config {
    Config { cases: if cfg!(miri) { 4 } else { 100 }, failure_persistence: None, ..Config::default() }
}

/// Returns `size`, or under Miri the smaller `under_miri`.
const fn up_to(size: usize, under_miri: usize) -> usize {
    if cfg!(miri) { under_miri } else { size }
}
