//! Tests that sizes which do not fit are refused before anything is read or written.

use std::panic::{AssertUnwindSafe, catch_unwind};

use deepsight_kernels::training::{
    Depthwise, DepthwiseShape, Derivative, Scratch, add_moments, add_outer, affine, combine, differentiate,
};
use deepsight_kernels::{
    Activation, AreaResize, Border, Convolution, ExpandDepthwise, Expansion, Geometry, InstructionSet, MaxPool,
    Pointwise, Region, StridedRows, softmax_in_place,
};

use crate::exact::{activation, values};

/// Asserts that the function panics with a message that contains `message`.
#[track_caller]
fn assert_refused<T>(message: &str, run: impl FnOnce() -> T) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(run)) else { panic!("not refused: {message}") };
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap();
    assert!(text.contains(message), "{text:?} does not say {message:?}");
}

#[test]
fn pointwise_layers_with_inconsistent_sizes_are_refused() {
    for set in InstructionSet::available() {
        let new = |weights: usize, bias: usize, slopes: Option<usize>| {
            let activation = slopes.map_or(Activation::Silu, |slopes| Activation::PRelu(vec![0.1; slopes]));
            Pointwise::new(set, &vec![1.0; weights], &vec![0.0; bias], activation)
        };
        assert_refused("4 weights for 0 outputs", || new(4, 0, None));
        assert_refused("0 weights for 2 outputs", || new(0, 2, None));
        assert_refused("1 weights for 2 outputs", || new(1, 2, None));
        assert_refused("7 weights of 2 × 3", || new(7, 2, None));
        assert_refused("slopes of 2 channels", || new(4, 2, Some(1)));
        assert_refused("slopes of 2 channels", || new(4, 2, Some(3)));
        assert_refused("slopes of 2 channels", || new(4, 2, Some(0)));

        let layer = new(6, 2, None);
        assert_refused("input of 3 channels", || layer.forward(&[0.0; 4], None, &mut [0.0; 2]));
        assert_refused("output of 1 × 2", || layer.forward(&[0.0; 3], None, &mut [0.0; 1]));
        assert_refused("output of 1 × 2", || layer.forward(&[0.0; 3], None, &mut [0.0; 3]));
        assert_refused("output of 0 × 2", || layer.forward(&[], None, &mut [0.0; 2]));
        assert_refused("residual of 2 values", || layer.forward(&[0.0; 3], Some(&[0.0; 1]), &mut [0.0; 2]));
        assert_refused("residual of 2 values", || layer.forward(&[0.0; 3], Some(&[0.0; 3]), &mut [0.0; 2]));
    }
}

#[test]
fn strided_rows_that_do_not_fit_are_refused() {
    let rows = StridedRows { count: 2, row_stride: 2, runs: 2, run_stride: 4, run_length: 2 };
    for set in InstructionSet::available() {
        let layer = Pointwise::new(set, &[1.0; 4], &[0.0], Activation::Identity);
        let forward = |rows, input: usize, output: usize| {
            layer.forward_strided(&vec![1.0; input], rows, None, &mut vec![0.0; output]);
        };
        forward(rows, 8, 2);
        assert_refused("2 rows of an input of 7", || forward(rows, 7, 2));
        assert_refused("output of 2 × 1", || forward(rows, 8, 3));
        assert_refused("3 runs of 2 values", || forward(StridedRows { runs: 3, ..rows }, 80, 2));
        let far = StridedRows { run_stride: usize::MAX, ..rows };
        assert_refused("2 rows of an input of 80", || forward(far, 80, 2));
        let many = StridedRows { count: usize::MAX, ..rows };
        assert_refused("output of 18446744073709551615 × 1", || forward(many, 80, 0));
        assert_refused("5 values in rows of 2", || softmax_in_place(set, &mut [0.0; 5], 2));
        assert_refused("4 values in rows of 0", || softmax_in_place(set, &mut [0.0; 4], 0));
    }
}

#[test]
fn convolutions_with_inconsistent_sizes_are_refused() {
    for set in InstructionSet::available() {
        let new = |weights: usize, outputs: usize, kernel: usize, stride: usize| {
            Convolution::new(set, &vec![1.0; weights], &vec![0.0; outputs], kernel, stride, Activation::Silu)
        };
        assert_refused("kernel 0", || new(9, 1, 0, 1));
        assert_refused("stride 0", || new(9, 1, 3, 0));
        assert_refused("17 weights of 2 outputs", || new(17, 2, 3, 1));
        assert_refused("0 weights of 2 outputs", || new(0, 2, 3, 1));
        assert_refused("0 weights of 0 outputs", || new(0, 0, 3, 1));
        // In 64 bits, the square of both wraps to 1.
        assert_refused("2 weights of 1 outputs", || new(2, 1, usize::MAX, 1));
        assert_refused("2 weights of 1 outputs", || new(2, 1, usize::MAX / 2, 1));
        let slopes = Activation::PRelu(vec![0.1; 3]);
        assert_refused("slopes of 2 channels", || Convolution::new(set, &[1.0; 18], &[0.0; 2], 3, 1, slopes));

        let layer = new(2 * 4 * 9, 2, 3, 2);
        assert_refused("output of 2 × 2", || layer.forward(&[0.0; 100], 5, &mut [0.0; 5]));
        assert_refused("rows of an input", || layer.forward(&[0.0; 59], 5, &mut [0.0; 4]));
        assert_refused("rows of an input", || layer.forward(&[0.0; 99], 5, &mut [0.0; 8]));
        assert_refused("rows of an input", || layer.forward(&[0.0; 60], 5, &mut [0.0; 12]));
        assert_refused("2 columns under a kernel of 3", || layer.forward(&[0.0; 60], 2, &mut [0.0; 2]));
        // The second row would begin at a multiple of 2⁶⁴.
        let layer = new(4, 1, 1, 1 << (usize::BITS - 2));
        assert_refused("out of range", || layer.forward(&[0.0; 16], 4, &mut [0.0; 2]));
        // The second column would begin at a multiple of 2⁶⁴.
        let layer = new(2, 1, 1, 1 << (usize::BITS - 1));
        assert_refused("rows of an input", || layer.forward(&[0.0; 16], (1 << (usize::BITS - 1)) + 1, &mut [0.0; 2]));
    }
}

#[test]
fn images_that_do_not_fit_a_convolution_are_refused() {
    for set in InstructionSet::available() {
        // One channel gives too few values under the kernel to gather, 15 channels give enough.
        for channels in [1, 15] {
            let layer = Convolution::new(set, &vec![1.0; 18 * channels], &[0.0; 2], 3, 1, Activation::Silu);
            let forward = |input: usize, height: usize, width: usize, output: usize| {
                let (input, mut output) = (vec![0.0; input * channels], vec![0.0; output]);
                layer.forward_images(&input, height, width, &mut Vec::new(), &mut output);
            };
            forward(2 * 12, 3, 4, 2 * 4);
            assert_refused("2 × 9 pixels under a kernel of 3", || forward(18, 2, 9, 0));
            assert_refused("9 × 2 pixels under a kernel of 3", || forward(18, 9, 2, 0));
            assert_refused("0 × 0 pixels under a kernel of 3", || forward(0, 0, 0, 0));
            assert_refused("images of 3 × 4", || forward(12, 3, 4, 3));
            assert_refused("images of 3 × 4", || forward(12, 3, 4, 8));
            assert_refused("images of 3 × 4", || forward(24, 3, 4, 4));
            assert_refused("images of 3 × 4", || forward(13, 3, 4, 4));
            assert_refused("images of 3 × 4", || forward(0, 3, 4, 4));
            // In 64 bits, the products of these sizes wrap to 1 and to 0.
            let third = usize::MAX / 3 * 2 + 1;
            assert_refused("images of 3 × ", || forward(1, 3, third, 2));
            assert_refused("images of 4 × ", || forward(0, 4, 1 << (usize::BITS - 2), 2));
        }
    }
}

#[test]
fn pools_with_inconsistent_sizes_are_refused() {
    for set in InstructionSet::available() {
        for kernel in [0, 1, 4, usize::MAX] {
            assert_refused("windows of", || MaxPool::new(set, kernel));
        }
        for kernel in [2, 3] {
            let forward = |input: usize, width: usize, pitch: usize, channels: usize, output: usize| {
                MaxPool::new(set, kernel).forward(&vec![0.0; input], width, pitch, channels, &mut vec![0.0; output]);
            };
            forward(3 * 3 * 5, 3, 5, 4, 4 * if kernel == 2 { 4 } else { 1 });
            assert_refused("6 of 5 channels", || forward(45, 3, 5, 6, 6));
            assert_refused("input of 3 × 5", || forward(44, 3, 5, 4, 4));
            assert_refused("input of 0 × 5", || forward(45, 0, 5, 4, 0));
            assert_refused("input of 3 × 0", || forward(45, 3, 0, 0, 0));
            assert_refused("× 4", || forward(45, 3, 5, 4, 3));
            assert_refused("× 4", || forward(45, 3, 5, 4, 20));
            assert_refused("output of 0 × ", || forward(0, 3, 5, 4, 4));
            // Three times that width wraps to 1 in 64 bits, and the maxima of three channels in windows of 2 wrap to
            // two values.
            assert_refused("input of", || forward(1, usize::MAX / 3 * 2 + 1, 3, 3, 2));
            // The number of values in a row wraps to 0.
            assert_refused("input of", || forward(8, 1 << (usize::BITS - 1), 2, 2, 0));
        }
    }
}

#[test]
fn resizes_beyond_their_image_or_plan_are_refused() {
    for set in InstructionSet::available() {
        let plan = |region: [usize; 4], size: (usize, usize), columns: std::ops::Range<usize>| {
            let [x, y, width, height] = region;
            let mut resize = AreaResize::new(set, 0.0, 1.0);
            resize.plan(Region { x, y, width, height }, size, columns);
            resize
        };
        let max = usize::MAX;
        assert_refused("an empty region", || plan([0, 0, 0, 1], (2, 1), 0..2));
        assert_refused("an empty region", || plan([0, 0, 1, 0], (2, 1), 0..2));
        assert_refused("columns 0..3 of 2", || plan([0, 0, 4, 1], (2, 1), 0..3));
        assert_refused("too large", || plan([0, 0, max, 1], (2, 1), 0..1));
        assert_refused("too large", || plan([0, 0, max / 4, 1], (2, 1), 0..1));
        assert_refused("too large", || plan([0, 0, 1, max / 4], (2, 2), 0..1));
        assert_refused("too large", || plan([0, 0, 4, 1], (max, 1), 0..1));
        assert_refused("too large", || plan([0, 0, 1, 4], (1, max), 0..1));

        let rows = |region: [usize; 4], image: usize, width: usize, rows: std::ops::Range<usize>, output: usize| {
            plan(region, (2, 3), 0..2).rows(&vec![0; image], width, rows, &mut vec![0.0; output]);
        };
        rows([0, 1, 4, 1], 24, 4, 1..3, 12);
        assert_refused("of an image 4 wide", || rows([0, 1, 4, 1], 12, 4, 0..1, 6));
        assert_refused("of an image 4 wide", || rows([0, 1, 4, 1], 23, 4, 0..1, 6));
        assert_refused("of an image 4 wide", || rows([1, 0, 4, 1], 24, 4, 0..1, 6));
        assert_refused("of an image 0 wide", || rows([0, 0, 1, 1], 24, 0, 0..1, 6));
        assert_refused("rows 2..4 of 3", || rows([0, 1, 4, 1], 24, 4, 2..4, 12));
        assert_refused("output of 2 × 2 pixels", || rows([0, 1, 4, 1], 24, 4, 1..3, 11));
        assert_refused("output of 2 × 2 pixels", || rows([0, 1, 4, 1], 24, 4, 1..3, 13));
        // These sums and products wrap to small numbers in 64 bits.
        assert_refused("of an image 4 wide", || rows([max, 0, 4, 1], 24, 4, 0..1, 6));
        assert_refused("of an image 4 wide", || rows([0, max, 4, 1], 24, 4, 0..1, 6));
        assert_refused("of an image", || rows([0, 0, 4, 1], 24, max / 3 * 2 + 1, 0..1, 6));
        // Rows times columns are 2⁶⁴.
        let rows = 1 << (usize::BITS - 3);
        assert_refused("output of", || plan([0, 0, 1, 1], (8, rows), 0..8).rows(&[0; 3], 1, 0..rows, &mut []));
    }
}

#[test]
fn depthwise_layers_that_do_not_fit_their_expansion_are_refused() {
    let sets = InstructionSet::available();
    for &set in &sets {
        let new = |expansion, weights: usize, kind, activation| {
            ExpandDepthwise::new(set, expansion, &vec![1.0; weights], &[0.0; 5], kind, activation)
        };
        let pointwise = |set, channels: usize, activation| {
            Expansion::Pointwise(Pointwise::new(set, &values(1, 2 * channels), &values(2, channels), activation))
        };
        assert_refused("kernel 4", || new(Expansion::None, 80, (4, 1), Activation::Silu));
        assert_refused("stride 3", || new(Expansion::None, 45, (3, 3), Activation::Silu));
        assert_refused("weights of 5 channels", || new(Expansion::None, 44, (3, 1), Activation::Silu));
        assert_refused("no depthwise kernel with PReLU", || new(Expansion::None, 45, (3, 1), activation(3, 5)));
        let other = pointwise(set, 6, Activation::Silu);
        assert_refused("expanded channels", || new(other, 45, (3, 1), Activation::Silu));
        let other = pointwise(set, 5, Activation::Relu6);
        assert_refused("a layer of another kind", || new(other, 45, (3, 1), Activation::Silu));
        for other in sets.iter().filter(|other| **other != set) {
            let other = pointwise(*other, 5, Activation::Silu);
            assert_refused("a layer of another kind", || new(other, 45, (3, 1), Activation::Silu));
        }
    }
}

fn plain(set: InstructionSet, channels: usize, kernel: usize, stride: usize) -> ExpandDepthwise {
    let weights = values(1, channels * kernel * kernel);
    ExpandDepthwise::new(set, Expansion::None, &weights, &values(2, channels), (kernel, stride), Activation::Silu)
}

#[test]
fn images_too_small_for_a_kernel_or_too_large_for_an_offset_are_refused() {
    for set in InstructionSet::available() {
        let layer = plain(set, 5, 3, 1);
        assert_refused("2 × 9 under a kernel of 3", || layer.geometry(2, 9, Border::default()));
        assert_refused("under a kernel of 3", || layer.geometry(0, 0, Border { top: 1, left: 9, bottom: 1, right: 9 }));
        let max = usize::MAX;
        for border in [
            Border { top: max, ..Border::default() },
            Border { left: max, ..Border::default() },
            Border { left: max - 8, right: 1, ..Border::default() },
            Border { bottom: max - 8, ..Border::default() },
            Border { left: 1 << 30, ..Border::default() },
        ] {
            assert_refused("too large", || layer.geometry(9, 9, border));
        }
        assert_refused("too large", || layer.geometry(max, 9, Border { top: 4, ..Border::default() }));
        assert_refused("too large", || layer.geometry(9, max / 4, Border::default()));
    }
}

/// Calls the layer with slices of these lengths, for as many blocks as there are outputs.
fn call(layer: &ExpandDepthwise, geometry: &Geometry, lengths: Lengths) {
    let Lengths { input, block, rows, scratch, outputs, sums } = lengths;
    let (mut outputs, mut sums): (Vec<_>, Vec<_>) =
        (outputs.iter().map(|count| vec![0.0; *count]).collect(), sums.iter().map(|count| vec![0.0; *count]).collect());
    let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(|output: &mut Vec<f32>| &mut output[..]).collect();
    let mut sums: Vec<&mut [f32]> = sums.iter_mut().map(|sums: &mut Vec<f32>| &mut sums[..]).collect();
    let (input, mut scratch) = (vec![0.0; input], vec![0.0; scratch]);
    layer.forward(geometry, &input, block, rows, &mut scratch, &mut outputs, &mut sums);
}

#[derive(Clone)]
struct Lengths {
    input: usize,
    block: usize,
    rows: std::ops::Range<usize>,
    scratch: usize,
    outputs: Vec<usize>,
    sums: Vec<usize>,
}

impl Lengths {
    /// Returns the right lengths for all rows of the first block.
    fn right(layer: &ExpandDepthwise, geometry: &Geometry, lanes: usize, input: usize) -> Self {
        let (rows, columns) = geometry.output();
        let (outputs, sums) = (vec![rows * columns * lanes], vec![rows * lanes]);
        Self { input, block: 0, rows: 0..rows, scratch: layer.scratch(geometry), outputs, sums }
    }
}

#[test]
fn blocks_rows_and_slices_out_of_range_are_refused() {
    for set in InstructionSet::available() {
        let lanes = set.lanes();
        let layer = plain(set, lanes + 1, 3, 1);
        let geometry = layer.geometry(6, 7, Border::default());
        let right = Lengths::right(&layer, &geometry, lanes, 6 * 7 * (lanes + 1));
        call(&layer, &geometry, right.clone());
        let refused = |message: &str, change: fn(&mut Lengths)| {
            let mut wrong = right.clone();
            change(&mut wrong);
            assert_refused(message, || call(&layer, &geometry, wrong));
        };
        refused("block 2 of 2", |wrong| wrong.block = 2);
        refused("of 2", |wrong| wrong.block = usize::MAX);
        refused("block 1 of 2", |wrong| {
            (wrong.block, wrong.outputs, wrong.sums) =
                (1, [&wrong.outputs[..], &wrong.outputs].concat(), [&wrong.sums[..], &wrong.sums].concat());
        });
        refused("0 blocks at once", |wrong| (wrong.outputs, wrong.sums) = (vec![], vec![]));
        refused("3 blocks at once", |wrong| {
            (wrong.outputs, wrong.sums) = (vec![wrong.outputs[0]; 3], vec![wrong.sums[0]; 3]);
        });
        refused("rows 0..5 of 4", |wrong| wrong.rows.end += 1);
        #[allow(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        refused("rows 3..2 of 4", |wrong| wrong.rows = 3..2);
        refused("outputs of", |wrong| wrong.outputs[0] -= 1);
        refused("outputs of", |wrong| wrong.outputs[0] += 1);
        refused("outputs of", |wrong| wrong.rows.end -= 1);
        refused("sums of", |wrong| wrong.sums[0] -= 1);
        refused("sums of all blocks", |wrong| wrong.sums.push(wrong.sums[0]));
        refused("scratch of", |wrong| wrong.scratch -= 1);
        refused("input of", |wrong| wrong.input -= 1);
    }
}

#[test]
fn a_geometry_of_another_kernel_stride_or_instruction_set_is_refused() {
    let sets = InstructionSet::available();
    let kinds = [(3, 1), (3, 2), (5, 1), (5, 2)];
    let layers: Vec<_> =
        sets.iter().flat_map(|set| kinds.map(|kind| (*set, kind, plain(*set, 5, kind.0, kind.1)))).collect();
    for (set, kind, layer) in &layers {
        for (other_set, other_kind, other) in &layers {
            let geometry = other.geometry(12, 13, Border::default());
            let lengths = Lengths::right(layer, &geometry, set.lanes(), 12 * 13 * 5);
            if (set, kind) == (other_set, other_kind) {
                call(layer, &geometry, lengths);
            } else {
                assert_refused("kernel, stride and lanes of the geometry", || call(layer, &geometry, lengths));
            }
        }
    }
}

#[test]
fn a_border_so_high_that_products_of_its_rows_overflow_is_refused() {
    for set in InstructionSet::available() {
        let layer = plain(set, 5, 3, 1);
        let geometry = layer.geometry(0, 3, Border { top: usize::MAX / 2 + 3, ..Border::default() });
        let (rows, columns) = geometry.output();
        assert_eq!((rows, columns), (usize::MAX / 2 + 1, 1));
        // Rows times lanes is a multiple of 2⁶⁴.
        let lengths = Lengths {
            input: 0,
            block: 0,
            rows: 0..rows,
            scratch: layer.scratch(&geometry),
            outputs: vec![0],
            sums: vec![0],
        };
        assert_refused("outputs of", || call(&layer, &geometry, lengths));
    }
}

#[test]
fn training_kernels_with_inconsistent_sizes_are_refused() {
    for set in InstructionSet::available() {
        assert_refused("4 values, 0 sums", || add_moments(set, &[0.0; 4], &mut []));
        assert_refused("5 values, 4 sums", || add_moments(set, &[0.0; 5], &mut [0.0; 4]));
        let plain = Activation::Identity;
        assert_refused("values and output", || affine(set, &plain, &[0.0; 4], &[1.0; 2], &[0.0; 2], &mut [0.0; 2]));
        assert_refused("4 of 2 channels", || affine(set, &plain, &[0.0; 4], &[1.0; 2], &[0.0; 1], &mut [0.0; 4]));
        assert_refused("5 of 2 channels", || affine(set, &plain, &[0.0; 5], &[1.0; 2], &[0.0; 2], &mut [0.0; 5]));
        let slopes = Activation::PRelu(vec![0.1; 2]);
        assert_refused("PReLU", || affine(set, &slopes, &[0.0; 4], &[1.0; 2], &[0.0; 2], &mut [0.0; 4]));
        let constants: [&[f32]; 3] = [&[1.0; 2], &[1.0; 2], &[1.0; 1]];
        assert_refused("values and output", || combine(set, &[0.0; 4], &[0.0; 4], constants, &mut [0.0; 4]));
        let norm = Derivative { scale: &[1.0; 2], shift: &[0.0; 2] };
        assert_refused("values and sums", || {
            differentiate(set, &plain, &[0.0; 4], norm, &mut [0.0; 4], &mut [0.0; 3]);
        });
        assert_refused("0 sums", || add_outer(set, &[], &[], 2, &mut []));
        assert_refused("1 pixels", || add_outer(set, &[0.0; 3], &[0.0; 3], 2, &mut [0.0; 4]));

        let shape =
            DepthwiseShape { channels: 2, input: (4, 4), output: (4, 4), kernel: 3, stride: 1, padding: (1, 1) };
        let new = |weights: usize, shape| Depthwise::new(set, &vec![1.0; weights], shape, Activation::Relu6);
        assert_refused("kernel 4", || new(32, DepthwiseShape { kernel: 4, ..shape }));
        assert_refused("17 weights", || new(17, shape));
        assert_refused("padding: (3, 1)", || new(18, DepthwiseShape { padding: (3, 1), ..shape }));
        assert_refused("output: (6, 4)", || new(18, DepthwiseShape { output: (6, 4), ..shape }));
        let layer = new(18, shape);
        let mut scratch = Scratch::default();
        assert_refused("input of", || layer.forward(&[0.0; 31], norm, &mut scratch, &mut [0.0; 32]));
        let narrow = Derivative { scale: &[1.0; 1], shift: &[0.0; 1] };
        let mut scratch = Scratch::default();
        assert_refused("a norm of 2 channels", || layer.forward(&[0.0; 32], narrow, &mut scratch, &mut [0.0; 32]));
    }
}
