//! Tests of runs that are stopped and resumed.

use std::path::Path;

use burn::module::Module;
use deepsight_core::{CancelToken, Engine};
use deepsight_train::schedule::SchedulerName;
use deepsight_train::trainer::Ending;
use deepsight_train::{TrainConfig, TrainProgress, Trainer};

use super::{B, faces, train};

const FILES: [&str; 3] = ["best.safetensors", "last.safetensors", "checkpoint.safetensors"];

fn read(folder: &Path) -> Vec<Vec<u8>> {
    FILES.iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect()
}

/// Trains until `steps` steps are done in total, then cancels.
fn stop_after(trainer: &mut Trainer<B>, steps: usize) {
    let cancel = CancelToken::new();
    let mut count = |progress: &TrainProgress<'_>| {
        if let TrainProgress::Step(step) = progress
            && step.step + 1 == steps
        {
            cancel.cancel();
        }
    };
    let outcome = trainer.run(&cancel, &mut count).unwrap();
    assert_eq!(outcome.ending, Ending::Cancelled);
}

fn goes_on_bit_for_bit(config: &TrainConfig, stops: &[usize]) {
    let folder = tempfile::tempdir().unwrap();
    let devices = [Default::default()];
    let whole = folder.path().join("whole");
    let data = || faces::data(folder.path(), config);
    train(&mut Trainer::<B>::new(config.clone(), data(), &devices, faces::options(&whole)).unwrap());

    let parts = folder.path().join("parts");
    let mut options = faces::options(&parts);
    // Settings that do not affect the result may change.
    options.workers = 3;
    let mut trainer = Trainer::<B>::new(config.clone(), data(), &devices, options.clone()).unwrap();
    for stop in stops {
        stop_after(&mut trainer, *stop);
        options.workers = 1;
        trainer = Trainer::<B>::resume(config.clone(), data(), &devices, options.clone()).unwrap();
    }
    assert_eq!(train(&mut trainer).ending, Ending::Finished);
    for ((name, whole), parts) in FILES.iter().zip(read(&whole)).zip(read(&parts)) {
        assert!(whole == parts, "{name} differs");
    }
}

#[test]
fn a_run_stopped_anywhere_gives_the_same_bytes_as_an_uninterrupted_one() {
    // Stops in the middle of an epoch, at its end, and in the next one.
    goes_on_bit_for_bit(&faces::config(), &[3, 4, 6]);
}

#[test]
fn a_stopped_run_on_burns_engine_with_a_plateau_and_accumulated_gradients_gives_the_same_bytes() {
    let mut config = faces::config();
    (config.engine, config.scheduler, config.plateau_patience) = (Engine::Burn, SchedulerName::Plateau, 0);
    (config.accumulate, config.epochs, config.label_smoothing) = (2, 3, 0.1);
    goes_on_bit_for_bit(&config, &[1, 3]);
}

#[test]
fn a_stopped_run_with_sharpness_aware_steps_gives_the_same_bytes_and_another_network_than_plain_steps() {
    let mut config = faces::config();
    (config.sam, config.accumulate, config.epochs) = (Some(0.5), 2, 1);
    goes_on_bit_for_bit(&config, &[1]);

    let folder = tempfile::tempdir().unwrap();
    let network = |sam: Option<f64>, name: &str| {
        let mut config = config.clone();
        config.sam = sam;
        let options = faces::options(&folder.path().join(name));
        let data = faces::data(folder.path(), &config);
        let mut trainer = Trainer::<B>::new(config, data, &[Default::default()], options).unwrap();
        train(&mut trainer);
        trainer.network().state_dict()
    };
    assert!(network(None, "plain") != network(Some(0.5), "sharpness-aware"));
}

#[test]
fn a_stopped_run_on_two_devices_gives_the_same_network() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = faces::config();
    (config.epochs, config.batch_size) = (1, 8);
    let devices = [Default::default(), Default::default()];
    let mut results = Vec::new();
    for name in ["first", "again"] {
        let options = faces::options(&folder.path().join(name));
        let data = faces::data(folder.path(), &config);
        let mut trainer = Trainer::<B>::new(config.clone(), data, &devices, options.clone()).unwrap();
        if name == "again" {
            stop_after(&mut trainer, 1);
            let data = faces::data(folder.path(), &config);
            trainer = Trainer::<B>::resume(config.clone(), data, &devices, options).unwrap();
        }
        train(&mut trainer);
        results.push(trainer.network().into_record());
    }
    let networks: Vec<_> = results
        .into_iter()
        .map(|record| config.model_name.config().init::<B>(&Default::default()).load_record(record).state_dict())
        .collect();
    assert!(networks[0] == networks[1]);
}
