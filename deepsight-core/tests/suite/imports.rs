//! Tests of the import of weights that other programs saved. `checkpoints/export.py` writes the files; a whole state
//! dict would be large, so [`torch_file`] and [`safetensors_file`] make those that must load.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use burn::backend::Flex;
use burn::tensor::backend::Backend;
use deepsight_core::image::{Rgb, RgbImage};
use deepsight_core::{
    Classifier, Engine, Error, FaceClassifier, FaceCrop,
    model::{
        Architecture, Conversion, ConversionNote, EfficientNetConfig, ForeignWeights, Head, MlpActivation, ModelCard,
        ModelFile, Naming, NetworkName, Origin, Padding, ResizeFilter, StateDict, TimmName, Variant, Weight,
        WeightFormat, WeightSet,
    },
};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

type B = Flex;

/// Returns random weights of a small network, the same in every test of a run.
fn weights() -> StateDict {
    static WEIGHTS: OnceLock<StateDict> = OnceLock::new();
    let fresh = || {
        Flex::seed(&Default::default(), 7);
        lite0().init::<B>(&Default::default()).state_dict()
    };
    WEIGHTS.get_or_init(fresh).clone()
}

fn lite0() -> EfficientNetConfig {
    Architecture::EfficientNetLite0.config()
}

fn efficientnet(card: &ModelCard) -> EfficientNetConfig {
    card.config().efficientnet().unwrap().clone()
}

fn name(text: &str) -> TimmName {
    text.parse().unwrap()
}

fn face() -> RgbImage {
    RgbImage::from_fn(70, 90, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8]))
}

/// Returns the weights with every value changed by a function.
fn changed(mut weights: StateDict, change: impl Fn(f32) -> f32) -> StateDict {
    weights.values_mut().flat_map(|weight| &mut weight.values).for_each(|value| *value = change(*value));
    weights
}

/// Returns the weights with a prefix before each name.
fn prefixed(prefix: &str, weights: &StateDict) -> StateDict {
    weights.iter().map(|(name, weight)| (format!("{prefix}{name}"), weight.clone())).collect()
}

fn safetensors_file(weights: &StateDict, dtype: Dtype, bytes_of: impl Fn(f32) -> Vec<u8>) -> Vec<u8> {
    let bytes: BTreeMap<&String, Vec<u8>> = weights
        .iter()
        .map(|(name, weight)| (name, weight.values.iter().flat_map(|value| bytes_of(*value)).collect()))
        .collect();
    let view = |name: &String| TensorView::new(dtype, weights[name].shape.clone(), &bytes[name]).unwrap();
    safetensors::serialize(weights.keys().map(|name| (name.clone(), view(name))), None).unwrap()
}

fn plain_file(weights: &StateDict) -> Vec<u8> {
    safetensors_file(weights, Dtype::F32, |value| value.to_le_bytes().to_vec())
}

/// An entry of a checkpoint's dictionary.
enum Entry<'a> {
    Text(&'a str),
    Weights(&'a StateDict),
}

/// Writes a checkpoint as PyTorch does before version 1.6, with these entries at the top and values of 64 bits.
fn torch_file(entries: &[(&str, Entry<'_>)]) -> Vec<u8> {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let numbers = |numbers: &[usize]| {
        let each = numbers.iter().flat_map(|n| [b"J", &(*n as u32).to_le_bytes()[..]].concat());
        [&b"("[..], &each.collect::<Vec<u8>>(), b"t"].concat()
    };
    let (mut pickle, mut keys, mut data) = (b"\x80\x02}(".to_vec(), b"\x80\x02](".to_vec(), Vec::new());
    let mut count = 0;
    for (key, entry) in entries {
        pickle.extend(text(key));
        match entry {
            Entry::Text(value) => pickle.extend(text(value)),
            Entry::Weights(weights) => {
                pickle.extend(b"}(");
                for (name, weight) in *weights {
                    count += 1;
                    let key = count.to_string();
                    let strides: Vec<usize> =
                        (0..weight.shape.len()).map(|d| weight.shape[d + 1..].iter().product()).collect();
                    pickle.extend(text(name));
                    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
                    pickle.extend(
                        [text("storage"), b"ctorch\nDoubleStorage\n".to_vec(), text(&key), text("cpu")].concat(),
                    );
                    pickle.extend(b"K\x00tQK\x00");
                    pickle.extend([numbers(&weight.shape), numbers(&strides), b"tR".to_vec()].concat());
                    keys.extend(text(&key));
                    data.extend((weight.values.len() as u64).to_le_bytes());
                    data.extend(weight.values.iter().flat_map(|value| f64::from(*value).to_le_bytes()));
                }
                pickle.extend(b"u");
            }
        }
    }
    pickle.extend(b"u.");
    keys.extend(b"e.");
    [LEGACY, &pickle, &keys, &data].concat()
}

#[test]
fn weights_that_fit_two_networks_are_refused_until_something_tells_which() {
    // Nothing of the weights is needed to decide, so a small file will do.
    let stem = StateDict::from([("conv_stem.weight".to_owned(), Weight { shape: vec![1], values: vec![0.0] })]);
    let weights = ForeignWeights::from_bytes(plain_file(&stem)).unwrap();
    let error = weights.card("x", &name("efficientnet_b4"), None).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::VariantUnknown { .. }), "{text}");
    for part in ["padding symmetric", "0.00001, 320 pixels", "padding same", "0.001, 380 pixels", "choose the variant"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(matches!(weights.card("x", &name("efficientnet_lite0"), None), Err(Error::VariantUnknown { .. })));

    use Architecture as A;
    use Variant::{PyTorch, TensorFlow};
    for (text, variant, architecture, padding, epsilon, side) in [
        ("efficientnet_b4", Some(PyTorch), A::EfficientNetB4, Padding::Symmetric, 1e-5, 320),
        ("efficientnet_b4", Some(TensorFlow), A::TfEfficientNetB4, Padding::TensorFlowSame, 1e-3, 380),
        ("tf_efficientnet_b4_ns", None, A::TfEfficientNetB4, Padding::TensorFlowSame, 1e-3, 380),
        ("tf_efficientnet_lite0", None, A::EfficientNetLite0, Padding::TensorFlowSame, 1e-3, 224),
        ("efficientnet_lite0", Some(PyTorch), A::EfficientNetLite0, Padding::Symmetric, 1e-5, 224),
    ] {
        let card = weights.card("x", &name(text), variant).unwrap();
        let config = efficientnet(&card);
        assert_eq!((card.architecture.efficientnet(), card.input_size), (Some(architecture), side), "{text}");
        assert_eq!((config.padding, config.batch_norm_epsilon), (padding, epsilon), "{text}");
    }
    let error = weights.card("x", &name("tf_efficientnet_b4"), Some(PyTorch)).unwrap_err();
    assert!(
        matches!(&error, Error::OtherVariant { evidence, .. } if evidence.contains("tf_efficientnet_b4")),
        "{error}"
    );
}

#[test]
fn the_architecture_in_a_checkpoint_decides_and_a_contradiction_is_refused() {
    let stem = StateDict::from([("conv_stem.weight".to_owned(), Weight { shape: vec![1], values: vec![0.0] })]);
    let with = |arch: &str| {
        let file = torch_file(&[("arch", Entry::Text(arch)), ("state_dict", Entry::Weights(&stem))]);
        ForeignWeights::from_bytes(file).unwrap()
    };
    let tensorflow = with("tf_efficientnet_b4_ns");
    assert_eq!(tensorflow.architecture(), Some("tf_efficientnet_b4_ns"));
    let decided = |weights: &ForeignWeights| {
        weights.card("x", &name("efficientnet_b4"), None).map(|c| c.architecture.efficientnet().unwrap())
    };
    assert_eq!(decided(&tensorflow).unwrap(), Architecture::TfEfficientNetB4);
    assert_eq!(decided(&with("efficientnet_b4")).unwrap(), Architecture::EfficientNetB4);
    // The name of the Python class says nothing.
    assert!(matches!(decided(&with("efficientnet")), Err(Error::VariantUnknown { .. })));
    assert!(matches!(decided(&with("resnet50")), Err(Error::UnknownArchitecture { name }) if name == "resnet50"));
    for (arch, asked, variant) in [
        ("tf_efficientnet_b4_ns", "efficientnet_b4", Some(Variant::PyTorch)),
        ("efficientnet_b4", "tf_efficientnet_b4", None),
        ("efficientnet_b3", "efficientnet_b4", Some(Variant::PyTorch)),
    ] {
        let error = with(arch).card("x", &name(asked), variant).unwrap_err();
        assert!(matches!(&error, Error::OtherVariant { evidence, .. } if evidence.contains(arch)), "{arch}: {error}");
    }
}

#[test]
fn a_network_of_the_other_variant_does_not_take_weights_that_say_theirs() {
    let file = torch_file(&[("arch", Entry::Text("efficientnet_lite0")), ("state_dict", Entry::Weights(&weights()))]);
    let lite0 = || lite0().init::<B>(&Default::default());
    let error = lite0().load_timm_bytes(&file).unwrap_err();
    assert!(matches!(error, Error::OtherVariant { .. }), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tf_efficientnet_b0_ns.safetensors");
    std::fs::write(&path, plain_file(&weights())).unwrap();
    // The shapes do not matter: the name of the file is refused first.
    let b0 = Architecture::EfficientNetB0.config().init::<B>(&Default::default());
    for error in [b0.clone().load_backbone(&path).unwrap_err(), b0.load_timm(&path).unwrap_err()] {
        let Error::Model { cause, .. } = error else { panic!("{error}") };
        assert!(
            matches!(&*cause, Error::OtherVariant { evidence, .. } if evidence.contains("tf_efficient")),
            "{cause}"
        );
    }
    assert_eq!(lite0().load_backbone(&path).unwrap().state_dict()["bn1.weight"], weights()["bn1.weight"]);
}

#[test]
fn a_moving_average_is_read_unless_plain_weights_are_chosen() {
    let (plain, average) = (weights(), changed(weights(), |value| value / 2.0));
    let both = torch_file(&[
        ("state_dict", Entry::Weights(&plain)),
        ("arch", Entry::Text("tf_efficientnet_lite0")),
        ("state_dict_ema", Entry::Weights(&prefixed("module.", &average))),
    ]);
    let file = ForeignWeights::from_bytes(both).unwrap();
    assert_eq!(file.networks(), ["state_dict", "state_dict_ema.module"]);
    let load = |set: Option<WeightSet>| {
        let chosen = file.clone().with_set(set);
        (chosen.network().unwrap().to_owned(), chosen.load_into(lite0().init::<B>(&Default::default())).unwrap())
    };
    for (set, network, expected) in [
        (None, "state_dict_ema.module", &average),
        (Some(WeightSet::Ema), "state_dict_ema.module", &average),
        (Some(WeightSet::Plain), "state_dict", &plain),
    ] {
        let (chosen, loaded) = load(set);
        assert_eq!(chosen, network);
        assert!(loaded.state_dict() == *expected, "{set:?}");
    }
    // Two networks side by side in one dictionary, as some wrappers save them.
    let together: StateDict = prefixed("model.", &plain).into_iter().chain(prefixed("model_ema.", &average)).collect();
    assert!(import(&plain_file(&together)).unwrap() == average);

    let only = ForeignWeights::from_bytes(plain_file(&plain)).unwrap().with_set(Some(WeightSet::Ema));
    assert!(matches!(only.network(), Err(Error::NoSuchWeights { set: WeightSet::Ema, .. })));
    let two: StateDict = prefixed("a.", &plain).into_iter().chain(prefixed("b.", &average)).collect();
    let error = import(&plain_file(&two)).unwrap_err();
    assert!(matches!(&error, Error::NoSuchWeights { found, .. } if found == &["a", "b"]), "{error}");
}

#[test]
fn settings_of_a_conversion_count_more_than_the_origin_and_the_weights() {
    let foreign = ForeignWeights::from_bytes(plain_file(&weights())).unwrap();
    let conversion = Conversion::new("mine")
        .with_network("tf_efficientnet_lite0".parse::<NetworkName>().unwrap())
        .with_origin(Origin::Timm)
        .with_input_size(64)
        .with_mean([0.25, 0.5, 0.75])
        .with_padding(Padding::Symmetric)
        .with_batch_norm_epsilon(1e-4)
        .with_crop(FaceCrop::Margin { fraction: 0.25 })
        .with_resize("pil_bilinear".parse::<ResizeFilter>().unwrap())
        .with_threshold(0.75)
        .with_fake_first(true)
        .with_terms("none");
    let card = conversion.card(&foreign).unwrap();
    assert_eq!((card.name.as_str(), card.input_size, card.mean), ("mine", 64, [0.25, 0.5, 0.75]));
    assert_eq!((card.padding, card.batch_norm_epsilon), (Some(Padding::Symmetric), Some(1e-4)));
    assert_eq!((card.crop, card.resize), (FaceCrop::Margin { fraction: 0.25 }, ResizeFilter::PilBilinear));
    assert_eq!((card.threshold, card.labels[0].as_str(), card.terms.as_str()), (0.75, "fake", "none"));
    // What is not set is timm's.
    assert_eq!((card.std, card.temperature, card.mirrored), ([0.5; 3], 1.0, false));
    assert_eq!(conversion.notes(&foreign).unwrap(), []);
    let classifier = conversion.classifier::<B>(&foreign, &Default::default()).unwrap();
    assert_eq!(classifier.card(), &card);
    assert!(classifier.network().unwrap().state_dict() == weights());
    let error = conversion.with_threshold(1.5).card(&foreign).unwrap_err();
    assert!(matches!(error, Error::ModelCardInvalid { field: "threshold", .. }), "{error}");
}

#[test]
fn a_conversion_refuses_settings_of_another_kind_of_network() {
    let foreign = ForeignWeights::from_bytes(plain_file(&weights())).unwrap();
    let named = Conversion::new("x").with_network("tf_efficientnet_lite0".parse::<NetworkName>().unwrap());
    let head: StateDict = [("weight".to_owned(), Weight { shape: vec![2, 3], values: vec![0.0; 6] })].into();
    let with_head = foreign.clone().with_head_bytes(&plain_file(&head)).unwrap();
    for (conversion, foreign, setting) in [
        (named.clone().with_activation(MlpActivation::Gelu), &foreign, "activation"),
        (named.clone().with_head(Head::Cosine), &foreign, "head"),
        (named.clone(), &with_head, "head_weights"),
        (Conversion::new("x"), &foreign, "model_name"),
    ] {
        let error = conversion.card(foreign).unwrap_err();
        assert!(matches!(error, Error::Setting { name, .. } if name == setting), "{error}");
    }
    for other in [named.with_origin(Origin::Effort), Conversion::new("x").with_network(vit())] {
        let error = other.card(&foreign).unwrap_err();
        assert!(matches!(error, Error::OtherNetwork { found: "an EfficientNet" }), "{error}");
    }
}

fn vit() -> NetworkName {
    "vit_base_patch16_clip_224".parse().unwrap()
}

#[test]
fn dictionaries_in_memory_are_read_as_those_of_a_checkpoint() {
    let (plain, average) = (weights(), changed(weights(), |value| value / 2.0));
    let optimizer: StateDict = [("step".to_owned(), Weight { shape: vec![1], values: vec![7.0] })].into();
    let dictionaries = [("state_dict", &plain), ("state_dict_ema", &average), ("optimizer", &optimizer)];
    let dictionaries = dictionaries.map(|(keys, weights)| (keys.to_owned(), plain_file(weights)));
    let foreign = ForeignWeights::from_dictionaries(dictionaries.into()).unwrap();
    assert_eq!(foreign.networks(), ["state_dict", "state_dict_ema"]);
    let conversion = Conversion::new("mine");
    let error = conversion.card(&foreign).unwrap_err();
    assert!(matches!(error, Error::Setting { name: "model_name", .. }), "{error}");
    let foreign = foreign.with_architecture("tf_efficientnet_lite0".to_owned());
    let note = ConversionNote::OtherNetworks { used: "state_dict_ema".into(), others: vec!["state_dict".into()] };
    assert_eq!(conversion.notes(&foreign).unwrap(), [note]);
    for (set, expected) in [(None, &average), (Some(WeightSet::Plain), &plain)] {
        let chosen = foreign.clone().with_set(set);
        let classifier = conversion.classifier::<B>(&chosen, &Default::default()).unwrap();
        assert!(classifier.network().unwrap().state_dict() == *expected, "{set:?}");
    }
    assert!(matches!(ForeignWeights::from_dictionaries(vec![]), Err(Error::NotACheckpoint { .. })));
    let error = ForeignWeights::from_dictionaries(vec![(String::new(), b"{}".to_vec())]).unwrap_err();
    assert!(matches!(error, Error::NotSafetensors { bytes: 2, .. }), "{error}");
}

#[test]
fn rounded_weights_are_those_of_a_file_of_the_format() {
    let foreign = ForeignWeights::from_bytes(plain_file(&weights())).unwrap();
    let conversion = Conversion::new("mine").with_network("tf_efficientnet_lite0".parse::<NetworkName>().unwrap());
    let classifier = conversion.with_input_size(64).classifier::<B>(&foreign, &Default::default()).unwrap();
    let classifier = classifier.record_golden_input(face()).unwrap();
    for format in WeightFormat::ALL {
        let rounded = classifier.round_weights(format).unwrap();
        let stored = ModelFile::from_bytes(&classifier.to_file(format).unwrap().to_bytes().unwrap()).unwrap();
        assert!(rounded.network().unwrap().state_dict() == stored.weights, "{format}");
        let score = rounded.verify().unwrap().unwrap().fake_probability;
        assert_eq!(rounded.card().golden.unwrap().fake_probability, score, "{format}");
    }
}

#[test]
fn resize_filters_have_the_names_of_model_files() {
    for filter in ResizeFilter::ALL {
        assert_eq!(serde_json::to_value(filter).unwrap(), filter.name());
        assert_eq!(filter.to_string().parse::<ResizeFilter>().unwrap(), filter);
    }
    assert!(matches!("nearest".parse::<ResizeFilter>(), Err(Error::Setting { name: "resize", .. })));
}

#[test]
fn prefixes_are_removed_and_the_classifier_is_found_wherever_it_is() {
    let weights = weights();
    let (classifier, body): (StateDict, StateDict) =
        weights.clone().into_iter().partition(|(name, _)| name.starts_with("classifier."));
    let head = |prefix: &str| -> StateDict {
        let named = |(name, weight): (&String, &Weight)| (name.replace("classifier.", prefix), weight.clone());
        classifier.iter().map(named).collect()
    };
    // A classifier of 1000 classes that is not in use, as in the network of the winner of the DFDC.
    let mut unused = StateDict::new();
    unused.insert("module.encoder.classifier.weight".into(), Weight { shape: vec![1000, 1], values: vec![0.0; 1000] });
    unused.insert("module.encoder.classifier.bias".into(), Weight { shape: vec![1000], values: vec![0.0; 1000] });
    for (inner, outer, more) in [
        ("", "classifier.", StateDict::new()),
        ("module.", "module.classifier.", StateDict::new()),
        ("_orig_mod.module.", "_orig_mod.module.fc.", StateDict::new()),
        ("model.backbone.", "model.head.", StateDict::new()),
        ("model.backbone.", "model.classifier.1.", StateDict::new()),
        ("anything.at_all.", "last_layer.", StateDict::new()),
        ("module.encoder.", "module.fc.", unused),
    ] {
        let all: StateDict = prefixed(inner, &body).into_iter().chain(head(outer)).chain(more).collect();
        assert!(import(&plain_file(&all)).unwrap() == weights, "{inner} {outer}");
    }
    // What belongs to neither is not ignored.
    let mut all = prefixed("model.", &weights);
    all.insert("srm_conv.weight".into(), Weight { shape: vec![1], values: vec![0.0] });
    let error = import(&plain_file(&all)).unwrap_err();
    assert!(matches!(&error, Error::TensorNames { unexpected, .. } if unexpected == &["srm_conv.weight"]), "{error}");
}

#[test]
fn names_of_efficientnet_pytorch_are_read_and_mean_its_padding() {
    let file: Value = serde_json::from_str(include_str!("parity/paddings.json")).unwrap();
    let pairs: Vec<[String; 2]> = serde_json::from_value(file["names"].clone()).unwrap();
    let network = || Architecture::TfEfficientNetB4.config().init::<B>(&Default::default());
    let weights = network().state_dict();
    assert_eq!(pairs.len(), weights.len());
    let theirs = pairs.iter().map(|[timm, theirs]| (format!("net.{theirs}"), weights[timm].clone())).collect();
    let foreign = ForeignWeights::from_bytes(plain_file(&theirs)).unwrap();
    assert_eq!(foreign.naming().unwrap(), Naming::EfficientNetPytorch);
    assert!(foreign.load_into(network()).unwrap().state_dict() == weights);
    let card = foreign.card("x", &name("efficientnet_b4"), None).unwrap();
    assert_eq!((card.architecture.efficientnet(), card.input_size), (Some(Architecture::TfEfficientNetB4), 380));
    assert_eq!(efficientnet(&card).padding, Padding::SameFor(380));
    let error = foreign.card("x", &name("efficientnet_b4"), Some(Variant::PyTorch)).unwrap_err();
    assert!(error.to_string().contains("those of efficientnet_pytorch"), "{error}");
    // In training, too.
    let plain = Architecture::EfficientNetB4.config().init::<B>(&Default::default());
    assert!(matches!(plain.load_timm_bytes(&plain_file(&theirs)), Err(Error::OtherVariant { .. })));
}

/// A file with the tensors by which an origin is recognized.
fn recognizable(names: &[&str]) -> ForeignWeights {
    let one = Weight { shape: vec![1], values: vec![0.0] };
    let tensors = names.iter().map(|name| ((*name).to_owned(), one.clone())).collect();
    ForeignWeights::from_bytes(plain_file(&tensors)).unwrap()
}

#[test]
fn an_origin_sets_its_crop_size_and_normalization_and_refuses_the_names_of_others() {
    let sbi = recognizable(&["net._conv_stem.weight", "net._fc.weight"]);
    let bench = recognizable(&["backbone.efficientnet._conv_stem.weight", "backbone.last_layer.weight"]);
    let polimi = recognizable(&["efficientnet._conv_stem.weight", "classifier.weight"]);
    let timm = recognizable(&["module.encoder.conv_stem.weight", "module.fc.weight"]);
    let margin = |fraction| FaceCrop::Margin { fraction };
    let aligned = FaceCrop::Aligned { size: 256, scale: 1.3, down: 0.0 };
    let (bilinear, pil) = (ResizeFilter::OpencvBilinear, ResizeFilter::PilBilinear);
    for (origin, weights, crop, resize, side, mean, std) in [
        (Origin::SelfBlendedImages, &sbi, margin(0.125), bilinear, 380, 0.0, 1.0),
        (Origin::DeepfakeBench, &bench, aligned, bilinear, 256, 0.5, 0.5),
        (Origin::Selimsef, &timm, margin(1.0 / 3.0), ResizeFilter::OpencvPadded, 380, 0.485, 0.229),
        (Origin::Polimi, &polimi, FaceCrop::Box, pil, 224, 0.485, 0.229),
    ] {
        let mut card = weights.card("x", &origin.network().unwrap(), None).unwrap();
        origin.apply(&mut card, weights).unwrap();
        card.validate().unwrap();
        assert_eq!((card.crop, card.resize, card.input_size), (crop, resize, side), "{origin}");
        assert_eq!((card.mean[0], card.std[0]), (mean, std), "{origin}");
        assert_eq!(card.unpadded_stem, origin == Origin::DeepfakeBench, "{origin}");
        assert_eq!(efficientnet(&card).batch_norm_epsilon, 1e-3, "{origin}");
        // Whatever the input size, the padding is that of the network's own.
        let padding = if origin == Origin::Selimsef { Padding::TensorFlowSame } else { Padding::SameFor(380) };
        assert_eq!(efficientnet(&card).padding, padding, "{origin}");
        assert_eq!(origin.name().parse::<Origin>().unwrap(), origin);
    }
    for (origin, weights) in [
        (Origin::SelfBlendedImages, &sbi),
        (Origin::DeepfakeBench, &bench),
        (Origin::Polimi, &polimi),
        (Origin::Selimsef, &timm),
    ] {
        // Without an origin, the names suggest it.
        let error = Conversion::new("x").card(weights).unwrap_err().to_string();
        assert!(error.contains(&format!("(origin `{origin}`?)")), "{error}");
        let named = Conversion::new("x").with_network("tf_efficientnet_b4".parse::<NetworkName>().unwrap());
        assert_eq!(named.notes(weights).unwrap(), [ConversionNote::LikelyOrigin { origin }]);
        let prepared = named.with_crop(FaceCrop::Box).with_mean([0.0; 3]).with_std([1.0; 3]);
        assert_eq!(prepared.notes(weights).unwrap(), []);
    }
    for (origin, weights, guess) in [
        (Origin::SelfBlendedImages, &bench, "deepfakebench"),
        (Origin::DeepfakeBench, &sbi, "sbi or polimi"),
        (Origin::Timm, &sbi, "sbi or polimi"),
        (Origin::Polimi, &timm, "timm or selimsef"),
    ] {
        let mut card = ModelCard::new("x", Architecture::TfEfficientNetB4);
        let error = origin.apply(&mut card, weights).unwrap_err();
        assert!(matches!(&error, Error::OtherOrigin { guess: found, .. } if found == guess), "{error}");
    }
}

#[test]
fn one_logit_stands_for_the_second_class_and_its_softmax_is_the_sigmoid() {
    let mut single = weights();
    for name in ["classifier.weight", "classifier.bias"] {
        let weight = single.get_mut(name).unwrap();
        let half = weight.values.len() / 2;
        weight.values.drain(..half);
        weight.shape[0] = 1;
    }
    let loaded = import(&plain_file(&single)).unwrap();
    let (one, two) = (&single["classifier.weight"].values, &loaded["classifier.weight"].values);
    assert_eq!((&two[..one.len()], &two[one.len()..]), (&vec![0.0; one.len()][..], &one[..]));
    let mut card = ModelCard::new("x", Architecture::EfficientNetLite0);
    card.input_size = 64;
    let network = lite0().init::<B>(&Default::default()).load_state_dict(loaded).unwrap();
    let classifier = Classifier::new(network, card, &Default::default()).unwrap();
    let [zero, z] = classifier.logits(&[face()]).unwrap()[0];
    let score = classifier.classify(&[face()]).unwrap()[0].fake_probability;
    assert_eq!(zero, 0.0);
    assert!((score - 1.0 / (1.0 + (-z).exp())).abs() < 1e-6, "{score} {z}");
}

/// Returns weights under the names that efficientnet_pytorch has for them.
fn renamed(weights: &StateDict) -> StateDict {
    let place = |name: &str| -> Option<(usize, usize)> {
        let mut words = name.strip_prefix("blocks.")?.split('.').map(str::parse::<usize>);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    };
    let mut places: Vec<_> = weights.keys().filter_map(|name| place(name)).collect();
    places.sort_unstable();
    places.dedup();
    let theirs = |name: &str| {
        let Some((stage, index)) = place(name) else {
            return match name.split_once('.').unwrap() {
                ("bn1", tensor) => format!("_bn0.{tensor}"),
                ("bn2", tensor) => format!("_bn1.{tensor}"),
                ("classifier", tensor) => format!("_fc.{tensor}"),
                (layer, tensor) => format!("_{layer}.{tensor}"),
            };
        };
        let block = format!("blocks.{stage}.{index}.");
        let is_separable = !weights.contains_key(&format!("{block}conv_pwl.weight"));
        let (layer, tensor) = name[block.len()..].rsplit_once('.').unwrap();
        let layer = match (layer, is_separable) {
            ("conv_pw", true) | ("conv_pwl", _) => "project_conv",
            ("conv_pw", false) => "expand_conv",
            ("conv_dw", _) => "depthwise_conv",
            ("bn1", false) => "bn0",
            ("bn1", true) | ("bn2", false) => "bn1",
            ("bn2", true) | ("bn3", _) => "bn2",
            ("se.conv_reduce", _) => "se_reduce",
            ("se.conv_expand", _) => "se_expand",
            (other, _) => panic!("{other}"),
        };
        let number = places.binary_search(&(stage, index)).unwrap();
        format!("_blocks.{number}._{layer}.{tensor}")
    };
    weights.iter().map(|(name, weight)| (theirs(name), weight.clone())).collect()
}

#[test]
fn a_wrong_architecture_is_named_by_the_right_one_where_names_number_blocks_across_stages() {
    let b0 = Architecture::EfficientNetB0.config().init::<B>(&Default::default()).state_dict();
    let file = plain_file(&prefixed("net.", &renamed(&b0)));
    let foreign = ForeignWeights::from_dictionaries(vec![("model".to_owned(), file)]).unwrap();
    let of_b4 = Conversion::new("x").with_origin(Origin::SelfBlendedImages);
    let error = of_b4.classifier::<B>(&foreign, &Default::default()).map(drop).unwrap_err();
    // The variants of B0 have the same tensors.
    let Error::OtherArchitecture { found } = error else { panic!("{error}") };
    assert!(matches!(found, Architecture::EfficientNetB0 | Architecture::TfEfficientNetB0), "{found}");
    // The named network prepares faces as the origin does.
    let of_b0 = of_b4.with_network("efficientnet_b0".parse::<NetworkName>().unwrap());
    let classifier = of_b0.classifier::<B>(&foreign, &Default::default()).unwrap();
    assert!(classifier.network().unwrap().state_dict() == b0);
    assert_eq!(classifier.card().crop, FaceCrop::Margin { fraction: 0.125 });
}

#[test]
fn every_type_of_numbers_is_read() {
    let exact = changed(weights(), |value| half::bf16::from_f32(value).to_f32());
    // Values that 16 bits of both types can represent.
    let exact = changed(exact, |value| if value.abs() < 1e-4 { 0.0 } else { value });
    for (dtype, bytes) in [
        (Dtype::F64, safetensors_file(&exact, Dtype::F64, |value| f64::from(value).to_le_bytes().to_vec())),
        (
            Dtype::BF16,
            safetensors_file(&exact, Dtype::BF16, |value| half::bf16::from_f32(value).to_le_bytes().to_vec()),
        ),
        (Dtype::F16, safetensors_file(&exact, Dtype::F16, |value| half::f16::from_f32(value).to_le_bytes().to_vec())),
        (Dtype::F64, torch_file(&[("model", Entry::Weights(&exact))])),
    ] {
        assert!(import(&bytes).unwrap() == exact, "{dtype:?}");
    }
}

#[test]
fn other_networks_are_refused_by_their_names_and_a_wrong_architecture_by_the_right_one() {
    let one = Weight { shape: vec![1], values: vec![0.0] };
    for (tensor, network) in [
        ("backbone.block12.rep.1.conv1.weight", "Xception"),
        ("backbone.conv4.pointwise.weight", "Xception"),
        ("backbone.embeddings.patch_embeddings.weight", "DINOv3"),
        ("layers.0.blocks.0.attn.relative_position_bias_table", "Swin"),
        ("module.layer4.0.conv1.weight", "ResNet"),
        ("efficientnet.attconv.weight", "attention"),
    ] {
        let error = ForeignWeights::from_bytes(plain_file(&[(tensor.to_owned(), one.clone())].into())).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::UnsupportedNetwork { .. }) && text.contains(network), "{tensor}: {text}");
        assert!(text.contains("efficientnet_b0 to efficientnet_b7") && text.len() < 400, "{text}");
    }
    let b1 = Architecture::EfficientNetB1.config().init::<B>(&Default::default());
    let error = b1.load_timm_bytes(&plain_file(&weights())).unwrap_err();
    assert!(matches!(error, Error::OtherArchitecture { found: Architecture::EfficientNetLite0 }), "{error}");
    let mut torn = weights();
    torn.retain(|name, _| !name.starts_with("blocks.3"));
    let text = import(&plain_file(&torn)).unwrap_err().to_string();
    assert!(text.contains("missing: blocks.3.0.bn1.bias, ") && text.ends_with(", ...") && text.len() < 300, "{text}");
}

#[test]
fn a_network_that_is_not_the_cards_is_refused_on_every_backend_and_with_every_engine() {
    fn refuses<B: Backend>() {
        let device = Default::default();
        let plain = || Architecture::EfficientNetB0.config().init::<B>(&device);
        let card = |architecture| ModelCard::new("x", architecture);
        let refused = |network, card| Classifier::<B>::new(network, card, &device).map(drop).unwrap_err();
        let error = refused(plain(), card(Architecture::TfEfficientNetB0));
        let Error::NetworkSetting { layer, setting, found, expected } = &error else { panic!("{error}") };
        assert_eq!((layer.as_str(), *setting), ("conv_stem", "padding"));
        assert_eq!((found.as_str(), expected.as_str()), ("1 above, 1 left, 1 below, 1 right", "TensorFlow's SAME"));
        let mut epsilon = card(Architecture::EfficientNetB0);
        epsilon.batch_norm_epsilon = Some(1e-3);
        let error = refused(plain(), epsilon);
        assert!(matches!(error, Error::NetworkSetting { setting: "batch-norm epsilon", .. }), "{error}");
        let mut one_layer = plain();
        one_layer.bn2.activation = deepsight_core::model::Activation::Relu6;
        let error = refused(one_layer, card(Architecture::EfficientNetB0));
        assert!(
            matches!(&error, Error::NetworkSetting { layer, setting: "activation", .. } if layer == "conv_head"),
            "{error}"
        );
        let error = refused(plain(), card(Architecture::EfficientNetB1));
        assert!(matches!(error, Error::TensorNames { .. }), "{error}");
        Classifier::<B>::new(plain(), card(Architecture::EfficientNetB0), &device).unwrap();
    }
    refuses::<Flex>();
    #[cfg(feature = "ndarray")]
    refuses::<burn::backend::NdArray>();
}

#[test]
fn a_card_with_its_own_padding_and_epsilon_gives_one_answer_with_both_engines_and_after_saving() {
    let mut card = ModelCard::new("x", Architecture::EfficientNetLite0);
    (card.padding, card.unpadded_stem) = (Some(Padding::SameForEach(100)), true);
    (card.batch_norm_epsilon, card.input_size) = (Some(0.5), 64);
    let network = card.config().init::<B>(&Default::default()).unwrap().load_state_dict(weights()).unwrap();
    let fused = Classifier::new(network, card, &Default::default()).unwrap();
    let burn = fused.clone().compute_with(Engine::Burn).unwrap();
    let saved = fused.to_file(WeightFormat::F32).unwrap().to_bytes().unwrap();
    let loaded = Classifier::<B>::from_bytes(&saved, &Default::default()).unwrap();
    let own = ModelFile::new(ModelCard::new("x", Architecture::EfficientNetLite0), weights()).unwrap();
    let other = Classifier::<B>::from_file(own, &Default::default()).unwrap();
    let logit = |classifier: &Classifier<B>| classifier.logits(&[face()]).unwrap()[0][1];
    assert_eq!(logit(&loaded), logit(&fused));
    assert!((logit(&burn) - logit(&fused)).abs() < 1e-4 * logit(&fused).abs().max(0.1));
    assert!((logit(&other) - logit(&fused)).abs() > 0.01, "{} {}", logit(&other), logit(&fused));
    // Earlier versions would ignore these settings, so they must not read the file.
    let file = ModelFile::from_bytes(&saved).unwrap();
    assert_eq!((file.card.schema, file.card.padding), (2, Some(Padding::SameForEach(100))));
}

#[test]
fn a_card_of_the_first_schema_has_the_networks_settings_and_a_file_without_them_still_loads() {
    let card = ModelCard::new("x", Architecture::TfEfficientNetB4).written();
    assert_eq!((card.schema, card.padding, card.batch_norm_epsilon), (1, Some(Padding::TensorFlowSame), Some(1e-3)));
    assert_eq!(card.activation, Some(deepsight_core::model::Activation::Silu));
    let bundled = include_bytes!("../../weights/efficientnet_lite0.safetensors");
    let model = ModelFile::from_bytes(bundled).unwrap();
    assert_eq!((model.card.schema, model.card.padding, model.card.batch_norm_epsilon), (1, None, None));
    assert_eq!(efficientnet(&model.card), lite0());
    let again = ModelFile::from_bytes(&model.to_bytes().unwrap()).unwrap();
    assert_eq!(again.card, model.card);
}

#[test]
fn references_are_compared_stored_and_checked_again() {
    let mut card = ModelCard::new("x", Architecture::EfficientNetLite0);
    card.input_size = 64;
    let network = lite0().init::<B>(&Default::default()).load_state_dict(weights()).unwrap();
    let classifier = Classifier::new(network, card, &Default::default()).unwrap();
    let score = classifier.classify(&[face()]).unwrap()[0].fake_probability;
    let wrong = if score < 0.5 { score + 0.3 } else { score - 0.3 };
    let error = classifier.clone().record_reference(face(), wrong, 0.01).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::ReferenceMismatch { number: 1, .. }), "{text}");
    assert!(text.contains(&score.to_string()) && text.contains(&wrong.to_string()) && text.contains("0.01"), "{text}");
    assert!(matches!(classifier.clone().record_reference(face(), 1.5, 0.01), Err(Error::ModelCardInvalid { .. })));

    let other = RgbImage::from_pixel(40, 40, Rgb([200, 120, 90]));
    let second = classifier.classify(std::slice::from_ref(&other)).unwrap()[0].fake_probability;
    let recorded = classifier.record_reference(face(), score, 0.001).unwrap();
    let recorded = recorded.record_reference(other, second + 0.0005, 0.001).unwrap();
    let bytes = recorded.to_file(WeightFormat::F32).unwrap().to_bytes().unwrap();
    let mut file = ModelFile::from_bytes(&bytes).unwrap();
    assert_eq!((file.card.references.len(), file.reference_inputs.len(), file.card.schema), (2, 2, 2));
    assert_eq!(file.reference_inputs[0], face());
    Classifier::<B>::from_bytes(&bytes, &Default::default()).unwrap().verify().unwrap();
    // Calibration and mirror images change the model's scores, and the network is the original's as before.
    (file.card.temperature, file.card.mirrored) = (2.5, true);
    Classifier::<B>::from_file(file.clone(), &Default::default()).unwrap().verify().unwrap();
    file.card.references[1].fake_probability = if second < 0.5 { 1.0 } else { 0.0 };
    let error = Classifier::<B>::from_file(file.clone(), &Default::default()).unwrap().verify().unwrap_err();
    assert!(matches!(error, Error::ReferenceMismatch { number: 2, .. }), "{error}");
    file.reference_inputs.pop();
    assert!(matches!(file.to_bytes(), Err(Error::TensorNames { missing, .. }) if missing == ["reference.2.input"]));
}

#[test]
fn a_program_is_refused_by_name() {
    let error = import(&fixture("refused/scripted.pt")).unwrap_err();
    assert!(error.to_string().contains("TorchScript"), "{error}");
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)).unwrap()
}

/// Loads Lite0, whose variant is TensorFlow.
fn import(bytes: &[u8]) -> Result<StateDict, Error> {
    let network = Architecture::EfficientNetLite0.config().init::<Flex>(&Default::default());
    Ok(network.load_timm_bytes(bytes)?.state_dict())
}

#[test]
fn safetensors_state_dicts_load_with_wrapper_prefixes() {
    let weights = weights();
    let bytes: BTreeMap<String, Vec<u8>> =
        weights.iter().map(|(n, w)| (n.clone(), w.values.iter().flat_map(|v| v.to_le_bytes()).collect())).collect();
    let view = |name: &String| TensorView::new(Dtype::F32, weights[name].shape.clone(), &bytes[name]).unwrap();
    let tensors: Vec<_> = weights.keys().map(|name| (format!("module.{name}"), view(name))).collect();
    assert_eq!(import(&safetensors::serialize(tensors, None).unwrap()).unwrap(), weights);
}

#[test]
fn every_checkpoint_format_names_missing_and_unexpected_tensors() {
    // The files hold only three tensors, one of them foreign, because a whole state dict would be 13 MB.
    for name in ["zip.pth", "legacy.pth", "nested.pth", "channels_last.pth"] {
        let Err(Error::TensorNames { missing, unexpected }) = import(&fixture(name)) else { panic!("{name}") };
        assert_eq!(unexpected, ["foreign.weight"], "{name}");
        assert!(missing.contains(&"bn1.weight".to_owned()), "{name}");
        assert!(!missing.contains(&"conv_stem.weight".to_owned()), "{name}");
        assert!(!missing.contains(&"classifier.bias".to_owned()), "{name}");
    }
}

/// The bytes of a legacy checkpoint before the pickle of its state dict.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.K\x01.}.";

#[test]
fn hostile_pickles_are_an_error() {
    let nested = [&b")"[..], &[0x85; 900_000], b"."].concat();
    let doubled = [&b"]"[..], &b"2a".repeat(1000), b"."].concat();
    let long_text = b"X\xff\xff\xff\xff".to_vec();
    let many = vec![b'N'; 5_000_000];
    // One long list, from which dictionaries are then built over and over.
    let pairs = b"NN\x86".repeat(100_000);
    let copies =
        [&b"]("[..], &pairs, b"e\x85q\x01", &b"ccollections\nOrderedDict\nh\x01R".repeat(20_000), b"."].concat();
    let duplicates = [&b"N"[..], &b"2".repeat(40_000_000), b"."].concat();
    let no_mark = b"u.".to_vec();
    let far_slot = b"Nr\xff\xff\xff\xff.".to_vec();
    for pickle in [
        nested,
        doubled,
        copies,
        duplicates,
        long_text,
        many,
        no_mark,
        far_slot,
        b"cos\nsystem\n(S'true'\ntR.".to_vec(),
        vec![],
    ] {
        let error = import(&[LEGACY, &pickle].concat()).unwrap_err();
        assert!(matches!(error, Error::NotACheckpoint { .. }), "{error}");
    }
}

/// The text of one megabyte is referenced a hundred thousand times. An importer that copied it each time would run out
/// of memory.
#[test]
fn a_long_text_that_a_pickle_references_often_is_not_copied_each_time() {
    let text = [&b"X\x00\x00\x10\x00"[..], &[b'a'; 1 << 20], b"q\x010"].concat();
    let parameters =
        [&text[..], b"ctorch._utils\n_rebuild_parameter\nq\x020", &b"h\x02h\x01\x85R0".repeat(100_000), b"N."].concat();
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQ\
        K\x00K\x01\x85K\x01\x85tRq\x020";
    let names = [&text[..], tensor, b"}(", &b"h\x01h\x02".repeat(100_000), b"u."].concat();
    let one_storage = &b"]U\x010a.\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x3f"[..];
    for (pickle, storages, reason) in [
        (parameters, &b"]."[..], "does not hold a dictionary"),
        (names, one_storage, "has 1048576 bytes; the limit is 512"),
    ] {
        let error = import(&[LEGACY, &pickle, storages].concat()).unwrap_err();
        assert!(matches!(&error, Error::NotACheckpoint { .. }) && error.to_string().contains(reason), "{error}");
    }
}

/// Writes the tensors to two files with an index, as transformers does. Returns the folder and the index.
fn divided(weights: &StateDict) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut parts = [StateDict::new(), StateDict::new()];
    let mut map = serde_json::Map::new();
    for (number, (name, weight)) in weights.iter().enumerate() {
        parts[number % 2].insert(name.clone(), weight.clone());
        map.insert(name.clone(), names[number % 2].into());
    }
    for (name, part) in names.iter().zip(&parts) {
        std::fs::write(folder.path().join(name), plain_file(part)).unwrap();
    }
    let index = folder.path().join("model.safetensors.index.json");
    let json = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    std::fs::write(&index, json.to_string()).unwrap();
    (folder, index)
}

#[test]
fn a_state_dict_in_several_files_is_read_by_its_index() {
    let weights = weights();
    let (folder, index) = divided(&weights);
    let file = ForeignWeights::read(&index).unwrap();
    let loaded = file.load_into(lite0().init::<B>(&Default::default())).unwrap().state_dict();
    assert!(loaded == weights);

    // A part alone is not half of a network.
    let cause = |path: &Path| match ForeignWeights::read(path) {
        Err(Error::Model { cause, .. }) => *cause,
        other => panic!("{other:?}"),
    };
    let part = folder.path().join("model-00002-of-00002.safetensors");
    assert!(matches!(cause(&part), Error::OneOfSeveralFiles { index: found } if found == index));

    std::fs::remove_file(&part).unwrap();
    let error = cause(&index);
    assert!(matches!(&error, Error::Model { path, .. } if *path == part), "{error}");
    // The tensors that are missing in the file are named.
    std::fs::write(&part, plain_file(&StateDict::new())).unwrap();
    let error = cause(&index);
    assert!(error.to_string().contains("`model-00002-of-00002.safetensors` lacks `blocks."), "{error}");
}

#[test]
fn an_index_that_is_damaged_or_leads_elsewhere_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    for (text, reason) in [
        ("", "the index:"),
        ("[]", "the index:"),
        (r#"{"weight_map": {}}"#, "the index has 0 files"),
        (r#"{"weight_map": {"a": "../secret.safetensors"}}"#, "`../secret.safetensors`, which is not"),
        (r#"{"weight_map": {"a": "/etc/passwd"}}"#, "`/etc/passwd`, which is not"),
        (r#"{"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}"#, ".bin`, which is not a .safetensors file"),
    ] {
        std::fs::write(&index, text).unwrap();
        let Err(Error::Model { cause, .. }) = ForeignWeights::read(&index) else { panic!("{text}") };
        assert!(cause.to_string().contains(reason), "{text}: {cause}");
    }
}
