//! The numbers that `export.py` computes weights and images from. The tests of `deepsight-train` and the command
//! `selftest` use this file, too.

/// Returns `count` numbers in `-1..1`, multiples of 2⁻²³: SplitMix64 seeded with the FNV-1a hash of `name`.
pub(crate) fn uniform(name: &str, count: usize) -> Vec<f32> {
    let mut state = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
    (0..count)
        .map(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let z = z ^ (z >> 31);
            ((z >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32
        })
        .collect()
}
