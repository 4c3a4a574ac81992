use deepsight_kernels::{AreaResize, InstructionSet, Region};
use proptest::prelude::*;

use crate::exact::values;
use crate::{cases, up_to};

const SUBTRACT: f32 = 127.5;
const MULTIPLY: f32 = 0.007_812_5;

/// Creates an RGB image that looks random.
pub(crate) fn image(width: usize, height: usize, seed: u64) -> Vec<u8> {
    values(seed, 3 * width * height).iter().map(|value| (128.0 * (value + 1.0)) as u8).collect()
}

/// Computes one output pixel by the definition. Sums and counts are whole numbers below 2²⁴, so they are exact in
/// single precision.
fn pixel(image: &[u8], width: usize, region: Region, size: (usize, usize), (x, y): (usize, usize)) -> [f32; 3] {
    let bin = |i: usize, input: usize, output: usize| i * input / output..((i + 1) * input).div_ceil(output);
    let (mut total, mut count) = ([0_u32; 3], 0_u32);
    for row in bin(y, region.height, size.1) {
        for column in bin(x, region.width, size.0) {
            let first = 3 * ((region.y + row) * width + region.x + column);
            for (total, value) in total.iter_mut().zip(&image[first..]) {
                *total += u32::from(*value);
            }
            count += 1;
        }
    }
    total.map(|total| (total as f32 / count as f32 - SUBTRACT) * MULTIPLY)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_output_pixel_is_the_mean_of_its_bin(
        (width, height) in (1..=up_to(50, 9), 1..=up_to(40, 9)), size in (1..=up_to(60, 11), 1..=up_to(60, 11)),
        corner in (0.0..1.0f64, 0.0..1.0f64), opposite in (0.0..1.0f64, 0.0..1.0f64),
        part in (0.0..1.0f64, 0.0..1.0f64), seed: u32,
    ) {
        let image = image(width, height, seed.into());
        let choose = |share: f64, count: usize| (share * count as f64) as usize;
        let (x, y) = (choose(corner.0, width), choose(corner.1, height));
        let (right, below) = (width - x, height - y);
        let region = Region { x, y, width: 1 + choose(opposite.0, right), height: 1 + choose(opposite.1, below) };
        let (columns, rows) = (choose(part.0, size.0)..size.0, choose(part.1, size.1)..size.1);
        let places = rows.clone().flat_map(|row| columns.clone().map(move |column| (column, row)));
        let expected: Vec<f32> = places.flat_map(|at| pixel(&image, width, region, size, at)).collect();
        for set in InstructionSet::available() {
            let mut resize = AreaResize::new(set, SUBTRACT, MULTIPLY);
            resize.plan(region, size, columns.clone());
            let mut output = vec![f32::NAN; 3 * columns.len() * rows.len()];
            resize.rows(&image, width, rows.clone(), &mut output);
            prop_assert_eq!(&output, &expected, "{}", set);
        }
    }
}

#[test]
fn a_plan_does_not_affect_the_next_one() {
    let (width, height) = (13, 7);
    let image = image(width, height, 1);
    let plans = [
        (Region { x: 0, y: 0, width: 13, height: 7 }, (5, 3)),
        (Region { x: 4, y: 2, width: 3, height: 5 }, (7, 9)),
        (Region { x: 1, y: 0, width: 12, height: 6 }, (2, 1)),
    ];
    for set in InstructionSet::available() {
        let resized = |resize: &mut AreaResize, (region, size): (Region, (usize, usize))| {
            resize.plan(region, size, 0..size.0);
            let mut output = vec![f32::NAN; 3 * size.0 * size.1];
            resize.rows(&image, width, 0..size.1, &mut output);
            output
        };
        let mut reused = AreaResize::new(set, SUBTRACT, MULTIPLY);
        for plan in plans {
            assert_eq!(
                resized(&mut reused, plan),
                resized(&mut AreaResize::new(set, SUBTRACT, MULTIPLY), plan),
                "{set}"
            );
        }
    }
}

// Miri would need hours for these millions of pixels.
#[cfg(not(miri))]
#[test]
fn means_over_more_pixels_than_a_sum_can_hold_are_exact() {
    // The number of pixels is nine times a power of two, so that the sums are exact in single precision.
    let (width, height) = (3 << 10, 3 << 10);
    let image: Vec<u8> = [255, 254, 1].into_iter().cycle().take(3 * width * height).collect();
    for set in InstructionSet::available() {
        let mut resize = AreaResize::new(set, 0.0, 1.0);
        resize.plan(Region { x: 0, y: 0, width, height }, (1, 1), 0..1);
        let mut output = [0.0; 3];
        resize.rows(&image, width, 0..1, &mut output);
        assert_eq!(output, [255.0, 254.0, 1.0], "{set}");
    }
}

#[test]
fn empty_rows_and_columns_are_accepted() {
    for set in InstructionSet::available() {
        let mut resize = AreaResize::new(set, SUBTRACT, MULTIPLY);
        resize.plan(Region { x: 0, y: 0, width: 2, height: 1 }, (4, 3), 4..4);
        resize.rows(&[1; 6], 2, 0..3, &mut []);
        resize.plan(Region { x: 0, y: 0, width: 2, height: 1 }, (4, 3), 0..4);
        resize.rows(&[1; 6], 2, 2..2, &mut []);
    }
}
