use std::ops::Range;

use deepsight_kernels::{Activation, Border, Convolution, ExpandDepthwise, Expansion, InstructionSet, Pointwise};
use proptest::prelude::*;

use crate::exact::{self, Exact, activation, values};
use crate::{cases, up_to};

/// The layer before the depthwise convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Before {
    Nothing,
    Pointwise(usize),
    /// 3 × 3, stride 2.
    Stem(usize),
}

/// A layer and the size of its image.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) before: Before,
    pub(crate) channels: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) border: Border,
    /// Never PReLU, for which there is no depthwise kernel.
    pub(crate) activation: Activation,
}

/// Outputs `[rows, columns, lanes]` and sums `[rows, lanes]` of every block.
type Results = Vec<(Vec<f32>, Vec<f32>)>;

impl Case {
    fn expansion_weights(&self) -> Vec<f32> {
        let taps = match self.before {
            Before::Nothing => 0,
            Before::Pointwise(inputs) => inputs,
            Before::Stem(inputs) => 9 * inputs,
        };
        values(1, self.channels * taps)
    }

    fn expansion_bias(&self) -> Vec<f32> {
        values(2, self.channels)
    }

    pub(crate) fn weights(&self) -> Vec<f32> {
        values(3, self.channels * self.kernel * self.kernel)
    }

    pub(crate) fn bias(&self) -> Vec<f32> {
        values(4, self.channels)
    }

    pub(crate) fn layer(&self, set: InstructionSet) -> ExpandDepthwise {
        let (weights, bias, activation) = (self.expansion_weights(), self.expansion_bias(), self.activation.clone());
        let expansion = match self.before {
            Before::Nothing => Expansion::None,
            Before::Pointwise(_) => Expansion::Pointwise(Pointwise::new(set, &weights, &bias, activation)),
            Before::Stem(_) => Expansion::Convolution(Convolution::new(set, &weights, &bias, 3, 2, activation)),
        };
        let kind = (self.kernel, self.stride);
        ExpandDepthwise::new(set, expansion, &self.weights(), &self.bias(), kind, self.activation.clone())
    }

    pub(crate) fn input(&self) -> Vec<f32> {
        let (height, width) = (self.height, self.width);
        let count = match self.before {
            Before::Nothing => height * width * self.channels,
            Before::Pointwise(inputs) => height * width * inputs,
            Before::Stem(inputs) => (2 * height + 1) * (2 * width + 1) * inputs,
        };
        values(5, count).iter().map(|value| 3.0 * value).collect()
    }

    /// Computes the expected output with plain loops, `[rows, columns, channels]`.
    fn exact(&self) -> Vec<Exact> {
        let (input, size) = (Exact::of(&self.input()), (self.height, self.width));
        let (weights, bias) = (self.expansion_weights(), self.expansion_bias());
        let expanded = match self.before {
            Before::Nothing => input,
            Before::Pointwise(_) => exact::convolution(&input, size, &weights, &bias, (1, 1), &self.activation).2,
            Before::Stem(_) => {
                let size = (2 * self.height + 1, 2 * self.width + 1);
                exact::convolution(&input, size, &weights, &bias, (3, 2), &self.activation).2
            }
        };
        let (size, kind) = ((self.height, self.width, self.border), (self.kernel, self.stride));
        exact::depthwise(&expanded, size, &self.weights(), &self.bias(), kind, &self.activation).2
    }

    /// Computes the whole output in parts of `height` rows, `together` blocks at a time (one or two).
    fn run(&self, set: InstructionSet, height: usize, together: usize) -> Results {
        let layer = self.layer(set);
        let geometry = layer.geometry(self.height, self.width, self.border);
        let ((rows, columns), lanes, input) = (geometry.output(), set.lanes(), self.input());
        let empty = (vec![f32::NAN; rows * columns * lanes], vec![f32::NAN; rows * lanes]);
        let mut results = vec![empty; layer.blocks()];
        for (number, results) in results.chunks_mut(together).enumerate() {
            for start in (0..rows).step_by(height) {
                let part = start..rows.min(start + height);
                // Old values in the scratch must not affect the result.
                let mut scratch = vec![f32::NAN; layer.scratch(&geometry)];
                let within = |per_row: usize| -> Range<usize> { part.start * per_row..part.end * per_row };
                let (mut outputs, mut sums): (Vec<&mut [f32]>, Vec<&mut [f32]>) = results
                    .iter_mut()
                    .map(|(output, sums)| (&mut output[within(columns * lanes)], &mut sums[within(lanes)]))
                    .unzip();
                let block = number * together;
                layer.forward(&geometry, &input, block, part.clone(), &mut scratch, &mut outputs, &mut sums);
            }
        }
        results
    }

    fn assert_exact(&self) {
        let expected = self.exact();
        for set in InstructionSet::available() {
            let (lanes, results) = (set.lanes(), self.run(set, usize::MAX / 2, 2));
            let (rows, columns) = self.layer(set).geometry(self.height, self.width, self.border).output();
            assert_eq!(expected.len(), rows * columns * self.channels);
            for (block, (output, sums)) in results.iter().enumerate() {
                for lane in 0..lanes {
                    let channel = block * lanes + lane;
                    let column_of = |pixel: usize| output[pixel * lanes + lane];
                    if channel >= self.channels {
                        assert!((0..rows * columns).all(|pixel| column_of(pixel) == 0.0), "{set}: padding of {block}");
                        assert!((0..rows).all(|row| sums[row * lanes + lane] == 0.0), "{set}: padding of {block}");
                        continue;
                    }
                    let expected = |pixel: usize| expected[pixel * self.channels + channel];
                    for pixel in 0..rows * columns {
                        expected(pixel).assert(column_of(pixel), (set, pixel / columns, pixel % columns, channel));
                    }
                    for row in 0..rows {
                        let sum = Exact::sum((row * columns..(row + 1) * columns).map(expected));
                        sum.assert(sums[row * lanes + lane], (set, "sum of row", row, channel));
                    }
                }
            }
        }
    }

    fn assert_same_however_cut(&self, height: usize) {
        for set in InstructionSet::available() {
            let bits = |results: Results| -> Vec<Vec<u32>> {
                let parts = results.into_iter().flat_map(|(output, sums)| [output, sums]);
                parts.map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
            };
            let whole = bits(self.run(set, usize::MAX / 2, 2));
            assert!(whole == bits(self.run(set, height, 2)), "{set}: {self:?} in parts of {height} rows");
            assert!(
                whole == bits(self.run(set, height, 1)),
                "{set}: {self:?} in parts of {height} rows, block by block"
            );
        }
    }
}

/// Returns PyTorch's padding of half the kernel, or with `same` TensorFlow's, which depends on the size.
pub(crate) fn border((height, width): (usize, usize), kernel: usize, stride: usize, same: bool) -> Border {
    let [(top, bottom), (left, right)] = [height, width].map(|size| {
        let padding = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
        if same { (padding / 2, padding - padding / 2) } else { (kernel / 2, kernel / 2) }
    });
    Border { top, left, bottom, right }
}

fn any_case() -> impl Strategy<Value = Case> {
    let before = prop_oneof![
        Just(Before::Nothing),
        (1..=up_to(12, 3)).prop_map(Before::Pointwise),
        (1..=up_to(4, 2)).prop_map(Before::Stem)
    ];
    let size = (1..=up_to(14, 5), 1..=up_to(20, 6));
    let kind = (prop_oneof![Just(3), Just(5)], 1..=2usize, 0..3usize);
    // Borders may be larger than the image. Five pixels are enough for every kernel.
    let any_border = (2..8usize, 2..8usize, 2..8usize, 2..8usize);
    (before, 1..=up_to(40, 9), kind, size, 0..3usize, any_border).prop_map(
        |(before, channels, (kernel, stride, number), (height, width), padding, (top, left, bottom, right))| {
            let border = match padding {
                0 => border((height, width), kernel, stride, false),
                1 => border((height, width), kernel, stride, true),
                _ => Border { top, left, bottom, right },
            };
            let activation = activation(number, channels);
            Case { before, channels, kernel, stride, height, width, border, activation }
        },
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_block_matches_plain_loops(case in any_case()) {
        case.assert_exact();
    }

    #[test]
    fn results_are_bit_identical_however_rows_and_blocks_are_divided(case in any_case(), height in 1..8usize) {
        case.assert_same_however_cut(height);
    }
}

/// Creates a case so wide that a strip has the fewest rows that it can have.
fn wide(kernel: usize, stride: usize, before: Before, number: usize) -> Case {
    let (height, width) = if cfg!(miri) { (7, 1180) } else { (45, 1200) };
    let channels = up_to(20, 1);
    let border = border((height, width), kernel, stride, stride == 2);
    Case { before, channels, kernel, stride, height, width, border, activation: activation(number, channels) }
}

#[test]
fn an_image_of_several_strips_matches_plain_loops() {
    if cfg!(miri) {
        // Strips need at least eight thousand pixels, and the plain loops would take too long. Values that were not
        // written would be NaN.
        let results = wide(3, 2, Before::Nothing, 2).run(InstructionSet::available()[0], usize::MAX / 2, 2);
        let mut values = results.iter().flat_map(|(output, sums)| output.iter().chain(sums));
        return assert!(values.all(|value| value.is_finite()));
    }
    wide(5, 1, Before::Pointwise(3), 1).assert_exact();
    wide(3, 2, Before::Nothing, 2).assert_exact();
    wide(3, 1, Before::Stem(1), 0).assert_exact();
}

#[test]
#[cfg(not(miri))]
fn results_are_bit_identical_when_parts_move_the_ends_of_strips() {
    for height in [1, 4, 19] {
        wide(5, 2, Before::Pointwise(3), 1).assert_same_however_cut(height);
        wide(3, 1, Before::Stem(1), 1).assert_same_however_cut(height);
    }
    wide(3, 2, Before::Nothing, 2).assert_same_however_cut(7);
}

#[test]
fn an_image_without_pixels_is_all_border() {
    for (before, (height, width)) in
        [(Before::Nothing, (0, 4)), (Before::Pointwise(2), (4, 0)), (Before::Stem(1), (0, 0))]
    {
        let border = Border { top: 3, left: 3, bottom: 3, right: 3 };
        let case =
            Case { before, channels: 5, kernel: 3, stride: 1, height, width, border, activation: activation(1, 5) };
        for set in InstructionSet::available() {
            let results = case.run(set, 2, 2);
            let expected = exact::depthwise(
                &[],
                (0, 0, Border { top: 1, left: 1, bottom: 2, right: 2 }),
                &case.weights(),
                &case.bias(),
                (3, 1),
                &case.activation,
            );
            for (channel, expected) in expected.2.iter().enumerate() {
                let (output, _) = &results[channel / set.lanes()];
                for found in output.iter().skip(channel % set.lanes()).step_by(set.lanes()) {
                    expected.assert(*found, (set, channel));
                }
            }
        }
    }
}
