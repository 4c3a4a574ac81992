//! Compares steps of the optimizer with PyTorch's.

use burn::backend::{Autodiff, Flex};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use deepsight_core::model::EfficientNet;
use deepsight_train::step::{clip, gradient_norm};
use deepsight_train::trainer::Optimizer;
use serde_json::Value;
use std::collections::BTreeMap;

use super::formula;
use super::uniform::uniform;

type B = Flex;

/// Returns the formula's gradients for a step, in PyTorch's order of elements.
fn gradients(network: &EfficientNet<Autodiff<B>>, step: usize) -> GradientsParams {
    struct Make {
        names: BTreeMap<ParamId, String>,
        made: GradientsParams,
        step: usize,
    }
    impl ModuleVisitor<Autodiff<B>> for Make {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
            let name = &self.names[&param.id];
            if name.contains(".running_") {
                return;
            }
            let mut shape = param.val().dims();
            if D == 2 {
                shape.reverse();
            }
            let values = uniform(&format!("{name}.{}", self.step), shape.iter().product());
            let gradient = Tensor::<B, D>::from_data(TensorData::new(values, shape), &Default::default());
            let gradient = if D == 2 { gradient.transpose() } else { gradient };
            self.made.register::<B, D>(param.id, gradient);
        }
    }
    let names = network.tensor_ids().into_iter().map(|(name, id)| (id, name)).collect();
    let mut make = Make { names, made: GradientsParams::new(), step };
    network.visit(&mut make);
    make.made
}

#[test]
fn clipped_steps_without_decay_of_norms_and_biases_match_pytorchs() {
    let golden: Value = serde_json::from_str(include_str!("training.json")).unwrap();
    let mut network = formula::network();
    let mut optimizer = Optimizer::<B>::new(0.5);
    for step in 0..3 {
        let gradients = gradients(&network, step);
        let norm = gradient_norm(&network, &gradients).unwrap();
        let gradients = clip(&network, gradients, norm, 1.0);
        assert!((gradient_norm(&network, &gradients).unwrap() - 1.0).abs() < 1e-4);
        network = optimizer.step(0.01, network, gradients);
        // Saving and loading the state must not change the next steps.
        let state = optimizer.state(&network);
        assert_eq!(state.steps, step + 1);
        optimizer = Optimizer::new(0.5).load(&network, state).unwrap();
    }
    let state = network.state_dict();
    for (name, expected) in golden["adamw"].as_object().unwrap() {
        let expected = expected.as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
        for (ours, theirs) in state[name].values.iter().zip(expected) {
            assert!((f64::from(*ours) - theirs).abs() < 2e-5, "{name}: {ours} instead of {theirs}");
        }
    }
}

#[test]
fn a_state_of_another_network_is_refused() {
    let network = formula::network();
    let mut optimizer = Optimizer::<B>::new(0.0);
    let network = optimizer.step(0.01, network.clone(), gradients(&network, 0));
    let mut state = optimizer.state(&network);
    state.first.remove("bn1.weight");
    let message = Optimizer::<B>::new(0.0).load(&network, state.clone()).map(drop).unwrap_err().to_string();
    assert!(message.contains("missing: bn1.weight"), "{message}");
    state.first = optimizer.state(&network).first;
    let moved = state.second.remove("bn1.bias").unwrap();
    state.second.insert("bn9.bias".into(), moved);
    assert!(Optimizer::<B>::new(0.0).load(&network, state).is_err());
}
