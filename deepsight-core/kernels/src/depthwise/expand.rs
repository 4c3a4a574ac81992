//! The expansion, which fills the scratch planes.

use std::ops::Range;

use super::super::activation::Apply;
use super::super::matmul::{Packed, Rows, Sink, multiply};
use super::super::simd::{Kernel, Simd};

/// An expansion by a matrix product, on bands of rows. Each band begins `band` values after the previous one.
///
/// It is a kernel separate from the convolution, so that each is compiled only once per activation.
pub(super) struct Expand<'a, A> {
    pub(super) packed: &'a Packed,
    pub(super) rows: Rows<'a>,
    pub(super) bands: usize,
    pub(super) band: usize,
    pub(super) blocks: Range<usize>,
    pub(super) target: &'a mut [f32],
    pub(super) plane: usize,
    pub(super) pitch: usize,
    pub(super) offsets: &'a [u32],
    pub(super) activation: A,
}

impl<'a> Expand<'a, ()> {
    pub(super) fn with<A>(self, activation: A) -> Expand<'a, A> {
        let Self { packed, rows, bands, band, blocks, target, plane, pitch, offsets, .. } = self;
        Expand { packed, rows, bands, band, blocks, target, plane, pitch, offsets, activation }
    }
}

impl<A: Apply> Kernel for Expand<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let furthest = self.offsets.get(self.rows.count.max(1) - 1).map_or(0, |offset| *offset as usize);
        let end = (self.bands - 1) * self.pitch + (self.blocks.len() - 1) * self.plane + furthest + S::LANES;
        assert!(self.rows.count <= self.offsets.len() && end <= self.target.len());
        for band in 0..self.bands {
            let rows = Rows { values: &self.rows.values[band * self.band..], ..self.rows };
            let planes = Planes {
                target: self.target[band * self.pitch..].as_mut_ptr(),
                plane: self.plane,
                offsets: self.offsets,
                first: self.blocks.start,
                activation: self.activation,
            };
            // SAFETY: every row has an offset, and the last offset is the largest. At that offset of the last band in
            // the last plane, a vector lies within the target (asserted above).
            unsafe { multiply(simd, &rows, self.packed, self.blocks.clone(), &planes) };
        }
    }
}

/// A kernel that copies an image's own channels into the planes, without expansion.
pub(super) struct Spread<'a> {
    pub(super) image: &'a [f32],
    pub(super) size: (usize, usize),
    pub(super) channels: usize,
    pub(super) blocks: Range<usize>,
    pub(super) target: &'a mut [f32],
    pub(super) plane: usize,
    pub(super) pitch: usize,
}

impl Kernel for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (height, width) = self.size;
        for (v, block) in self.blocks.enumerate() {
            let first = block * S::LANES;
            let count = (self.channels - first).min(S::LANES);
            for row in 0..height {
                let input = &self.image[row * width * self.channels..][..width * self.channels];
                let output = &mut self.target[v * self.plane + row * self.pitch..][..width * S::LANES];
                for (pixel, output) in input.chunks_exact(self.channels).zip(output.chunks_exact_mut(S::LANES)) {
                    // SAFETY: the input slice has `count` values, at most one vector, and the output slice has one
                    // vector.
                    unsafe {
                        let value = simd.load_first(pixel[first..first + count].as_ptr(), count);
                        simd.store(output.as_mut_ptr(), value);
                    }
                }
            }
        }
    }
}

/// A sink that writes each vector of channels into a plane of its own.
struct Planes<'a, A> {
    target: *mut f32,
    plane: usize,
    offsets: &'a [u32],
    first: usize,
    activation: A,
}

impl<S: Simd, A: Apply> Sink<S> for Planes<'_, A> {
    #[inline(always)]
    unsafe fn put(&self, simd: S, row: usize, vector: usize, value: S::Vector) {
        // SAFETY: every row has an offset within its plane, and every vector from `first` on has a plane (checked in
        // `Expand::run`).
        unsafe {
            let value = self.activation.apply(simd, value, vector * S::LANES);
            let offset = *self.offsets.get_unchecked(row) as usize + (vector - self.first) * self.plane;
            simd.store(self.target.add(offset), value);
        }
    }
}
