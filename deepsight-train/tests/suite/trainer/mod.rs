//! Complete training runs on tiny pictures.

mod faces;
mod refused;
mod resume;

use burn::backend::Flex;
use deepsight_core::{
    CancelToken, Classifier, Engine, FaceClassifier, FaceCrop,
    model::{ModelFile, WeightFormat},
};
use deepsight_train::trainer::Ending;
use deepsight_train::{Augmentation, Init, TrainConfig, TrainData, TrainProgress, Trainer};

type B = Flex;

fn train(trainer: &mut Trainer<B>) -> deepsight_train::Outcome {
    trainer.run(&CancelToken::new(), &mut |_| {}).unwrap()
}

#[test]
fn a_network_learns_to_separate_the_classes_and_its_model_file_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = faces::config();
    (config.epochs, config.batch_size, config.draws) = (6, 8, Some(80));
    (config.learning_rate, config.warmup, config.ema, config.drop_path) = (2e-3, 0.2, None, 0.0);
    config.augmentation = Augmentation::none();
    let output = folder.path().join("run");
    let data = TrainData::new(vec![faces::manifest(folder.path(), 9)], &config).unwrap();
    let mut trainer = Trainer::<B>::new(config, data, &[Default::default()], faces::options(&output)).unwrap();
    let outcome = train(&mut trainer);
    assert_eq!(outcome.ending, Ending::Finished);
    let losses: Vec<f64> = outcome.history.iter().map(|epoch| epoch.loss).collect();
    assert!(losses[5] < 0.7 * losses[0], "{losses:?}");
    let best = outcome.best.unwrap();
    assert!(best.video_auc > 0.9, "{:?}", outcome.history);

    let model = ModelFile::read(output.join("best.safetensors")).unwrap();
    assert_eq!(model.format, WeightFormat::F16);
    assert_eq!(model.card.crop, FaceCrop::Margin { fraction: 0.25 });
    assert_eq!((model.card.input_size, model.card.mean, model.card.std), (faces::SIDE, [0.5; 3], [0.5; 3]));
    assert_eq!(model.card.trained_on, "18 real faces of 6 videos, 18 fake faces of 6 videos");
    assert_eq!((model.card.terms.as_str(), model.card.name.as_str()), ("for tests", "tiny"));
    assert_eq!(model.card.metrics["val_video_auc"], best.video_auc);
    let classifier = Classifier::<B>::from_file(model, &Default::default()).unwrap();
    let crop = trainer.data().dataset().crop(0).unwrap().into_owned();
    assert!(classifier.classify(&[crop]).unwrap()[0].fake_probability.is_finite());
    for name in ["last.safetensors", "checkpoint.safetensors", "config.json", "history.json"] {
        assert!(output.join(name).is_file(), "{name}");
    }
}

#[test]
fn a_run_starts_from_exactly_the_weights_of_a_model_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = faces::config();
    (config.epochs, config.ema) = (1, None);
    let first = folder.path().join("first");
    let data = |config: &TrainConfig| faces::data(folder.path(), config);
    train(
        &mut Trainer::<B>::new(config.clone(), data(&config), &[Default::default()], faces::options(&first)).unwrap(),
    );
    let file = first.join("last.safetensors");
    config.init = Init::File(file.clone());
    let second = faces::options(&folder.path().join("second"));
    let trainer = Trainer::<B>::new(config.clone(), data(&config), &[Default::default()], second).unwrap();
    let weights = ModelFile::read(&file).unwrap().weights;
    assert_eq!(trainer.network().state_dict(), weights);

    // The same network with its two classes in reverse order in the file.
    let mut turned = ModelFile::read(&file).unwrap();
    turned.card.labels.swap(0, 1);
    for name in ["classifier.weight", "classifier.bias"] {
        let weight = turned.weights.get_mut(name).unwrap();
        weight.values = weight.values.chunks(weight.values.len() / 2).rev().flatten().copied().collect();
    }
    let file = folder.path().join("turned.safetensors");
    turned.write(&file).unwrap();
    config.init = Init::File(file);
    let third = faces::options(&folder.path().join("third"));
    let trainer = Trainer::<B>::new(config.clone(), data(&config), &[Default::default()], third).unwrap();
    assert_eq!(trainer.network().state_dict(), weights);
}

#[test]
fn the_engines_agree_on_a_run_up_to_rounding() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |engine: Engine| {
        let mut config = faces::config();
        (config.engine, config.epochs, config.learning_rate) = (engine, 1, 1e-7);
        let output = faces::options(&folder.path().join(engine.name()));
        let data = faces::data(folder.path(), &config);
        let mut trainer = Trainer::<B>::new(config, data, &[Default::default()], output).unwrap();
        let mut losses = Vec::new();
        let mut note = |progress: &TrainProgress<'_>| match progress {
            TrainProgress::Started { engine: name, .. } => assert_eq!(*name, engine.name()),
            TrainProgress::Step(step) => losses.push(step.loss),
            _ => {}
        };
        trainer.run(&CancelToken::new(), &mut note).unwrap();
        losses
    };
    let (burn, fused) = (losses(Engine::Burn), losses(Engine::Fused));
    assert_eq!(burn.len(), 4);
    assert!(burn.iter().zip(&fused).all(|(a, b)| (a - b).abs() < 0.02 * a), "{burn:?} {fused:?}");
}

#[test]
fn a_run_stops_early_without_improvement() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = faces::config();
    (config.epochs, config.early_stopping) = (9, Some(2));
    // The weights and the running statistics must not change, so that no score does.
    (config.learning_rate, config.weight_decay, config.ema) = (1e-30, 0.0, Some(1.0 - 1e-12));
    let data = faces::data(folder.path(), &config);
    let output = faces::options(&folder.path().join("run"));
    let mut trainer = Trainer::<B>::new(config, data, &[Default::default()], output).unwrap();
    let outcome = train(&mut trainer);
    assert_eq!(outcome.ending, Ending::Stopped);
    let best = outcome.best.unwrap();
    assert_eq!(outcome.history.len(), best.epoch + 3);
    // Another call has nothing left to do.
    assert_eq!(train(&mut trainer), outcome);
}
