//! Tests of the fused engine against Burn, which is the reference.

use burn::tensor::{Device, Tensor, TensorData};
use deepsight_core::fused::InstructionSet;
use deepsight_core::fused::{FusedEfficientNet, FusedNetwork};
use deepsight_core::image::RgbImage;
use deepsight_core::{
    Classifier, Engine, Error, FaceClassifier,
    model::{Architecture, EfficientNet, ModelCard, StateDict, Weight},
};

#[cfg(feature = "flex")]
type B = burn::backend::Flex;
#[cfg(all(feature = "ndarray", not(feature = "flex")))]
type B = burn::backend::NdArray;

/// Largest allowed difference of any logit, as a share of the largest logit.
const TOLERANCE: f32 = 1e-4;

/// Returns a generator of pseudo-random numbers in `-1..1`, the same for the same seed.
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}

/// Creates a network whose batch norms change their input.
fn network(architecture: Architecture) -> (EfficientNet<B>, StateDict) {
    let network = architecture.config().init::<B>(&Default::default());
    let mut weights = network.state_dict();
    for (number, (name, Weight { values, .. })) in weights.iter_mut().enumerate() {
        let mut noise = noise(number as u64);
        for value in values {
            let noise = noise();
            if name.ends_with("running_var") {
                *value = 1.0 + 0.3 * noise;
            } else if name.ends_with("running_mean") || name.ends_with("bias") {
                *value = 0.1 * noise;
            } else if name.contains("bn") {
                *value = 0.8 + 0.2 * noise;
            }
        }
    }
    (network.load_state_dict(weights.clone()).unwrap(), weights)
}

/// Creates images as one tensor, `[images, 3, height, width]`, and the same images one by one, `[height, width, 3]`.
fn images(count: usize, height: usize, width: usize) -> (Tensor<B, 4>, Vec<Vec<f32>>) {
    let mut noise = noise(99);
    let values: Vec<f32> = (0..count * 3 * height * width).map(|_| 2.0 * noise()).collect();
    let interleaved = values.chunks_exact(3 * height * width).map(|image| {
        let at = |pixel: usize, channel: usize| image[channel * height * width + pixel];
        (0..height * width).flat_map(|pixel| [0, 1, 2].map(|channel| at(pixel, channel))).collect()
    });
    let interleaved = interleaved.collect();
    (Tensor::from_data(TensorData::new(values, [count, 3, height, width]), &Default::default()), interleaved)
}

fn logits(network: &FusedEfficientNet, images: &[Vec<f32>], height: usize, width: usize) -> Vec<f32> {
    network.forward(images.len(), (height, width), |index, mut canvas| {
        for (row, values) in canvas.rows().zip(images[index].chunks_exact(3 * width)) {
            row.copy_from_slice(values);
        }
    })
}

#[track_caller]
fn assert_close(ours: &[f32], reference: &[f32], what: &str) {
    assert_eq!(ours.len(), reference.len());
    let largest = reference.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    for (ours, reference) in ours.iter().zip(reference) {
        assert!((ours - reference).abs() <= TOLERANCE * largest, "{what}: {ours} instead of {reference}");
    }
}

#[track_caller]
fn agrees_with_burn(architecture: Architecture, sizes: &[(usize, usize)]) {
    let (network, weights) = network(architecture);
    for set in InstructionSet::available() {
        let fused = FusedEfficientNet::new(&architecture.config(), &weights, set).unwrap();
        for &(height, width) in sizes {
            let (tensor, images) = images(2, height, width);
            let reference: Vec<f32> = network.forward(tensor).into_data().iter::<f32>().collect();
            let what = format!("{architecture} at {height} × {width} on {set}");
            assert_close(&logits(&fused, &images, height, width), &reference, &what);
        }
    }
}

#[test]
fn b0_agrees_with_burn_at_even_odd_and_oblong_sizes() {
    agrees_with_burn(Architecture::EfficientNetB0, &[(128, 128), (97, 97), (33, 70)]);
}

#[test]
fn b1_agrees_with_burn() {
    agrees_with_burn(Architecture::EfficientNetB1, &[(65, 65)]);
}

#[test]
fn b2_agrees_with_burn() {
    agrees_with_burn(Architecture::EfficientNetB2, &[(64, 64)]);
}

#[test]
fn b3_agrees_with_burn() {
    agrees_with_burn(Architecture::EfficientNetB3, &[(96, 96), (61, 75)]);
}

#[test]
fn b4_agrees_with_burn() {
    agrees_with_burn(Architecture::EfficientNetB4, &[(64, 64)]);
}

#[test]
fn lite0_agrees_with_burn_at_even_odd_and_oblong_sizes() {
    agrees_with_burn(Architecture::EfficientNetLite0, &[(128, 128), (95, 95), (33, 70)]);
}

#[test]
fn lite1_agrees_with_burn() {
    agrees_with_burn(Architecture::EfficientNetLite1, &[(65, 65)]);
}

#[test]
fn lite2_agrees_with_burn() {
    agrees_with_burn(Architecture::EfficientNetLite2, &[(65, 65), (33, 70)]);
}

#[test]
fn lite3_agrees_with_burn() {
    agrees_with_burn(Architecture::EfficientNetLite3, &[(64, 64)]);
}

#[test]
fn lite4_agrees_with_burn() {
    agrees_with_burn(Architecture::EfficientNetLite4, &[(64, 64)]);
}

#[test]
fn the_last_feature_map_agrees_with_burn() {
    let (network, weights) = network(Architecture::EfficientNetB0);
    let (tensor, images) = images(1, 96, 64);
    let reference = network.forward_features(tensor);
    let [_, channels, rows, columns] = reference.dims();
    let reference: Vec<f32> = reference.permute([0, 2, 3, 1]).into_data().iter::<f32>().collect();
    let fused =
        FusedEfficientNet::new(&Architecture::EfficientNetB0.config(), &weights, InstructionSet::best()).unwrap();
    let (features, height, width) = fused.forward_features((96, 64), |mut canvas| {
        for (row, values) in canvas.rows().zip(images[0].chunks_exact(3 * 64)) {
            row.copy_from_slice(values);
        }
    });
    assert_eq!((height, width, fused.features()), (rows, columns, channels));
    assert_close(&features, &reference, "features");
}

#[test]
fn an_images_logits_depend_neither_on_its_batch_nor_on_the_threads() {
    let (_, weights) = network(Architecture::EfficientNetB0);
    let config = Architecture::EfficientNetB0.config();
    let (_, images) = images(5, 70, 70);
    for set in InstructionSet::available() {
        let fused = FusedEfficientNet::new(&config, &weights, set).unwrap();
        let alone: Vec<f32> =
            images.iter().flat_map(|image| logits(&fused, std::slice::from_ref(image), 70, 70)).collect();
        for threads in [1, 2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let together = pool.install(|| logits(&fused, &images, 70, 70));
            assert_eq!(together, alone, "{threads} threads on {set}");
        }
    }
}

#[test]
fn sizes_can_change_from_call_to_call() {
    let (_, weights) = network(Architecture::EfficientNetLite0);
    let config = Architecture::EfficientNetLite0.config();
    let fused = FusedEfficientNet::new(&config, &weights, InstructionSet::best()).unwrap();
    let (_, large) = images(1, 90, 90);
    let (_, small) = images(1, 40, 60);
    let first = (logits(&fused, &large, 90, 90), logits(&fused, &small, 40, 60));
    assert_eq!((logits(&fused, &large, 90, 90), logits(&fused, &small, 40, 60)), first);
}

#[test]
fn weights_of_another_network_are_refused_by_name() {
    let (_, weights) = network(Architecture::EfficientNetB0);
    let make = |architecture: Architecture| {
        FusedEfficientNet::new(&architecture.config(), &weights, InstructionSet::best()).map(drop)
    };
    assert!(matches!(make(Architecture::EfficientNetB3), Err(Error::TensorShape { .. })));
    assert!(matches!(make(Architecture::EfficientNetLite0), Err(Error::TensorNames { .. })));
    assert!(matches!(make(Architecture::EfficientNetB1), Err(Error::TensorNames { .. })));
}

#[test]
fn an_unavailable_instruction_set_is_refused_with_the_available_ones() {
    let error = "sse9".parse::<InstructionSet>().unwrap_err().to_string();
    assert!(error.contains("\"sse9\"") && error.contains("portable"), "{error}");
}

/// Loads the bundled model from its file, which is there whatever the features are.
fn bundled(device: &Device<B>) -> Classifier<B> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/efficientnet_lite0.safetensors");
    Classifier::load(path, device).unwrap()
}

/// Loads the crops of the crop tests, at their own sizes.
fn faces() -> Vec<RgbImage> {
    let open = |name| {
        let path = format!("{}/tests/suite/crop_golden/{name}.png", env!("CARGO_MANIFEST_DIR"));
        deepsight_core::image::open(path).unwrap().to_rgb8()
    };
    ["box_inside", "aligned_upright", "aligned_turned"].map(open).to_vec()
}

#[test]
fn the_bundled_model_scores_and_explains_faces_alike_on_both_engines() {
    let device = Default::default();
    let fused = bundled(&device);
    assert_eq!(fused.engine(), Engine::Fused, "what a CPU backend takes by itself");
    assert_eq!(fused.info().engine, Some(Engine::Fused));
    let burn = bundled(&device).compute_with(Engine::Burn).unwrap();
    assert_eq!(burn.engine(), Engine::Burn);
    let faces = faces();
    let (ours, reference) = (fused.logits(&faces).unwrap(), burn.logits(&faces).unwrap());
    assert_close(ours.as_flattened(), reference.as_flattened(), "logits");
    for face in &faces {
        let [ours, reference] = [&fused, &burn].map(|classifier| classifier.explain(face).unwrap().unwrap());
        assert_eq!((ours.width, ours.height), (reference.width, reference.height));
        let worst = ours.values.iter().zip(&reference.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "activation maps differ by {worst}");
    }
    assert!(fused.verify().unwrap().is_some() && burn.verify().unwrap().is_some());
    let again = burn.compute_with(Engine::Fused).unwrap();
    assert_eq!(again.logits(&faces).unwrap(), ours);
}

#[test]
fn real_faces_get_burns_logits_on_every_instruction_set() {
    let device = Default::default();
    let classifier = bundled(&device);
    let card = classifier.card();
    let side = card.input_size as usize;
    let weights = classifier.network().unwrap().state_dict();
    for face in faces() {
        let pixels = card.resize.resize(&face, card.input_size, card.input_size);
        let pixels: Vec<f32> = pixels
            .as_raw()
            .iter()
            .enumerate()
            .map(|(index, value)| (f32::from(*value) / 255.0 - card.mean[index % 3]) / card.std[index % 3])
            .collect();
        let tensor = Tensor::<B, 4>::from_data(TensorData::new(pixels.clone(), [1, side, side, 3]), &device);
        let reference = classifier.network().unwrap().forward(tensor.permute([0, 3, 1, 2]));
        let reference: Vec<f32> = reference.into_data().iter::<f32>().collect();
        for set in InstructionSet::available() {
            let fused = FusedNetwork::new(&card.config(), &weights, set).unwrap();
            let FusedNetwork::EfficientNet(fused) = fused else { panic!("another network") };
            assert_close(&logits(&fused, std::slice::from_ref(&pixels), side, side), &reference, set.name());
        }
    }
}

#[test]
fn a_nan_weight_is_refused_by_name() {
    let (_, mut weights) = network(Architecture::EfficientNetLite0);
    weights.get_mut("conv_head.weight").unwrap().values[7] = f32::NAN;
    let error = FusedEfficientNet::new(&Architecture::EfficientNetLite0.config(), &weights, InstructionSet::best());
    let error = error.map(drop).unwrap_err();
    assert!(matches!(&error, Error::TensorNotFinite { name, index: 7, .. } if name == "conv_head.weight"), "{error}");
}

#[test]
fn random_weights_score_alike_on_both_engines_in_a_classifier_built_from_a_network() {
    let device = Default::default();
    let card = ModelCard::new("random", Architecture::EfficientNetB0);
    let (network, _) = network(Architecture::EfficientNetB0);
    let fused = Classifier::<B>::new(network.clone(), card.clone(), &device).unwrap();
    let burn = Classifier::<B>::new(network, card, &device).unwrap().compute_with(Engine::Burn).unwrap();
    let faces = &faces()[..1];
    assert_close(fused.logits(faces).unwrap().as_flattened(), burn.logits(faces).unwrap().as_flattened(), "logits");
}
