//! Passes over `[pixels, channels]` in which each channel has constants of its own.

use super::super::activation::{Activation, Apply, Identity, Relu6, Silu, sigmoid};
use super::super::instruction_set::InstructionSet;
use super::super::simd::{Kernel, Simd};

/// Pixels that are passed over channel by channel: few enough to stay in the first-level cache with all their channels.
const BLOCK: usize = 32;
/// Pixels whose values are summed in single precision before they join the sums in double precision.
const SUMMED: usize = 256;

/// Adds to `sums`, `[2, channels]`, the sum of each channel over all pixels and the sum of its squares.
///
/// # Panics
/// When `values` are not whole pixels of as many channels as there are pairs of sums.
pub fn add_moments(set: InstructionSet, values: &[f32], sums: &mut [f64]) {
    let channels = channels_of(sums.len(), values.len());
    set.run(Moments { values, channels, sums });
}

/// `activation(values · scale + shift)` into `output`.
///
/// # Panics
/// When the slices are not of one number of pixels of as many channels as there are scales and shifts, or with PReLU.
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
        Activation::Identity => set.run(Affine { values, scale, shift, output, activation: Identity }),
        Activation::Silu => set.run(Affine { values, scale, shift, output, activation: Silu }),
        Activation::Relu6 => set.run(Affine { values, scale, shift, output, activation: Relu6 }),
        Activation::PRelu(_) => panic!("no training with PReLU"),
    }
}

/// `gradients · p + values · q + r` into `output`: what a batch norm passes back.
///
/// # Panics
/// When the slices are not of one number of pixels of as many channels as there are constants of each kind.
pub fn combine(set: InstructionSet, gradients: &[f32], values: &[f32], [p, q, r]: [&[f32]; 3], output: &mut [f32]) {
    check(p, q, output.len());
    assert!(r.len() == p.len() && gradients.len() == output.len() && values.len() == output.len(), "values and output");
    set.run(Combine { gradients, values, p, q, r, output });
}

/// The way back through an activation after a batch norm; see [`differentiate`].
#[derive(Debug, Clone, Copy)]
pub struct Derivative<'a> {
    /// What the norm multiplies each channel with.
    pub scale: &'a [f32],
    /// What it then adds.
    pub shift: &'a [f32],
}

/// Multiplies `gradients` with the activation's derivative at `values · scale + shift`, and adds to `sums`, `[2, channels]`, each
/// channel's sum of the products and of the products times `values`.
///
/// ReLU6 is flat at 0 and 6, as in PyTorch.
///
/// # Panics
/// As [`affine`], and when there is not a pair of sums for each channel.
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
        Activation::Identity => set.run(Differentiate { values, scale, shift, gradients, sums, slope: Identity }),
        Activation::Silu => set.run(Differentiate { values, scale, shift, gradients, sums, slope: Silu }),
        Activation::Relu6 => set.run(Differentiate { values, scale, shift, gradients, sums, slope: Relu6 }),
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
        // Steps without comparisons: all but the smallest numbers times this are above 1.
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

/// Loads `lanes` values: without a mask where that is a whole vector.
///
/// # Safety
/// As many values can be read.
#[inline(always)]
unsafe fn load<S: Simd, const WHOLE: bool>(simd: S, source: *const f32, lanes: usize) -> S::Vector {
    // SAFETY: the caller's promise.
    unsafe { if WHOLE { simd.load(source) } else { simd.load_first(source, lanes) } }
}

/// # Safety
/// As many values can be written.
#[inline(always)]
unsafe fn store<S: Simd, const WHOLE: bool>(simd: S, target: *mut f32, value: S::Vector, lanes: usize) {
    // SAFETY: the caller's promise.
    unsafe { if WHOLE { simd.store(target, value) } else { simd.store_first(target, value, lanes) } }
}

struct Affine<'a, A> {
    values: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    output: &'a mut [f32],
    activation: A,
}

impl<A: Apply> Kernel for Affine<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let channels = self.scale.len();
        let pixels = self.output.len() / channels;
        for start in (0..pixels).step_by(BLOCK) {
            let end = (start + BLOCK).min(pixels);
            let mut channel = 0;
            while channel < channels {
                let lanes = S::LANES.min(channels - channel);
                // SAFETY: pixels and channels are there, by the public functions' checks.
                unsafe {
                    if lanes == S::LANES {
                        self.part::<S, true>(simd, start..end, channel, lanes);
                    } else {
                        self.part::<S, false>(simd, start..end, channel, lanes);
                    }
                }
                channel += lanes;
            }
        }
    }
}

impl<A: Apply> Affine<'_, A> {
    /// # Safety
    /// The pixels and the `lanes` channels from `channel` on are within the slices.
    #[inline(always)]
    unsafe fn part<S: Simd, const WHOLE: bool>(
        &mut self,
        simd: S,
        pixels: std::ops::Range<usize>,
        channel: usize,
        lanes: usize,
    ) {
        let channels = self.scale.len();
        // SAFETY: the caller's promise; these activations need no channels.
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

impl Kernel for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let channels = self.p.len();
        let pixels = self.output.len() / channels;
        for start in (0..pixels).step_by(BLOCK) {
            let end = (start + BLOCK).min(pixels);
            let mut channel = 0;
            while channel < channels {
                let lanes = S::LANES.min(channels - channel);
                // SAFETY: as for `Affine`.
                unsafe {
                    if lanes == S::LANES {
                        self.part::<S, true>(simd, start..end, channel, lanes);
                    } else {
                        self.part::<S, false>(simd, start..end, channel, lanes);
                    }
                }
                channel += lanes;
            }
        }
    }
}

impl Combine<'_> {
    /// # Safety
    /// As for [`Affine::part`].
    #[inline(always)]
    unsafe fn part<S: Simd, const WHOLE: bool>(
        &mut self,
        simd: S,
        pixels: std::ops::Range<usize>,
        channel: usize,
        lanes: usize,
    ) {
        let channels = self.p.len();
        // SAFETY: the caller's promise.
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

impl Kernel for Moments<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let pixels = self.values.len() / self.channels;
        for start in (0..pixels).step_by(SUMMED) {
            let end = (start + SUMMED).min(pixels);
            let mut channel = 0;
            while channel < self.channels {
                let lanes = S::LANES.min(self.channels - channel);
                // SAFETY: as for `Affine`.
                unsafe {
                    if lanes == S::LANES {
                        self.part::<S, true>(simd, start..end, channel, lanes);
                    } else {
                        self.part::<S, false>(simd, start..end, channel, lanes);
                    }
                }
                channel += lanes;
            }
        }
    }
}

impl Moments<'_> {
    /// # Safety
    /// As for [`Affine::part`].
    #[inline(always)]
    unsafe fn part<S: Simd, const WHOLE: bool>(
        &mut self,
        simd: S,
        pixels: std::ops::Range<usize>,
        channel: usize,
        lanes: usize,
    ) {
        let mut sums = [simd.splat(0.0); 2];
        for pixel in pixels {
            // SAFETY: the caller's promise.
            let value =
                unsafe { load::<S, WHOLE>(simd, self.values.as_ptr().add(pixel * self.channels + channel), lanes) };
            sums = [simd.add(sums[0], value), simd.mul_add(value, value, sums[1])];
        }
        add_sums(simd, sums, &mut self.sums[channel..], self.channels, lanes);
    }
}

/// Adds the first lanes of two vectors to two rows of sums, `channels` apart.
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

impl<A: Slope> Kernel for Differentiate<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let channels = self.scale.len();
        let pixels = self.values.len() / channels;
        for start in (0..pixels).step_by(SUMMED) {
            let end = (start + SUMMED).min(pixels);
            let mut channel = 0;
            while channel < channels {
                let lanes = S::LANES.min(channels - channel);
                // SAFETY: as for `Affine`.
                unsafe {
                    if lanes == S::LANES {
                        self.part::<S, true>(simd, start..end, channel, lanes);
                    } else {
                        self.part::<S, false>(simd, start..end, channel, lanes);
                    }
                }
                channel += lanes;
            }
        }
    }
}

impl<A: Slope> Differentiate<'_, A> {
    /// # Safety
    /// As for [`Affine::part`].
    #[inline(always)]
    unsafe fn part<S: Simd, const WHOLE: bool>(
        &mut self,
        simd: S,
        pixels: std::ops::Range<usize>,
        channel: usize,
        lanes: usize,
    ) {
        let channels = self.scale.len();
        let mut sums = [simd.splat(0.0); 2];
        // SAFETY: the caller's promise.
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
