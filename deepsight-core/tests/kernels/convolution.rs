use deepsight_core::fused::kernels::{Convolution, InstructionSet};
use proptest::prelude::*;

use crate::exact::{self, Exact, activation, values};
use crate::{cases, up_to};

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_convolution_is_that_of_plain_loops(
        kernel in 1..=5usize, stride in 1..=3usize, channels in 1..=up_to(12, 3), outputs in 1..=up_to(40, 9),
        more_rows in 0..up_to(12, 3), more_columns in 0..up_to(20, 4), number in 0..4usize, seed: u32,
    ) {
        let (height, width) = (kernel + more_rows, kernel + more_columns);
        let seed = u64::from(seed);
        let (weights, bias) = (values(seed, outputs * channels * kernel * kernel), values(seed + 1, outputs));
        let input = values(seed + 2, height * width * channels);
        let activation = activation(number, outputs);
        let (rows, columns, expected) = exact::convolution(
            &Exact::of(&input), (height, width), &weights, &bias, (kernel, stride), &activation,
        );
        for set in InstructionSet::available() {
            let layer = Convolution::new(set, &weights, &bias, kernel, stride, activation.clone());
            prop_assert_eq!((layer.inputs(), layer.outputs()), (channels, outputs));
            prop_assert_eq!((layer.output_size(height), layer.output_size(width)), (rows, columns));
            let mut output = vec![f32::NAN; rows * columns * outputs];
            layer.forward(&input, width, &mut output);
            for (at, (expected, found)) in expected.iter().zip(&output).enumerate() {
                expected.assert(*found, (set, at / outputs / columns, at / outputs % columns, at % outputs));
            }

            // Only the first rows, of an image that ends with what they need.
            let fewer = rows.div_ceil(2);
            let needed = ((fewer - 1) * stride + kernel) * width * channels;
            let mut first = vec![f32::NAN; fewer * columns * outputs];
            layer.forward(&input[..needed], width, &mut first);
            prop_assert_eq!(&first[..], &output[..first.len()]);
        }
    }
}

#[test]
fn an_image_smaller_than_the_kernel_has_no_output() {
    for set in InstructionSet::available() {
        let layer = Convolution::new(set, &values(1, 18), &[0.0, 0.0], 3, 2, activation(0, 2));
        assert_eq!([0, 1, 2, 3, 4, 5].map(|size| layer.output_size(size)), [0, 0, 0, 1, 1, 2]);
        layer.forward(&values(2, 12), 2, &mut []);
        layer.forward(&[], 3, &mut []);
    }
}
