use deepsight_kernels::{InstructionSet, MaxPool};
use proptest::prelude::*;

use crate::exact::values;
use crate::{cases, up_to};

/// Returns pixels of `pitch` values. Those after the first `channels` are infinite, so they would show in the output.
pub(crate) fn padded(pixels: usize, pitch: usize, channels: usize, seed: u64) -> Vec<f32> {
    let mut input = values(seed, pixels * pitch);
    for (at, value) in input.iter_mut().enumerate() {
        if at % pitch >= channels {
            *value = f32::INFINITY;
        }
    }
    input
}

/// Returns the largest value of every window, `[rows, columns, channels]`.
fn maxima(input: &[f32], (height, width): (usize, usize), pitch: usize, channels: usize, kernel: usize) -> Vec<f32> {
    // In ceil mode, another window begins if the previous one does not cover the last row or column.
    let starts = |size: usize| (0..size).step_by(2).filter(move |start| *start == 0 || start + kernel < size + 2);
    let mut results = Vec::new();
    for top in starts(height) {
        for left in starts(width) {
            for channel in 0..channels {
                let mut largest = f32::NEG_INFINITY;
                for y in top..height.min(top + kernel) {
                    for x in left..width.min(left + kernel) {
                        largest = largest.max(input[(y * width + x) * pitch + channel]);
                    }
                }
                results.push(largest);
            }
        }
    }
    results
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_output_is_the_largest_of_its_window(
        kernel in 2..=3usize, height in 1..=up_to(9, 5), width in 1..=up_to(9, 5), channels in 1..=up_to(40, 17),
        padding in 0..up_to(20, 9), seed: u32,
    ) {
        let pitch = channels + padding;
        let input = padded(height * width, pitch, channels, seed.into());
        let expected = maxima(&input, (height, width), pitch, channels, kernel);
        for set in InstructionSet::available() {
            let pool = MaxPool::new(set, kernel);
            let mut output = vec![f32::NAN; pool.output_size(height) * pool.output_size(width) * channels];
            pool.forward(&input, width, pitch, channels, &mut output);
            prop_assert_eq!(&output, &expected, "{}", set);
        }
    }
}

#[test]
fn sizes_are_those_of_pytorch_in_ceil_mode() {
    for set in InstructionSet::available() {
        let pool = |kernel| MaxPool::new(set, kernel);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|size| pool(2).output_size(size)), [0, 1, 1, 2, 2, 3]);
        assert_eq!([0, 1, 2, 3, 4, 5, 22].map(|size| pool(3).output_size(size)), [0, 1, 1, 1, 2, 2, 11]);
    }
}

#[test]
fn an_image_without_pixels_or_channels_has_no_maxima() {
    for set in InstructionSet::available() {
        MaxPool::new(set, 2).forward(&[], 0, 3, 3, &mut []);
        MaxPool::new(set, 3).forward(&[], 5, 3, 3, &mut []);
        MaxPool::new(set, 3).forward(&[1.0; 6], 2, 3, 0, &mut []);
    }
}
