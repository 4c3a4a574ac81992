//! Pointwise convolutions, forward and backward. They run on some pixels at a time, so that intermediate values stay in
//! the cache.

use deepsight_kernels::training::{add_moments, add_outer, affine, combine, differentiate};
use deepsight_kernels::{Activation, InstructionSet, Pointwise};
use rayon::prelude::*;

use super::norm::{Norm, NormGradient};
use super::workspace::TaskBuffers;

/// A layer's weights, prepared for both passes.
pub(super) struct Product {
    set: InstructionSet,
    inputs: usize,
    outputs: usize,
    forward: Pointwise,
    /// Turns gradients of outputs into gradients of inputs.
    backward: Pointwise,
}

/// The input of a layer, and the operations that are still to be applied to it.
#[derive(Clone, Copy)]
pub(super) struct LayerInput<'a> {
    /// `[batch, pixels, inputs]`
    pub(super) values: &'a [f32],
    /// Norm and activation that turn the values into inputs; `None` if the values are the inputs.
    pub(super) norm: Option<(&'a Norm, &'a Activation)>,
    /// Gates that the inputs are multiplied by, `[batch, inputs]`.
    pub(super) gates: Option<&'a [f32]>,
}

/// The part of a batch that a task computes: `images` images of `pixels` pixels.
#[derive(Clone, Copy)]
pub(super) struct TaskShape {
    pub(super) images: usize,
    pub(super) pixels: usize,
}

impl Product {
    /// Prepares weights, `[outputs, inputs]`.
    pub(super) fn new(set: InstructionSet, weights: &[f32], inputs: usize) -> Self {
        let outputs = weights.len() / inputs;
        let mut turned = vec![0.0; weights.len()];
        for (output, row) in weights.chunks_exact(inputs).enumerate() {
            for (input, weight) in row.iter().enumerate() {
                turned[input * outputs + output] = *weight;
            }
        }
        Self {
            set,
            inputs,
            outputs,
            forward: Pointwise::new(set, weights, &vec![0.0; outputs], Activation::Identity),
            backward: Pointwise::new(set, &turned, &vec![0.0; inputs], Activation::Identity),
        }
    }

    /// Fills `results`, `[batch, pixels, outputs]`, and sums their moments in each task.
    pub(super) fn forward(
        &self,
        shape: TaskShape,
        source: LayerInput<'_>,
        tasks: &mut [TaskBuffers],
        results: &mut [f32],
    ) {
        let pixels = shape.images * shape.pixels;
        let parts = source.values.par_chunks(pixels * self.inputs).zip(results.par_chunks_mut(pixels * self.outputs));
        parts.zip(tasks.par_iter_mut()).enumerate().for_each(|(index, ((values, results), task))| {
            task.clear(self.outputs, 0, 0);
            let gates = source.gates.map(|gates| &gates[index * shape.images * self.inputs..]);
            for span in self.spans(shape, results.len() / self.outputs, gates.is_some()) {
                let results = &mut results[span.start * self.outputs..span.end * self.outputs];
                let values = &values[span.start * self.inputs..span.end * self.inputs];
                let input = &mut task.input;
                let input = self.input(values, source.norm, gates, span.start / shape.pixels, input);
                self.forward.forward(input, None, results);
                add_moments(self.set, results, &mut task.moments);
            }
        });
    }

    /// Turns the gradient of the normalized results, `[batch, pixels, outputs]`, into the gradient of the inputs,
    /// `[batch, pixels, inputs]`, and writes it to `target`. Each task sums its share of the weights' gradient, in the
    /// order that [`weights`](Self::weights) reads.
    ///
    /// If the source has a norm and no gates, the gradient written is that of the norm's results, and the tasks sum it
    /// for the norm's backward pass.
    #[allow(clippy::too_many_arguments, reason = "what came in, what went out, and where each result goes")]
    pub(super) fn backward(
        &self,
        shape: TaskShape,
        source: LayerInput<'_>,
        gradients: &[f32],
        results: &[f32],
        back: &NormGradient,
        tasks: &mut [TaskBuffers],
        target: &mut [f32],
    ) {
        let pixels = shape.images * shape.pixels;
        let (inputs, outputs) = (pixels * self.inputs, pixels * self.outputs);
        let given =
            source.values.par_chunks(inputs).zip(gradients.par_chunks(outputs)).zip(results.par_chunks(outputs));
        let parts = given.zip(target.par_chunks_mut(inputs)).zip(tasks.par_iter_mut());
        parts.enumerate().for_each(|(index, ((((values, gradients), results), target), task))| {
            task.clear(self.inputs, self.inputs * self.outputs, self.inputs * shape.images);
            let gates = source.gates.map(|gates| &gates[index * shape.images * self.inputs..]);
            for span in self.spans(shape, gradients.len() / self.outputs, gates.is_some()) {
                let out = span.start * self.outputs..span.end * self.outputs;
                let inside = span.start * self.inputs..span.end * self.inputs;
                let TaskBuffers { input, gradient, weights, moments, gates: of_gates, .. } = &mut *task;
                gradient.resize(out.len().max(gradient.len()), 0.0);
                let gradient = &mut gradient[..out.len()];
                combine(self.set, &gradients[out.clone()], &results[out], back.constants(), gradient);
                let target = &mut target[inside.clone()];
                self.backward.forward(gradient, None, target);
                let values = &values[inside];
                let image = span.start / shape.pixels;
                if gates.is_some() {
                    // The gradient of a gate: the values that it multiplied, times the gradients of the products.
                    let plain = self.input(values, source.norm, None, image, input);
                    let sums = &mut of_gates[image * self.inputs..][..self.inputs];
                    for (plain, target) in plain.chunks_exact(self.inputs).zip(target.chunks_exact(self.inputs)) {
                        sums.iter_mut()
                            .zip(plain)
                            .zip(target)
                            .for_each(|((sum, plain), target)| *sum += plain * target);
                    }
                }
                let input = self.input(values, source.norm, gates, image, input);
                if self.inputs >= self.outputs {
                    add_outer(self.set, gradient, input, self.inputs, weights);
                } else {
                    add_outer(self.set, input, gradient, self.outputs, weights);
                }
                if let (Some((norm, activation)), None) = (source.norm, gates) {
                    differentiate(self.set, activation, values, norm.constants(), target, moments);
                }
            }
        });
    }

    /// Returns the weights' gradient, `[outputs, inputs]`, from the tasks' shares.
    pub(super) fn weights(&self, tasks: &[TaskBuffers]) -> Vec<f32> {
        let sums = TaskBuffers::sum_weights(tasks, self.inputs * self.outputs);
        if self.inputs >= self.outputs {
            return sums;
        }
        let mut turned = vec![0.0; sums.len()];
        for (input, row) in sums.chunks_exact(self.outputs).enumerate() {
            for (output, value) in row.iter().enumerate() {
                turned[output * self.inputs + input] = *value;
            }
        }
        turned
    }

    /// Returns the ranges of pixels that are computed together. With gates, a range does not go beyond one image,
    /// because gates differ from image to image.
    fn spans(&self, shape: TaskShape, pixels: usize, gated: bool) -> impl Iterator<Item = std::ops::Range<usize>> {
        let most = (VALUES / (self.inputs + self.outputs)).clamp(48, 384);
        let whole = if gated { shape.pixels } else { pixels };
        let step = whole.div_ceil(whole.div_ceil(most));
        (0..pixels).step_by(whole).flat_map(move |start| {
            let end = start + whole;
            (start..end).step_by(step).map(move |first| first..(first + step).min(end))
        })
    }

    /// Returns the inputs of some pixels of one or more images.
    fn input<'a>(
        &self,
        values: &'a [f32],
        norm: Option<(&Norm, &Activation)>,
        gates: Option<&[f32]>,
        image: usize,
        buffer: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let Some((norm, activation)) = norm else { return values };
        if buffer.len() < values.len() {
            buffer.resize(values.len(), 0.0);
        }
        let input = &mut buffer[..values.len()];
        affine(self.set, activation, values, &norm.scale, &norm.shift, input);
        if let Some(gates) = gates {
            let gates = &gates[image * self.inputs..][..self.inputs];
            for pixel in input.chunks_exact_mut(self.inputs) {
                pixel.iter_mut().zip(gates).for_each(|(value, gate)| *value *= gate);
            }
        }
        input
    }
}

/// Number of inputs and outputs together that fit in the second-level cache beside some of the weights.
const VALUES: usize = 48 << 10;
