//! The depthwise convolution, which reads the scratch planes.

use super::super::activation::Apply;
use super::super::simd::{Kernel, Simd};

/// The depthwise convolution of one block: rows of windows over a plane.
pub(super) struct Convolve<'a, A> {
    pub(super) input: &'a [f32],
    pub(super) pitch: usize,
    pub(super) weights: &'a [f32],
    pub(super) bias: &'a [f32],
    /// Kernel and stride.
    pub(super) size: (usize, usize),
    pub(super) columns: usize,
    pub(super) block: usize,
    /// `[rows, columns, lanes]`
    pub(super) output: &'a mut [f32],
    /// `[rows, lanes]`
    pub(super) sums: &'a mut [f32],
    pub(super) activation: A,
}

impl<'a> Convolve<'a, ()> {
    pub(super) fn with<A>(self, activation: A) -> Convolve<'a, A> {
        let Self { input, pitch, weights, bias, size, columns, block, output, sums, .. } = self;
        Convolve { input, pitch, weights, bias, size, columns, block, output, sums, activation }
    }
}

impl<A: Apply> Kernel for Convolve<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.size {
            (3, 1) => self.rows::<S, 3, 1>(simd),
            (3, 2) => self.rows::<S, 3, 2>(simd),
            (5, 1) => self.rows::<S, 5, 1>(simd),
            (5, 2) => self.rows::<S, 5, 2>(simd),
            (kernel, stride) => unreachable!("kernel {kernel}, stride {stride}, refused when the layer was made"),
        }
    }
}

impl<A: Apply> Convolve<'_, A> {
    #[inline(always)]
    fn rows<S: Simd, const K: usize, const T: usize>(self, simd: S) {
        let Self { input, pitch, weights, bias, columns, block, output, sums, activation, .. } = self;
        assert!(((columns - 1) * T + K) * S::LANES <= pitch);
        assert!(weights.len() >= K * K * S::LANES && bias.len() >= S::LANES);
        let rows = output.chunks_exact_mut(columns * S::LANES).zip(sums.chunks_exact_mut(S::LANES));
        for (row, (output, sums)) in rows.enumerate() {
            let line = WindowRow { input: &input[row * T * pitch..][..K * pitch], pitch, weights, bias, columns };
            // SAFETY: the slices hold K rows, in each of which `columns` windows at stride T fit (asserted above), the
            // block's weights and bias, one row of results, and one vector of sums.
            unsafe {
                let sum = line.convolve::<S, A, K, T>(simd, activation, block, output);
                simd.store(sums.as_mut_ptr(), sum);
            }
        }
    }
}

/// One row of windows of one block.
struct WindowRow<'a> {
    input: &'a [f32],
    pitch: usize,
    weights: &'a [f32],
    bias: &'a [f32],
    columns: usize,
}

impl WindowRow<'_> {
    /// Writes the row of results and returns their sum.
    ///
    /// # Safety
    /// The input holds `K` rows of `pitch` values, and each row holds `columns` windows of `K` at stride `T`. The
    /// weights hold `K · K` vectors, the bias one vector, and the output `columns` vectors.
    #[inline(always)]
    unsafe fn convolve<S: Simd, A: Apply, const K: usize, const T: usize>(
        &self,
        simd: S,
        activation: A,
        block: usize,
        output: &mut [f32],
    ) -> S::Vector {
        let mut sum = simd.splat(0.0);
        let mut column = 0;
        // SAFETY: `column` and the width of each tile stay within `columns`.
        unsafe {
            while column + 8 <= self.columns {
                sum = self.tile::<S, A, K, T, 8>(simd, activation, block, column, output, sum);
                column += 8;
            }
            if column + 7 == self.columns {
                return self.tile::<S, A, K, T, 7>(simd, activation, block, column, output, sum);
            }
            if column + 4 <= self.columns {
                sum = self.tile::<S, A, K, T, 4>(simd, activation, block, column, output, sum);
                column += 4;
            }
            if column + 2 <= self.columns {
                sum = self.tile::<S, A, K, T, 2>(simd, activation, block, column, output, sum);
                column += 2;
            }
            if column < self.columns {
                sum = self.tile::<S, A, K, T, 1>(simd, activation, block, column, output, sum);
            }
        }
        sum
    }

    /// Computes `N` neighboring windows and returns `sum` plus their results.
    ///
    /// # Safety
    /// As for [`convolve`](Self::convolve), and `column + N` is at most `columns`.
    #[inline(always)]
    unsafe fn tile<S: Simd, A: Apply, const K: usize, const T: usize, const N: usize>(
        &self,
        simd: S,
        activation: A,
        block: usize,
        column: usize,
        output: &mut [f32],
        mut sum: S::Vector,
    ) -> S::Vector {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let mut results = [simd.load(self.bias.as_ptr()); N];
            for y in 0..K {
                let input = self.input.as_ptr().add(y * self.pitch + column * T * S::LANES);
                for x in 0..K {
                    let weight = simd.load(self.weights.as_ptr().add((y * K + x) * S::LANES));
                    for (n, result) in results.iter_mut().enumerate() {
                        *result = simd.mul_add(simd.load(input.add((n * T + x) * S::LANES)), weight, *result);
                    }
                }
            }
            for (n, result) in results.into_iter().enumerate() {
                let result = activation.apply(simd, result, block * S::LANES);
                sum = simd.add(sum, result);
                simd.store(output.as_mut_ptr().add((column + n) * S::LANES), result);
            }
        }
        sum
    }
}
