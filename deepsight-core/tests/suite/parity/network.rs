//! Tests of the logits of EfficientNet against timm's.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use deepsight_core::fused::FusedEfficientNet;
use deepsight_core::fused::InstructionSet;
use deepsight_core::model::{Architecture, EfficientNet, StateDict};
use serde_json::Value;

use super::formula;

/// The backend for tests whose result does not depend on it.
#[cfg(feature = "flex")]
type AnyBackend = burn::backend::Flex;
#[cfg(not(feature = "flex"))]
type AnyBackend = burn::backend::NdArray;

/// Returns the weights computed by the formula.
fn weights(architecture: Architecture, expected: &Value) -> StateDict {
    let network = architecture.config().init::<AnyBackend>(&Default::default());
    formula::weights(network.state_shapes(), expected)
}

fn expected(architecture: Architecture) -> Value {
    let all: Value = serde_json::from_str(include_str!("logits.json")).unwrap();
    all["models"][architecture.name()].clone()
}

fn network<B: Backend>(architecture: Architecture, expected: &Value) -> EfficientNet<B> {
    let network = architecture.config().init::<B>(&Default::default());
    network.load_state_dict(weights(architecture, expected)).unwrap()
}

/// Returns the largest difference from timm's logits over all images and sizes, as a share of the logit (of 0.1 for
/// smaller logits). `forward` gets three images, `[3, 3, height, width]`, with height and width.
fn largest_difference(architecture: Architecture, forward: impl FnMut(Vec<f32>, usize, usize) -> Vec<f32>) -> f32 {
    difference_from(&expected(architecture), architecture, forward)
}

/// Returns the largest difference from the logits of these cases.
fn difference_from(
    expected: &Value,
    architecture: Architecture,
    mut forward: impl FnMut(Vec<f32>, usize, usize) -> Vec<f32>,
) -> f32 {
    let mut largest = 0.0_f32;
    for case in expected["cases"].as_array().unwrap() {
        let [height, width] = ["height", "width"].map(|key| case[key].as_u64().unwrap() as usize);
        let pixels = formula::images(&format!("{architecture}.{height}x{width}"), 3, height, width);
        let logits = forward(pixels, height, width);
        let golden = case["logits"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
        let golden: Vec<f32> = golden.map(|v| v.as_f64().unwrap() as f32).collect();
        assert_eq!(logits.len(), golden.len());
        for (ours, timm) in logits.iter().zip(&golden) {
            assert!(ours.is_finite());
            largest = largest.max((ours - timm).abs() / timm.abs().max(0.1));
        }
    }
    largest
}

/// Computes the logits of three images by Burn.
fn burn_logits<B: Backend>(network: &EfficientNet<B>, pixels: Vec<f32>, height: usize, width: usize) -> Vec<f32> {
    let input = Tensor::<B, 4>::from_data(TensorData::new(pixels, [3, 3, height, width]), &Default::default());
    network.forward(input).into_data().iter::<f32>().collect()
}

/// Computes the logits of three images by the fused engine.
fn fused_logits(network: &FusedEfficientNet, pixels: &[f32], height: usize, width: usize) -> Vec<f32> {
    network.forward(3, (height, width), |image, mut canvas| {
        for (y, row) in canvas.rows().enumerate() {
            for (at, value) in row.iter_mut().enumerate() {
                *value = pixels[((3 * image + at % 3) * height + y) * width + at / 3];
            }
        }
    })
}

fn burn_differs_by<B: Backend>(architecture: Architecture) -> f32 {
    let network = network::<B>(architecture, &expected(architecture));
    largest_difference(architecture, |pixels, height, width| burn_logits(&network, pixels, height, width))
}

fn fused_differs_by(architecture: Architecture, set: InstructionSet) -> f32 {
    let weights = weights(architecture, &expected(architecture));
    let network = FusedEfficientNet::new(&architecture.config(), &weights, set).unwrap();
    largest_difference(architecture, |pixels, height, width| fused_logits(&network, &pixels, height, width))
}

/// `paddings.py` wrote the logits. The weights are those of timm's `tf_efficientnet_b4` in `logits.json`.
#[test]
fn the_paddings_of_efficientnet_pytorch_and_deepfakebench_give_their_logits_and_others_do_not() {
    let architecture = Architecture::TfEfficientNetB4;
    let weights = weights(architecture, &expected(architecture));
    let file: Value = serde_json::from_str(include_str!("paddings.json")).unwrap();
    let paddings = file["paddings"].as_array().unwrap();
    assert_eq!(paddings.len(), 3);
    for expected in paddings {
        let mut config = architecture.config();
        config.padding = expected["padding"].as_str().unwrap().parse().unwrap();
        config.pad_stem = expected["pad_stem"].as_bool().unwrap();
        let network = config.init::<AnyBackend>(&Default::default()).load_state_dict(weights.clone()).unwrap();
        let what = format!("{} {}", config.padding, config.pad_stem);
        let burn = difference_from(expected, architecture, |pixels, h, w| burn_logits(&network, pixels, h, w));
        assert!(burn < TOLERANCE, "{what}: {burn}");
        for set in InstructionSet::available() {
            let network = FusedEfficientNet::new(&config, &weights, set).unwrap();
            let fused = difference_from(expected, architecture, |pixels, h, w| fused_logits(&network, &pixels, h, w));
            assert!(fused < TOLERANCE, "{what} on {set}: {fused}");
        }
        let timm = FusedEfficientNet::new(&architecture.config(), &weights, InstructionSet::best()).unwrap();
        let timm = difference_from(expected, architecture, |pixels, h, w| fused_logits(&timm, &pixels, h, w));
        assert!(timm > 5.0 * TOLERANCE, "{what}: timm's padding differs by {timm} only");
    }
}

/// Networks that have every kind of layer, in even and odd sizes. The others are larger ones of the same layers.
const SMALL: [Architecture; 4] = [
    Architecture::EfficientNetB0,
    Architecture::EfficientNetB3,
    Architecture::EfficientNetLite0,
    Architecture::TfEfficientNetB0,
];

#[test]
fn the_fused_engine_agrees_with_timm_on_every_instruction_set() {
    for architecture in Architecture::ALL {
        let fastest_first = InstructionSet::available();
        let count = if SMALL.contains(&architecture) { usize::MAX } else { 1 };
        for set in fastest_first.into_iter().take(count) {
            let difference = fused_differs_by(architecture, set);
            assert!(difference < TOLERANCE, "{architecture} on {set}: {difference}");
        }
    }
}

const TOLERANCE: f32 = 1e-3;

macro_rules! agrees_with_timm {
    ($backend:ty, $feature:literal, $module:ident) => {
        #[cfg(feature = $feature)]
        mod $module {
            use super::*;

            #[test]
            fn b0_agrees_with_timm_on_even_and_odd_sizes() {
                assert!(burn_differs_by::<$backend>(Architecture::EfficientNetB0) < TOLERANCE);
            }

            #[test]
            fn b3_agrees_with_timm_on_even_and_odd_sizes() {
                assert!(burn_differs_by::<$backend>(Architecture::EfficientNetB3) < TOLERANCE);
            }

            #[test]
            fn lite0_agrees_with_timm_on_even_and_odd_sizes() {
                assert!(burn_differs_by::<$backend>(Architecture::EfficientNetLite0) < TOLERANCE);
            }
        }
    };
}

agrees_with_timm!(burn::backend::Flex, "flex", flex);
agrees_with_timm!(burn::backend::NdArray, "ndarray", ndarray);

/// On one backend: the layers are those of the smaller networks.
#[cfg(feature = "flex")]
#[test]
fn larger_networks_and_those_of_tensorflow_agree_with_timm() {
    for architecture in [
        Architecture::EfficientNetB5,
        Architecture::TfEfficientNetB0,
        Architecture::TfEfficientNetB4,
        Architecture::TfEfficientNetB6,
        Architecture::TfEfficientNetB7,
    ] {
        let difference = burn_differs_by::<burn::backend::Flex>(architecture);
        assert!(difference < TOLERANCE, "{architecture}: {difference}");
    }
}

#[cfg(feature = "flex")]
#[test]
fn larger_lite_networks_agree_with_timm() {
    for architecture in [
        Architecture::EfficientNetLite1,
        Architecture::EfficientNetLite2,
        Architecture::EfficientNetLite3,
        Architecture::EfficientNetLite4,
    ] {
        let difference = burn_differs_by::<burn::backend::Flex>(architecture);
        assert!(difference < TOLERANCE, "{architecture}: {difference}");
    }
}

#[test]
fn tensors_have_timms_names() {
    for architecture in Architecture::ALL {
        let network = architecture.config().init::<AnyBackend>(&Default::default());
        let ours: Vec<_> = network.state_shapes().into_keys().collect();
        let timm = expected(architecture)["names"].clone();
        assert_eq!(ours, serde_json::from_value::<Vec<String>>(timm).unwrap());
    }
}

#[test]
fn a_loaded_state_dict_is_returned_unchanged() {
    let expected = expected(Architecture::EfficientNetLite0);
    let weights = weights(Architecture::EfficientNetLite0, &expected);
    let network = network::<AnyBackend>(Architecture::EfficientNetLite0, &expected);
    assert_eq!(network.state_dict(), weights);
}
