//! Compares one step of Burn's engine with timm's.

use std::collections::BTreeMap;

use burn::backend::{Autodiff, Flex};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use deepsight_core::model::{Architecture, EfficientNet};
use deepsight_train::step::{BurnStep, Objective, Precision, Step, StepOutput, gradient_norm};
use serde_json::Value;

use super::formula;
use crate::numbers;

type B = Flex;

const OBJECTIVE: Objective = Objective { class_weights: [0.7, 1.6], label_smoothing: 0.1 };

fn burn_step() -> BurnStep<B> {
    let config = Architecture::EfficientNetLite0.config();
    BurnStep::new(&config, formula::SIDE, [0.5; 3], [0.5; 3], &Default::default())
}

fn expected() -> Value {
    let all: Value = serde_json::from_str(include_str!("training.json")).unwrap();
    all["step"].clone()
}

/// Returns the gradients by timm's names, in PyTorch's order of elements.
fn by_name(network: &EfficientNet<Autodiff<B>>, gradients: &GradientsParams) -> BTreeMap<String, Vec<f32>> {
    struct Collect<'a> {
        gradients: &'a GradientsParams,
        found: BTreeMap<ParamId, Vec<f32>>,
    }
    impl ModuleVisitor<Autodiff<B>> for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
            let Some(gradient) = self.gradients.get::<B, D>(param.id) else { return };
            // The only matrix is the classifier's. PyTorch stores it transposed.
            let gradient = if D == 2 { gradient.transpose() } else { gradient };
            self.found.insert(param.id, gradient.into_data().iter::<f32>().collect());
        }
    }
    let mut collect = Collect { gradients, found: BTreeMap::new() };
    network.visit(&mut collect);
    let ids = network.tensor_ids().into_iter();
    ids.filter_map(|(name, id)| Some((name, collect.found.remove(&id)?))).collect()
}

/// Returns the largest difference between numbers, as a share of the largest expected one.
fn difference(ours: &[f32], theirs: &[f64]) -> f64 {
    let scale = theirs.iter().fold(0.0, |scale: f64, value| scale.max(value.abs()));
    let largest = ours.iter().zip(theirs).map(|(ours, theirs)| (f64::from(*ours) - theirs).abs()).fold(0.0, f64::max);
    largest / scale
}

fn agrees_with_timm(network: &EfficientNet<Autodiff<B>>, output: &StepOutput, tolerance: f64) {
    let expected = expected();
    let loss = expected["loss"].as_f64().unwrap();
    assert!((output.loss - loss).abs() < tolerance * loss, "loss {} instead of {loss}", output.loss);
    let off = difference(&output.fake_probabilities, &numbers(&expected["fake_probabilities"]));
    assert!(off < tolerance, "probabilities {:?} are off by {off}", output.fake_probabilities);

    let norm = gradient_norm(network, &output.gradients).unwrap();
    let theirs = expected["norm"].as_f64().unwrap();
    assert!((norm - theirs).abs() < tolerance * theirs, "gradients' norm {norm} instead of {theirs}");
    let ours = by_name(network, &output.gradients);
    for (name, theirs) in expected["gradients"].as_object().unwrap() {
        let off = difference(&ours[name], &numbers(&theirs["first"]));
        assert!(off < tolerance, "gradient of {name} is off by {off}");
        let norm = ours[name].iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let theirs = theirs["norm"].as_f64().unwrap();
        assert!((norm - theirs).abs() < tolerance * theirs, "gradient of {name}: norm {norm} instead of {theirs}");
    }
    let state = network.state_dict();
    for (name, theirs) in expected["running"].as_object().unwrap() {
        let off = difference(&state[name].values, &numbers(theirs));
        assert!(off < tolerance, "{name} is off by {off}");
    }
}

#[test]
fn a_step_on_burn_has_timms_loss_gradients_and_running_statistics() {
    let network = formula::network();
    let output = burn_step().run(&network, &formula::batch(), &formula::noise(), &OBJECTIVE).unwrap();
    agrees_with_timm(&network, &output, 2e-3);
}

#[test]
fn half_precision_is_close_and_leaves_the_parameters_unchanged() {
    // In the last layers, batch norms over the 16 values of a channel amplify rounding errors.
    for (precision, tolerance) in [(Precision::Brain, 0.25), (Precision::Half, 0.1)] {
        let mut step = burn_step().with_precision(precision);
        let mut try_once = || {
            let network = formula::network();
            let output = step.run(&network, &formula::batch(), &formula::noise(), &OBJECTIVE).unwrap();
            (network, output)
        };
        let (mut network, mut output) = try_once();
        if precision == Precision::Half {
            // These gradients overflow at the first scale, which is then lowered step by step.
            assert!(output.gradients.is_empty());
            let tries = (1..16).find(|_| {
                (network, output) = try_once();
                !output.gradients.is_empty()
            });
            assert!(tries.is_some());
            assert!(step.loss_scale().unwrap().value() < 65536.0);
        }
        let loss = expected()["loss"].as_f64().unwrap();
        assert!((output.loss - loss).abs() < tolerance * loss, "{precision}: loss {} instead of {loss}", output.loss);
        assert_eq!(network.state_dict()["conv_head.weight"], formula::network().state_dict()["conv_head.weight"]);
        assert_ne!(network.state_dict()["bn2.running_mean"], formula::network().state_dict()["bn2.running_mean"]);
        assert_eq!(output.gradients.len(), network.tensor_ids().len() - 2 * 49);
        let norm = gradient_norm(&network, &output.gradients).unwrap();
        let theirs = expected()["norm"].as_f64().unwrap();
        assert!((norm - theirs).abs() < tolerance * theirs, "{precision}: gradients' norm {norm} instead of {theirs}");
    }
}

#[test]
fn noise_for_another_batch_is_refused() {
    let mut noise = formula::noise();
    noise.drop_path.pop();
    let refused = burn_step().run(&formula::network(), &formula::batch(), &noise, &OBJECTIVE);
    assert!(refused.unwrap_err().to_string().contains("drop_path"));
}

#[test]
fn a_step_on_burn_is_reproducible_to_the_bit() {
    let run = || {
        let network = formula::network();
        let output = burn_step().run(&network, &formula::batch(), &formula::noise(), &OBJECTIVE).unwrap();
        by_name(&network, &output.gradients)
    };
    let first = run();
    for _ in 0..5 {
        let again = run();
        let differing: Vec<_> =
            first.iter().filter(|(name, values)| &again[*name] != *values).map(|(name, _)| name).collect();
        assert!(differing.is_empty(), "{} {differing:?}", differing.len());
    }
}
