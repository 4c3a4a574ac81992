//! The fused training step for CPUs: the whole network, forward and backward, by kernels of our own.
//!
//! Burn's operators compute a batch norm in a dozen passes over memory, and a depthwise gradient in a loop over
//! channels. Here a layer writes its convolution's results once, before the norm. Norm and activation are computed
//! again wherever those results are read, in the forward and in the backward pass, while the results are in the cache.
//! The batch is cut into a fixed number of tasks, whose sums are added in order, so that results do not depend on the
//! number of threads.

mod backward;
mod forward;
mod gate;
mod head;
mod norm;
mod plan;
mod pointwise;
mod stem;
mod workspace;

use ::burn::backend::Autodiff;
use ::burn::module::RunningState;
use ::burn::optim::GradientsParams;
use ::burn::tensor::backend::Backend;
use ::burn::tensor::{Tensor, TensorData};
use deepsight_core::{
    BATCH_NORM_MOMENTUM,
    model::{EfficientNet, EfficientNetConfig},
};
use deepsight_kernels::training::{Depthwise, DepthwiseShape};
use deepsight_kernels::{Activation, InstructionSet};

use self::backward::register;
use self::gate::Squeezed;
use self::norm::Norm;
use self::plan::{ConvolutionKind, Layer, Plan, values};
use self::pointwise::{LayerInput, Product};
use self::workspace::{TASKS, TaskBuffers, Workspace};
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
        workspace.tasks.resize_with(TASKS, TaskBuffers::default);
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
            (layer.kind == ConvolutionKind::Pointwise).then(|| Product::new(*set, &layer.weight.values, layer.inputs))
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
        let output = head::loss_and_gradients(
            &pooled,
            &self.batch.labels,
            &self.plan.classifier,
            &self.plan.classifier_bias,
            self.noise,
            objective,
        );
        register::<B>(&mut self.gradients, &self.plan.classifier, output.classifier, device);
        register::<B>(&mut self.gradients, &self.plan.classifier_bias, output.classifier_bias, device);
        self.backward(&output.pooled, device);
        self.update_running_statistics(device);
        StepOutput { loss: output.loss, fake_probabilities: output.fake_probabilities, gradients: self.gradients }
    }

    /// Returns the number of images of a task.
    fn share(&self) -> usize {
        self.batch.images.len().div_ceil(TASKS)
    }

    /// Returns the number of tasks that have images.
    fn used(&self) -> usize {
        self.batch.images.len().div_ceil(self.share())
    }

    /// Moves the running statistics toward those of the batch.
    fn update_running_statistics(&self, device: &B::Device) {
        for (layer, norm) in self.plan.layers.iter().zip(&self.norms) {
            let count = (self.batch.images.len() * layer.pixels()) as f64;
            let sample = count / (count - 1.0).max(1.0);
            let unbiased: Vec<f64> = norm.variance.iter().map(|variance| variance * sample).collect();
            for (running, batch) in [(layer.running_mean, &norm.mean), (layer.running_var, &unbiased)] {
                move_towards(running, batch, device);
            }
        }
    }

    /// Prepares the weights of a depthwise layer. Returns `None` for other layers.
    fn depthwise_layer(&self, index: usize) -> Option<Depthwise> {
        let layer = &self.plan.layers[index];
        if layer.kind != ConvolutionKind::Depthwise {
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
fn of_kind<T>(all: &[Option<T>], index: usize) -> &T {
    match &all[index] {
        Some(one) => one,
        None => unreachable!("layer {index} is of another kind than the plan's units say"),
    }
}

/// Returns the input of a layer of block `block`: the results of the layer before it or, at the beginning of a block,
/// the result of the block before.
fn layer_input<'a, B: Backend>(
    plan: &'a Plan<'_, B>,
    norms: &'a [Norm],
    results: &'a [Vec<f32>],
    blocks: &'a [Vec<f32>],
    index: usize,
    block: usize,
    gates: Option<&'a [f32]>,
) -> LayerInput<'a> {
    let begins = plan.units.get(block).is_none_or(|unit| index == unit.expand.unwrap_or(unit.depthwise));
    match block.checked_sub(1).filter(|_| begins) {
        Some(before) => LayerInput { values: &blocks[before], norm: None, gates },
        None => LayerInput {
            values: &results[index - 1],
            norm: Some((&norms[index - 1], &plan.layers[index - 1].activation)),
            gates,
        },
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
