use deepsight_kernels::{InstructionSet, Pointwise};
use proptest::prelude::*;

use crate::exact::{self, Exact, activation, values};
use crate::{cases, up_to};

/// The weights of a layer and one input.
struct Case {
    weights: Vec<f32>,
    bias: Vec<f32>,
    input: Vec<f32>,
    residual: Vec<f32>,
}

impl Case {
    fn new(pixels: usize, inputs: usize, outputs: usize, seed: u64) -> Self {
        Self {
            weights: values(seed, inputs * outputs),
            bias: values(seed + 1, outputs),
            input: values(seed + 2, pixels * inputs).iter().map(|value| 4.0 * value).collect(),
            residual: values(seed + 3, pixels * outputs),
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_product_matches_plain_loops(
        pixels in 1..=up_to(60, 14), inputs in 1..=up_to(200, 9), outputs in 1..=up_to(70, 14),
        number in 0..4usize, residual: bool, seed: u32,
    ) {
        let case = Case::new(pixels, inputs, outputs, seed.into());
        let activation = activation(number, outputs);
        let (input, bias) = (Exact::of(&case.input), &case.bias);
        let (_, _, mut expected) = exact::convolution(&input, (pixels, 1), &case.weights, bias, (1, 1), &activation);
        if residual {
            expected = expected.iter().zip(&case.residual).map(|(value, residual)| value.plus(*residual)).collect();
        }
        for set in InstructionSet::available() {
            let layer = Pointwise::new(set, &case.weights, bias, activation.clone());
            prop_assert_eq!((layer.inputs(), layer.outputs()), (inputs, outputs));
            let mut output = vec![f32::NAN; pixels * outputs];
            layer.forward(&case.input, residual.then_some(&case.residual[..]), &mut output);
            for (at, (expected, found)) in expected.iter().zip(output).enumerate() {
                expected.assert(found, (set, at / outputs, at % outputs));
            }
        }
    }

    #[test]
    fn a_pixel_is_bit_identical_whatever_pixels_are_computed_with_it(
        pixels in 2..=up_to(200, 14), inputs in 1..=up_to(700, 5), outputs in 1..=up_to(40, 12),
        cut in 0.0..1.0f64, seed: u32,
    ) {
        let case = Case::new(pixels, inputs, outputs, seed.into());
        let cut = (cut * pixels as f64) as usize;
        for set in InstructionSet::available() {
            let layer = Pointwise::new(set, &case.weights, &case.bias, activation(1, outputs));
            let mut whole = vec![f32::NAN; pixels * outputs];
            layer.forward(&case.input, Some(&case.residual), &mut whole);
            let mut parts = vec![f32::NAN; pixels * outputs];
            let (first, second) = parts.split_at_mut(cut * outputs);
            layer.forward(&case.input[..cut * inputs], Some(&case.residual[..cut * outputs]), first);
            layer.forward(&case.input[cut * inputs..], Some(&case.residual[cut * outputs..]), second);
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&whole), bits(&parts), "{}, cut at {}", set, cut);
        }
    }
}

#[test]
fn zero_pixels_are_accepted() {
    for set in InstructionSet::available() {
        Pointwise::new(set, &[1.0, 2.0], &[0.0], activation(0, 1)).forward(&[], Some(&[]), &mut []);
    }
}
