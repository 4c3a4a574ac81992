//! The backward pass: from the gradient of the pooled features to the gradients of all parameters.

use ::burn::module::ParamId;
use ::burn::optim::GradientsParams;
use ::burn::tensor::backend::Backend;
use ::burn::tensor::{Tensor, TensorData};
use deepsight_kernels::training::differentiate;
use rayon::prelude::*;

use super::norm::{Norm, NormGradient};
use super::plan::{Layer, Parameter, Unit};
use super::pointwise::TaskShape;
use super::workspace::{Gradients, Route, TaskBuffers, Workspace, first};
use super::{Pass, layer_input, of_kind};

impl<B: Backend> Pass<'_, '_, B> {
    /// Runs all layers in reverse order, from the gradient of the pooled features.
    pub(super) fn backward(&mut self, pooled: &[f32], device: &B::Device) {
        let head = self.plan.head();
        let mut sums = self.unpool(head, pooled);
        let last = self.plan.units.len();
        self.backward_pointwise(head, last, None, Route::HeadToBlock, &sums, device);
        let mut residuals = self.plan.units.iter().filter(|unit| unit.residual).count();
        for index in (0..last).rev() {
            let Unit { expand, depthwise, project, residual, .. } = self.plan.units[index];
            residuals -= usize::from(residual);
            let branch = if residual { self.noise.drop_path.get(residuals).cloned() } else { None };
            sums = self.branch_gradient(project, branch.as_deref());
            let gates: Vec<f32> = self.squeezed[index].iter().flat_map(|squeezed| squeezed.gates.clone()).collect();
            let gates = (!gates.is_empty()).then_some(gates);
            sums = self.backward_pointwise(project, index, gates.as_deref(), Route::BranchToInner, &sums, device);
            if gates.is_some() {
                sums = self.backward_gate(index, device);
            }
            match expand {
                Some(expand) => {
                    sums = self.backward_depthwise(depthwise, index, Route::InnerToExpanded, &sums, device);
                    self.backward_pointwise(expand, index, None, Route::ExpandedToBefore, &sums, device);
                }
                // The first block reads the stem.
                None if index == 0 => {
                    sums = self.backward_depthwise(depthwise, index, Route::InnerToExpanded, &sums, device);
                }
                None => {
                    self.backward_depthwise(depthwise, index, Route::InnerToBefore, &sums, device);
                }
            }
            if residual {
                let Gradients { block, before, .. } = &mut self.workspace.gradients;
                let length = self.workspace.blocks[index].len();
                before[..length]
                    .par_chunks_mut(1 << 14)
                    .zip(block[..length].par_chunks(1 << 14))
                    .for_each(|(before, block)| before.iter_mut().zip(block).for_each(|(sum, value)| *sum += value));
            }
            self.workspace.gradients.enter_block_before();
        }
        self.backward_stem(&sums, device);
    }

    /// Writes the gradient of the head's normalized results to [`Gradients::inner`], and returns its sums.
    fn unpool(&mut self, head: usize, pooled: &[f32]) -> Vec<f64> {
        let layer = &self.plan.layers[head];
        let norm = &self.norms[head];
        let (images, length) = (self.share(), layer.pixels() * layer.outputs);
        let Workspace { results, gradients, tasks, .. } = &mut *self.workspace;
        let results = &results[head];
        let gradient = first(&mut gradients.inner, results.len());
        let parts = gradient.par_chunks_mut(images * length).zip(results.par_chunks(images * length));
        parts.zip(pooled.par_chunks(images * layer.outputs)).zip(tasks.par_iter_mut()).for_each(
            |(((gradient, results), pooled), task)| {
                task.clear(layer.outputs, 0, 0);
                let each = 1.0 / layer.pixels() as f32;
                for (gradient, pooled) in gradient.chunks_exact_mut(length).zip(pooled.chunks_exact(layer.outputs)) {
                    for pixel in gradient.chunks_exact_mut(layer.outputs) {
                        pixel.iter_mut().zip(pooled).for_each(|(gradient, pooled)| *gradient = pooled * each);
                    }
                }
                differentiate(self.set, &layer.activation, results, norm.constants(), gradient, &mut task.moments);
            },
        );
        TaskBuffers::moments(&self.workspace.tasks[..self.used()])
    }

    /// Writes the gradient of a projection's normalized results to [`Gradients::branch`], and returns its sums. It is
    /// the gradient of the block's result, multiplied by the factors of stochastic depth in `branch`.
    fn branch_gradient(&mut self, project: usize, branch: Option<&[f32]>) -> Vec<f64> {
        let layer = &self.plan.layers[project];
        let norm = &self.norms[project];
        let (images, length) = (self.share(), layer.pixels() * layer.outputs);
        let Workspace { results, gradients: Gradients { block, branch: target, .. }, tasks, .. } = &mut *self.workspace;
        let results = &results[project];
        let target = first(target, results.len());
        let parts = target.par_chunks_mut(images * length).zip(block.par_chunks(images * length));
        let parts = parts.zip(results.par_chunks(images * length)).zip(tasks.par_iter_mut());
        parts.enumerate().for_each(|(index, (((target, block), results), task))| {
            task.clear(layer.outputs, 0, 0);
            for (image, (target, block)) in target.chunks_exact_mut(length).zip(block.chunks_exact(length)).enumerate()
            {
                let factor = branch.map_or(1.0, |branch| branch[index * images + image]);
                target.iter_mut().zip(block).for_each(|(target, gradient)| *target = gradient * factor);
            }
            differentiate(self.set, &layer.activation, results, norm.constants(), target, &mut task.moments);
        });
        TaskBuffers::moments(&self.workspace.tasks[..self.used()])
    }

    /// Runs a pointwise layer's backward pass along `route`, and returns the sums of the gradient that it wrote.
    fn backward_pointwise(
        &mut self,
        index: usize,
        block: usize,
        gates: Option<&[f32]>,
        route: Route,
        sums: &[f64],
        device: &B::Device,
    ) -> Vec<f64> {
        let layer = &self.plan.layers[index];
        let back = self.norms[index].back(sums, self.batch.images.len() * layer.pixels(), &layer.gamma.values);
        let shape = TaskShape { images: self.share(), pixels: layer.pixels() };
        let Workspace { results, blocks, gradients, tasks } = &mut *self.workspace;
        let (before, after) = results.split_at(index);
        let source = layer_input(&self.plan, &self.norms, before, blocks, index, block, gates);
        let (gradients, target) = gradients.along(route, after[0].len(), source.values.len());
        let product = of_kind(&self.products, index);
        product.backward(shape, source, gradients, &after[0], &back, tasks, target);
        let tasks = &self.workspace.tasks[..self.used()];
        register::<B>(&mut self.gradients, &layer.weight, product.weights(tasks), device);
        register_norm(&mut self.gradients, layer, back, device);
        TaskBuffers::moments(tasks)
    }

    /// Runs a depthwise layer's backward pass along `route`, and returns the sums of the gradient that it wrote.
    fn backward_depthwise(
        &mut self,
        index: usize,
        block: usize,
        route: Route,
        sums: &[f64],
        device: &B::Device,
    ) -> Vec<f64> {
        let layer = &self.plan.layers[index];
        let back = self.norms[index].back(sums, self.batch.images.len() * layer.pixels(), &layer.gamma.values);
        let images = self.share();
        let Workspace { results, blocks, gradients, tasks } = &mut *self.workspace;
        let (before, after) = results.split_at(index);
        let source = layer_input(&self.plan, &self.norms, before, blocks, index, block, None);
        let plain = Norm::identity(layer.inputs);
        let norm = source.norm.map_or(&plain, |(norm, _)| norm);
        let (input, output) = (layer.input.0 * layer.input.1 * layer.inputs, layer.pixels() * layer.outputs);
        let (gradients, target) = gradients.along(route, after[0].len(), source.values.len());
        let kernel = of_kind(&self.depthwise, index);
        let given = source.values.par_chunks(images * input).zip(gradients.par_chunks(images * output));
        let given = given.zip(after[0].par_chunks(images * output));
        let parts = given.zip(target.par_chunks_mut(images * input)).zip(tasks.par_iter_mut());
        parts.for_each(|((((values, gradients), results), target), task)| {
            task.clear(layer.inputs, layer.weight.values.len(), 0);
            let TaskBuffers { weights, moments, scratch, .. } = task;
            let given = values.chunks_exact(input).zip(gradients.chunks_exact(output));
            let images = given.zip(results.chunks_exact(output)).zip(target.chunks_exact_mut(input));
            for (((values, gradients), results), target) in images {
                let (norm, back) = (norm.constants(), back.constants());
                kernel.add_weight_gradient(values, norm, gradients, results, back, scratch, weights);
                kernel.input_gradient(values, norm, gradients, results, back, scratch, target, moments);
            }
        });
        let tasks = &self.workspace.tasks[..self.used()];
        // From the kernel's `[tap, channel]` to Burn's `[channel, tap]`.
        let by_tap = TaskBuffers::sum_weights(tasks, layer.weight.values.len());
        let area = layer.kernel * layer.kernel;
        let by_channel = (0..by_tap.len()).map(|i| by_tap[i % area * layer.outputs + i / area]).collect();
        register::<B>(&mut self.gradients, &layer.weight, by_channel, device);
        register_norm(&mut self.gradients, layer, back, device);
        TaskBuffers::moments(tasks)
    }

    /// Turns the gradient of a block's gated values, in [`Gradients::inner`], into the gradient of its depthwise
    /// layer's normalized results, and returns the sums of the latter.
    fn backward_gate(&mut self, index: usize, device: &B::Device) -> Vec<f64> {
        let unit = &self.plan.units[index];
        let Some(gate) = &unit.gate else { return Vec::new() };
        let layer = &self.plan.layers[unit.depthwise];
        let norm = &self.norms[unit.depthwise];
        let (images, length) = (self.share(), layer.pixels() * layer.outputs);
        let squeezed = &self.squeezed[index];
        let Workspace { results, gradients, tasks, .. } = &mut *self.workspace;
        let results = &results[unit.depthwise];
        let gradient = first(&mut gradients.inner, results.len());
        let parts = gradient.par_chunks_mut(images * length).zip(results.par_chunks(images * length));
        let parts = parts.zip(squeezed.par_chunks(images)).zip(tasks.par_iter_mut());
        let sums: Vec<[Vec<f32>; 4]> = parts
            .map(|(((gradient, results), squeezed), task)| {
                let mut sums = gate.zeros();
                task.moments.clear();
                task.moments.resize(2 * layer.outputs, 0.0);
                let of_gates = task.gates.chunks_exact(layer.outputs);
                let images = gradient.chunks_exact_mut(length).zip(results.chunks_exact(length)).zip(squeezed);
                for (((gradient, results), squeezed), of_gates) in images.zip(of_gates) {
                    let mut of_means = gate.backward(squeezed, of_gates, &mut sums);
                    of_means.iter_mut().for_each(|gradient| *gradient /= layer.pixels() as f32);
                    for pixel in gradient.chunks_exact_mut(layer.outputs) {
                        let constants = squeezed.gates.iter().zip(&of_means);
                        pixel.iter_mut().zip(constants).for_each(|(g, (gate, mean))| *g = *g * gate + mean);
                    }
                    differentiate(self.set, &layer.activation, results, norm.constants(), gradient, &mut task.moments);
                }
                sums
            })
            .collect();
        let weights = [&gate.reduce, &gate.reduce_bias, &gate.expand, &gate.expand_bias];
        for (which, weight) in weights.into_iter().enumerate() {
            let mut total = sums[0][which].clone();
            for part in &sums[1..] {
                total.iter_mut().zip(&part[which]).for_each(|(sum, value)| *sum += value);
            }
            register::<B>(&mut self.gradients, weight, total, device);
        }
        TaskBuffers::moments(&self.workspace.tasks[..self.used()])
    }
}

/// Registers the gradients of a norm's scale and shift.
pub(super) fn register_norm<B: Backend>(
    gradients: &mut GradientsParams,
    layer: &Layer<'_, B>,
    back: NormGradient,
    device: &B::Device,
) {
    register::<B>(gradients, &layer.gamma, back.gamma, device);
    register::<B>(gradients, &layer.beta, back.beta, device);
}

/// Registers the gradient of a parameter.
pub(super) fn register<B: Backend>(
    gradients: &mut GradientsParams,
    weight: &Parameter,
    values: Vec<f32>,
    device: &B::Device,
) {
    fn of<B: Backend, const D: usize>(
        gradients: &mut GradientsParams,
        id: ParamId,
        data: TensorData,
        device: &B::Device,
    ) {
        gradients.register::<B, D>(id, Tensor::from_data(data, device));
    }
    let data = TensorData::new(values, weight.shape.clone());
    match weight.shape.len() {
        1 => of::<B, 1>(gradients, weight.id, data, device),
        2 => of::<B, 2>(gradients, weight.id, data, device),
        _ => of::<B, 4>(gradients, weight.id, data, device),
    }
}
