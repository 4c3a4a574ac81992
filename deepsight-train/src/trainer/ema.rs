use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use deepsight_core::model::{EfficientNet, StateDict};

use crate::Error;

/// The exponential mean of a network's weights and running statistics over the steps of a run (Polyak & Juditsky,
/// 1992). It is steadier than the weights themselves, and mostly better.
///
/// Early in a run an update keeps less of the mean, `(1 + n) / (10 + n)` after `n` updates, so that the initial weights
/// soon lose their influence. TensorFlow's `ExponentialMovingAverage` does the same.
#[derive(Debug)]
pub struct Ema<B: Backend> {
    network: EfficientNet<B>,
    decay: f64,
    updates: u64,
}

impl<B: Backend> Ema<B> {
    /// Creates a mean that begins with the network's current weights. Each update keeps the share `decay` of it,
    /// `0..1`.
    pub fn new(network: &EfficientNet<Autodiff<B>>, decay: f64) -> Self {
        // Not a clone of the network: clones share their running statistics, whereas `valid` copies them.
        Self { network: network.valid(), decay, updates: 0 }
    }

    /// Restores the mean's weights and its number of updates.
    ///
    /// # Errors
    /// [`deepsight_core::Error::TensorNames`] and [`deepsight_core::Error::TensorShape`] when the weights are not the
    /// network's.
    pub fn resume(mut self, weights: StateDict, updates: u64) -> Result<Self, Error> {
        self.network = self.network.load_state_dict(weights)?;
        self.updates = updates;
        Ok(self)
    }

    /// Updates the mean with the network after a step.
    pub fn update(&mut self, network: &EfficientNet<Autodiff<B>>) {
        let kept = self.decay.min((1 + self.updates) as f64 / (10 + self.updates) as f64);
        self.updates += 1;
        let mut current = TensorCollector { tensors: GradientsParams::new() };
        network.valid().visit(&mut current);
        self.network = self.network.clone().map(&mut EmaUpdate { current: current.tensors, kept });
    }

    /// Returns the mean.
    pub fn network(&self) -> &EfficientNet<B> {
        &self.network
    }

    /// Returns the number of updates.
    pub fn updates(&self) -> u64 {
        self.updates
    }
}

/// Tensors by their parameter's ID, which a network and its mean share.
struct TensorCollector {
    tensors: GradientsParams,
}

impl<B: Backend> ModuleVisitor<B> for TensorCollector {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.tensors.register::<B, D>(param.id, param.val());
    }
}

struct EmaUpdate {
    current: GradientsParams,
    kept: f64,
}

impl<B: Backend> ModuleMapper<B> for EmaUpdate {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(current) = self.current.remove::<B, D>(param.id) else { return param };
        param.map(|mean| mean * self.kept + current * (1.0 - self.kept))
    }
}
