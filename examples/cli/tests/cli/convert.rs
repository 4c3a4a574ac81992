//! The `convert` program from outside: a state dict becomes a model that can be used, and what is broken is refused.
#![cfg(feature = "flex")]

use std::path::Path;

use burn::backend::Flex;
use deepsight_core::{
    FaceCrop,
    model::{Architecture, MlpActivation, ModelFile, StateDict, TransformerSize, VisionTransformerConfig},
};
use safetensors::{Dtype, tensor::TensorView};

use crate::program::{Run, bundled_clip, bundled_model, program, run};

/// Random weights of EfficientNet-Lite0, and a file of them as timm would save it.
fn state_dict(path: &Path) -> StateDict {
    let weights = Architecture::EfficientNetLite0.config().init::<Flex>(&Default::default()).state_dict();
    write(path, &weights);
    weights
}

/// Writes weights and a counter of batches as timm would save them.
fn write(path: &Path, weights: &StateDict) {
    let counter = ("bn1.num_batches_tracked".into(), Dtype::I64, vec![], 7i64.to_le_bytes().to_vec());
    write_with(path, weights, Some(counter));
}

fn write_with(path: &Path, weights: &StateDict, more: Option<(String, Dtype, Vec<usize>, Vec<u8>)>) {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = weights
        .iter()
        .map(|(name, weight)| (name.clone(), Dtype::F32, weight.shape.clone(), bytes(&weight.values)))
        .collect();
    tensors.extend(more);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_state_dict_becomes_a_model_that_analyze_takes() {
    let folder = tempfile::tempdir().unwrap();
    let (timm, model) = (folder.path().join("timm.safetensors"), folder.path().join("mine.safetensors"));
    let weights = state_dict(&timm);
    let files = ["--timm", text(&timm), "--model-name", "tf_efficientnet_lite0", "--output", text(&model)];
    let card = ["--input-size", "64", "--crop", "margin:0.25", "--resize", "pil_bilinear", "--threshold", "0.75"];
    let more = ["--mean", "0.5,0.25,0.125", "--std", "1,1,2", "--fake-first", "--trained-on", "nothing"];
    let converted = run("convert", &[&files[..], &card, &more].concat());
    assert_eq!((converted.code, converted.stderr.as_str()), (Some(0), ""));

    let read = ModelFile::read(&model).unwrap();
    assert!(read.weights == weights, "not a number changes, and the counter of batches is left out");
    assert_eq!(
        (read.card.name.as_str(), read.card.architecture.efficientnet()),
        ("mine", Some(Architecture::EfficientNetLite0))
    );
    assert_eq!((read.card.input_size, read.card.crop), (64, FaceCrop::Margin { fraction: 0.25 }));
    assert_eq!((read.card.mean, read.card.std), ([0.5, 0.25, 0.125], [1.0, 1.0, 2.0]));
    assert_eq!((read.card.labels[0].as_str(), read.card.threshold), ("fake", 0.75));

    let inspected = run("convert", &["--inspect", text(&model)]);
    assert_eq!((inspected.code, &inspected.stdout), (Some(0), &converted.stdout));
    for part in ["\"efficientnet_lite0\"", "f32", &read.sha256.unwrap(), "no input in the file"] {
        assert!(inspected.stdout.contains(part), "{part}: {inspected:?}");
    }

    let clip = bundled_clip();
    let analyzed = run("analyze", &[text(&clip), "--model", text(&model), "--frames", "1", "--json", "-"]);
    assert_eq!(analyzed.code, Some(0), "{analyzed:?}");
    let report: serde_json::Value = serde_json::from_str(&analyzed.stdout).unwrap();
    assert_eq!((&report["model"]["name"], &report["model"]["threshold"]), (&"mine".into(), &0.75.into()));
    assert!((0.0..=1.0).contains(&report["frames"][0]["faces"][0]["fake_probability"].as_f64().unwrap()));
}

#[test]
fn a_vision_transformer_becomes_a_model_that_analyze_takes_once_its_activation_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (timm, model) = (folder.path().join("timm.safetensors"), folder.path().join("mine.safetensors"));
    let mut config = VisionTransformerConfig::clip(TransformerSize::Small, 16, 64, MlpActivation::QuickGelu);
    (config.width, config.depth, config.heads, config.mlp_width) = (128, 2, 2, 256);
    let weights = config.init::<Flex>(&Default::default()).unwrap().state_dict();
    write_with(&timm, &weights, None);
    let files = ["--timm", text(&timm), "--output", text(&model)];
    let refused = |more: &[&str]| {
        let run = run("convert", &[&files[..], more].concat());
        assert_eq!((run.code, model.exists()), (Some(2), false), "{run:?}");
        run.stderr
    };
    assert!(refused(&[]).contains("--activation quick_gelu"));
    assert!(refused(&["--model-name", "vit_large_patch14_clip_224"]).contains("vit_large_patch14_clip_224"));
    assert!(refused(&["--model-name", "efficientnet_b4"]).contains("see --model-name"));
    assert!(refused(&["--from", "sbi"]).contains("timm or effort or gend or unifd"));
    let quick = ["--activation", "quick_gelu"];
    assert!(
        refused(&[&quick[..], &["--input-size", "65"]].concat()).contains("--input-size is 65: it must be a multiple")
    );
    assert!(refused(&[&quick[..], &["--format", "i8"]].concat()).contains("--format is i8"));
    let converted = run("convert", &[&files[..], &quick, &["--format", "f16", "--crop", "margin:0.25"]].concat());
    assert_eq!((converted.code, converted.stderr.as_str()), (Some(0), ""));

    let read = ModelFile::read(&model).unwrap();
    assert_eq!((read.card.architecture.vision_transformer(), read.card.schema), (Some(&config), 3));
    assert_eq!((read.card.input_size, read.card.mean[0]), (64, 0.481_454_66));
    let clip = bundled_clip();
    for engine in ["fused", "burn"] {
        let flags = ["--model", text(&model), "--engine", engine, "--frames", "1", "--json", "-"];
        let analyzed = run("analyze", &[&[text(&clip)][..], &flags].concat());
        assert_eq!(analyzed.code, Some(0), "{analyzed:?}");
        let report: serde_json::Value = serde_json::from_str(&analyzed.stdout).unwrap();
        assert_eq!(report["model"]["engine"], engine);
        assert!((0.0..=1.0).contains(&report["frames"][0]["faces"][0]["fake_probability"].as_f64().unwrap()));
    }
}

#[test]
fn a_moving_average_is_read_and_named_and_the_plain_weights_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let (both, model) = (folder.path().join("both.safetensors"), folder.path().join("mine.safetensors"));
    let plain = state_dict(&both);
    let mut average = plain.clone();
    average.values_mut().flat_map(|weight| &mut weight.values).for_each(|value| *value /= 2.0);
    let prefixed = |prefix: &str, weights: &StateDict| -> StateDict {
        weights.iter().map(|(name, weight)| (format!("{prefix}.{name}"), weight.clone())).collect()
    };
    write(&both, &prefixed("model", &plain).into_iter().chain(prefixed("model_ema", &average)).collect());
    for (more, named, other, expected) in
        [(&[][..], "`model_ema`", "`model`", &average), (&["--weights", "plain"][..], "`model`", "`model_ema`", &plain)]
    {
        let flags = ["--checkpoint", text(&both), "--model-name", "tf_efficientnet_lite0", "--output", text(&model)];
        let run = run("convert", &[&flags[..], more].concat());
        assert_eq!(run.code, Some(0), "{run:?}");
        let note = format!("the weights are {named}; the file also has {other}");
        assert!(run.stderr.contains(&note) && run.stderr.contains("--weights"), "{run:?}");
        assert!(ModelFile::read(&model).unwrap().weights == *expected, "{more:?}");
    }
}

#[test]
fn a_reference_proves_an_import_and_a_wrong_score_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&folder.path().join(name)).to_owned();
    let (timm, model, again, face) =
        (at("timm.safetensors"), at("mine.safetensors"), at("f16.safetensors"), at("a=b.png"));
    state_dict(Path::new(&timm));
    let gradient = |x: u32, y: u32| image::Rgb([(3 * x) as u8, (2 * y) as u8, (x + y) as u8]);
    image::RgbImage::from_fn(80, 90, gradient).save(&face).unwrap();
    let flags = ["--timm", &timm, "--model-name", "tf_efficientnet_lite0", "--input-size", "64"];
    // Finds the score of this face by recording it.
    let recorded = run("convert", &[&flags[..], &["--golden", &face, "--output", &model]].concat());
    assert_eq!((recorded.code, recorded.stderr.as_str()), (Some(0), ""));
    let score = ModelFile::read(&model).unwrap().card.golden.unwrap().fake_probability;
    std::fs::remove_file(&model).unwrap();

    let wrong = if score < 0.5 { score + 0.2 } else { score - 0.2 };
    let (right, wrong) = (format!("{face}={score}"), format!("{face}={wrong}"));
    let refused =
        run("convert", &[&flags[..], &["--reference", &right, "--reference", &wrong, "--output", &model]].concat());
    refused.assert_refused(&["a=b.png", "reference 2", &score.to_string(), &wrong[face.len() + 1..], "0.01"]);
    assert!(!Path::new(&model).exists());

    let proven = run("convert", &[&flags[..], &["--reference", &right, "--output", &model]].concat());
    assert_eq!((proven.code, proven.stderr.as_str()), (Some(0), ""), "{proven:?}");
    assert!(proven.stdout.contains("references  1 score as the original within 0.01"), "{proven:?}");
    // Storing the model in another format checks the references again.
    let stored = run("convert", &["--model", &model, "--format", "f16", "--output", &again]);
    assert_eq!((stored.code, ModelFile::read(&again).unwrap().card.references.len()), (Some(0), 1), "{stored:?}");
    let mut lies = ModelFile::read(&model).unwrap();
    lies.card.references[0].fake_probability = if score < 0.5 { 1.0 } else { 0.0 };
    lies.write(&model).unwrap();
    run("convert", &["--inspect", &model]).assert_refused(&["mine.safetensors", "reference 1"]);
    run("convert", &["--timm", &timm, "--output", &again, "--reference", "face.png"]).assert_refused(&["--reference"]);
}

#[test]
fn the_bundled_model_scores_its_golden_input() {
    let run = run("convert", &["--inspect", text(&bundled_model())]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert!(run.stdout.contains("\"efficientnet_lite0\"") && run.stdout.contains(", as promised"), "{run:?}");
}

#[test]
fn mirror_images_are_switched_off_and_on_again_with_a_new_golden_score() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&folder.path().join(name)).to_owned();
    let (plain, mirrored) = (at("plain.safetensors"), at("mirrored.safetensors"));
    for (from, mirror, to) in [(text(&bundled_model()), "false", &plain), (&plain, "true", &mirrored)] {
        let run = run("convert", &["--model", from, "--mirrored", mirror, "--output", to]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
        assert!(run.stdout.contains(", as promised"), "{run:?}");
        assert_eq!(run.stdout.contains("\"mirrored\": true"), mirror == "true", "{run:?}");
    }
    let golden = |path: &str| ModelFile::read(path).unwrap().card.golden.unwrap().fake_probability;
    assert!((golden(&plain) - golden(&mirrored)).abs() > 1e-4);
    assert!((golden(&mirrored) - golden(text(&bundled_model()))).abs() < 1e-5);
}

#[test]
fn broken_or_wrong_input_gives_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&folder.path().join(name)).to_owned();
    let (timm, output, four, cut) = (at("timm.safetensors"), at("out.safetensors"), at("four"), at("cut.safetensors"));
    state_dict(Path::new(&timm));
    std::fs::write(&four, "abcd").unwrap();
    let bundled = std::fs::read(bundled_model()).unwrap();
    std::fs::write(&cut, &bundled[..bundled.len() - 1]).unwrap();
    let (lies, other, nowhere) = (at("lies.safetensors"), at("other.safetensors"), at("missing/out.safetensors"));
    let mut file = ModelFile::from_bytes(&bundled).unwrap();
    file.card.architecture = Architecture::EfficientNetB0.into();
    file.write(&other).unwrap();
    file.card.architecture = Architecture::EfficientNetLite0.into();
    let golden = file.card.golden.as_mut().unwrap();
    golden.fake_probability = 1.0 - golden.fake_probability;
    file.write(&lies).unwrap();

    let cases: [(&[&str], &[&str]); 16] = [
        (&["--inspect", &four], &["four", "4 bytes"]),
        (&["--inspect", &cut], &["cut.safetensors", "not a safetensors file"]),
        (&["--inspect", &nowhere], &["missing/out.safetensors", "No such file"]),
        (&["--inspect", &timm], &["timm.safetensors"]),
        (&["--inspect", &other], &["other.safetensors", "missing"]),
        (&["--inspect", &lies], &["lies.safetensors", "golden"]),
        (&["--timm", &four, "--model-name", "efficientnet_b0", "--output", &output], &["four"]),
        (
            &["--timm", &timm, "--model-name", "tf_efficientnet_b0", "--output", &output],
            &["timm.safetensors", "those of efficientnet_lite0"],
        ),
        (&["--timm", &timm, "--model-name", "tf_efficientnet_lite0", "--output", &nowhere], &["missing/out"]),
        (
            &["--timm", &timm, "--model-name", "efficientnet_b4", "--output", &output],
            &["320 pixels", "380 pixels", "--variant pytorch or --variant tensorflow", "tf_"],
        ),
        (
            &["--timm", &timm, "--model-name", "tf_efficientnet_b4", "--variant", "pytorch", "--output", &output],
            &["`tf_efficientnet_b4` means", "was asked for"],
        ),
        (&["--timm", &timm, "--output", &output], &["--model-name is missing", "needed"]),
        (
            &["--timm", &timm, "--model-name", "tf_efficientnet_lite0", "--weights", "ema", "--output", &output],
            &["with ema weights", "--weights"],
        ),
        (&["--timm", &timm, "--from", "sbi", "--output", &output], &["origin sbi", "timm or selimsef", "--from"]),
        (&["--timm", &timm, "--model-name", "resnet50", "--output", &output], &["--model-name", "resnet50"]),
        (
            &["--timm", &timm, "--model-name", "efficientnet_b0", "--output", &output, "--mean", "0,0"],
            &["--mean", "three"],
        ),
    ];
    for (arguments, parts) in cases {
        run("convert", arguments).assert_refused(parts);
        assert!(!Path::new(&output).exists(), "{arguments:?}");
    }
    assert_eq!(run::<&str>("convert", &[]).code, Some(2));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_not_a_panic() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = program("convert").arg("--inspect").arg(bundled_model()).stdout(full).output().unwrap();
    let run = Run::from(output);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.stderr.starts_with("error: cannot write standard output") && run.stderr.lines().count() == 1,
        "{run:?}"
    );
}
