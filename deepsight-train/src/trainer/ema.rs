use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use deepsight_core::{EfficientNet, StateDict};

use crate::Error;

/// The exponential mean of a network's weights and running statistics over the steps of a run (Polyak & Juditsky, 1992):
/// steadier than the weights themselves, and mostly better.
///
/// Early in a run less is kept, `(1 + n) / (10 + n)` after `n` steps, so that the mean does not remember where training began
/// (TensorFlow's `ExponentialMovingAverage` does so).
#[derive(Debug)]
pub struct Ema<B: Backend> {
    network: EfficientNet<B>,
    decay: f64,
    updates: u64,
}

impl<B: Backend> Ema<B> {
    /// A mean that begins with the network as it is; each update keeps `decay` of it, `0..1`.
    pub fn new(network: &EfficientNet<Autodiff<B>>, decay: f64) -> Self {
        // Not a clone of the network: clones share their running statistics, `valid` copies them.
        Self { network: network.valid(), decay, updates: 0 }
    }

    /// The same mean, going on from these weights after so many updates.
    ///
    /// # Errors
    /// [`deepsight_core::Error::TensorNames`] and [`deepsight_core::Error::TensorShape`] when the weights are not the network's.
    pub fn resume(mut self, weights: StateDict, updates: u64) -> Result<Self, Error> {
        self.network = self.network.load_state_dict(weights)?;
        self.updates = updates;
        Ok(self)
    }

    /// Takes in the network after a step.
    pub fn update(&mut self, network: &EfficientNet<Autodiff<B>>) {
        let kept = self.decay.min((1 + self.updates) as f64 / (10 + self.updates) as f64);
        self.updates += 1;
        let mut current = Current { tensors: GradientsParams::new() };
        network.valid().visit(&mut current);
        self.network = self.network.clone().map(&mut Mix { current: current.tensors, kept });
    }

    /// The mean.
    pub fn network(&self) -> &EfficientNet<B> {
        &self.network
    }

    /// How many steps are in it.
    pub fn updates(&self) -> u64 {
        self.updates
    }
}

/// Tensors by their identity, which a network and its mean share.
struct Current {
    tensors: GradientsParams,
}

impl<B: Backend> ModuleVisitor<B> for Current {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.tensors.register::<B, D>(param.id, param.val());
    }
}

struct Mix {
    current: GradientsParams,
    kept: f64,
}

impl<B: Backend> ModuleMapper<B> for Mix {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(current) = self.current.remove::<B, D>(param.id) else { return param };
        param.map(|mean| mean * self.kept + current * (1.0 - self.kept))
    }
}
