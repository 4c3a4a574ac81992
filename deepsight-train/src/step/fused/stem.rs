//! The first convolution, forward and backward. It reads the pictures themselves.

use ::burn::tensor::backend::Backend;
use deepsight_kernels::training::{add_moments, add_outer, combine};
use deepsight_kernels::{Activation, Convolution};
use image::RgbImage;
use rayon::prelude::*;

use super::Pass;
use super::backward::{register, register_norm};
use super::plan::Layer;
use super::workspace::{TaskBuffers, Workspace, first};

impl<B: Backend> Pass<'_, '_, B> {
    /// Runs the first convolution on the pictures.
    pub(super) fn forward_stem(&mut self) {
        let layer = &self.plan.layers[0];
        let (set, size, mean, std) = (self.set, self.size, self.mean, self.std);
        let zeros = vec![0.0; layer.outputs];
        let stem =
            Convolution::new(set, &layer.weight.values, &zeros, layer.kernel, layer.stride, Activation::Identity);
        let images = self.share();
        let length = layer.pixels() * layer.outputs;
        let Workspace { results, tasks, .. } = &mut *self.workspace;
        let parts = self.batch.images.par_chunks(images).zip(results[0].par_chunks_mut(images * length));
        parts.zip(tasks.par_iter_mut()).for_each(|((images, results), task)| {
            task.clear(layer.outputs, 0, 0);
            for (image, results) in images.iter().zip(results.chunks_exact_mut(length)) {
                let width = padded(image, layer, size, (mean, std), &mut task.input);
                stem.forward(&task.input, width, results);
                add_moments(set, results, &mut task.moments);
            }
        });
        self.settle(0);
    }

    /// Computes the gradient of the stem's weights. The gradient of the stem's normalized results is in
    /// [`Gradients::expanded`](super::workspace::Gradients::expanded).
    pub(super) fn backward_stem(&mut self, sums: &[f64], device: &B::Device) {
        let layer = &self.plan.layers[0];
        let back = self.norms[0].back(sums, self.batch.images.len() * layer.pixels(), &layer.gamma.values);
        let (set, size, mean, std) = (self.set, self.size, self.mean, self.std);
        let (images, length) = (self.share(), layer.pixels() * layer.outputs);
        let under = layer.kernel * layer.kernel * layer.inputs;
        let Workspace { results, gradients, tasks, .. } = &mut *self.workspace;
        let gradients = gradients.expanded[..results[0].len()].par_chunks(images * length);
        let parts = self.batch.images.par_chunks(images).zip(gradients).zip(results[0].par_chunks(images * length));
        parts.zip(tasks.par_iter_mut()).for_each(|(((images, gradients), results), task)| {
            task.clear(0, layer.weight.values.len(), 0);
            let columns = layer.output.1;
            let mut patches = vec![0.0; columns * under];
            let given = images.iter().zip(gradients.chunks_exact(length)).zip(results.chunks_exact(length));
            for ((image, gradients), results) in given {
                let width = padded(image, layer, size, (mean, std), &mut task.input);
                let rows =
                    gradients.chunks_exact(columns * layer.outputs).zip(results.chunks_exact(columns * layer.outputs));
                for (row, (gradients, results)) in rows.enumerate() {
                    let gradient = first(&mut task.gradient, gradients.len());
                    combine(set, gradients, results, back.constants(), gradient);
                    let segment = layer.kernel * layer.inputs;
                    for (column, patch) in patches.chunks_exact_mut(under).enumerate() {
                        for (y, line) in patch.chunks_exact_mut(segment).enumerate() {
                            let at = ((row * layer.stride + y) * width + column * layer.stride) * layer.inputs;
                            line.copy_from_slice(&task.input[at..at + segment]);
                        }
                    }
                    add_outer(set, &patches, gradient, layer.outputs, &mut task.weights);
                }
            }
        });
        // From `[pixel, channel, output]` to PyTorch's `[output, channel, pixel]`.
        let sums = TaskBuffers::sum_weights(&self.workspace.tasks[..self.used()], layer.weight.values.len());
        let area = layer.kernel * layer.kernel;
        let turned = (0..sums.len()).map(|i| {
            let (output, channel, pixel) = (i / under, i % under / area, i % area);
            sums[(pixel * layer.inputs + channel) * layer.outputs + output]
        });
        register::<B>(&mut self.gradients, &layer.weight, turned.collect(), device);
        register_norm(&mut self.gradients, layer, back, device);
    }
}

/// Writes the normalized picture with the stem's zero padding to `target`, `[height, width, 3]`, and returns its width.
fn padded<B: Backend>(
    image: &RgbImage,
    layer: &Layer<'_, B>,
    size: usize,
    (mean, std): ([f32; 3], [f32; 3]),
    target: &mut Vec<f32>,
) -> usize {
    let side = |padding: usize, output: usize| (padding + size).max((output - 1) * layer.stride + layer.kernel);
    let (height, width) = (side(layer.padding.0, layer.output.0), side(layer.padding.1, layer.output.1));
    target.clear();
    target.resize(height * width * 3, 0.0);
    for (row, pixels) in image.as_raw().chunks_exact(3 * size).enumerate() {
        let at = ((row + layer.padding.0) * width + layer.padding.1) * 3;
        for (target, pixel) in target[at..at + 3 * size].chunks_exact_mut(3).zip(pixels.chunks_exact(3)) {
            for c in 0..3 {
                target[c] = (f32::from(pixel[c]) / 255.0 - mean[c]) / std[c];
            }
        }
    }
    width
}
