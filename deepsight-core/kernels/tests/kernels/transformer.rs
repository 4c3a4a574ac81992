use deepsight_kernels::{
    Activation, InstructionSet, Pointwise, StridedRows, gelu_in_place, quick_gelu_in_place, softmax_in_place,
};
use proptest::prelude::*;

use crate::exact::values;
use crate::{cases, up_to};

/// Computes the error function: by its power series near 0, and by the continued fraction of its complement elsewhere.
fn erf(x: f64) -> f64 {
    let z = x.abs();
    if z < 3.0 {
        let (mut term, mut sum) = (z, z);
        for n in 1..80 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return x.signum() * sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let fraction = (1..=60).rev().fold(z, |tail, n| z + f64::from(n) / 2.0 / tail);
    x.signum() * (1.0 - (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt()))
}

/// Returns numbers of both signs, from 0 to large ones, in small steps where the functions bend.
fn sweep() -> Vec<f32> {
    let linear = (0..=30_000).step_by(up_to(1, 900)).map(|step| step as f32 / 1500.0);
    let large = [1e-30, 1e-6, 13.0, 13.1, 50.0, 87.0, 90.0, 1e4, 1e30, f32::MAX];
    linear.chain(large).flat_map(|value| [value, -value]).collect()
}

fn assert_each(apply: impl Fn(InstructionSet, &mut [f32]), exact: impl Fn(f64) -> f64) {
    let inputs = sweep();
    for set in InstructionSet::available() {
        let mut outputs = inputs.clone();
        apply(set, &mut outputs);
        for (x, found) in inputs.iter().zip(&outputs) {
            let expected = exact(f64::from(*x));
            let error = (f64::from(*found) - expected).abs();
            assert!(error <= 4e-7 * f64::from(x.abs()).max(1.0), "{set}: {x} gives {found}, not {expected}");
        }
        // The result does not depend on the place in a vector, and NaN stays NaN.
        for length in 1..=2 * set.lanes() + 1 {
            let mut same = vec![0.7; length];
            apply(set, &mut same);
            assert!(same.iter().all(|value| value.to_bits() == same[0].to_bits()), "{set}: {same:?}");
        }
        let mut ends = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        apply(set, &mut ends);
        assert!(ends[0] == f32::INFINITY && ends[1].abs() < 1e-20 && ends[2].is_nan(), "{set}: {ends:?}");
    }
}

#[test]
fn gelu_keeps_its_error_bound() {
    assert_each(gelu_in_place, |x| x * 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2)));
}

#[test]
fn quick_gelu_keeps_its_error_bound() {
    assert_each(quick_gelu_in_place, |x| x / (1.0 + (-1.702 * x).exp()));
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_row_becomes_its_softmax(
        rows in 1..=up_to(5, 2), length in 1..=up_to(300, 20), scale in 0.0..60.0f32, shift in -1e4..1e4f32, seed: u32,
    ) {
        let input: Vec<f32> = values(seed.into(), rows * length).iter().map(|value| value * scale + shift).collect();
        for set in InstructionSet::available() {
            let mut output = input.clone();
            softmax_in_place(set, &mut output, length);
            for (row, found) in input.chunks_exact(length).zip(output.chunks_exact(length)) {
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f64> = row.iter().map(|value| f64::from(value - largest).exp()).collect();
                let sum: f64 = powers.iter().sum();
                for (power, found) in powers.iter().zip(found) {
                    let expected = power / sum;
                    prop_assert!((f64::from(*found) - expected).abs() <= 1e-5 * expected + 1e-37, "{found} {expected}");
                }
                prop_assert!((found.iter().map(|value| f64::from(*value)).sum::<f64>() - 1.0).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn rows_in_blocks_give_the_results_of_contiguous_rows(
        rows in 1..=up_to(40, 6), runs in 1..=5usize, length in 1..=up_to(20, 4), outputs in 1..=up_to(40, 9),
        residual: bool, seed: u32,
    ) {
        let inputs = runs * length;
        let dense = values(seed.into(), rows * inputs);
        // [runs, rows, length], with one value between the runs.
        let stride = rows * length + 1;
        let mut blocks = vec![f32::NAN; runs * stride];
        for (row, values) in dense.chunks_exact(inputs).enumerate() {
            for (run, values) in values.chunks_exact(length).enumerate() {
                blocks[run * stride + row * length..][..length].copy_from_slice(values);
            }
        }
        let described =
            StridedRows { count: rows, row_stride: length, runs, run_stride: stride, run_length: length };
        let added = values(u64::from(seed) + 1, rows * outputs);
        let added = residual.then_some(&added[..]);
        for set in InstructionSet::available() {
            let weights = values(u64::from(seed) + 2, inputs * outputs);
            let layer = Pointwise::new(set, &weights, &values(3, outputs), Activation::Identity);
            let (mut expected, mut found) = (vec![f32::NAN; rows * outputs], vec![f32::NAN; rows * outputs]);
            layer.forward(&dense, added, &mut expected);
            layer.forward_strided(&blocks, described, added, &mut found);
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&expected), bits(&found));
        }
    }
}
