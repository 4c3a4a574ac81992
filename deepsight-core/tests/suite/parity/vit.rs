//! Tests of vision transformers, and of their import, against the libraries and projects that publish weights. `vit.py`
//! wrote the logits; the weights are computed by the same formula.

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use deepsight_core::Error;
use deepsight_core::fused::{FusedNetwork, InstructionSet};
use deepsight_core::model::{
    ForeignWeights, Head, MlpActivation, ModelCard, Network, Origin, TransformerChoice, TransformerSize,
    VisionTransformerConfig,
};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use super::formula::{self, transformer_values as values};

#[cfg(feature = "flex")]
type AnyBackend = burn::backend::Flex;
#[cfg(not(feature = "flex"))]
type AnyBackend = burn::backend::NdArray;

const SIDE: usize = 32;
/// Largest difference from the logits of the original, as a share of the logit (of 0.1 for smaller logits).
const TOLERANCE: f32 = 1e-3;

fn cases() -> BTreeMap<String, Value> {
    let file: Value = serde_json::from_str(include_str!("vit.json")).unwrap();
    serde_json::from_value(file["cases"].clone()).unwrap()
}

fn shapes(case: &Value) -> BTreeMap<String, Vec<usize>> {
    serde_json::from_value(case["shapes"].clone()).unwrap()
}

/// Returns a file with these tensors.
fn file(shapes: &BTreeMap<String, Vec<usize>>) -> Vec<u8> {
    let bytes: BTreeMap<&String, Vec<u8>> = shapes
        .iter()
        .map(|(name, shape)| (name, values(name, shape).iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let view = |name: &String| TensorView::new(Dtype::F32, shapes[name].clone(), &bytes[name]).unwrap();
    safetensors::serialize(shapes.keys().map(|name| (name.clone(), view(name))), None).unwrap()
}

fn weights(case: &Value) -> ForeignWeights {
    ForeignWeights::from_bytes(file(&shapes(case))).unwrap()
}

/// Returns the project of a case, and the choice that its user makes.
fn choice(name: &str, weights: &ForeignWeights) -> (Origin, TransformerChoice) {
    let mut choice = TransformerChoice::default();
    choice.input_size = Some(SIDE as u32);
    let origin = match name.split('_').next().unwrap() {
        "effort" => Origin::Effort,
        "gend" => Origin::GenD,
        "unifd" => Origin::UniversalFakeDetect,
        _ => Origin::Timm,
    };
    choice.activation = match name {
        "timm_clip" => Some(MlpActivation::Gelu),
        "timm_clip_quickgelu" => Some(MlpActivation::QuickGelu),
        _ => None,
    };
    origin.complete(&mut choice, weights).unwrap();
    (origin, choice)
}

fn card(name: &str, weights: &ForeignWeights) -> ModelCard {
    let (origin, choice) = choice(name, weights);
    let mut card = weights.transformer_card(name, &choice).unwrap();
    origin.apply(&mut card, weights).unwrap();
    card.validate().unwrap();
    card
}

fn pixels() -> Vec<f32> {
    formula::images("vit", 3, SIDE, SIDE)
}

fn burn_logits<B: Backend>(network: &Network<B>) -> Vec<f32> {
    let input = Tensor::<B, 4>::from_data(TensorData::new(pixels(), [3, 3, SIDE, SIDE]), &Default::default());
    network.forward(input).into_data().iter::<f32>().collect()
}

fn fused_logits(card: &ModelCard, network: &Network<AnyBackend>, set: InstructionSet) -> Vec<f32> {
    let (network, pixels) = (FusedNetwork::new(&card.config(), &network.state_dict(), set).unwrap(), pixels());
    network.forward(3, (SIDE, SIDE), |image, mut canvas| {
        for (y, row) in canvas.rows().enumerate() {
            for (at, value) in row.iter_mut().enumerate() {
                *value = pixels[((3 * image + at % 3) * SIDE + y) * SIDE + at / 3];
            }
        }
    })
}

/// Returns the largest difference from the logits of a case.
fn difference(case: &Value, logits: &[f32]) -> f32 {
    let golden: Vec<[f32; 2]> = serde_json::from_value(case["logits"].clone()).unwrap();
    let golden = golden.as_flattened();
    assert_eq!(logits.len(), golden.len());
    assert!(logits.iter().all(|logit| logit.is_finite()));
    logits.iter().zip(golden).map(|(ours, theirs)| (ours - theirs).abs() / theirs.abs().max(0.1)).fold(0.0, f32::max)
}

fn imported<B: Backend>(name: &str, case: &Value) -> (ModelCard, Network<B>) {
    let weights = weights(case);
    let card = card(name, &weights);
    let network = weights.load_into(card.config().init::<B>(&Default::default()).unwrap()).unwrap();
    (card, network)
}

fn every_case_agrees<B: Backend>() {
    let cases = cases();
    assert_eq!(cases.len(), 12);
    for (name, case) in &cases {
        let (_, network) = imported::<B>(name, case);
        let difference = difference(case, &burn_logits(&network));
        assert!(difference < TOLERANCE, "{name} on {}: {difference}", B::name(&Default::default()));
    }
}

#[cfg(feature = "flex")]
#[test]
fn imported_transformers_give_the_logits_of_their_original_on_flex() {
    every_case_agrees::<burn::backend::Flex>();
}

#[cfg(feature = "ndarray")]
#[test]
fn imported_transformers_give_the_logits_of_their_original_on_ndarray() {
    every_case_agrees::<burn::backend::NdArray>();
}

#[test]
fn imported_transformers_give_the_logits_of_their_original_on_the_fused_engine() {
    for (name, case) in &cases() {
        let (card, network) = imported::<AnyBackend>(name, case);
        for set in InstructionSet::available() {
            let difference = difference(case, &fused_logits(&card, &network, set));
            assert!(difference < TOLERANCE, "{name} on {set}: {difference}");
        }
    }
}

#[test]
fn the_other_activation_or_head_gives_other_logits() {
    let cases = cases();
    for (name, change) in [
        ("timm_clip", (|c| c.activation = Some(MlpActivation::QuickGelu)) as fn(&mut TransformerChoice)),
        ("effort", |c| c.activation = Some(MlpActivation::Gelu)),
        ("gend_dinov2", |c| c.head = Some(Head::Linear)),
    ] {
        let weights = weights(&cases[name]);
        let (_, mut choice) = choice(name, &weights);
        change(&mut choice);
        let card = weights.transformer_card(name, &choice).unwrap();
        let network = card.config().init::<AnyBackend>(&Default::default()).unwrap();
        let difference = difference(&cases[name], &burn_logits(&weights.load_into(network).unwrap()));
        assert!(difference > 4.0 * TOLERANCE, "{name}: {difference}");
    }
}

#[test]
fn what_the_weights_do_not_tell_must_be_chosen_and_may_not_contradict_them() {
    let cases = cases();
    let clip = weights(&cases["timm_clip"]);
    let card = |weights: &ForeignWeights, change: fn(&mut TransformerChoice)| {
        let mut choice = TransformerChoice::default();
        change(&mut choice);
        weights.transformer_card("x", &choice)
    };
    assert!(matches!(card(&clip, |_| {}), Err(Error::ActivationUnknown { .. })));
    let config = card(&clip, |c| c.activation = Some(MlpActivation::Gelu)).unwrap().architecture;
    let config = config.vision_transformer().unwrap();
    assert_eq!((config.patch_size, config.patches, config.width, config.depth, config.heads), (8, 4, 128, 2, 2));
    assert!(config.pre_norm && !config.layer_scale && !config.patch_bias);
    let large = |c: &mut TransformerChoice| c.network = Some("vit_large_patch14_clip_224".parse().unwrap());
    let error = card(&clip, large).unwrap_err();
    assert!(matches!(&error, Error::OtherVariant { wanted, .. } if wanted == "vit_large_patch14_clip_224"), "{error}");
    let error = card(&clip, |c| (c.activation, c.input_size) = (Some(MlpActivation::Gelu), Some(36))).unwrap_err();
    assert!(matches!(error, Error::Setting { name: "input_size", .. }), "{error}");
    // Positions for another number of patches are interpolated only where that is asked for.
    let side = |name: &str, change| card(&weights(&cases[name]), change).unwrap().input_size;
    let smaller: fn(&mut TransformerChoice) = |c| c.dinov2_input_size = Some(24);
    assert_eq!((side("timm_dinov2_larger", |_| {}), side("timm_dinov2_larger", smaller)), (48, 24));
    let dino = card(&weights(&cases["timm_dinov2_registers"]), |_| {}).unwrap();
    let dino: &VisionTransformerConfig = dino.architecture.vision_transformer().unwrap();
    assert_eq!((dino.activation, dino.registers, dino.tokens()), (MlpActivation::Gelu, 4, 21));
    // An EfficientNet's name is refused for a vision transformer.
    let error = clip.card("x", &"efficientnet_b0".parse().unwrap(), None).unwrap_err();
    assert!(matches!(error, Error::OtherNetwork { found: "a vision transformer" }), "{error}");
}

#[test]
fn an_origin_refuses_the_names_of_another() {
    let cases = cases();
    for (name, origin, guess) in [
        ("effort", Origin::GenD, "effort"),
        ("gend_clip", Origin::Effort, "gend"),
        ("gend_dinov2", Origin::Timm, "gend"),
        ("timm_clip", Origin::SelfBlendedImages, "timm or effort or gend or unifd"),
    ] {
        let weights = weights(&cases[name]);
        let mut card = card(name, &weights);
        let completed = origin.complete(&mut TransformerChoice::default(), &weights);
        for error in [origin.apply(&mut card, &weights).unwrap_err(), completed.unwrap_err()] {
            assert!(matches!(&error, Error::OtherOrigin { guess: found, .. } if found == guess), "{name}: {error}");
        }
    }
}

/// Imports a case after a change of the shapes of its tensors, and returns the error.
fn refused(name: &str, change: impl FnOnce(&mut BTreeMap<String, Vec<usize>>)) -> Error {
    let mut shapes = shapes(&cases()[name]);
    change(&mut shapes);
    let load = || {
        let weights = ForeignWeights::from_bytes(file(&shapes))?;
        let (_, choice) = choice(name, &weights);
        let card = weights.transformer_card(name, &choice)?;
        weights.load_into(card.config().init::<AnyBackend>(&Default::default())?)
    };
    load().map(drop).unwrap_err()
}

#[test]
fn tensors_that_are_missing_unexpected_or_of_another_shape_are_refused_by_name() {
    let error = refused("effort", |s| drop(s.remove("module.backbone.encoder.layers.1.self_attn.k_proj.weight_main")));
    let text = error.to_string();
    assert!(matches!(error, Error::TensorNames { .. }) && text.contains("blocks.1.attn.qkv.weight"), "{text}");
    let error = refused("effort", |s| {
        s.insert("module.backbone.encoder.layers.1.self_attn.k_proj.V_residual".into(), vec![4, 128]);
    });
    assert!(matches!(&error, Error::TensorShape { name, .. } if name.ends_with("k_proj.V_residual")), "{error}");
    let error = refused("gend_clip", |s| drop(s.insert("feature_extractor.other.weight".into(), vec![3])));
    assert!(
        matches!(&error, Error::TensorNames { unexpected, .. } if unexpected == &["feature_extractor.other.weight"])
    );
    let error = refused("timm_clip", |s| drop(s.insert("blocks.1.mlp.fc2.bias".into(), vec![127])));
    assert!(matches!(&error, Error::TensorShape { name, .. } if name == "blocks.1.mlp.fc2.bias"), "{error}");
    let error = refused("timm_clip", |s| drop(s.insert("pos_embed".into(), vec![1, 19, 128])));
    assert!(matches!(&error, Error::TensorShape { name, .. } if name == "pos_embed"), "{error}");
    let error = refused("timm_clip", |s| drop(s.insert("head.weight".into(), vec![5, 128])));
    assert!(matches!(&error, Error::TensorShape { name, .. } if name == "head.weight"), "{error}");
    let error = refused("timm_clip", |s| s.retain(|name, _| !name.starts_with("head.")));
    assert!(matches!(error, Error::HeadMissing), "{error}");
    let error = refused("unifd", |s| drop(s.insert("model.visual.proj".into(), vec![128, 47])));
    assert!(matches!(&error, Error::TensorShape { name, .. } if name == "model.visual.proj"), "{error}");
}

#[test]
fn what_would_be_computed_otherwise_than_by_its_original_is_refused() {
    // A part of what Effort trains is missing, or the whole weight stands beside the divided one.
    let part = "module.backbone.encoder.layers.1.self_attn.k_proj.V_residual";
    let error = refused("effort", |s| drop(s.remove(part)));
    assert!(error.to_string().contains("k_proj.S_residual"), "{error}");
    let whole = "module.backbone.encoder.layers.1.self_attn.k_proj.weight";
    let error = refused("effort", |s| drop(s.insert(whole.into(), vec![128, 128])));
    assert!(matches!(&error, Error::TensorNames { unexpected, .. } if unexpected == &[whole]), "{error}");
    // Nothing says that the head is cosine.
    let gend = weights(&cases()["gend_dinov2"]);
    let error = gend.transformer_card("x", &TransformerChoice::default()).unwrap_err();
    assert!(error.to_string().contains("whose head is cosine"), "{error}");
    // Weights of a transformer in an EfficientNet.
    let config = deepsight_core::model::Architecture::EfficientNetLite0.config();
    let network = config.init::<AnyBackend>(&Default::default());
    let error = gend.load_into(network).unwrap_err();
    assert!(error.to_string().contains("a vision transformer"), "{error}");
}

#[test]
fn shapes_that_no_network_has_are_refused_and_do_not_panic() {
    let error = refused("timm_clip", |s| drop(s.insert("patch_embed.proj.weight".into(), vec![128, 3, 0, 0])));
    assert!(error.to_string().contains("must be a multiple of the patch size"), "{error}");
    let error = refused("unifd", |s| {
        s.insert("model.visual.proj".into(), vec![128, 0]);
        s.insert("fc.weight".into(), vec![1, 0]);
    });
    assert!(matches!(&error, Error::TensorShape { name, .. } if name == "head.weight"), "{error}");
    let mut flat = shapes(&cases()["timm_clip"]);
    flat.insert("patch_embed.proj.weight".into(), vec![128, 3, 0, 0]);
    let weights = ForeignWeights::from_bytes(file(&flat)).unwrap();
    let error = weights.transformer_card("x", &TransformerChoice::default()).unwrap_err();
    assert!(matches!(error, Error::Model { .. } | Error::Setting { name: "patch_size", .. }), "{error}");
    assert_eq!(VisionTransformerConfig::clip(TransformerSize::Base, 0, 224, MlpActivation::Gelu).patches, 0);
}

#[test]
fn relatives_that_are_not_supported_are_refused_by_name() {
    for (change, part) in [
        (("blocks.0.norm1.weight", "blocks.0.attn.lora_A.default"), "merge_and_unload"),
        (("blocks.0.norm1.weight", "blocks.0.gamma_1"), "rotary positions"),
        (("norm_pre.weight", "other.weight"), "neither CLIP's"),
    ] {
        let error = refused("timm_clip", |shapes| {
            let (from, to) = change;
            let shape = shapes.remove(from).unwrap();
            shapes.insert(format!("{to}.weight"), shape);
        });
        let text = error.to_string();
        assert!(matches!(error, Error::UnsupportedNetwork { .. }) && text.contains(part), "{text}");
    }
    let error = refused("gend_clip", |shapes| {
        shapes.retain(|name, _| !name.starts_with("model.linear."));
        shapes.insert("classifier.weight".into(), vec![2, 128]);
        shapes.insert("classifier.bias".into(), vec![2]);
    });
    assert!(error.to_string().contains("mean of the patches"), "{error}");
}

#[test]
fn a_head_of_its_own_file_is_taken_with_or_without_the_projection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fc_weights.safetensors");
    let case = &cases()["unifd"];
    // The same tensors, the head apart and by names without a module.
    let mut body = shapes(case);
    body.retain(|name, _| !name.starts_with("fc."));
    let tensors = ["fc.weight", "fc.bias"].map(|name| {
        let shape = shapes(case)[name].clone();
        let bytes: Vec<u8> = values(name, &shape).iter().flat_map(|value| value.to_le_bytes()).collect();
        (name.trim_start_matches("fc.").to_owned(), shape, bytes)
    });
    let views =
        tensors.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let weights = ForeignWeights::from_bytes(file(&body)).unwrap().with_head(&path).unwrap();
    let card = card("unifd", &weights);
    let network = weights.load_into(card.config().init::<AnyBackend>(&Default::default()).unwrap()).unwrap();
    let difference = difference(case, &burn_logits(&network));
    assert!(difference < TOLERANCE, "{difference}");
    std::fs::write(&path, file(&[("other".to_owned(), vec![3])].into())).unwrap();
    let error = ForeignWeights::from_bytes(file(&body)).unwrap().with_head(&path).unwrap_err();
    let Error::Model { cause, .. } = error else { panic!("{error}") };
    assert!(matches!(&*cause, Error::TensorNames { missing, .. } if missing == &["weight"]), "{cause}");
}
