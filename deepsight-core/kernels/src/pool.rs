use super::InstructionSet;
use super::matmul::volume;
use super::simd::{Kernel, Simd};

/// Max pooling with windows of 2 × 2 or 3 × 3 and stride 2. The last windows may reach beyond the border (ceil mode).
///
/// ```
/// use deepsight_kernels::{InstructionSet, MaxPool};
///
/// let pool = MaxPool::new(InstructionSet::best(), 2);
/// let mut output = [0.0; 2];
/// pool.forward(&[1.0, 4.0, 3.0, 2.0, 0.0, 5.0], 3, 1, 1, &mut output);
/// assert_eq!(output, [4.0, 5.0]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MaxPool {
    set: InstructionSet,
    kernel: usize,
}

impl MaxPool {
    /// Creates a pool whose windows are `kernel × kernel`.
    ///
    /// # Panics
    /// Panics if `kernel` is neither 2 nor 3.
    pub fn new(set: InstructionSet, kernel: usize) -> Self {
        assert!(kernel == 2 || kernel == 3, "windows of {kernel}");
        Self { set, kernel }
    }

    /// Returns the output size along an axis of `size` pixels.
    pub fn output_size(&self, size: usize) -> usize {
        if size == 0 { 0 } else { size.saturating_sub(self.kernel).div_ceil(2) + 1 }
    }

    /// Computes the maxima: `[height, width, pitch]` to `[rows, columns, channels]`. Only the first `channels` values
    /// of each pixel are used, so the previous layer may pad its channels to whole vectors.
    ///
    /// # Panics
    /// Panics if `input` is not a whole number of rows, if `output` does not have the length of the result, or if
    /// `channels` is larger than `pitch`.
    pub fn forward(&self, input: &[f32], width: usize, pitch: usize, channels: usize, output: &mut [f32]) {
        assert!(channels <= pitch, "{channels} of {pitch} channels");
        let row = volume([width, pitch]);
        assert!(input.len().is_multiple_of(row), "input of {width} × {pitch}");
        let height = input.len().checked_div(row).unwrap_or(0);
        let (rows, columns) = (self.output_size(height), self.output_size(width));
        assert_eq!(output.len(), volume([rows, columns, channels]), "output of {rows} × {columns} × {channels}");
        if output.is_empty() {
            return;
        }
        let pool = Pool { input, height, width, pitch, channels, output };
        match self.kernel {
            2 => self.set.run(OfSide::<2>(pool)),
            _ => self.set.run(OfSide::<3>(pool)),
        }
    }
}

struct Pool<'a> {
    input: &'a [f32],
    height: usize,
    width: usize,
    pitch: usize,
    channels: usize,
    output: &'a mut [f32],
}

/// The pool with the side of its windows known at compile time.
struct OfSide<'a, const K: usize>(Pool<'a>);

impl<const K: usize> Kernel for OfSide<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pool { input, height, width, pitch, channels, output } = self.0;
        let (pixels, mut at) = (input.as_ptr(), 0);
        for y in (0..height).step_by(2).take(height.saturating_sub(K).div_ceil(2) + 1) {
            for x in (0..width).step_by(2).take(width.saturating_sub(K).div_ceil(2) + 1) {
                let (rows, columns) = (K.min(height - y), K.min(width - x));
                let mut channel = 0;
                while channel < channels {
                    // SAFETY: the window is clipped to the input, whose length is `height · width · pitch`. Reads end
                    // at the end of a pixel, and writes at the end of the output. Values written beyond the pixel's
                    // channels are overwritten by the next pixel.
                    unsafe {
                        let first = pixels.add((y * width + x) * pitch + channel);
                        let lanes = S::LANES.min(pitch - channel);
                        let window = Window { first, row: width * pitch, pitch, lanes };
                        let best = if rows == K && columns == K && lanes == S::LANES {
                            window.whole::<S, K>(simd)
                        } else {
                            window.part(simd, rows, columns)
                        };
                        let target = output.as_mut_ptr().add(at + channel);
                        if at + channel + S::LANES <= output.len() {
                            simd.store(target, best);
                        } else {
                            simd.store_first(target, best, S::LANES.min(channels - channel));
                        }
                    }
                    channel += S::LANES;
                }
                at += channels;
            }
        }
    }
}

/// The location of a window's values for one vector of channels.
struct Window {
    first: *const f32,
    row: usize,
    pitch: usize,
    lanes: usize,
}

impl Window {
    /// # Safety
    /// `K` rows and columns of whole vectors can be read.
    #[inline(always)]
    unsafe fn whole<S: Simd, const K: usize>(&self, simd: S) -> S::Vector {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let mut best = simd.load(self.first);
            for y in 0..K {
                for x in 0..K {
                    best = simd.max(best, simd.load(self.first.add(y * self.row + x * self.pitch)));
                }
            }
            best
        }
    }

    /// # Safety
    /// `rows` rows and `columns` columns of `lanes` values can be read.
    #[inline(always)]
    unsafe fn part<S: Simd>(&self, simd: S, rows: usize, columns: usize) -> S::Vector {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let mut best = simd.load_first(self.first, self.lanes);
            for y in 0..rows {
                for x in 0..columns {
                    let value = simd.load_first(self.first.add(y * self.row + x * self.pitch), self.lanes);
                    best = simd.max(best, value);
                }
            }
            best
        }
    }
}
