//! The fused training step for CPUs: the whole network, forward and backward, by kernels of our own.
//!
//! Burn's operators compute a batch norm in a dozen passes over memory, and a depthwise gradient in a loop over
//! channels. Here a layer writes its convolution's results once, before the norm. Norm and activation are computed
//! again wherever those results are read, in the forward and in the backward pass, while the results are in the cache.
//! The batch is cut into a fixed number of tasks, whose sums are added in order, so that results do not depend on the
//! number of threads.

mod gate;
mod head;
mod norm;
mod plan;
mod pointwise;
mod workspace;

use ::burn::backend::Autodiff;
use ::burn::module::{ParamId, RunningState};
use ::burn::optim::GradientsParams;
use ::burn::tensor::backend::Backend;
use ::burn::tensor::{Tensor, TensorData};
use deepsight_core::{BATCH_NORM_MOMENTUM, EfficientNet, EfficientNetConfig};
use deepsight_kernels::training::{Depthwise, DepthwiseShape, add_moments, add_outer, affine, combine, differentiate};
use deepsight_kernels::{Activation, Convolution, InstructionSet};
use image::RgbImage;
use rayon::prelude::*;

use self::gate::Squeezed;
use self::norm::{Back, Norm};
use self::plan::{Kind, Layer, Plan, Unit, Weight, values};
use self::pointwise::{Cut, Product, Source};
use self::workspace::{TASKS, Task, Workspace, first};
use super::{Batch, Noise, Objective, Step, StepOutput};
use crate::Error;

/// A training step that computes on the CPU, whatever the backend. It is the fastest step if the backend runs on the
/// CPU too.
///
/// Its results are those of [`BurnStep`](super::BurnStep), within rounding.
pub struct FusedStep {
    config: EfficientNetConfig,
    set: InstructionSet,
    size: u32,
    mean: [f32; 3],
    std: [f32; 3],
    workspace: Workspace,
}

impl FusedStep {
    /// Creates a step for networks of that shape and for pictures of `size × size` pixels. `mean` and `std` normalize
    /// values in `0..=1`.
    ///
    /// # Errors
    /// [`deepsight_core::Error::InstructionSet`] when the environment variable `DEEPSIGHT_CPU` names instructions that
    /// this processor does not have.
    pub fn new(config: &EfficientNetConfig, size: u32, mean: [f32; 3], std: [f32; 3]) -> Result<Self, Error> {
        let set = InstructionSet::from_environment().map_err(deepsight_core::Error::from)?;
        Ok(Self { config: config.clone(), set, size, mean, std, workspace: Workspace::default() })
    }
}

impl<B: Backend> Step<B> for FusedStep {
    fn run(
        &mut self,
        network: &EfficientNet<Autodiff<B>>,
        batch: &Batch,
        noise: &Noise,
        objective: &Objective,
    ) -> Result<StepOutput, Error> {
        batch.check(self.size)?;
        noise.check(&self.config, batch.images.len())?;
        let plan = Plan::new(network, self.size as usize)?;
        let device = network.conv_stem.weight.val().device();
        Ok(Pass::new(self, plan, batch, noise).run(objective, &device))
    }
}

/// One forward and backward pass of one batch.
struct Pass<'a, 'n, B: Backend> {
    set: InstructionSet,
    size: usize,
    mean: [f32; 3],
    std: [f32; 3],
    plan: Plan<'n, B>,
    batch: &'a Batch,
    noise: &'a Noise,
    workspace: &'a mut Workspace,
    /// Batch norm of each layer.
    norms: Vec<Norm>,
    /// Weights of each pointwise layer; `None` for other layers.
    products: Vec<Option<Product>>,
    depthwise: Vec<Option<Depthwise>>,
    /// For each block, the values of its gate for each image. Empty for a block without a gate.
    squeezed: Vec<Vec<Squeezed>>,
    gradients: GradientsParams,
}

impl<'a, 'n, B: Backend> Pass<'a, 'n, B> {
    fn new(step: &'a mut FusedStep, plan: Plan<'n, B>, batch: &'a Batch, noise: &'a Noise) -> Self {
        let FusedStep { set, size, mean, std, workspace, .. } = step;
        let images = batch.images.len();
        workspace.tasks.resize_with(TASKS, Task::default);
        workspace.results.resize_with(plan.layers.len(), Vec::new);
        workspace.blocks.resize_with(plan.units.len(), Vec::new);
        for (layer, results) in plan.layers.iter().zip(&mut workspace.results) {
            // Must have exactly this length, because the tasks take chunks of it.
            results.resize(images * layer.pixels() * layer.outputs, 0.0);
        }
        for (unit, block) in plan.units.iter().zip(&mut workspace.blocks) {
            let layer = &plan.layers[unit.project];
            block.resize(images * layer.pixels() * layer.outputs, 0.0);
        }
        let product = |layer: &Layer<'_, B>| {
            (layer.kind == Kind::Pointwise).then(|| Product::new(*set, &layer.weight.values, layer.inputs))
        };
        let products = plan.layers.iter().map(product).collect();
        let mut pass = Self {
            set: *set,
            size: *size as usize,
            mean: *mean,
            std: *std,
            batch,
            noise,
            workspace,
            norms: vec![Norm::default(); plan.layers.len()],
            products,
            depthwise: Vec::new(),
            squeezed: Vec::new(),
            gradients: GradientsParams::new(),
            plan,
        };
        pass.depthwise = (0..pass.plan.layers.len()).map(|index| pass.depthwise_layer(index)).collect();
        pass
    }

    fn run(mut self, objective: &Objective, device: &B::Device) -> StepOutput {
        let pooled = self.forward();
        let ending = head::finish(
            &pooled,
            &self.batch.labels,
            &self.plan.classifier,
            &self.plan.classifier_bias,
            self.noise,
            objective,
        );
        register::<B>(&mut self.gradients, &self.plan.classifier, ending.classifier, device);
        register::<B>(&mut self.gradients, &self.plan.classifier_bias, ending.classifier_bias, device);
        self.backward(&ending.pooled, device);
        self.follow(device);
        StepOutput { loss: ending.loss, fake_probabilities: ending.fake_probabilities, gradients: self.gradients }
    }

    /// Runs all layers in order, and returns the pooled features, `[batch, features]`.
    fn forward(&mut self) -> Vec<f32> {
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

    /// Returns the number of images of a task.
    fn share(&self) -> usize {
        self.batch.images.len().div_ceil(TASKS)
    }

    fn forward_stem(&mut self) {
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

    /// Runs a pointwise layer of block `block`, or the head if `block` is the number of blocks.
    fn forward_pointwise(&mut self, index: usize, block: usize, gates: Option<&[f32]>) {
        let cut = Cut { images: self.share(), pixels: self.plan.layers[index].pixels() };
        let (before, after) = self.workspace.results.split_at_mut(index);
        let source = source(&self.plan, &self.norms, before, &self.workspace.blocks, index, block, gates);
        let product = made(&self.products, index);
        product.forward(cut, source, &mut self.workspace.tasks, &mut after[0]);
        self.settle(index);
    }

    fn forward_depthwise(&mut self, index: usize, block: usize) {
        let images = self.share();
        let (before, after) = self.workspace.results.split_at_mut(index);
        let source = source(&self.plan, &self.norms, before, &self.workspace.blocks, index, block, None);
        let layer = &self.plan.layers[index];
        let kernel = made(&self.depthwise, index);
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
    fn settle(&mut self, index: usize) {
        let layer = &self.plan.layers[index];
        let count = self.batch.images.len() * layer.pixels();
        let sums = Task::moments(&self.workspace.tasks[..self.used()]);
        self.norms[index] = Norm::new(&sums, count, &layer.gamma.values, &layer.beta.values, layer.epsilon);
    }

    /// Returns the number of tasks that have images.
    fn used(&self) -> usize {
        self.batch.images.len().div_ceil(self.share())
    }

    /// Runs all layers in reverse order, from the gradient of the pooled features.
    fn backward(&mut self, pooled: &[f32], device: &B::Device) {
        let head = self.plan.head();
        let mut sums = self.unpool(head, pooled);
        // The head's gradient is in the first wide buffer. The gradient of its input goes to the first narrow buffer.
        let last = self.plan.units.len();
        self.backward_pointwise(head, last, None, (Buffer::Wide(0), Buffer::Narrow(0)), &sums, device);
        let mut residuals = self.plan.units.iter().filter(|unit| unit.residual).count();
        for index in (0..last).rev() {
            let Unit { expand, depthwise, project, residual, .. } = self.plan.units[index];
            residuals -= usize::from(residual);
            let branch = if residual { self.noise.drop_path.get(residuals).cloned() } else { None };
            sums = self.branch_gradient(project, branch.as_deref());
            let gates: Vec<f32> = self.squeezed[index].iter().flat_map(|squeezed| squeezed.gates.clone()).collect();
            let gates = (!gates.is_empty()).then_some(gates);
            sums = self.backward_pointwise(
                project,
                index,
                gates.as_deref(),
                (Buffer::Narrow(2), Buffer::Wide(0)),
                &sums,
                device,
            );
            if gates.is_some() {
                sums = self.backward_gate(index, device);
            }
            match expand {
                Some(expand) => {
                    sums = self.backward_depthwise(depthwise, index, (Buffer::Wide(0), Buffer::Wide(1)), &sums, device);
                    let buffers = (Buffer::Wide(1), Buffer::Narrow(1));
                    self.backward_pointwise(expand, index, None, buffers, &sums, device);
                }
                // The first block reads the stem, whose gradient is expected in the second wide buffer.
                None if index == 0 => {
                    sums = self.backward_depthwise(depthwise, index, (Buffer::Wide(0), Buffer::Wide(1)), &sums, device);
                }
                None => {
                    self.backward_depthwise(depthwise, index, (Buffer::Wide(0), Buffer::Narrow(1)), &sums, device);
                }
            }
            if residual {
                let [gradient, before, _] = &mut self.workspace.narrow;
                let length = self.workspace.blocks[index].len();
                before[..length]
                    .par_chunks_mut(1 << 14)
                    .zip(gradient[..length].par_chunks(1 << 14))
                    .for_each(|(before, gradient)| before.iter_mut().zip(gradient).for_each(|(b, g)| *b += g));
            }
            self.workspace.narrow.swap(0, 1);
        }
        self.backward_stem(&sums, device);
    }

    /// Writes the gradient of the head's normalized results into the first wide buffer, and returns its sums.
    fn unpool(&mut self, head: usize, pooled: &[f32]) -> Vec<f64> {
        let layer = &self.plan.layers[head];
        let norm = &self.norms[head];
        let (images, length) = (self.share(), layer.pixels() * layer.outputs);
        let Workspace { results, wide, tasks, .. } = &mut *self.workspace;
        let results = &results[head];
        let gradient = first(&mut wide[0], results.len());
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
        Task::moments(&self.workspace.tasks[..self.used()])
    }

    /// Writes the gradient of a projection's normalized results into the last narrow buffer, and returns its sums. It
    /// is the gradient of the block's result, multiplied by the factors of stochastic depth in `branch`.
    fn branch_gradient(&mut self, project: usize, branch: Option<&[f32]>) -> Vec<f64> {
        let layer = &self.plan.layers[project];
        let norm = &self.norms[project];
        let (images, length) = (self.share(), layer.pixels() * layer.outputs);
        let Workspace { results, narrow: [block, _, target], tasks, .. } = &mut *self.workspace;
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
        Task::moments(&self.workspace.tasks[..self.used()])
    }

    /// Runs a pointwise layer's backward pass from one buffer to another, and returns the sums of the gradient that it
    /// wrote.
    fn backward_pointwise(
        &mut self,
        index: usize,
        block: usize,
        gates: Option<&[f32]>,
        (from, to): (Buffer, Buffer),
        sums: &[f64],
        device: &B::Device,
    ) -> Vec<f64> {
        let layer = &self.plan.layers[index];
        let back = self.norms[index].back(sums, self.batch.images.len() * layer.pixels(), &layer.gamma.values);
        let cut = Cut { images: self.share(), pixels: layer.pixels() };
        let Workspace { results, blocks, wide, narrow, tasks } = &mut *self.workspace;
        let (before, after) = results.split_at(index);
        let source = source(&self.plan, &self.norms, before, blocks, index, block, gates);
        let (gradients, target) = buffers(wide, narrow, from, to, after[0].len(), source.values.len());
        let product = made(&self.products, index);
        product.backward(cut, source, gradients, &after[0], &back, tasks, target);
        let tasks = &self.workspace.tasks[..self.used()];
        register::<B>(&mut self.gradients, &layer.weight, product.weights(tasks), device);
        register_norm(&mut self.gradients, layer, back, device);
        Task::moments(tasks)
    }

    fn backward_depthwise(
        &mut self,
        index: usize,
        block: usize,
        (from, to): (Buffer, Buffer),
        sums: &[f64],
        device: &B::Device,
    ) -> Vec<f64> {
        let layer = &self.plan.layers[index];
        let back = self.norms[index].back(sums, self.batch.images.len() * layer.pixels(), &layer.gamma.values);
        let images = self.share();
        let Workspace { results, blocks, wide, narrow, tasks } = &mut *self.workspace;
        let (before, after) = results.split_at(index);
        let source = source(&self.plan, &self.norms, before, blocks, index, block, None);
        let plain = Norm::identity(layer.inputs);
        let norm = source.norm.map_or(&plain, |(norm, _)| norm);
        let (input, output) = (layer.input.0 * layer.input.1 * layer.inputs, layer.pixels() * layer.outputs);
        let (gradients, target) = buffers(wide, narrow, from, to, after[0].len(), source.values.len());
        let kernel = made(&self.depthwise, index);
        let given = source.values.par_chunks(images * input).zip(gradients.par_chunks(images * output));
        let given = given.zip(after[0].par_chunks(images * output));
        let parts = given.zip(target.par_chunks_mut(images * input)).zip(tasks.par_iter_mut());
        parts.for_each(|((((values, gradients), results), target), task)| {
            task.clear(layer.inputs, layer.weight.values.len(), 0);
            let Task { weights, moments, scratch, .. } = task;
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
        let by_tap = Task::sum_weights(tasks, layer.weight.values.len());
        let area = layer.kernel * layer.kernel;
        let by_channel = (0..by_tap.len()).map(|i| by_tap[i % area * layer.outputs + i / area]).collect();
        register::<B>(&mut self.gradients, &layer.weight, by_channel, device);
        register_norm(&mut self.gradients, layer, back, device);
        Task::moments(tasks)
    }

    /// Turns the gradient of a block's gated values, in the first wide buffer, into the gradient of its depthwise
    /// layer's normalized results, and returns the sums of the latter.
    fn backward_gate(&mut self, index: usize, device: &B::Device) -> Vec<f64> {
        let unit = &self.plan.units[index];
        let Some(gate) = &unit.gate else { return Vec::new() };
        let layer = &self.plan.layers[unit.depthwise];
        let norm = &self.norms[unit.depthwise];
        let (images, length) = (self.share(), layer.pixels() * layer.outputs);
        let squeezed = &self.squeezed[index];
        let Workspace { results, wide, tasks, .. } = &mut *self.workspace;
        let results = &results[unit.depthwise];
        let gradient = first(&mut wide[0], results.len());
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
        Task::moments(&self.workspace.tasks[..self.used()])
    }

    /// Computes the gradient of the stem's weights. The gradient of the stem's normalized results is in the second wide
    /// buffer.
    fn backward_stem(&mut self, sums: &[f64], device: &B::Device) {
        let layer = &self.plan.layers[0];
        let back = self.norms[0].back(sums, self.batch.images.len() * layer.pixels(), &layer.gamma.values);
        let (set, size, mean, std) = (self.set, self.size, self.mean, self.std);
        let (images, length) = (self.share(), layer.pixels() * layer.outputs);
        let under = layer.kernel * layer.kernel * layer.inputs;
        let Workspace { results, wide, tasks, .. } = &mut *self.workspace;
        let gradients = wide[1][..results[0].len()].par_chunks(images * length);
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
        let sums = Task::sum_weights(&self.workspace.tasks[..self.used()], layer.weight.values.len());
        let area = layer.kernel * layer.kernel;
        let turned = (0..sums.len()).map(|i| {
            let (output, channel, pixel) = (i / under, i % under / area, i % area);
            sums[(pixel * layer.inputs + channel) * layer.outputs + output]
        });
        register::<B>(&mut self.gradients, &layer.weight, turned.collect(), device);
        register_norm(&mut self.gradients, layer, back, device);
    }

    /// Moves the running statistics toward those of the batch.
    fn follow(&self, device: &B::Device) {
        for (layer, norm) in self.plan.layers.iter().zip(&self.norms) {
            let count = (self.batch.images.len() * layer.pixels()) as f64;
            let sample = count / (count - 1.0).max(1.0);
            let unbiased: Vec<f64> = norm.variance.iter().map(|variance| variance * sample).collect();
            for (running, batch) in [(layer.running_mean, &norm.mean), (layer.running_var, &unbiased)] {
                move_towards(running, batch, device);
            }
        }
    }

    fn depthwise_layer(&self, index: usize) -> Option<Depthwise> {
        let layer = &self.plan.layers[index];
        if layer.kind != Kind::Depthwise {
            return None;
        }
        let shape = DepthwiseShape {
            channels: layer.outputs,
            input: layer.input,
            output: layer.output,
            kernel: layer.kernel,
            stride: layer.stride,
            padding: layer.padding,
        };
        // A block without expansion reads the result of the block before it, which has no activation. The first block
        // reads the stem.
        let direct = self.plan.units.iter().skip(1).any(|unit| unit.depthwise == index && unit.expand.is_none());
        let activation = if direct { Activation::Identity } else { self.plan.layers[index - 1].activation.clone() };
        Some(Depthwise::new(self.set, &layer.weight.values, shape, activation))
    }
}

/// Returns the entry of a layer of the right kind.
fn made<T>(all: &[Option<T>], index: usize) -> &T {
    match &all[index] {
        Some(one) => one,
        None => unreachable!("layer {index} is of another kind than the plan's units say"),
    }
}

/// Returns the input of a layer of block `block`: the results of the layer before it or, at the beginning of a block,
/// the result of the block before.
fn source<'a, B: Backend>(
    plan: &'a Plan<'_, B>,
    norms: &'a [Norm],
    results: &'a [Vec<f32>],
    blocks: &'a [Vec<f32>],
    index: usize,
    block: usize,
    gates: Option<&'a [f32]>,
) -> Source<'a> {
    let begins = plan.units.get(block).is_none_or(|unit| index == unit.expand.unwrap_or(unit.depthwise));
    match block.checked_sub(1).filter(|_| begins) {
        Some(before) => Source { values: &blocks[before], norm: None, gates },
        None => Source {
            values: &results[index - 1],
            norm: Some((&norms[index - 1], &plan.layers[index - 1].activation)),
            gates,
        },
    }
}

/// A buffer that holds a gradient.
#[derive(Clone, Copy)]
enum Buffer {
    Wide(usize),
    Narrow(usize),
}

/// Borrows the gradient to read, of `read` values, and the one to write, of `written` values.
fn buffers<'a>(
    wide: &'a mut [Vec<f32>; 2],
    narrow: &'a mut [Vec<f32>; 3],
    from: Buffer,
    to: Buffer,
    read: usize,
    written: usize,
) -> (&'a [f32], &'a mut [f32]) {
    let [wide_0, wide_1] = wide;
    let [narrow_0, narrow_1, narrow_2] = narrow;
    let (from, to) = match (from, to) {
        (Buffer::Wide(0), Buffer::Narrow(0)) => (wide_0, narrow_0),
        (Buffer::Wide(0), Buffer::Narrow(_)) => (wide_0, narrow_1),
        (Buffer::Wide(0), Buffer::Wide(_)) => (wide_0, wide_1),
        (Buffer::Wide(_), Buffer::Narrow(_)) => (wide_1, narrow_1),
        (Buffer::Narrow(_), _) => (narrow_2, wide_0),
        (Buffer::Wide(_), Buffer::Wide(_)) => (wide_1, wide_0),
    };
    (&from[..read], first(to, written))
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

fn register_norm<B: Backend>(gradients: &mut GradientsParams, layer: &Layer<'_, B>, back: Back, device: &B::Device) {
    register::<B>(gradients, &layer.gamma, back.gamma, device);
    register::<B>(gradients, &layer.beta, back.beta, device);
}

/// Registers the gradient of a parameter.
fn register<B: Backend>(gradients: &mut GradientsParams, weight: &Weight, values: Vec<f32>, device: &B::Device) {
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

fn move_towards<B: Backend>(running: &RunningState<Tensor<Autodiff<B>, 1>>, batch: &[f64], device: &B::Device) {
    let before = values(running.value_sync());
    let after: Vec<f32> = before
        .iter()
        .zip(batch)
        .map(|(before, batch)| ((1.0 - BATCH_NORM_MOMENTUM) * f64::from(*before) + BATCH_NORM_MOMENTUM * batch) as f32)
        .collect();
    running.update(Tensor::from_data(TensorData::new(after, [batch.len()]), device));
    // Burn otherwise applies an update only at the next one, and a network saved in between would lack it.
    running.value_sync();
}
