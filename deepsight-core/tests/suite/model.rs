//! Tests of model files, the classifier and the import of checkpoints, through the public API.

use std::sync::OnceLock;

use burn::backend::Flex;
use burn::tensor::backend::Backend;
use deepsight_core::image::{Rgb, RgbImage};
use deepsight_core::{
    Classifier, Engine, Error, FaceClassifier,
    model::{Architecture, Golden, ModelCard, ModelFile, StateDict, Weight, WeightFormat},
};
use safetensors::Dtype;
use safetensors::tensor::{SafeTensors, TensorView};
use serde_json::{Value, json};

/// Returns random weights, the same in every test of a run, because creating them takes a while.
fn weights() -> StateDict {
    static WEIGHTS: OnceLock<StateDict> = OnceLock::new();
    let fresh = || {
        Flex::seed(&Default::default(), 7);
        Architecture::EfficientNetLite0.config().init::<Flex>(&Default::default()).state_dict()
    };
    WEIGHTS.get_or_init(fresh).clone()
}

fn card() -> ModelCard {
    let mut card = ModelCard::new("test", Architecture::EfficientNetLite0);
    card.input_size = 64;
    card
}

fn model() -> ModelFile {
    ModelFile::new(card(), weights()).unwrap()
}

fn classifier(model: ModelFile) -> Result<Classifier<Flex>, Error> {
    Classifier::from_file(model, &Default::default())
}

fn face(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8]))
}

/// Creates a small file with this JSON as its card and one tensor.
fn file_with_card(card: &str) -> Vec<u8> {
    let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    let metadata = [("deepsight".to_owned(), card.to_owned())].into();
    safetensors::serialize([("classifier.bias", view)], Some(metadata)).unwrap()
}

fn card_json() -> Value {
    serde_json::to_value(card()).unwrap()
}

fn read_error(bytes: &[u8]) -> Error {
    ModelFile::from_bytes(bytes).unwrap_err()
}

#[test]
fn short_random_and_truncated_files_are_not_safetensors() {
    let whole = model().to_bytes().unwrap();
    for bytes in [&b"\x01\x02\x03\x04"[..], b"", &[0xff; 64], &[b'a'; 5000], &whole[..whole.len() - 1], &whole[..500]] {
        let error = read_error(bytes);
        assert!(matches!(error, Error::NotSafetensors { bytes: length, .. } if length == bytes.len()), "{error}");
    }
}

#[test]
fn a_file_is_refused_as_its_bytes_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let whole = model().to_bytes().unwrap();
    let longer = [&whole[..], b"more"].concat();
    for bytes in [b"", &whole[..7], &whole[..500], &whole[..whole.len() - 1], &longer, &file_with_card("{")] {
        std::fs::write(&path, bytes).unwrap();
        let expected = read_error(bytes).to_string();
        let causes = [
            ModelFile::read(&path).unwrap_err(),
            Classifier::<Flex>::load(&path, &Default::default()).map(drop).unwrap_err(),
        ];
        for error in causes {
            assert!(matches!(&error, Error::Model { cause, .. } if cause.to_string() == expected), "{error:?}");
        }
    }
}

#[test]
fn a_loaded_model_keeps_its_file_when_another_takes_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = model();
    model.write(&path).unwrap();
    let loaded = Classifier::<Flex>::load(&path, &Default::default()).unwrap();
    let mut other = model.clone();
    other.weights.values_mut().for_each(|weight| weight.values.iter_mut().for_each(|value| *value *= 0.5));
    other.write(&path).unwrap();
    assert!(loaded.network().unwrap().state_dict() == model.weights);
    assert!(loaded.to_file(WeightFormat::F32).unwrap().weights == model.weights);
    let on_burn = loaded.clone().compute_with(Engine::Burn).unwrap();
    let faces = [face(90, 80)];
    let (fused, burn) = (loaded.logits(&faces).unwrap()[0], on_burn.logits(&faces).unwrap()[0]);
    assert!(fused.iter().zip(burn).all(|(a, b)| (a - b).abs() < 1e-4), "{fused:?} {burn:?}");
}

#[test]
fn weights_that_changed_in_the_file_are_not_taken_for_those_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut bytes = model().to_bytes().unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let loaded = Classifier::<Flex>::load(&path, &Default::default()).unwrap();
    let before = loaded.logits(&[face(90, 80)]).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    // The same file with other content, not another file under its name.
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(loaded.network(), Err(Error::ModelChanged { name }) if name == "test"));
    assert!(matches!(loaded.save(&path, WeightFormat::F32), Err(Error::ModelChanged { .. })));
    assert!(matches!(loaded.clone().compute_with(Engine::Burn), Err(Error::ModelChanged { .. })));
    assert_eq!(loaded.logits(&[face(90, 80)]).unwrap(), before);
}

#[test]
fn a_state_dict_without_a_card_is_refused_as_such() {
    let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    let bytes = safetensors::serialize([("classifier.bias", view)], None).unwrap();
    assert!(matches!(read_error(&bytes), Error::NoModelCard));
}

#[test]
fn a_card_that_is_not_a_json_object_is_refused() {
    for card in ["", "{", "[1]", "null"] {
        assert!(matches!(read_error(&file_with_card(card)), Error::ModelCardSyntax { .. }), "{card}");
    }
}

#[test]
fn a_card_longer_than_a_megabyte_is_refused_unread() {
    let error = read_error(&file_with_card(&"[".repeat((1 << 20) + 1)));
    assert_eq!(error.to_string(), "the model card has 1048577 bytes; the limit is 1048576");
}

#[test]
fn the_readme_describes_each_field_of_the_card() {
    let readme = include_str!("../../README.md");
    for name in card_json().as_object().unwrap().keys() {
        assert!(readme.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{name}`"))), "{name}");
    }
}

#[test]
fn each_missing_field_of_the_card_is_named() {
    for name in card_json().as_object().unwrap().keys() {
        let mut card = card_json();
        card.as_object_mut().unwrap().remove(name);
        let error = read_error(&file_with_card(&card.to_string()));
        assert!(matches!(&error, Error::ModelCardMissing { field } if field == name), "{name}: {error}");
    }
}

#[test]
fn each_unusable_value_of_the_card_is_named() {
    let wrong = [
        ("input_size", json!(0)),
        ("input_size", json!(100_000)),
        ("input_size", json!(-1)),
        ("mean", json!([0.5, 0.5])),
        ("mean", json!(["a", 0.5, 0.5])),
        ("std", json!([0.5, 0.0, 0.5])),
        ("std", json!([0.5, -1.0, 0.5])),
        ("std", json!([0.5, 1e300, 0.5])),
        ("resize", json!("lanczos")),
        ("crop", json!({"kind": "circle"})),
        ("crop", json!({"kind": "margin", "fraction": -0.5})),
        ("crop", json!({"kind": "aligned", "size": 1_000_000, "scale": 1.0})),
        ("labels", json!(["real"])),
        ("labels", json!(["real", "real"])),
        ("labels", json!(["cat", "dog"])),
        ("threshold", json!(1.5)),
        ("threshold", json!("half")),
        ("temperature", json!(0.0)),
        ("temperature", json!(-2)),
        ("metrics", json!({"auc": "good"})),
        ("golden", json!({"fake_probability": 2.0, "tolerance": 0.1})),
        ("golden", json!({"fake_probability": 0.5, "tolerance": 0.0})),
        ("references", json!([{"fake_probability": 1.5, "tolerance": 0.1}])),
        ("padding", json!("valid")),
        ("padding", json!({"same_for": 0})),
        ("padding", json!({"same_for_each": 5000})),
        ("unpadded_stem", json!("yes")),
        ("batch_norm_epsilon", json!(0.0)),
        ("batch_norm_epsilon", json!("small")),
        ("activation", json!("identity")),
        ("activation", json!("gelu")),
        ("name", json!(7)),
        ("name", json!("\u{1b}[2J")),
    ];
    for (name, value) in wrong {
        let mut card = card_json();
        card[name] = value.clone();
        let error = read_error(&file_with_card(&card.to_string()));
        assert!(matches!(&error, Error::ModelCardInvalid { field, .. } if *field == name), "{name} {value}: {error}");
    }
}

#[test]
fn a_later_schema_and_an_unknown_architecture_are_refused() {
    let mut card = card_json();
    card["schema"] = json!(4);
    assert!(matches!(read_error(&file_with_card(&card.to_string())), Error::UnsupportedSchema { found: 4, .. }));
    let mut card = card_json();
    card["architecture"] = json!("resnet50");
    let error = read_error(&file_with_card(&card.to_string()));
    assert!(matches!(&error, Error::UnknownArchitecture { name } if name == "resnet50"), "{error}");
}

#[test]
fn every_missing_and_unexpected_tensor_is_named() {
    let mut model = model();
    for name in ["bn1.weight", "blocks.3.1.conv_dw.weight"] {
        model.weights.remove(name);
    }
    model.weights.insert("fc.weight".into(), Weight { shape: vec![1], values: vec![0.0] });
    let Err(Error::TensorNames { missing, unexpected }) = classifier(model) else { panic!() };
    assert_eq!(missing, ["blocks.3.1.conv_dw.weight", "bn1.weight"]);
    assert_eq!(unexpected, ["fc.weight"]);
}

#[test]
fn weights_of_another_architecture_are_refused() {
    let mut model = model();
    model.card.architecture = Architecture::EfficientNetB0.into();
    let Err(Error::TensorNames { missing, .. }) = classifier(model) else { panic!() };
    assert!(missing.contains(&"blocks.0.0.se.conv_reduce.weight".to_owned()));
}

#[test]
fn a_tensor_of_wrong_shape_or_with_a_nan_is_named() {
    let mut wrong = model();
    wrong.weights.get_mut("classifier.bias").unwrap().shape = vec![2, 1];
    let error = classifier(wrong).unwrap_err();
    assert!(matches!(&error, Error::TensorShape { name, .. } if name == "classifier.bias"), "{error}");
    for value in [f32::NAN, f32::INFINITY] {
        let mut wrong = model();
        wrong.weights.get_mut("bn2.running_var").unwrap().values[17] = value;
        let error = classifier(ModelFile::from_bytes(&wrong.to_bytes().unwrap()).unwrap()).unwrap_err();
        assert!(matches!(&error, Error::TensorNotFinite { name, index: 17, .. } if name == "bn2.running_var"));
    }
}

#[test]
fn a_tensor_of_wrong_type_is_named() {
    let view = TensorView::new(Dtype::I64, vec![1], &[0; 8]).unwrap();
    let metadata = [("deepsight".to_owned(), card_json().to_string())].into();
    let bytes = safetensors::serialize([("bn1.weight", view)], Some(metadata)).unwrap();
    assert!(matches!(read_error(&bytes), Error::TensorType { name, .. } if name == "bn1.weight"));
}

#[test]
fn a_model_that_could_not_be_read_back_is_not_written() {
    let mut short = model();
    short.weights.get_mut("classifier.bias").unwrap().values.pop();
    let error = short.to_bytes().unwrap_err().to_string();
    assert_eq!(error, "tensor `classifier.bias` has shape [1]; [2] is needed");
    let mut nameless = model();
    nameless.card.metrics.insert("auc".into(), f64::NAN);
    assert!(matches!(nameless.to_bytes(), Err(Error::ModelCardInvalid { field: "metrics", .. })));
}

#[test]
fn a_weight_beyond_half_precision_is_refused_not_stored_as_infinity() {
    let mut model = model();
    model.weights.get_mut("bn1.running_var").unwrap().values[3] = 1e6;
    model.format = WeightFormat::F16;
    assert!(matches!(model.to_bytes(), Err(Error::TensorNotFinite { index: 3, .. })));
}

#[test]
fn a_missing_file_a_folder_and_a_file_over_the_limit_name_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.safetensors");
    for path in [&missing, folder.path()] {
        let error = Classifier::<Flex>::load(path, &Default::default()).unwrap_err();
        assert!(matches!(&error, Error::Model { path: named, .. } if named == path), "{error}");
    }
    let large = folder.path().join("large.safetensors");
    std::fs::File::create(&large).unwrap().set_len((4 << 30) + 1).unwrap();
    let Err(Error::Model { cause, .. }) = ModelFile::read(&large) else { panic!() };
    assert!(matches!(*cause, Error::ModelTooLarge { limit: 0x1_0000_0000, .. }));
}

#[test]
fn full_precision_is_read_back_exactly_and_saving_leaves_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let classifier = classifier(model()).unwrap();
    classifier.save(&path, WeightFormat::F32).unwrap();
    classifier.save(&path, WeightFormat::F32).unwrap();
    let read = ModelFile::read(&path).unwrap();
    assert_eq!((&read.card, &read.weights, read.format), (&card(), &weights(), WeightFormat::F32));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_is_plain_safetensors_with_one_metadata_entry() {
    let bytes = model().to_bytes().unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap().keys().collect::<Vec<_>>(), ["deepsight"]);
    assert_eq!(metadata.tensors().len(), weights().len());
}

#[test]
fn half_precision_is_read_back_within_eleven_bits() {
    let mut model = model();
    model.format = WeightFormat::F16;
    let read = ModelFile::from_bytes(&model.to_bytes().unwrap()).unwrap();
    assert_eq!(read.format, WeightFormat::F16);
    for (name, weight) in weights() {
        for (full, half) in weight.values.iter().zip(&read.weights[&name].values) {
            assert!((full - half).abs() <= full.abs() / 2048.0 + 3e-8, "{name}: {full} {half}");
        }
    }
}

/// Creates a small file with a card and these tensors.
fn file_with_tensors(tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (*name, view)
    });
    let metadata = [("deepsight".to_owned(), card_json().to_string())].into();
    safetensors::serialize(views, Some(metadata)).unwrap()
}

fn scales(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn integers_are_multiplied_by_the_scale_of_their_channel() {
    let bytes = file_with_tensors(&[
        ("w", Dtype::I8, vec![2, 2, 1, 1], vec![127, 0x80, 1, 0xff]),
        ("w.scale", Dtype::F32, vec![2], scales(&[0.5, 0.0])),
        ("bias", Dtype::F16, vec![1], vec![0, 0]),
    ]);
    let read = ModelFile::from_bytes(&bytes).unwrap();
    assert_eq!(read.weights["w"], Weight { shape: vec![2, 2, 1, 1], values: vec![63.5, -64.0, 0.0, -0.0] });
    assert_eq!((read.weights.len(), read.format), (2, WeightFormat::I8));
}

#[test]
fn integers_with_wrong_or_missing_scales_are_refused_by_name() {
    let integers = ("w", Dtype::I8, vec![2, 2], vec![1, 2, 3, 4]);
    let read = |scale| read_error(&file_with_tensors(&[integers.clone(), scale]));
    let error = read_error(&file_with_tensors(std::slice::from_ref(&integers)));
    assert!(matches!(&error, Error::TensorNames { missing, .. } if missing == &["w.scale"]), "{error}");
    let error = read(("w.scale", Dtype::F16, vec![2], vec![0; 4]));
    assert!(matches!(&error, Error::TensorType { name, expected: "F32", .. } if name == "w.scale"), "{error}");
    for shape in [vec![4], vec![2, 1], vec![1]] {
        let values = scales(&vec![1.0; shape.iter().product()]);
        let error = read(("w.scale", Dtype::F32, shape, values));
        assert!(
            matches!(&error, Error::TensorShape { name, expected, .. } if name == "w.scale" && expected == &[2]),
            "{error}"
        );
    }
    for bad in [f32::NAN, f32::NEG_INFINITY, -0.1] {
        let error = read(("w.scale", Dtype::F32, vec![2], scales(&[1.0, bad])));
        assert!(matches!(&error, Error::TensorNotFinite { name, index: 1, .. } if name == "w.scale"), "{error}");
    }
    let vector = [("b", Dtype::I8, vec![2], vec![1, 2]), ("b.scale", Dtype::F32, vec![2], scales(&[1.0; 2]))];
    let error = read_error(&file_with_tensors(&vector));
    assert!(matches!(&error, Error::TensorType { name, .. } if name == "b"), "{error}");
}

#[test]
fn scales_without_integers_are_refused_as_unexpected_tensors() {
    let mut model = model();
    model.weights.insert("conv_head.weight.scale".into(), Weight { shape: vec![1280], values: vec![1.0; 1280] });
    let error = classifier(ModelFile::from_bytes(&model.to_bytes().unwrap()).unwrap()).unwrap_err();
    assert!(matches!(&error, Error::TensorNames { unexpected, .. } if unexpected == &["conv_head.weight.scale"]));
}

/// The tensors of Lite0 that are stored in 8 bits.
const ROUNDED: [&str; 3] = ["blocks.6.0.conv_pw.weight", "blocks.6.0.conv_pwl.weight", "conv_head.weight"];

#[test]
fn eight_bit_weights_are_read_back_within_half_a_step_and_the_rest_within_half_precision() {
    let mut model = model();
    model.weights.get_mut("conv_head.weight").unwrap().values[..320].fill(0.0);
    model.format = WeightFormat::I8;
    let bytes = model.to_bytes().unwrap();
    let read = ModelFile::from_bytes(&bytes).unwrap();
    assert_eq!((read.format, &read.card), (WeightFormat::I8, &model.card));
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let integers = stored.tensors().into_iter().filter(|(_, view)| view.dtype() == Dtype::I8).map(|(name, _)| name);
    assert_eq!(integers.collect::<std::collections::BTreeSet<_>>(), ROUNDED.map(str::to_owned).into());
    for (name, weight) in &model.weights {
        let in_eight_bits = ROUNDED.contains(&name.as_str());
        let length = weight.values.len() / weight.shape[0];
        let channels = weight.values.chunks(length).zip(read.weights[name].values.chunks(length));
        for (channel, back) in channels {
            let step = channel.iter().fold(0.0_f32, |largest, value| largest.max(value.abs())) / 127.0;
            for (value, back) in channel.iter().zip(back) {
                let bound = if in_eight_bits { 0.501 * step } else { value.abs() / 2048.0 + 3e-8 };
                assert!((value - back).abs() <= bound, "{name}: {value} {back}");
            }
        }
    }
    assert_eq!(read.to_bytes().unwrap(), bytes, "a file that was read is written as it was");
    assert!(classifier(read).is_ok());
}

#[test]
fn a_format_is_read_by_its_name() {
    for format in WeightFormat::ALL {
        assert_eq!(format.name().parse::<WeightFormat>().unwrap(), format);
    }
    assert!("q4".parse::<WeightFormat>().is_err());
}

#[test]
fn the_files_hash_is_in_the_info() {
    let bytes = model().to_bytes().unwrap();
    let info = Classifier::<Flex>::from_bytes(&bytes, &Default::default()).unwrap().info();
    let hash = info.sha256.unwrap();
    assert!(hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!((info.name.as_str(), info.architecture.as_str()), ("test", "efficientnet_lite0"));
}

#[test]
fn a_golden_input_is_checked_when_asked() {
    let honest = classifier(model()).unwrap().classify(&[face(50, 40)]).unwrap()[0].fake_probability;
    for (promised, holds) in [(honest, true), ((honest + 0.5) % 1.0, false), (1.0 - honest / 2.0, false)] {
        let mut model = model();
        model.card.golden = Some(Golden { fake_probability: promised, tolerance: 1e-3 });
        model.golden_input = Some(face(50, 40));
        let bytes = model.to_bytes().unwrap();
        let checked = Classifier::<Flex>::from_bytes(&bytes, &Default::default()).unwrap().verify();
        match checked {
            Ok(score) => assert!(holds && score.is_some()),
            Err(error) => assert!(!holds && matches!(error, Error::GoldenMismatch { .. })),
        }
    }
    assert!(classifier(model()).unwrap().verify().unwrap().is_none());
}

#[test]
fn an_expected_score_without_its_input_is_refused() {
    let mut model = model();
    model.card.golden = Some(Golden { fake_probability: 0.5, tolerance: 1e-3 });
    assert!(matches!(model.to_bytes(), Err(Error::TensorNames { missing, .. }) if missing == ["golden.input"]));
}

#[test]
fn faces_of_different_sizes_score_in_one_call_as_they_do_alone() {
    let classifier = classifier(model()).unwrap();
    let faces = [face(30, 70), face(64, 64), face(1, 1), face(200, 33)];
    let together = classifier.classify(&faces).unwrap();
    for (face, score) in faces.iter().zip(&together) {
        assert_eq!(classifier.classify(std::slice::from_ref(face)).unwrap(), [*score]);
    }
    assert!(classifier.classify(&[]).unwrap().is_empty());
}

#[test]
fn an_empty_face_is_an_error() {
    let error = classifier(model()).unwrap().classify(&[face(9, 9), face(0, 5)]).unwrap_err();
    assert!(matches!(error, Error::EmptyFace { index: 1, width: 0, height: 5 }));
}

#[test]
fn non_finite_logits_are_an_error() {
    let mut model = model();
    // The weights are finite, but their product is not.
    model.weights.get_mut("classifier.weight").unwrap().values.fill(3e38);
    model.weights.get_mut("bn2.bias").unwrap().values.fill(6.0);
    let error = classifier(model).unwrap().classify(&[face(64, 64)]).unwrap_err();
    assert!(matches!(error, Error::LogitsNotFinite { index: 0, .. }), "{error}");
}

#[test]
fn temperature_and_label_order_change_the_score_as_documented() {
    let [real, fake] = classifier(model()).unwrap().logits(&[face(64, 64)]).unwrap()[0];
    let score = |edit: fn(&mut ModelCard)| {
        let mut model = model();
        edit(&mut model.card);
        classifier(model).unwrap().classify(&[face(64, 64)]).unwrap()[0].fake_probability
    };
    let softmax = |margin: f32| 1.0 / (1.0 + (-margin).exp());
    assert!((score(|_| ()) - softmax(fake - real)).abs() < 1e-6);
    assert!((score(|card| card.temperature = 0.5) - softmax((fake - real) / 0.5)).abs() < 1e-6);
    assert!((score(|card| card.labels.swap(0, 1)) - softmax(real - fake)).abs() < 1e-6);
}

#[test]
fn an_activation_map_covers_the_face_and_reaches_one_or_is_zero() {
    let map = classifier(model()).unwrap().explain(&face(90, 50)).unwrap().unwrap();
    assert_eq!((map.width, map.height, map.values.len()), (90, 50, 4500));
    let largest = map.values.iter().copied().fold(0.0, f32::max);
    assert!(map.values.iter().all(|value| (0.0..=1.0).contains(value)) && (largest == 0.0 || largest > 0.99));
}

#[cfg(feature = "weights")]
#[test]
fn the_bundled_model_loads_and_passes_its_golden_check_on_every_cpu_backend() {
    fn keeps_its_promise<B: Backend>() {
        let classifier = Classifier::<B>::pretrained(&Default::default()).unwrap();
        assert!(classifier.verify().unwrap().is_some(), "it carries a golden input");
        assert!(!classifier.info().terms.is_empty());
    }
    keeps_its_promise::<Flex>();
    #[cfg(feature = "ndarray")]
    keeps_its_promise::<burn::backend::NdArray>();
}
