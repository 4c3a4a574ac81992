//! Tests in which every slice passed to a kernel lies at the edge of mapped memory. A kernel that reads or writes one
//! value beyond it ends the whole test run with a segmentation fault.

use std::ops::{Deref, DerefMut};
use std::ptr;

use deepsight_kernels::training::{
    Depthwise, DepthwiseShape, Derivative, Scratch, add_moments, add_outer, affine, combine, differentiate,
};
use deepsight_kernels::{
    Activation, AreaResize, Border, Convolution, InstructionSet, MaxPool, Pointwise, Region, StridedRows,
    gelu_in_place, quick_gelu_in_place, sigmoid_in_place, softmax_in_place,
};

use crate::area::image;
use crate::depthwise::{Before, Case, border};
use crate::exact::{activation, values};
use crate::pool::padded;

/// The end of the values that lies next to inaccessible memory.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Edge {
    Start,
    End,
}

const EDGES: [Edge; 2] = [Edge::Start, Edge::End];

/// Values in pages of their own. The page before and the page after them can be neither read nor written.
struct Guarded<T: Copy = f32> {
    mapping: *mut libc::c_void,
    bytes: usize,
    values: *mut T,
    len: usize,
}

impl<T: Copy> Guarded<T> {
    fn new(edge: Edge, values: &[T]) -> Self {
        // SAFETY: the call only returns a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let inside = size_of_val(values).next_multiple_of(page);
        let bytes = inside + 2 * page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
        // SAFETY: this creates a new mapping at an address that the system chooses.
        let mapping = unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(mapping, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        // SAFETY: the pointers stay within the mapping, whose pages between the first and the last can be read and
        // written from here on. The values fit there and start at a multiple of their size.
        let target = unsafe {
            let first = mapping.byte_add(page);
            if inside > 0 {
                let opened = libc::mprotect(first, inside, libc::PROT_READ | libc::PROT_WRITE);
                assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
            }
            let before = if edge == Edge::End { inside - size_of_val(values) } else { 0 };
            let target = first.byte_add(before).cast::<T>();
            ptr::copy_nonoverlapping(values.as_ptr(), target, values.len());
            target
        };
        Self { mapping, bytes, values: target, len: values.len() }
    }
}

impl Guarded {
    /// Creates a buffer for results, filled with NaN.
    fn room(edge: Edge, len: usize) -> Self {
        Self::new(edge, &vec![f32::NAN; len])
    }
}

impl<T: Copy> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the values were written in `new` and are unmapped only in `drop`.
        unsafe { std::slice::from_raw_parts(self.values, self.len) }
    }
}

impl<T: Copy> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.values, self.len) }
    }
}

impl<T: Copy> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: this is the mapping from `new`, and no slice of it is left.
        unsafe { libc::munmap(self.mapping, self.bytes) };
    }
}

/// Returns whether the system allows reading the value at this address.
fn readable(value: *const f32) -> bool {
    let mut pipe = [0; 2];
    // SAFETY: `pipe` has room for the two descriptors. `write` returns an error if it cannot read from the pointer.
    unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        let written = libc::write(pipe[1], value.cast(), size_of::<f32>());
        for end in pipe {
            libc::close(end);
        }
        written == 4
    }
}

#[test]
fn the_guards_are_where_the_values_end() {
    for len in [1, 5, 1023, 1024, 1025] {
        let values = Guarded::new(Edge::End, &values(1, len));
        assert!(readable(&values[len - 1]) && !readable(values.as_ptr_range().end), "{len}");
        let values = Guarded::new(Edge::Start, &values);
        assert!(readable(&values[0]) && !readable(values.as_ptr().wrapping_sub(1)), "{len}");
    }
}

#[test]
fn pointwise_layers_stay_within_their_slices() {
    for set in InstructionSet::available() {
        for edge in EDGES {
            for outputs in (1..=34).chain([47, 48, 49, 64]) {
                for inputs in [1, 3, 16, 17] {
                    let weights = Guarded::new(edge, &values(1, inputs * outputs));
                    let bias = Guarded::new(edge, &values(2, outputs));
                    let layer = Pointwise::new(set, &weights, &bias, activation(outputs, outputs));
                    for pixels in [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 20, 21, 25] {
                        let input = Guarded::new(edge, &values(3, pixels * inputs));
                        let residual = Guarded::new(edge, &values(4, pixels * outputs));
                        let mut output = Guarded::room(edge, pixels * outputs);
                        layer.forward(&input, None, &mut output);
                        layer.forward(&input, Some(&residual), &mut output);
                        assert!(output.iter().all(|value| value.is_finite()), "{set}: something was not written");
                    }
                }
            }
        }
    }
}

#[test]
fn convolutions_stay_within_their_slices() {
    for set in InstructionSet::available() {
        for edge in EDGES {
            for (kernel, stride) in [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (4, 3), (5, 2)] {
                for (channels, outputs) in [(1, 1), (3, 10), (3, 17), (4, 32)] {
                    let weights = Guarded::new(edge, &values(1, outputs * channels * kernel * kernel));
                    let bias = Guarded::new(edge, &values(2, outputs));
                    let layer = Convolution::new(set, &weights, &bias, kernel, stride, activation(kernel, outputs));
                    for (height, width) in [(kernel, kernel), (kernel + 1, kernel + 6), (kernel + 7, kernel + 29)] {
                        let input = Guarded::new(edge, &values(3, height * width * channels));
                        let results = layer.output_size(height) * layer.output_size(width) * outputs;
                        let mut output = Guarded::room(edge, results);
                        layer.forward(&input, width, &mut output);
                        assert!(output.iter().all(|value| value.is_finite()), "{set}: something was not written");
                    }
                }
            }
        }
    }
}

#[test]
fn convolutions_of_several_images_stay_within_their_slices() {
    let mut gathered = Vec::new();
    for set in InstructionSet::available() {
        for edge in EDGES {
            for (kernel, stride, channels, outputs) in
                [(1, 1, 1, 1), (1, 2, 129, 9), (2, 1, 33, 17), (2, 2, 3, 10), (3, 1, 15, 33), (3, 2, 28, 31)]
            {
                let weights = Guarded::new(edge, &values(1, outputs * channels * kernel * kernel));
                let bias = Guarded::new(edge, &values(2, outputs));
                let layer = Convolution::new(set, &weights, &bias, kernel, stride, activation(3, outputs));
                for (height, width) in [(kernel, kernel), (kernel + 2, kernel + 4), (kernel + 7, kernel + 5), (5, 53)] {
                    for images in [0, 1, 3] {
                        let input = Guarded::new(edge, &values(3, images * height * width * channels));
                        let results = images * layer.output_size(height) * layer.output_size(width) * outputs;
                        let mut output = Guarded::room(edge, results);
                        layer.forward_images(&input, height, width, &mut gathered, &mut output);
                        assert!(output.iter().all(|value| value.is_finite()), "{set}: something was not written");
                    }
                }
            }
        }
    }
}

#[test]
fn pools_stay_within_their_slices() {
    for set in InstructionSet::available() {
        for edge in EDGES {
            for kernel in [2, 3] {
                let pool = MaxPool::new(set, kernel);
                for (height, width) in [(0, 3), (1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (3, 3), (4, 7), (5, 5), (7, 4)]
                {
                    for channels in (1..=18).chain([31, 32, 33, 47]) {
                        for padding in [0, 1, 5, 16, 21] {
                            let pitch = channels + padding;
                            let input = Guarded::new(edge, &padded(height * width, pitch, channels, 1));
                            let results = pool.output_size(height) * pool.output_size(width) * channels;
                            let mut output = Guarded::room(edge, results);
                            pool.forward(&input, width, pitch, channels, &mut output);
                            assert!(output.iter().all(|value| value.is_finite()), "{set}: something was not written");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn resizes_stay_within_their_slices() {
    for set in InstructionSet::available() {
        let mut resize = AreaResize::new(set, 127.5, 0.007_812_5);
        for edge in EDGES {
            for (width, height) in [(1, 1), (3, 2), (17, 5), (67, 9)] {
                let image = Guarded::new(edge, &image(width, height, 1));
                for (x, y) in [(0, 0), (width / 2, height / 2), (width - 1, height - 1)] {
                    let region = Region { x, y, width: width - x, height: height - y };
                    for (columns, rows) in [(1, 1), (2, 3), (7, 5), (33, 11), (71, 3)] {
                        for first in [0, columns / 2, columns - 1] {
                            resize.plan(region, (columns, rows), first..columns);
                            let mut output = Guarded::room(edge, 3 * (columns - first) * rows);
                            resize.rows(&image, width, 0..rows, &mut output);
                            assert!(output.iter().all(|value| value.is_finite()), "{set}: something was not written");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn depthwise_layers_stay_within_their_slices() {
    for before in [Before::Nothing, Before::Pointwise(3), Before::Stem(2)] {
        for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            for (height, width) in [(1, 1), (2, 3), (7, 8), (9, 23)] {
                for channels in [1, 4, 9, 16, 24, 33] {
                    let size = (height, width);
                    let wide = Border { top: 5, left: 6, bottom: 7, right: 8 };
                    for border in [border(size, kernel, stride, false), border(size, kernel, stride, true), wide] {
                        let activation = activation(channels % 3, channels);
                        stays_within(&Case { before, channels, kernel, stride, height, width, border, activation });
                    }
                }
            }
        }
    }
}

#[test]
fn depthwise_layers_of_several_strips_stay_within_their_slices() {
    for before in [Before::Nothing, Before::Pointwise(3), Before::Stem(2)] {
        let (kernel, stride, height, width) = (5, 2, 24, 1100);
        let border = border((height, width), kernel, stride, true);
        let (channels, activation) = (9, activation(1, 9));
        stays_within(&Case { before, channels, kernel, stride, height, width, border, activation });
    }
}

fn stays_within(case: &Case) {
    for set in InstructionSet::available() {
        let (layer, lanes) = (case.layer(set), set.lanes());
        let geometry = layer.geometry(case.height, case.width, case.border);
        let (rows, columns) = geometry.output();
        for edge in EDGES {
            let input = Guarded::new(edge, &case.input());
            let mut scratch = Guarded::room(edge, layer.scratch(&geometry));
            for block in 0..layer.blocks() {
                for together in 1..=2.min(layer.blocks() - block) {
                    for part in [0..rows, rows / 2..rows] {
                        let mut outputs: Vec<Guarded> =
                            (0..together).map(|_| Guarded::room(edge, part.len() * columns * lanes)).collect();
                        let mut sums: Vec<Guarded> =
                            (0..together).map(|_| Guarded::room(edge, part.len() * lanes)).collect();
                        {
                            let mut outputs: Vec<&mut [f32]> =
                                outputs.iter_mut().map(|output| &mut output[..]).collect();
                            let mut sums: Vec<&mut [f32]> = sums.iter_mut().map(|sums| &mut sums[..]).collect();
                            layer.forward(&geometry, &input, block, part, &mut scratch, &mut outputs, &mut sums);
                        }
                        for results in outputs.iter().chain(&sums) {
                            assert!(results.iter().all(|value| value.is_finite()), "{set}: something was not written");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn sigmoid_in_place_stays_within_its_slice() {
    for set in InstructionSet::available() {
        for edge in EDGES {
            for length in 0..=67 {
                let mut values = Guarded::new(edge, &values(1, length));
                sigmoid_in_place(set, &mut values);
                assert!(values.iter().all(|value| (0.0..=1.0).contains(value)));
            }
        }
    }
}

#[test]
fn functions_of_transformers_stay_within_their_slices() {
    for set in InstructionSet::available() {
        for edge in EDGES {
            for length in 1..=67 {
                let mut room = Guarded::new(edge, &values(1, length));
                softmax_in_place(set, &mut room, length);
                assert!(room.iter().all(|value| (0.0..=1.0).contains(value)));
                gelu_in_place(set, &mut room);
                quick_gelu_in_place(set, &mut room);
                assert!(room.iter().all(|value| (0.0..=1.0).contains(value)));
            }
        }
    }
}

#[test]
fn strided_rows_stay_within_their_slices() {
    for set in InstructionSet::available() {
        for edge in EDGES {
            for (count, run_length, outputs) in [(1, 1, 1), (13, 5, 33), (7, 16, 16), (40, 3, 70)] {
                // [3, count, run_length]
                let input = Guarded::new(edge, &values(1, 3 * count * run_length));
                let weights = values(2, 3 * run_length * outputs);
                let layer = Pointwise::new(set, &weights, &values(3, outputs), Activation::Identity);
                let rows =
                    StridedRows { count, row_stride: run_length, runs: 3, run_stride: count * run_length, run_length };
                let mut output = Guarded::new(edge, &vec![f32::NAN; count * outputs]);
                layer.forward_strided(&input, rows, None, &mut output);
                assert!(output.iter().all(|value| value.is_finite()));
            }
        }
    }
}

#[test]
fn training_kernels_stay_within_their_slices() {
    for set in InstructionSet::available() {
        for edge in EDGES {
            for (pixels, channels) in [(1, 1), (3, 7), (33, 19), (257, 33)] {
                let at = |n| Guarded::new(edge, &values(n, pixels * channels));
                let constant = |n| Guarded::new(edge, &values(n, channels));
                let (input, gradients, p, q, r) = (at(1), at(2), constant(3), constant(4), constant(5));
                let mut room = Guarded::room(edge, pixels * channels);
                let mut sums = Guarded::new(edge, &vec![0.0_f64; 2 * channels]);
                add_moments(set, &input, &mut sums);
                affine(set, &Activation::Silu, &input, &p, &q, &mut room);
                combine(set, &gradients, &input, [&p, &q, &r], &mut room);
                let norm = Derivative { scale: &p, shift: &q };
                differentiate(set, &Activation::Relu6, &input, norm, &mut room, &mut sums);
                let mut products = Guarded::new(edge, &vec![0.0; channels * channels]);
                add_outer(set, &input, &gradients, channels, &mut products);
            }
            for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
                let (input, channels, output) =
                    ((6_usize, 9_usize), 19, (6_usize.div_ceil(stride), 9_usize.div_ceil(stride)));
                let shape =
                    DepthwiseShape { channels, input, output, kernel, stride, padding: (kernel / 2, kernel / 2) };
                let room =
                    |n, (height, width): (usize, usize)| Guarded::new(edge, &values(n, height * width * channels));
                let weights = Guarded::new(edge, &values(1, channels * kernel * kernel));
                let layer = Depthwise::new(set, &weights, shape, Activation::Relu6);
                let constants = [2, 3, 4].map(|n| Guarded::new(edge, &values(n, channels)));
                let [p, q, r] = &constants;
                let norm = Derivative { scale: p, shift: q };
                let (image, gradients, mut results, mut target) =
                    (room(5, input), room(6, output), room(7, output), room(8, input));
                let mut taps = Guarded::new(edge, &vec![0.0; weights.len()]);
                let mut sums = Guarded::new(edge, &vec![0.0_f64; 2 * channels]);
                let mut scratch = Scratch::default();
                layer.forward(&image, norm, &mut scratch, &mut results);
                layer.add_weight_gradient(&image, norm, &gradients, &results, [p, q, r], &mut scratch, &mut taps);
                layer.input_gradient(
                    &image,
                    norm,
                    &gradients,
                    &results,
                    [p, q, r],
                    &mut scratch,
                    &mut target,
                    &mut sums,
                );
            }
        }
    }
}
