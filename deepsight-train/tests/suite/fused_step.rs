//! Compares the fused training step with Burn's.

use burn::backend::{Autodiff, Flex};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use deepsight_core::{
    Classifier,
    model::{Activation, EfficientNet, EfficientNetConfig, StateDict},
};
use deepsight_train::Label;
use deepsight_train::step::{Batch, BurnStep, FusedStep, Noise, Objective, Step};
use image::RgbImage;

type B = Autodiff<Flex>;

const SIZE: u32 = 64;
const IMAGES: usize = 5;

fn batch(seed: u32) -> Batch {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 24
    };
    let images = (0..IMAGES)
        .map(|_| {
            let tone = next();
            RgbImage::from_fn(SIZE, SIZE, |x, y| image::Rgb([tone, x * 3, y * 2 + next() / 4].map(|v| (v % 256) as u8)))
        })
        .collect();
    let labels = (0..IMAGES).map(|i| if i % 2 == 0 { Label::Real } else { Label::Fake }).collect();
    Batch { images, labels }
}

fn noise(config: &EfficientNetConfig) -> Noise {
    let dropout = (0..IMAGES * config.features()).map(|i| if i % 5 == 0 { 0.0 } else { 1.25 }).collect();
    let factor = |i: usize| if i.is_multiple_of(4) { 0.0 } else { 1.1 };
    let drop_path = (0..config.residual_blocks().len()).map(|block| (0..IMAGES).map(|i| factor(i + block)).collect());
    Noise { dropout, drop_path: drop_path.collect() }
}

/// Collects gradients, and the values of tensors without gradients: running statistics.
struct Values<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    found: Vec<(String, Vec<f32>)>,
}

impl ModuleVisitor<B> for Values<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let values = match self.gradients.get::<Flex, D>(param.id) {
            Some(gradient) => gradient.into_data(),
            None => param.val().into_data(),
        };
        self.found.push((self.path.join("."), values.to_vec().unwrap()));
    }
}

type Outcome = (f64, Vec<f32>, Vec<(String, Vec<f32>)>);

fn run(step: &mut impl Step<Flex>, network: &EfficientNet<B>, noise: &Noise, seed: u32) -> Outcome {
    let objective = Objective { class_weights: [1.0, 2.0], label_smoothing: 0.1 };
    let output = step.run(network, &batch(seed), noise, &objective).unwrap();
    let mut values = Values { gradients: &output.gradients, path: Vec::new(), found: Vec::new() };
    network.visit(&mut values);
    (output.loss, output.fake_probabilities, values.found)
}

/// Returns the tensors whose gradients differ by more than this share of their norm.
fn differing(config: &EfficientNetConfig, start: StateDict, noise: &Noise, seed: u32, tolerance: f64) -> Vec<String> {
    let device = Default::default();
    let [network, other] =
        [start.clone(), start].map(|start| config.init::<B>(&device).load_state_dict(start).unwrap());
    let (mean, std) = ([0.5; 3], [0.25; 3]);
    let mut fused = FusedStep::new(config, SIZE, mean, std).unwrap();
    let mut burn = BurnStep::<Flex>::new(config, SIZE, mean, std, &device);
    let ours = run(&mut fused, &network, noise, seed);
    let theirs = run(&mut burn, &other, noise, seed);
    assert!((ours.0 - theirs.0).abs() < 1e-3, "loss {} and {}", ours.0, theirs.0);
    for (a, b) in ours.1.iter().zip(&theirs.1) {
        assert!((a - b).abs() < 1e-3, "probabilities {a} and {b}");
    }
    assert_eq!(ours.2.len(), theirs.2.len());
    let mut worst = Vec::new();
    for ((name, ours), (_, theirs)) in ours.2.iter().zip(&theirs.2) {
        let norm = theirs.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let off = ours.iter().zip(theirs).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        if off > tolerance * norm + 1e-4 {
            worst.push(format!("{name}: off by {off:.2e} of {norm:.2e}"));
        }
    }
    worst
}

/// Returns the weights of a trained network. The gradients of a random one are so large that rounding decides on which
/// side of a corner a value lies.
fn trained() -> StateDict {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deepsight-core/weights/efficientnet_lite0.safetensors");
    Classifier::<Flex>::load(path, &Default::default()).unwrap().network().unwrap().state_dict()
}

/// Returns the trained Lite0 as a deeper network of the same width. A block that Lite0 does not have is a copy of the
/// last block of its stage.
fn deepened(config: &EfficientNetConfig) -> StateDict {
    let lite0 = trained();
    let shapes = config.init::<B>(&Default::default()).state_shapes();
    let source = |name: &str| {
        let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
        while !lite0.contains_key(&parts.join(".")) {
            let block: usize = parts[2].parse().unwrap();
            parts[2] = (block - 1).to_string();
        }
        lite0[&parts.join(".")].clone()
    };
    shapes.into_keys().map(|name| (name.clone(), source(&name))).collect()
}

#[test]
fn lite0_has_burns_gradients() {
    let config = EfficientNetConfig::lite0();
    let noise = noise(&config);
    // A value within rounding distance of a corner of ReLU6 may pass its gradient on in one step and not in the other.
    // Not every batch has such a value that matters. A wrong gradient would differ in every batch.
    let agrees = |seed: &u32| {
        let far = differing(&config, trained(), &noise, *seed, 5e-2);
        assert!(far.is_empty(), "batch {seed}:\n{}", far.join("\n"));
        differing(&config, trained(), &noise, *seed, 1e-3).is_empty()
    };
    // With these weights a value of batch 10 lies at such a corner and moves more than 5e-2, so the search begins after
    // it.
    assert!((11..24).find(agrees).is_some(), "no batch has Burn's gradients within 1e-3");
}

#[test]
fn lite1_has_burns_gradients() {
    let config = EfficientNetConfig::lite1();
    let far = differing(&config, deepened(&config), &noise(&config), 7, 5e-2);
    assert!(far.is_empty(), "{}", far.join("\n"));
}

#[test]
fn b0_with_gates_has_burns_gradients() {
    smooth_network_has_burns_gradients(&EfficientNetConfig::b0());
}

/// Tests the shapes of the larger Lite networks. SiLU in place of ReLU6 has no corners, so random weights suffice.
#[test]
fn lite2_and_lite4_with_a_smooth_activation_have_burns_gradients() {
    for mut config in [EfficientNetConfig::lite2(), EfficientNetConfig::lite4()] {
        config.activation = Activation::Silu;
        smooth_network_has_burns_gradients(&config);
    }
}

#[track_caller]
fn smooth_network_has_burns_gradients(config: &EfficientNetConfig) {
    Flex::seed(&Default::default(), 1);
    let start = config.init::<B>(&Default::default()).state_dict();
    let worst = differing(config, start, &Noise::default(), 7, 1e-3);
    assert!(worst.is_empty(), "{}", worst.join("\n"));
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    let config = EfficientNetConfig::lite0();
    let device = Default::default();
    let start = trained();
    let mut step = FusedStep::new(&config, SIZE, [0.5; 3], [0.5; 3]).unwrap();
    let objective = Objective { class_weights: [1.0; 2], label_smoothing: 0.0 };
    let mut loss = |weights: &StateDict| {
        let network = config.init::<B>(&device).load_state_dict(weights.clone()).unwrap();
        let output = step.run(&network, &batch(7), &Noise::default(), &objective).unwrap();
        (output, network)
    };
    let (output, network) = loss(&start);
    // Only late layers are tested. In earlier ones, a step that is large enough for single precision crosses corners of
    // ReLU6.
    for name in ["conv_head.weight", "bn2.weight", "classifier.weight", "blocks.6.0.conv_dw.weight"] {
        let id = network.tensor_ids()[name];
        let gradient = match start[name].shape.len() {
            1 => output.gradients.get::<Flex, 1>(id).unwrap().into_data(),
            2 => output.gradients.get::<Flex, 2>(id).unwrap().transpose().into_data(),
            _ => output.gradients.get::<Flex, 4>(id).unwrap().into_data(),
        };
        let gradient: Vec<f32> = gradient.to_vec().unwrap();
        let squared: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum();
        // A step along the gradient that changes the loss by about a hundredth.
        let reach = 5e-3 / squared;
        let [ahead, behind] = [reach, -reach].map(|by| {
            let mut weights = start.clone();
            let values = &mut weights.get_mut(name).unwrap().values;
            values.iter_mut().zip(&gradient).for_each(|(value, g)| *value += (by * f64::from(*g)) as f32);
            loss(&weights).0.loss
        });
        let slope = (ahead - behind) / (2.0 * reach);
        assert!((slope / squared - 1.0).abs() < 0.05, "{name}: slope {slope}, gradient squared {squared}");
    }
}
