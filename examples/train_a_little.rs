//! Trains a network for a few steps on faces that `preprocess` cut out, and saves a model file:
//! `cargo run --release --example train_a_little -- CROPS/manifest.csv OUTPUT`.

use std::error::Error;

use deepsight_core::{CancelToken, model::Architecture};
use deepsight_train::{Init, Manifest, RunOptions, TrainConfig, TrainData, Trainer};

type B = burn::backend::Flex;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [manifest, output] = &arguments[..] else {
        return Err("two arguments are needed: the manifest of the crops, and a folder for the run".into());
    };

    let mut config = TrainConfig::new(Architecture::EfficientNetLite0);
    config.init = Init::None; // from random weights, which learn nothing in so few steps; a file is the better start
    config.input_size = Some(96);
    config.epochs = 1;
    config.draws = Some(64);
    config.self_blended = 0.5;

    // The manifest states which rows are train, val and test; no person is in two of them.
    let data = TrainData::new(vec![Manifest::read(manifest)?], &config)?;
    let mut trainer = Trainer::<B>::new(config, data, &[Default::default()], RunOptions::new(output))?;
    let outcome = trainer.run(&CancelToken::new(), &mut |_| {})?;
    println!("{:?}: {output}/best.safetensors is a model for `analyze --model`", outcome.best);
    Ok(())
}
