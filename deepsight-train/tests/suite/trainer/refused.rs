//! Tests of the input that a run refuses, and of the files that it then leaves.

use std::fs;

use deepsight_core::{CancelToken, Engine, model::Architecture};
use deepsight_train::step::Precision;
use deepsight_train::{Error, Init, Label, Split, TrainConfig, TrainData, TrainProgress, Trainer};

use super::{B, faces, train};

#[test]
fn a_loss_that_is_not_finite_ends_the_run_names_the_batch_and_keeps_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = faces::config();
    (config.learning_rate, config.warmup, config.grad_clip, config.weight_decay) = (1e30, 0.0, None, 1e8);
    let mut options = faces::options(&folder.path().join("run"));
    options.checkpoint_every = 1;
    let data = faces::data(folder.path(), &config);
    let mut trainer = Trainer::<B>::new(config, data, &[Default::default()], options.clone()).unwrap();
    let checkpoint = options.output.join("checkpoint.safetensors");
    let mut saved = Vec::new();
    let mut note = |progress: &TrainProgress<'_>| {
        if let TrainProgress::Saved(path) = progress {
            saved = fs::read(path).unwrap();
        }
    };
    let error = trainer.run(&CancelToken::new(), &mut note).unwrap_err();
    let Error::NotFinite { epoch, ref files, .. } = error else { panic!("{error}") };
    assert_eq!(epoch, 1);
    assert!(!files.is_empty() && files.iter().all(|file| folder.path().join(file).is_file()));
    assert!(error.to_string().contains(".png"), "{error}");
    assert!(!saved.is_empty() && fs::read(checkpoint).unwrap() == saved);
}

#[test]
fn a_checkpoint_of_another_run_is_refused_and_the_differences_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = faces::config();
    config.epochs = 1;
    let options = faces::options(&folder.path().join("run"));
    let data = |config: &TrainConfig| faces::data(folder.path(), config);
    let devices = [Default::default()];
    let missing = Trainer::<B>::resume(config.clone(), data(&config), &devices, options.clone()).unwrap_err();
    assert!(missing.to_string().contains("checkpoint.safetensors"), "{missing}");
    train(&mut Trainer::<B>::new(config.clone(), data(&config), &devices, options.clone()).unwrap());

    let again = Trainer::<B>::new(config.clone(), data(&config), &devices, options.clone()).unwrap_err();
    assert!(again.to_string().contains("holds a run already"), "{again}");

    let mut other = config.clone();
    other.label_smoothing = 0.25;
    let error = Trainer::<B>::resume(other.clone(), data(&other), &devices, options.clone()).unwrap_err().to_string();
    assert!(error.contains("its label_smoothing is 0.05") && error.contains("0.25 is asked for now"), "{error}");

    let mut manifest = faces::manifest(folder.path(), 4);
    manifest.rows.retain(|row| row.video != "real0");
    let fewer = TrainData::new(vec![manifest], &config).unwrap();
    let error = Trainer::<B>::resume(config.clone(), fewer, &devices, options.clone()).unwrap_err().to_string();
    assert!(error.contains("other faces"), "{error}");

    let checkpoint = options.output.join("checkpoint.safetensors");
    let bytes = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    let error = Trainer::<B>::resume(config.clone(), data(&config), &devices, options).unwrap_err().to_string();
    assert!(error.contains("not a checkpoint"), "{error}");
}

#[test]
fn data_that_cannot_be_trained_on_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = faces::config();
    let message = |change: fn(&mut deepsight_train::Manifest)| {
        let mut manifest = faces::manifest(folder.path(), 4);
        change(&mut manifest);
        TrainData::new(vec![manifest], &config).unwrap_err().to_string()
    };
    let no_val = message(|manifest| manifest.rows.retain(|row| row.split != Some(Split::Val)));
    assert!(no_val.contains("split is train for all faces"), "{no_val}");
    let one_class = message(|manifest| manifest.rows.retain(|row| row.label == Label::Real));
    assert!(one_class.contains("no fake faces"), "{one_class}");
    let uncut = message(|manifest| manifest.crop = None);
    assert!(uncut.contains("crop is not known"), "{uncut}");

    // A file that is not a picture is detected before the first step, a truncated picture only when it is read.
    let data = faces::data(folder.path(), &config);
    for label in ["real", "fake"] {
        let path = folder.path().join(label).join("0_0.png");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    }
    let options = faces::options(&folder.path().join("run"));
    let mut trainer = Trainer::<B>::new(config.clone(), data, &[Default::default()], options).unwrap();
    let error = trainer.run(&CancelToken::new(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("0_0.png"), "{error}");

    let broken = message(|manifest| {
        let path = manifest.root.join(&manifest.rows[0].file);
        fs::write(path, "not a picture").unwrap();
    });
    assert!(broken.contains("0_0.png"), "{broken}");
}

#[test]
fn a_folder_has_one_run_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = faces::config();
    let make = || {
        let data = faces::data(folder.path(), &config);
        Trainer::<B>::new(config.clone(), data, &[Default::default()], faces::options(&folder.path().join("run")))
    };
    let cancel = CancelToken::new();
    let mut refused = None;
    let mut trainer = make().unwrap();
    trainer
        .run(&cancel, &mut |_| {
            refused.get_or_insert_with(|| make().map(drop));
            cancel.cancel();
        })
        .unwrap();
    assert!(matches!(refused, Some(Err(Error::Busy { .. }))), "{refused:?}");
}

#[test]
fn incompatible_settings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = |change: fn(&mut TrainConfig)| {
        let mut config = faces::config();
        change(&mut config);
        let data = faces::data(folder.path(), &config);
        let options = faces::options(&folder.path().join("run"));
        Trainer::<B>::new(config, data, &[Default::default()], options).unwrap_err().to_string()
    };
    let half = message(|config| config.precision = Precision::Brain);
    assert!(half.starts_with("bf16 cannot be used on ") && half.ends_with("CPUs compute in f32 only"), "{half}");
    let half = message(|config| (config.precision, config.engine) = (Precision::Half, Engine::Burn));
    assert!(half.ends_with("CPUs compute in f32 only"), "{half}");
    let large = message(|config| config.batch_size = 64);
    assert!(large.contains("batch_size is 64 with 16 draws"), "{large}");
    let no_file = message(|config| config.init = Init::File("nowhere.safetensors".into()));
    assert!(no_file.contains("nowhere.safetensors"), "{no_file}");

    // A model file of another architecture.
    let mut config = faces::config();
    config.epochs = 1;
    let options = faces::options(&folder.path().join("lite0"));
    let data = faces::data(folder.path(), &config);
    train(&mut Trainer::<B>::new(config.clone(), data, &[Default::default()], options.clone()).unwrap());
    // The same architecture with another batch-norm epsilon.
    let mut other = deepsight_core::model::ModelFile::read(options.output.join("last.safetensors")).unwrap();
    other.card.batch_norm_epsilon = Some(1e-5);
    let file = folder.path().join("other.safetensors");
    other.write(&file).unwrap();
    config.init = Init::File(file);
    let (data, again) = (faces::data(folder.path(), &config), faces::options(&folder.path().join("again")));
    let error = Trainer::<B>::new(config.clone(), data, &[Default::default()], again).unwrap_err();
    let text = deepsight_core::with_causes(&error);
    assert!(text.contains("other.safetensors") && text.contains("batch-norm epsilon 0.001"), "{text}");
    assert!(text.contains("0.00001 is needed"), "{text}");

    config.model_name = Architecture::EfficientNetB0;
    config.init = Init::File(options.output.join("last.safetensors"));
    let data = faces::data(folder.path(), &config);
    let options = faces::options(&folder.path().join("b0"));
    let error = Trainer::<B>::new(config, data, &[Default::default()], options).unwrap_err().to_string();
    assert!(error.contains("of efficientnet_lite0, and efficientnet_b0 is to be trained"), "{error}");
}
