//! Passes over `[pixels, channels]` with separate constants for each channel.

use std::ops::Range;

use super::super::activation::{Activation, Apply, Identity, Relu6, Silu, sigmoid};
use super::super::instruction_set::InstructionSet;
use super::super::simd::{Kernel, Simd};
use super::lanes::{load, store};

/// Number of pixels processed before the next vector of channels, small enough that all their channels stay in the
/// first-level cache.
const BLOCK: usize = 32;
/// Number of pixels summed in single precision before their sum is added in double precision.
const SUMMED: usize = 256;

/// Adds the sum of each channel over all pixels, and the sum of its squares, to `sums`, `[2, channels]`.
///
/// # Panics
/// Panics if `values` is not a whole number of pixels with one channel per pair of sums.
pub fn add_moments(set: InstructionSet, values: &[f32], sums: &mut [f64]) {
    let channels = channels_of(sums.len(), values.len());
    set.run(Whole(Moments { values, channels, sums }));
}

/// Writes `activation(values · scale + shift)` to `output`.
///
/// # Panics
/// Panics if the slices do not hold the same number of pixels, if they do not have one channel per scale and shift, or
/// if the activation is PReLU.
pub fn affine(
    set: InstructionSet,
    activation: &Activation,
    values: &[f32],
    scale: &[f32],
    shift: &[f32],
    output: &mut [f32],
) {
    assert_eq!(values.len(), output.len(), "values and output");
    check(scale, shift, output.len());
    match activation {
        Activation::Identity => set.run(Whole(Affine { values, scale, shift, output, activation: Identity })),
        Activation::Silu => set.run(Whole(Affine { values, scale, shift, output, activation: Silu })),
        Activation::Relu6 => set.run(Whole(Affine { values, scale, shift, output, activation: Relu6 })),
        Activation::PRelu(_) => panic!("no training with PReLU"),
    }
}

/// Writes `gradients · p + values · q + r` to `output`: the backward pass of a batch norm.
///
/// # Panics
/// Panics if the slices do not hold the same number of pixels, or if they do not have one channel per constant of each
/// kind.
pub fn combine(set: InstructionSet, gradients: &[f32], values: &[f32], [p, q, r]: [&[f32]; 3], output: &mut [f32]) {
    check(p, q, output.len());
    assert!(r.len() == p.len() && gradients.len() == output.len() && values.len() == output.len(), "values and output");
    set.run(Whole(Combine { gradients, values, p, q, r, output }));
}

/// The batch norm's constants, for the forward and backward passes of the activation after it; see [`differentiate`].
#[derive(Debug, Clone, Copy)]
pub struct Derivative<'a> {
    /// The factor of each channel.
    pub scale: &'a [f32],
    /// The value added to each channel after the multiplication.
    pub shift: &'a [f32],
}

/// Multiplies `gradients` by the activation's derivative at `values · scale + shift`. Adds two sums per channel to
/// `sums`, `[2, channels]`: that of the products, and that of the products times `values`.
///
/// The derivative of ReLU6 is 0 at 0 and at 6, as in PyTorch.
///
/// # Panics
/// Panics for the same reasons as [`affine`], and if there is not a pair of sums for each channel.
pub fn differentiate(
    set: InstructionSet,
    activation: &Activation,
    values: &[f32],
    Derivative { scale, shift }: Derivative<'_>,
    gradients: &mut [f32],
    sums: &mut [f64],
) {
    check(scale, shift, gradients.len());
    assert!(values.len() == gradients.len() && sums.len() == 2 * scale.len(), "values and sums");
    match activation {
        Activation::Identity => {
            set.run(Whole(Differentiate { values, scale, shift, gradients, sums, slope: Identity }));
        }
        Activation::Silu => set.run(Whole(Differentiate { values, scale, shift, gradients, sums, slope: Silu })),
        Activation::Relu6 => set.run(Whole(Differentiate { values, scale, shift, gradients, sums, slope: Relu6 })),
        Activation::PRelu(_) => panic!("no training with PReLU"),
    }
}

fn channels_of(sums: usize, values: usize) -> usize {
    let channels = sums / 2;
    assert!(channels > 0 && sums == 2 * channels && values.is_multiple_of(channels), "{values} values, {sums} sums");
    channels
}

fn check(scale: &[f32], shift: &[f32], values: usize) {
    let channels = scale.len();
    assert!(
        channels > 0 && shift.len() == channels && values.is_multiple_of(channels),
        "{values} of {channels} channels"
    );
}

/// An activation's derivative.
trait Slope: Copy {
    fn slope<S: Simd>(self, simd: S, x: S::Vector) -> S::Vector;
}

impl Slope for Identity {
    #[inline(always)]
    fn slope<S: Simd>(self, simd: S, _: S::Vector) -> S::Vector {
        simd.splat(1.0)
    }
}

impl Slope for Relu6 {
    #[inline(always)]
    fn slope<S: Simd>(self, simd: S, x: S::Vector) -> S::Vector {
        // Builds step functions without comparisons: this factor takes every positive number but the smallest above 1.
        let steep = simd.splat(1e30);
        let one = simd.splat(1.0);
        let step = |x| simd.min(one, simd.max(simd.splat(0.0), simd.mul(x, steep)));
        simd.mul(step(x), step(simd.sub(simd.splat(6.0), x)))
    }
}

impl Slope for Silu {
    #[inline(always)]
    fn slope<S: Simd>(self, simd: S, x: S::Vector) -> S::Vector {
        let s = sigmoid(simd, x);
        let one = simd.splat(1.0);
        simd.mul(s, simd.mul_add(x, simd.sub(one, s), one))
    }
}

/// A pass over pixels, one vector of channels at a time.
trait Pass {
    /// Number of pixels processed before the next vector of channels.
    const BLOCK: usize;

    fn channels(&self) -> usize;

    fn pixels(&self) -> usize;

    /// # Safety
    /// The pixels and the `lanes` channels from `channel` on are within the slices. With `WHOLE`, `lanes` is a whole
    /// vector.
    unsafe fn part<S: Simd, const WHOLE: bool>(&mut self, simd: S, pixels: Range<usize>, channel: usize, lanes: usize);
}

/// A kernel that runs a pass over all pixels and channels.
struct Whole<P>(P);

impl<P: Pass> Kernel for Whole<P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self(mut pass) = self;
        let (channels, pixels) = (pass.channels(), pass.pixels());
        for start in (0..pixels).step_by(P::BLOCK) {
            let end = (start + P::BLOCK).min(pixels);
            let mut channel = 0;
            while channel < channels {
                let lanes = S::LANES.min(channels - channel);
                // SAFETY: pixels and channels stay below the numbers that the pass returns.
                unsafe {
                    if lanes == S::LANES {
                        pass.part::<S, true>(simd, start..end, channel, lanes);
                    } else {
                        pass.part::<S, false>(simd, start..end, channel, lanes);
                    }
                }
                channel += lanes;
            }
        }
    }
}

struct Affine<'a, A> {
    values: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    output: &'a mut [f32],
    activation: A,
}

impl<A: Apply> Pass for Affine<'_, A> {
    const BLOCK: usize = BLOCK;

    #[inline(always)]
    fn channels(&self) -> usize {
        self.scale.len()
    }

    #[inline(always)]
    fn pixels(&self) -> usize {
        self.output.len() / self.channels()
    }

    #[inline(always)]
    unsafe fn part<S: Simd, const WHOLE: bool>(&mut self, simd: S, pixels: Range<usize>, channel: usize, lanes: usize) {
        let channels = self.channels();
        // SAFETY: guaranteed by the caller; the activations used here ignore the channel.
        unsafe {
            let scale = load::<S, WHOLE>(simd, self.scale.as_ptr().add(channel), lanes);
            let shift = load::<S, WHOLE>(simd, self.shift.as_ptr().add(channel), lanes);
            for pixel in pixels {
                let at = pixel * channels + channel;
                let value = load::<S, WHOLE>(simd, self.values.as_ptr().add(at), lanes);
                let value = self.activation.apply(simd, simd.mul_add(value, scale, shift), channel);
                store::<S, WHOLE>(simd, self.output.as_mut_ptr().add(at), value, lanes);
            }
        }
    }
}

struct Combine<'a> {
    gradients: &'a [f32],
    values: &'a [f32],
    p: &'a [f32],
    q: &'a [f32],
    r: &'a [f32],
    output: &'a mut [f32],
}

impl Pass for Combine<'_> {
    const BLOCK: usize = BLOCK;

    #[inline(always)]
    fn channels(&self) -> usize {
        self.p.len()
    }

    #[inline(always)]
    fn pixels(&self) -> usize {
        self.output.len() / self.channels()
    }

    #[inline(always)]
    unsafe fn part<S: Simd, const WHOLE: bool>(&mut self, simd: S, pixels: Range<usize>, channel: usize, lanes: usize) {
        let channels = self.channels();
        // SAFETY: guaranteed by the caller.
        unsafe {
            let [p, q, r] =
                [self.p, self.q, self.r].map(|constant| load::<S, WHOLE>(simd, constant.as_ptr().add(channel), lanes));
            for pixel in pixels {
                let at = pixel * channels + channel;
                let gradient = load::<S, WHOLE>(simd, self.gradients.as_ptr().add(at), lanes);
                let value = load::<S, WHOLE>(simd, self.values.as_ptr().add(at), lanes);
                let result = simd.mul_add(gradient, p, simd.mul_add(value, q, r));
                store::<S, WHOLE>(simd, self.output.as_mut_ptr().add(at), result, lanes);
            }
        }
    }
}

struct Moments<'a> {
    values: &'a [f32],
    channels: usize,
    sums: &'a mut [f64],
}

impl Pass for Moments<'_> {
    const BLOCK: usize = SUMMED;

    #[inline(always)]
    fn channels(&self) -> usize {
        self.channels
    }

    #[inline(always)]
    fn pixels(&self) -> usize {
        self.values.len() / self.channels()
    }

    #[inline(always)]
    unsafe fn part<S: Simd, const WHOLE: bool>(&mut self, simd: S, pixels: Range<usize>, channel: usize, lanes: usize) {
        let mut sums = [simd.splat(0.0); 2];
        for pixel in pixels {
            // SAFETY: guaranteed by the caller.
            let value =
                unsafe { load::<S, WHOLE>(simd, self.values.as_ptr().add(pixel * self.channels + channel), lanes) };
            sums = [simd.add(sums[0], value), simd.mul_add(value, value, sums[1])];
        }
        add_sums(simd, sums, &mut self.sums[channel..], self.channels, lanes);
    }
}

/// Adds the first `lanes` values of two vectors to two rows of sums, which are `channels` apart.
#[inline(always)]
fn add_sums<S: Simd>(simd: S, vectors: [S::Vector; 2], sums: &mut [f64], channels: usize, lanes: usize) {
    for (row, vector) in vectors.into_iter().enumerate() {
        let mut values = [0.0_f32; 16];
        // SAFETY: no vector has more than sixteen lanes.
        unsafe { simd.store(values.as_mut_ptr(), vector) };
        for (sum, value) in sums[row * channels..].iter_mut().zip(&values[..lanes]) {
            *sum += f64::from(*value);
        }
    }
}

struct Differentiate<'a, A> {
    values: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    gradients: &'a mut [f32],
    sums: &'a mut [f64],
    slope: A,
}

impl<A: Slope> Pass for Differentiate<'_, A> {
    const BLOCK: usize = SUMMED;

    #[inline(always)]
    fn channels(&self) -> usize {
        self.scale.len()
    }

    #[inline(always)]
    fn pixels(&self) -> usize {
        self.values.len() / self.channels()
    }

    #[inline(always)]
    unsafe fn part<S: Simd, const WHOLE: bool>(&mut self, simd: S, pixels: Range<usize>, channel: usize, lanes: usize) {
        let channels = self.channels();
        let mut sums = [simd.splat(0.0); 2];
        // SAFETY: guaranteed by the caller.
        unsafe {
            let scale = load::<S, WHOLE>(simd, self.scale.as_ptr().add(channel), lanes);
            let shift = load::<S, WHOLE>(simd, self.shift.as_ptr().add(channel), lanes);
            for pixel in pixels {
                let at = pixel * channels + channel;
                let value = load::<S, WHOLE>(simd, self.values.as_ptr().add(at), lanes);
                let slope = self.slope.slope(simd, simd.mul_add(value, scale, shift));
                let target = self.gradients.as_mut_ptr().add(at);
                let gradient = simd.mul(load::<S, WHOLE>(simd, target, lanes), slope);
                store::<S, WHOLE>(simd, target, gradient, lanes);
                sums = [simd.add(sums[0], gradient), simd.mul_add(gradient, value, sums[1])];
            }
        }
        add_sums(simd, sums, &mut self.sums[channel..], channels, lanes);
    }
}
