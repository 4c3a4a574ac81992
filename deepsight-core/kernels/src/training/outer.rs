//! The gradient of a pointwise convolution's weights: sums over pixels of inputs times gradients of outputs.

use super::super::instruction_set::InstructionSet;
use super::super::matmul::volume;
use super::super::simd::{Kernel, Simd};
use super::lanes::{load, store};

/// Adds `leftᵀ · right` to `sums`: `[pixels, rows]` and `[pixels, columns]` to `[rows, columns]`.
///
/// It is fastest if `columns` is larger than `rows`.
///
/// # Panics
/// Panics if the slices do not agree on the numbers of pixels, rows and columns.
pub fn add_outer(set: InstructionSet, left: &[f32], right: &[f32], columns: usize, sums: &mut [f32]) {
    assert!(columns > 0 && !sums.is_empty() && sums.len().is_multiple_of(columns), "{} sums", sums.len());
    let rows = sums.len() / columns;
    let pixels = left.len() / rows;
    assert!(left.len() == volume([pixels, rows]) && right.len() == volume([pixels, columns]), "{pixels} pixels");
    set.run(Outer { left, right, rows, columns, pixels, sums });
}

struct Outer<'a> {
    left: &'a [f32],
    right: &'a [f32],
    rows: usize,
    columns: usize,
    pixels: usize,
    sums: &'a mut [f32],
}

impl Kernel for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let mut column = 0;
        while column < self.columns {
            let lanes = self.columns - column;
            // SAFETY: two vectors, one vector, or the first lanes of one vector are within the columns.
            unsafe {
                if lanes >= 2 * S::LANES {
                    self.down::<S, 2, true>(simd, column, S::LANES);
                    column += 2 * S::LANES;
                } else if lanes >= S::LANES {
                    self.down::<S, 1, true>(simd, column, S::LANES);
                    column += S::LANES;
                } else {
                    self.down::<S, 1, false>(simd, column, lanes);
                    column += lanes;
                }
            }
        }
    }
}

impl Outer<'_> {
    /// Computes all rows of `V` vectors of columns.
    ///
    /// # Safety
    /// `V` vectors from `column` on are within the columns. Without `WHOLE`, the first `lanes` values of one vector
    /// are.
    #[inline(always)]
    unsafe fn down<S: Simd, const V: usize, const WHOLE: bool>(&mut self, simd: S, column: usize, lanes: usize) {
        let mut row = 0;
        // SAFETY: guaranteed by the caller; `row` plus the height of the tile is at most the number of rows.
        unsafe {
            if S::ROWS == 12 {
                while row + 12 <= self.rows {
                    self.tile::<S, 12, V, WHOLE>(simd, row, column, lanes);
                    row += 12;
                }
            }
            while row + 6 <= self.rows {
                self.tile::<S, 6, V, WHOLE>(simd, row, column, lanes);
                row += 6;
            }
            while row + 4 <= self.rows {
                self.tile::<S, 4, V, WHOLE>(simd, row, column, lanes);
                row += 4;
            }
            while row < self.rows {
                self.tile::<S, 1, V, WHOLE>(simd, row, column, lanes);
                row += 1;
            }
        }
    }

    /// # Safety
    /// As for [`down`](Self::down), and `row + M` is at most the number of rows.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "indices of registers, all known to the compiler")]
    unsafe fn tile<S: Simd, const M: usize, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
        lanes: usize,
    ) {
        let mut sums = [[simd.splat(0.0); V]; M];
        // SAFETY: the slices hold `pixels` pixels of `rows` and of `columns` values, and a sum for each pair of row and
        // column (checked in `add_outer`).
        unsafe {
            let mut left = self.left.as_ptr().add(row);
            let mut right = self.right.as_ptr().add(column);
            for _ in 0..self.pixels {
                let mut values = [simd.splat(0.0); V];
                for v in 0..V {
                    values[v] = load::<S, WHOLE>(simd, right.add(v * S::LANES), lanes);
                }
                for m in 0..M {
                    let factor = simd.splat(*left.add(m));
                    for v in 0..V {
                        sums[m][v] = simd.mul_add(factor, values[v], sums[m][v]);
                    }
                }
                left = left.wrapping_add(self.rows);
                right = right.wrapping_add(self.columns);
            }
            for m in 0..M {
                for v in 0..V {
                    let target = self.sums.as_mut_ptr().add((row + m) * self.columns + column + v * S::LANES);
                    let sum = simd.add(load::<S, WHOLE>(simd, target, lanes), sums[m][v]);
                    store::<S, WHOLE>(simd, target, sum, lanes);
                }
            }
        }
    }
}
