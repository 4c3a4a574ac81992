//! The vector operations on `f32` that kernels use. A kernel is written once and compiled for every instruction set.

/// A token for an instruction set. A value exists only if this processor has the instructions.
///
/// All methods must be inlined into the function that [`vectorize`](Self::vectorize) compiles for the set.
pub(crate) trait Simd: Copy + Send + Sync {
    /// A vector of [`LANES`](Self::LANES) `f32` values.
    type Vector: Copy;

    /// Number of values in a vector.
    const LANES: usize;
    /// Number of rows of a matrix product computed together. With two vectors per row, they use all registers.
    const ROWS: usize;

    /// Runs a kernel compiled for this set.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, value: f32) -> Self::Vector;
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b + c`
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Returns the larger value of each lane, or that of `b` if either is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns the smaller value of each lane, or that of `b` if either is NaN.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Returns `1 / a` within two units in the last place, for `a` in `1..=2¹²⁷`. The result is NaN if `a` is NaN.
    fn reciprocal(self, a: Self::Vector) -> Self::Vector;
    /// Rounds `a` to the nearest whole number, for `a` in `-126..=126`.
    fn round(self, a: Self::Vector) -> Self::Vector;
    /// Returns `a · 2ⁿ`, for whole `n` in `-126..=126`.
    fn scale(self, a: Self::Vector, n: Self::Vector) -> Self::Vector;

    /// # Safety
    /// [`LANES`](Self::LANES) values can be read.
    unsafe fn load(self, source: *const f32) -> Self::Vector;
    /// Loads the first `count` values. The other lanes are zero, and their values are not read.
    ///
    /// # Safety
    /// `count` is at most [`LANES`](Self::LANES), and `count` values can be read.
    unsafe fn load_first(self, source: *const f32, count: usize) -> Self::Vector;
    /// # Safety
    /// [`LANES`](Self::LANES) values can be written.
    unsafe fn store(self, target: *mut f32, value: Self::Vector);
    /// Writes the first `count` lanes and no other memory.
    ///
    /// # Safety
    /// `count` is at most [`LANES`](Self::LANES), and `count` values can be written.
    unsafe fn store_first(self, target: *mut f32, value: Self::Vector, count: usize);
}

/// A computation that is compiled for each instruction set.
pub(crate) trait Kernel {
    /// The result of the kernel.
    type Output;

    /// Runs the kernel. Implementations, and all functions that they call, are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}
