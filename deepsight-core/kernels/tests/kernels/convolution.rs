use deepsight_kernels::{Convolution, InstructionSet};
use proptest::prelude::*;

use crate::exact::{self, Exact, activation, values};
use crate::{cases, up_to};

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_convolution_matches_plain_loops(
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

            // Computes only the first rows, from an image that ends with the last value they need.
            let fewer = rows.div_ceil(2);
            let needed = ((fewer - 1) * stride + kernel) * width * channels;
            let mut first = vec![f32::NAN; fewer * columns * outputs];
            layer.forward(&input[..needed], width, &mut first);
            prop_assert_eq!(&first[..], &output[..first.len()]);
        }
    }

    #[test]
    fn contiguous_images_are_convolved_separately(
        (kernel, stride) in (1..=3usize, 1..=2usize), more_rows in 0..up_to(12, 3), more_columns in 0..up_to(12, 3),
        channels in 1..=up_to(40, 16), outputs in 1..=up_to(40, 5), images in 1..=up_to(4, 2), number in 0..4usize,
        seed: u32,
    ) {
        let size = (kernel + more_rows, kernel + more_columns);
        images_agree((kernel, stride), size, (channels, outputs), images, number, seed.into());
    }
}

#[test]
fn images_whose_pixels_are_gathered_across_their_borders_do_not_mix() {
    // These are 3 × 20 outputs, gathered 48 at a time.
    images_agree((3, 1), (6, 7), (15, up_to(3, 1)), 3, 3, 1);
    // The first width needs no gathering, the second has one column too few for that.
    for width in [50, 49].into_iter().take(up_to(2, 0)) {
        images_agree((3, 1), (3, width), (15, 1), 3, 0, 2);
    }
}

/// Convolves images together, and compares the results with plain loops and, bit by bit, with each image computed
/// alone.
#[track_caller]
fn images_agree(
    (kernel, stride): (usize, usize),
    (height, width): (usize, usize),
    (channels, outputs): (usize, usize),
    images: usize,
    number: usize,
    seed: u64,
) {
    let (weights, bias) = (values(seed, outputs * channels * kernel * kernel), values(seed + 1, outputs));
    let (image, activation) = (height * width * channels, activation(number, outputs));
    let input = values(seed + 2, images * image);
    let expected: Vec<Exact> = input
        .chunks_exact(image)
        .flat_map(|input| {
            let input = Exact::of(input);
            exact::convolution(&input, (height, width), &weights, &bias, (kernel, stride), &activation).2
        })
        .collect();
    // The state in which a previous layer may leave the buffer.
    let mut gathered = vec![f32::NAN; 7];
    for set in InstructionSet::available() {
        let layer = Convolution::new(set, &weights, &bias, kernel, stride, activation.clone());
        let mut output = vec![f32::NAN; expected.len()];
        layer.forward_images(&input, height, width, &mut gathered, &mut output);
        for (at, (expected, found)) in expected.iter().zip(&output).enumerate() {
            expected.assert(*found, (set, at / outputs, at % outputs));
        }
        let result = expected.len() / images;
        for (input, output) in input.chunks_exact(image).zip(output.chunks_exact(result)) {
            let mut alone = vec![f32::NAN; result];
            layer.forward(input, width, &mut alone);
            assert_eq!(alone, output, "{set}");
        }
    }
}

#[test]
fn zero_images_are_accepted() {
    for set in InstructionSet::available() {
        let layer = Convolution::new(set, &values(1, 18), &[0.0, 0.0], 3, 2, activation(0, 2));
        layer.forward_images(&[], 3, 4, &mut Vec::new(), &mut []);
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
