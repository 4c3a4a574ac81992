use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::record::AdaptorRecord;
use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsParams, Optimizer as _};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use deepsight_core::model::{EfficientNet, StateDict, Weight};

use crate::Error;

/// AdamW (Loshchilov & Hutter, ICLR 2019) as in PyTorch, with weight decay on kernels and matrices and none on norms
/// and biases, as in timm.
///
/// Burn's AdamW has one decay for all parameters. This optimizer therefore consists of two, each of which receives its
/// part of the gradients.
#[derive(Clone)]
pub struct Optimizer<B: Backend> {
    decayed: Adaptor<B>,
    plain: Adaptor<B>,
}

type Adaptor<B> = OptimizerAdaptor<AdamW, EfficientNet<Autodiff<B>>, Autodiff<B>>;

/// The state of an [`Optimizer`]: for each parameter, by name, the running means of its gradients and of their squares,
/// in Burn's order of dimensions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptimizerState {
    /// Number of steps done.
    pub steps: usize,
    /// Means of gradients.
    pub first: StateDict,
    /// Means of squared gradients.
    pub second: StateDict,
}

impl<B: Backend> Optimizer<B> {
    /// Creates an optimizer before its first step.
    pub fn new(weight_decay: f32) -> Self {
        let adaptor = |decay| AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(decay).init();
        Self { decayed: adaptor(weight_decay), plain: adaptor(0.0) }
    }

    /// Returns the network after a step along its gradients.
    pub fn step(
        &mut self,
        rate: f64,
        network: EfficientNet<Autodiff<B>>,
        gradients: GradientsParams,
    ) -> EfficientNet<Autodiff<B>> {
        let mut split = GradientSplit { gradients, decayed: GradientsParams::new(), plain: GradientsParams::new() };
        network.visit(&mut split);
        let network = self.decayed.step(rate, network, split.decayed);
        let network = self.plain.step(rate, network, split.plain);
        forget_old_parameters::<B>(&network);
        network
    }

    /// Returns the optimizer's state for a network's parameters.
    pub fn state(&self, network: &EfficientNet<Autodiff<B>>) -> OptimizerState {
        let records = self.decayed.to_record().into_iter().chain(self.plain.to_record()).collect();
        let names = names(network);
        let mut read = StateReader { records, names, state: OptimizerState::default() };
        network.visit(&mut read);
        read.state
    }

    /// Restores a state.
    ///
    /// # Errors
    /// [`deepsight_core::Error::TensorNames`] and [`deepsight_core::Error::TensorShape`] when the state is of another
    /// network.
    pub fn load(mut self, network: &EfficientNet<Autodiff<B>>, state: OptimizerState) -> Result<Self, Error> {
        if state.steps == 0 {
            return Ok(self);
        }
        let mut write =
            StateWriter { names: names(network), state, decayed: Vec::new(), plain: Vec::new(), wrong: None };
        network.visit(&mut write);
        let unexpected: Vec<_> = write.state.first.into_keys().chain(write.state.second.into_keys()).collect();
        if let Some(wrong) = write.wrong {
            return Err(wrong.into());
        }
        if !unexpected.is_empty() {
            return Err(deepsight_core::Error::TensorNames { missing: Vec::new(), unexpected }.into());
        }
        self.decayed = self.decayed.load_record(write.decayed.into_iter().collect());
        self.plain = self.plain.load_record(write.plain.into_iter().collect());
        Ok(self)
    }
}

/// Makes Burn release its records of the parameters of earlier steps. Burn keeps a record of each new parameter that
/// requires a gradient, and removes unused records only in a backward pass of its own. Without this call, a step that
/// computes its gradients without Burn would add 300 kB to the process's memory every time.
fn forget_old_parameters<B: Backend>(network: &EfficientNet<Autodiff<B>>) {
    let Some(device) = network.devices().into_iter().next() else { return };
    drop(Tensor::<Autodiff<B>, 1>::zeros([1], &device).require_grad().backward());
}

/// Returns the names of the parameters that are trained. Running statistics are not.
fn names<B: Backend>(network: &EfficientNet<Autodiff<B>>) -> BTreeMap<ParamId, String> {
    let ids = network.tensor_ids().into_iter();
    ids.filter(|(name, _)| !name.contains(".running_")).map(|(name, id)| (id, name)).collect()
}

struct GradientSplit {
    gradients: GradientsParams,
    decayed: GradientsParams,
    plain: GradientsParams,
}

impl<B: Backend> ModuleVisitor<Autodiff<B>> for GradientSplit {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        let Some(gradient) = self.gradients.remove::<B, D>(param.id) else { return };
        let part = if D > 1 { &mut self.decayed } else { &mut self.plain };
        part.register::<B, D>(param.id, gradient);
    }
}

type ParameterRecord<B> = AdaptorRecord<AdamW, Autodiff<B>>;

struct StateReader<B: Backend> {
    records: BTreeMap<ParamId, ParameterRecord<B>>,
    names: BTreeMap<ParamId, String>,
    state: OptimizerState,
}

impl<B: Backend> ModuleVisitor<Autodiff<B>> for StateReader<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        let (Some(record), Some(name)) = (self.records.remove(&param.id), self.names.get(&param.id)) else { return };
        let AdamWState { momentum } = record.into_state::<D>();
        self.state.steps = momentum.time;
        let weight = |tensor: Tensor<B, D>| {
            let shape = tensor.dims().to_vec();
            Weight { shape, values: tensor.into_data().iter::<f32>().collect() }
        };
        self.state.first.insert(name.clone(), weight(momentum.moment_1));
        self.state.second.insert(name.clone(), weight(momentum.moment_2));
    }
}

struct StateWriter<B: Backend> {
    names: BTreeMap<ParamId, String>,
    state: OptimizerState,
    decayed: Vec<(ParamId, ParameterRecord<B>)>,
    plain: Vec<(ParamId, ParameterRecord<B>)>,
    wrong: Option<deepsight_core::Error>,
}

impl<B: Backend> ModuleVisitor<Autodiff<B>> for StateWriter<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        let Some(name) = self.names.get(&param.id) else { return };
        let tensor = param.val();
        let (device, expected) = (tensor.device(), tensor.dims().to_vec());
        let mut moment = |weights: &mut StateDict| match weights.remove(name) {
            None => {
                let missing = vec![name.clone()];
                self.wrong = Some(deepsight_core::Error::TensorNames { missing, unexpected: Vec::new() });
                None
            }
            Some(Weight { shape, .. }) if shape != expected => {
                let expected = expected.clone();
                self.wrong = Some(deepsight_core::Error::TensorShape { name: name.clone(), found: shape, expected });
                None
            }
            Some(Weight { shape, values }) => Some(Tensor::<B, D>::from_data(TensorData::new(values, shape), &device)),
        };
        let (first, second) = (moment(&mut self.state.first), moment(&mut self.state.second));
        let (Some(moment_1), Some(moment_2)) = (first, second) else { return };
        let momentum = AdaptiveMomentumState { time: self.state.steps, moment_1, moment_2, max_moment_2: None };
        let record = AdaptorRecord::from_state::<D>(AdamWState { momentum });
        if D > 1 { self.decayed.push((param.id, record)) } else { self.plain.push((param.id, record)) }
    }
}
