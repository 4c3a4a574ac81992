//! Every slice that a caller gives lies at the edge of mapped memory: whoever reads or writes one value beyond it ends the
//! whole test run with a segmentation fault.

use std::ops::{Deref, DerefMut};
use std::ptr;

use deepsight_core::fused::kernels::{Border, Convolution, InstructionSet, Pointwise, sigmoid_in_place};

use crate::depthwise::{Before, Case, border};
use crate::exact::{activation, values};

/// Which end of the values lies at memory that nobody may touch.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Edge {
    Start,
    End,
}

const EDGES: [Edge; 2] = [Edge::Start, Edge::End];

/// Values in pages of their own, with a page before and one after them that can be neither read nor written.
struct Guarded {
    mapping: *mut libc::c_void,
    bytes: usize,
    values: *mut f32,
    len: usize,
}

impl Guarded {
    fn new(edge: Edge, values: &[f32]) -> Self {
        // SAFETY: only asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let inside = size_of_val(values).next_multiple_of(page);
        let bytes = inside + 2 * page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
        // SAFETY: a new mapping, wherever there is room.
        let mapping = unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(mapping, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        // SAFETY: within the mapping, whose pages between the first and the last can be read and written from here on; the
        // values fit there and start at a multiple of their size.
        let target = unsafe {
            let first = mapping.byte_add(page);
            if inside > 0 {
                let opened = libc::mprotect(first, inside, libc::PROT_READ | libc::PROT_WRITE);
                assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
            }
            let before = if edge == Edge::End { inside - size_of_val(values) } else { 0 };
            let target = first.byte_add(before).cast::<f32>();
            ptr::copy_nonoverlapping(values.as_ptr(), target, values.len());
            target
        };
        Self { mapping, bytes, values: target, len: values.len() }
    }

    /// Room for results.
    fn room(edge: Edge, len: usize) -> Self {
        Self::new(edge, &vec![f32::NAN; len])
    }
}

impl Deref for Guarded {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: they were written in `new`, and are unmapped only in `drop`.
        unsafe { std::slice::from_raw_parts(self.values, self.len) }
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.values, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, of which no slice is left.
        unsafe { libc::munmap(self.mapping, self.bytes) };
    }
}

/// Whether the value there can be read, as the system sees it.
fn readable(value: *const f32) -> bool {
    let mut pipe = [0; 2];
    // SAFETY: the system writes two descriptors; what it cannot read from the pointer it reports.
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
