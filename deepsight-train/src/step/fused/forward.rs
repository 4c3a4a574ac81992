//! The forward pass: from pictures to the pooled features.

use ::burn::tensor::backend::Backend;
use deepsight_kernels::training::{add_moments, affine};
use rayon::prelude::*;

use super::norm::Norm;
use super::plan::Unit;
use super::pointwise::TaskShape;
use super::workspace::TaskBuffers;
use super::{Pass, layer_input, of_kind};

impl<B: Backend> Pass<'_, '_, B> {
    /// Runs all layers in order, and returns the pooled features, `[batch, features]`.
    pub(super) fn forward(&mut self) -> Vec<f32> {
        self.forward_stem();
        let mut residuals = 0;
        for index in 0..self.plan.units.len() {
            let Unit { expand, depthwise, project, residual, .. } = self.plan.units[index];
            if let Some(expand) = expand {
                self.forward_pointwise(expand, index, None);
            }
            self.forward_depthwise(depthwise, index);
            let gates = self.forward_gate(index);
            self.forward_pointwise(project, index, gates.as_deref());
            let branch = if residual { self.noise.drop_path.get(residuals).cloned() } else { None };
            residuals += usize::from(residual);
            self.finish_block(index, branch.as_deref());
        }
        let head = self.plan.head();
        self.forward_pointwise(head, self.plan.units.len(), None);
        self.means(head)
    }

    /// Runs a pointwise layer of block `block`, or the head if `block` is the number of blocks.
    fn forward_pointwise(&mut self, index: usize, block: usize, gates: Option<&[f32]>) {
        let shape = TaskShape { images: self.share(), pixels: self.plan.layers[index].pixels() };
        let (before, after) = self.workspace.results.split_at_mut(index);
        let source = layer_input(&self.plan, &self.norms, before, &self.workspace.blocks, index, block, gates);
        let product = of_kind(&self.products, index);
        product.forward(shape, source, &mut self.workspace.tasks, &mut after[0]);
        self.settle(index);
    }

    fn forward_depthwise(&mut self, index: usize, block: usize) {
        let images = self.share();
        let (before, after) = self.workspace.results.split_at_mut(index);
        let source = layer_input(&self.plan, &self.norms, before, &self.workspace.blocks, index, block, None);
        let layer = &self.plan.layers[index];
        let kernel = of_kind(&self.depthwise, index);
        let plain = Norm::identity(layer.inputs);
        let norm = source.norm.map_or(&plain, |(norm, _)| norm);
        let (input, output) = (layer.input.0 * layer.input.1 * layer.inputs, layer.pixels() * layer.outputs);
        let parts = source.values.par_chunks(images * input).zip(after[0].par_chunks_mut(images * output));
        parts.zip(self.workspace.tasks.par_iter_mut()).for_each(|((values, results), task)| {
            task.clear(layer.outputs, 0, 0);
            for (values, results) in values.chunks_exact(input).zip(results.chunks_exact_mut(output)) {
                kernel.forward(values, norm.constants(), &mut task.scratch, results);
                add_moments(self.set, results, &mut task.moments);
            }
        });
        self.settle(index);
    }

    /// Returns the gates of a block, `[batch, channels]`, or `None` if it has none.
    fn forward_gate(&mut self, index: usize) -> Option<Vec<f32>> {
        let unit = &self.plan.units[index];
        let mut squeezed = Vec::new();
        if let Some(gate) = &unit.gate {
            let means = self.means(unit.depthwise);
            let channels = self.plan.layers[unit.depthwise].outputs;
            squeezed = means.par_chunks(channels).map(|means| gate.forward(means.to_vec())).collect();
        }
        let gates: Vec<f32> = squeezed.iter().flat_map(|squeezed| squeezed.gates.iter().copied()).collect();
        self.squeezed.push(squeezed);
        (!gates.is_empty()).then_some(gates)
    }

    /// Returns the means over each image of a layer's activated results, `[batch, channels]`.
    fn means(&self, index: usize) -> Vec<f32> {
        let (set, layer, norm) = (self.set, &self.plan.layers[index], &self.norms[index]);
        let length = layer.pixels() * layer.outputs;
        let mut means = vec![0.0; self.batch.images.len() * layer.outputs];
        let images = self.workspace.results[index].par_chunks(length).zip(means.par_chunks_mut(layer.outputs));
        images.for_each(|(results, means)| {
            let mut activated = vec![0.0; 64.min(layer.pixels()) * layer.outputs];
            for results in results.chunks(64 * layer.outputs) {
                let activated = &mut activated[..results.len()];
                affine(set, &layer.activation, results, &norm.scale, &norm.shift, activated);
                for pixel in activated.chunks_exact(layer.outputs) {
                    means.iter_mut().zip(pixel).for_each(|(mean, value)| *mean += value);
                }
            }
            means.iter_mut().for_each(|mean| *mean /= layer.pixels() as f32);
        });
        means
    }

    /// Computes a block's result: its projection's normalized results, plus its input if the block is residual.
    /// `branch` has a factor of stochastic depth for the projection of each image.
    fn finish_block(&mut self, index: usize, branch: Option<&[f32]>) {
        let unit = &self.plan.units[index];
        let layer = &self.plan.layers[unit.project];
        let norm = &self.norms[unit.project];
        let length = layer.pixels() * layer.outputs;
        let (before, after) = self.workspace.blocks.split_at_mut(index);
        let input = before.last().filter(|_| unit.residual);
        let results = &self.workspace.results[unit.project];
        after[0].par_chunks_mut(length).zip(results.par_chunks(length)).enumerate().for_each(
            |(image, (block, results))| {
                let factor = branch.map_or(1.0, |branch| branch[image]);
                let scaled = |constants: &[f32]| constants.iter().map(|constant| constant * factor).collect::<Vec<_>>();
                affine(self.set, &layer.activation, results, &scaled(&norm.scale), &scaled(&norm.shift), block);
                if let Some(input) = input {
                    let input = &input[image * length..][..length];
                    block.iter_mut().zip(input).for_each(|(value, input)| *value += input);
                }
            },
        );
    }

    /// Computes a layer's norm from the moments that the tasks have summed.
    pub(super) fn settle(&mut self, index: usize) {
        let layer = &self.plan.layers[index];
        let count = self.batch.images.len() * layer.pixels();
        let sums = TaskBuffers::moments(&self.workspace.tasks[..self.used()]);
        self.norms[index] = Norm::new(&sums, count, &layer.gamma.values, &layer.beta.values, layer.epsilon);
    }
}
