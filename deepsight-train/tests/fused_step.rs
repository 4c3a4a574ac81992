//! The fused training step against Burn's.
#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use burn::backend::{Autodiff, Flex};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use deepsight_core::{EfficientNet, EfficientNetConfig};
use deepsight_train::{Batch, BurnStep, FusedStep, Label, Noise, Objective, Step};
use image::RgbImage;

type B = Autodiff<Flex>;

const SIZE: u32 = 64;
const IMAGES: usize = 5;

fn batch() -> Batch {
    let mut state = 7_u32;
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

/// Gradients where there are any, values elsewhere: running statistics.
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

fn run(step: &mut impl Step<Flex>, network: &EfficientNet<B>, noise: &Noise) -> Outcome {
    let objective = Objective { class_weights: [1.0, 2.0], label_smoothing: 0.1 };
    let passed = step.run(network, &batch(), noise, &objective).unwrap();
    let mut values = Values { gradients: &passed.gradients, path: Vec::new(), found: Vec::new() };
    network.visit(&mut values);
    (passed.loss, passed.fake_probabilities, values.found)
}

fn compare(config: &EfficientNetConfig, noise: &Noise) {
    let device = Default::default();
    // By way of a record, because weights that nobody has looked at yet are drawn anew in every copy.
    let network = config.init::<B>(&device).load_record(config.init::<B>(&device).into_record());
    let record = network.clone().into_record();
    let (mean, std) = ([0.5; 3], [0.25; 3]);
    let mut fused = FusedStep::new(config, SIZE, mean, std).unwrap();
    let mut burn = BurnStep::<Flex>::new(config, SIZE, mean, std, &device);
    let other = config.init::<B>(&device).load_record(record);
    let ours = run(&mut fused, &network, noise);
    let theirs = run(&mut burn, &other, noise);
    assert!((ours.0 - theirs.0).abs() < 1e-3, "loss {} and {}", ours.0, theirs.0);
    for (a, b) in ours.1.iter().zip(&theirs.1) {
        assert!((a - b).abs() < 1e-3, "probabilities {a} and {b}");
    }
    assert_eq!(ours.2.len(), theirs.2.len());
    let mut worst = Vec::new();
    for ((name, ours), (_, theirs)) in ours.2.iter().zip(&theirs.2) {
        let norm = theirs.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let off = ours.iter().zip(theirs).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        if off > 1e-3 * norm + 1e-4 {
            worst.push(format!("{name}: off by {off:.2e} of {norm:.2e}"));
        }
    }
    assert!(worst.is_empty(), "{} of {}:\n{}", worst.len(), ours.2.len(), worst.join("\n"));
}

#[test]
fn lite0_has_burns_gradients() {
    let config = EfficientNetConfig::lite0();
    compare(&config, &noise(&config));
}

#[test]
fn b0_with_gates_has_burns_gradients() {
    let config = EfficientNetConfig::b0();
    compare(&config, &Noise::default());
}
