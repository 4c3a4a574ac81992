//! The `convert` program from outside: a state dict becomes a model that can be used, and what is broken is refused.
#![cfg(feature = "flex")]

use std::path::Path;

use burn::backend::Flex;
use deepsight_core::{Architecture, FaceCrop, ModelFile, StateDict};
use safetensors::{Dtype, tensor::TensorView};

use crate::program::{Run, bundled_clip, bundled_model, program, run};

/// Random weights of EfficientNet-Lite0, and a file of them as timm would save it.
fn state_dict(path: &Path) -> StateDict {
    let weights = Architecture::EfficientNetLite0.config().init::<Flex>(&Default::default()).state_dict();
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = weights
        .iter()
        .map(|(name, weight)| (name.clone(), Dtype::F32, weight.shape.clone(), bytes(&weight.values)))
        .collect();
    tensors.push(("bn1.num_batches_tracked".into(), Dtype::I64, vec![], 7i64.to_le_bytes().to_vec()));
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    weights
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_state_dict_becomes_a_model_that_analyze_takes() {
    let folder = tempfile::tempdir().unwrap();
    let (timm, model) = (folder.path().join("timm.safetensors"), folder.path().join("mine.safetensors"));
    let weights = state_dict(&timm);
    let files = ["--timm", text(&timm), "--model-name", "efficientnet_lite0", "--output", text(&model)];
    let card = ["--input-size", "64", "--crop", "margin:0.25", "--resize", "pil_bilinear", "--threshold", "0.75"];
    let more = ["--mean", "0.5,0.25,0.125", "--std", "1,1,2", "--fake-first", "--trained-on", "nothing"];
    let converted = run("convert", &[&files[..], &card, &more].concat());
    assert_eq!((converted.code, converted.stderr.as_str()), (Some(0), ""));

    let read = ModelFile::read(&model).unwrap();
    assert!(read.weights == weights, "not a number changes, and the counter of batches is left out");
    assert_eq!((read.card.name.as_str(), read.card.architecture), ("mine", Architecture::EfficientNetLite0));
    assert_eq!((read.card.input_size, read.card.crop), (64, FaceCrop::Margin { fraction: 0.25 }));
    assert_eq!((read.card.mean, read.card.std), ([0.5, 0.25, 0.125], [1.0, 1.0, 2.0]));
    assert_eq!((read.card.labels[0].as_str(), read.card.threshold), ("fake", 0.75));

    let inspected = run("convert", &["--inspect", text(&model)]);
    assert_eq!((inspected.code, &inspected.stdout), (Some(0), &converted.stdout));
    for part in ["\"efficientnet_lite0\"", "f32", &read.sha256.unwrap(), "no input in the file"] {
        assert!(inspected.stdout.contains(part), "{part}: {inspected:?}");
    }

    let clip = bundled_clip();
    let analysed = run("analyze", &[text(&clip), "--model", text(&model), "--frames", "1", "--json", "-"]);
    assert_eq!(analysed.code, Some(0), "{analysed:?}");
    let report: serde_json::Value = serde_json::from_str(&analysed.stdout).unwrap();
    assert_eq!((&report["model"]["name"], &report["model"]["threshold"]), (&"mine".into(), &0.75.into()));
    assert!((0.0..=1.0).contains(&report["frames"][0]["faces"][0]["fake_probability"].as_f64().unwrap()));
}

#[test]
fn the_bundled_model_keeps_its_promise() {
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
fn what_is_broken_or_does_not_fit_is_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&folder.path().join(name)).to_owned();
    let (timm, output, four, cut) = (at("timm.safetensors"), at("out.safetensors"), at("four"), at("cut.safetensors"));
    state_dict(Path::new(&timm));
    std::fs::write(&four, "abcd").unwrap();
    let bundled = std::fs::read(bundled_model()).unwrap();
    std::fs::write(&cut, &bundled[..bundled.len() - 1]).unwrap();
    let (lies, other, nowhere) = (at("lies.safetensors"), at("other.safetensors"), at("missing/out.safetensors"));
    let mut file = ModelFile::from_bytes(&bundled).unwrap();
    file.card.architecture = Architecture::EfficientNetB0;
    file.write(&other).unwrap();
    file.card.architecture = Architecture::EfficientNetLite0;
    let golden = file.card.golden.as_mut().unwrap();
    golden.fake_probability = 1.0 - golden.fake_probability;
    file.write(&lies).unwrap();

    let cases: [(&[&str], &[&str]); 11] = [
        (&["--inspect", &four], &["four", "4 bytes"]),
        (&["--inspect", &cut], &["cut.safetensors", "not a safetensors file"]),
        (&["--inspect", &nowhere], &["missing/out.safetensors", "No such file"]),
        (&["--inspect", &timm], &["timm.safetensors"]),
        (&["--inspect", &other], &["other.safetensors", "missing"]),
        (&["--inspect", &lies], &["lies.safetensors", "golden"]),
        (&["--timm", &four, "--model-name", "efficientnet_b0", "--output", &output], &["four"]),
        (&["--timm", &timm, "--model-name", "efficientnet_b0", "--output", &output], &["timm.safetensors", "missing"]),
        (&["--timm", &timm, "--model-name", "efficientnet_lite0", "--output", &nowhere], &["missing/out"]),
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
