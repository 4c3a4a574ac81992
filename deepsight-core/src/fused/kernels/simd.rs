//! What a kernel may ask of a processor: vectors of `f32`, written once and compiled for every instruction set.

/// An instruction set, as a token: whoever holds one has made sure that this processor has the instructions.
///
/// All methods are to be inlined into the function that [`vectorize`](Self::vectorize) compiles for the set.
pub(crate) trait Simd: Copy + Send + Sync {
    /// Some `f32`s side by side.
    type Vector: Copy;

    /// Values in a vector.
    const LANES: usize;
    /// Rows of a matrix product that are computed together: as many as keep all registers in use, two vectors a row.
    const ROWS: usize;

    /// Runs a kernel compiled for this set.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, value: f32) -> Self::Vector;
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b + c`
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger; `b` where one is not a number.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The smaller; `b` where one is not a number.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `1 / a` within two units in the last place, for `a` in `1..=2¹²⁷`; not a number where `a` is not.
    fn reciprocal(self, a: Self::Vector) -> Self::Vector;
    /// `a` to the nearest whole number, for `a` in `-126..=126`.
    fn round(self, a: Self::Vector) -> Self::Vector;
    /// `a · 2ⁿ` for whole `n` in `-126..=126`.
    fn scale(self, a: Self::Vector, n: Self::Vector) -> Self::Vector;

    /// # Safety
    /// [`LANES`](Self::LANES) values can be read.
    unsafe fn load(self, source: *const f32) -> Self::Vector;
    /// The first `count` values, zero in the other lanes, which are not read.
    ///
    /// # Safety
    /// `count` is at most [`LANES`](Self::LANES), and as many values can be read.
    unsafe fn load_first(self, source: *const f32, count: usize) -> Self::Vector;
    /// # Safety
    /// [`LANES`](Self::LANES) values can be written.
    unsafe fn store(self, target: *mut f32, value: Self::Vector);
    /// Writes the first `count` lanes and touches nothing else.
    ///
    /// # Safety
    /// `count` is at most [`LANES`](Self::LANES), and as many values can be written.
    unsafe fn store_first(self, target: *mut f32, value: Self::Vector, count: usize);
}

/// A computation that is compiled for each instruction set.
pub(crate) trait Kernel {
    /// What it gives.
    type Output;

    /// Runs it. Implementations, and all that they call, are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}
