use deepsight_kernels::{Activation, InstructionSet, Pointwise, sigmoid_in_place};

use crate::exact::{activate, values};
use crate::up_to;

/// Returns numbers of both signs, from the smallest to the largest, in small steps where the functions bend.
fn sweep() -> Vec<f32> {
    let magnitudes = (-1490..=1279).step_by(up_to(1, 60)).map(|tenths| 2.0_f64.powf(f64::from(tenths) / 10.0) as f32);
    let linear = (0..=200_000).step_by(up_to(1, 9000)).map(|step| step as f32 / 2000.0);
    let edges = [
        0.0,
        f32::MIN_POSITIVE,
        f32::MIN_POSITIVE / 2.0,
        f32::from_bits(1),
        6.0,
        87.0,
        87.34,
        88.0,
        88.73,
        1e38,
        f32::MAX,
    ];
    magnitudes.chain(linear).chain(edges).flat_map(|value| [value, -value]).collect()
}

/// Applies an activation through a layer that multiplies by one, with whole vectors and a part of one.
fn apply(set: InstructionSet, activation: impl Fn(usize) -> Activation, inputs: &[f32]) -> Vec<f32> {
    let channels = set.lanes() + 3;
    let layer = Pointwise::new(set, &vec![1.0; channels], &vec![0.0; channels], activation(channels));
    let mut outputs = vec![0.0; inputs.len() * channels];
    layer.forward(inputs, None, &mut outputs);
    let pixels = outputs.chunks_exact(channels);
    pixels
        .map(|pixel| {
            assert!(
                pixel.iter().all(|value| value.to_bits() == pixel[0].to_bits() || value.is_nan() && pixel[0].is_nan())
            );
            pixel[0]
        })
        .collect()
}

fn silu(set: InstructionSet, inputs: &[f32]) -> Vec<f32> {
    apply(set, |_| Activation::Silu, inputs)
}

fn sigmoid(set: InstructionSet, inputs: &[f32]) -> Vec<f32> {
    let mut values = inputs.to_vec();
    sigmoid_in_place(set, &mut values);
    values
}

/// Half the distance between the smallest numbers.
const SMALLEST: f64 = 0.75e-45;

/// Returns the documented bound of the relative error.
fn bound(x: f32) -> f64 {
    if x >= -16.0 { 1e-6 } else { 4e-6 }
}

#[test]
fn silu_and_sigmoid_keep_their_error_bounds_from_the_smallest_to_the_largest_number() {
    let inputs = sweep();
    for set in InstructionSet::available() {
        let results = inputs.iter().zip(silu(set, &inputs)).zip(sigmoid(set, &inputs));
        for ((&x, silu), sigmoid) in results {
            if x >= -87.0 {
                let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
                let close =
                    |found: f32, exact: f64| (f64::from(found) - exact).abs() <= bound(x) * exact.abs() + SMALLEST;
                assert!(close(sigmoid, exact), "{set}: sigmoid({x}) = {sigmoid}, not {exact:e}");
                let exact = f64::from(x) * exact;
                assert!(close(silu, exact), "{set}: silu({x}) = {silu}, not {exact:e}");
                assert!(silu.is_finite() && (0.0..=1.0).contains(&sigmoid));
            } else {
                assert!((0.0..2e-38).contains(&sigmoid), "{set}: sigmoid({x}) = {sigmoid}");
                assert!((-2e-36..=0.0).contains(&silu), "{set}: silu({x}) = {silu}");
            }
        }
    }
}

#[test]
fn silu_and_sigmoid_of_infinities_are_their_limits() {
    for set in InstructionSet::available() {
        let ends = [f32::INFINITY, f32::NEG_INFINITY];
        let [high, low]: [f32; 2] = silu(set, &ends).try_into().unwrap();
        assert!(high == f32::INFINITY && (-2e-36..=0.0).contains(&low), "{set}: {high}, {low}");
        let [high, low]: [f32; 2] = sigmoid(set, &ends).try_into().unwrap();
        assert!(high == 1.0 && (0.0..2e-38).contains(&low), "{set}: {high}, {low}");
        assert_eq!(silu(set, &[0.0, -0.0]), [0.0, 0.0], "{set}");
        assert_eq!(sigmoid(set, &[0.0, -0.0]), [0.5, 0.5], "{set}");
    }
}

#[test]
fn nan_stays_nan_and_does_not_spread_to_other_values() {
    for set in InstructionSet::available() {
        let mut inputs = values(7, 3 * set.lanes() + 1);
        let spoilt = [0, set.lanes() + 1, 3 * set.lanes()];
        for at in spoilt {
            inputs[at] = if at == 0 { -f32::NAN } else { f32::NAN };
        }
        let found = [
            sigmoid(set, &inputs),
            silu(set, &inputs),
            apply(set, |_| Activation::Identity, &inputs),
            apply(set, |_| Activation::Relu6, &inputs),
            apply(set, |channels| Activation::PRelu(vec![0.25; channels]), &inputs),
        ];
        for (number, found) in found.iter().enumerate() {
            let nans: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_nan()).collect();
            assert_eq!(nans, spoilt, "{set}, function {number}");
        }
    }
}

#[test]
fn relu6_and_prelu_are_exact() {
    let mut inputs = sweep();
    inputs.extend([f32::INFINITY, f32::NEG_INFINITY]);
    for set in InstructionSet::available() {
        assert_eq!(apply(set, |_| Activation::Identity, &inputs), inputs, "{set}");
        let clamped: Vec<f32> = inputs.iter().map(|x| x.clamp(0.0, 6.0)).collect();
        assert_eq!(apply(set, |_| Activation::Relu6, &inputs), clamped, "{set}");
        for slope in [0.25, -0.1, 1.0, 3.0] {
            let sloped: Vec<f32> = inputs.iter().map(|x| if *x < 0.0 { slope * x } else { *x }).collect();
            assert_eq!(
                apply(set, |channels| Activation::PRelu(vec![slope; channels]), &inputs),
                sloped,
                "{set}, {slope}"
            );
        }
    }
}

#[test]
fn every_channel_has_its_own_slope() {
    for set in InstructionSet::available() {
        for channels in 1..=up_to(40, 9) {
            let activation = Activation::PRelu(values(11, channels));
            let layer = Pointwise::new(set, &vec![1.0; channels], &vec![0.0; channels], activation.clone());
            let mut output = vec![0.0; channels];
            layer.forward(&[-2.0], None, &mut output);
            let expected: Vec<f32> = (0..channels).map(|channel| activate(&activation, -2.0, channel) as f32).collect();
            assert_eq!(output, expected, "{set}");
        }
    }
}

#[test]
fn instruction_sets_agree() {
    let mut inputs = sweep();
    inputs.extend([f32::INFINITY, f32::NEG_INFINITY]);
    let sets = InstructionSet::available();
    let portable = *sets.last().unwrap();
    let expected = [silu(portable, &inputs), sigmoid(portable, &inputs)];
    for set in sets {
        for (expected, found) in expected.iter().zip([silu(set, &inputs), sigmoid(set, &inputs)]) {
            for ((x, expected), found) in inputs.iter().zip(expected).zip(found) {
                let off = f64::from((expected - found).abs());
                let same = *expected == found || off <= 2.0 * bound(*x) * f64::from(expected.abs()) + 2.0 * SMALLEST;
                assert!(same, "{set}: {found}, portable: {expected}, of {x}");
            }
        }
    }
}

#[test]
fn sigmoid_in_place_reaches_every_value_of_every_length() {
    for set in InstructionSet::available() {
        for length in 0..=3 * set.lanes() {
            let inputs = values(13, length);
            let alone: Vec<f32> = inputs.iter().flat_map(|x| sigmoid(set, &[*x])).collect();
            assert_eq!(sigmoid(set, &inputs), alone, "{set}");
        }
    }
}
