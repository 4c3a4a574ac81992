use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use deepsight_core::{
    Error as CoreError,
    model::{EfficientNet, ModelCard, ModelFile, StateDict, Weight},
};
use rand::RngExt;

use super::config::{Init, TrainConfig};
use crate::Error;
use crate::random::{Purpose, generator};

/// Returns the network that a run starts from, and the model card if the run starts from a model file.
///
/// # Errors
/// Returns an error if the file of [`TrainConfig::init`] does not hold weights of this architecture.
pub(super) fn initial<B: Backend>(
    config: &TrainConfig,
    device: &B::Device,
) -> Result<(EfficientNet<Autodiff<B>>, Option<ModelCard>), Error> {
    // Created on the autodiff backend, because parameters that come from the inner backend are not trained.
    let network = config.model_name.config().init::<Autodiff<B>>(device);
    let weights = fresh(&network, config.seed);
    let network = network.load_state_dict(weights)?;
    Ok(match &config.init {
        Init::None => (network, None),
        Init::File(path) => match ModelFile::read(path) {
            Ok(mut file) if file.card.architecture == config.model_name => {
                deepsight_core::model::Network::from(network.clone())
                    .check_config(&file.card.config())
                    .map_err(|cause| CoreError::Model { path: path.clone(), cause: Box::new(cause) })?;
                if file.card.fake_index() == 0 {
                    file.weights.iter_mut().filter(|(name, _)| name.starts_with("classifier.")).for_each(swap_classes);
                }
                (network.load_state_dict(file.weights)?, Some(file.card))
            }
            Ok(file) => {
                let (found, expected) = (file.card.architecture.to_string(), config.model_name);
                return Err(Error::OtherArchitecture { path: path.clone(), found, expected });
            }
            // Not a model file of this project, so it is read as a state dict for another task.
            Err(CoreError::Model { cause, .. }) if is_foreign(&cause) => (network.load_backbone(path)?, None),
            Err(error) => return Err(error.into()),
        },
    })
}

/// Swaps the two classes of a classifier's weight or bias: training has real before fake.
fn swap_classes((_, weight): (&String, &mut Weight)) {
    let half = weight.values.len() / 2;
    weight.values.rotate_left(half);
}

fn is_foreign(cause: &CoreError) -> bool {
    matches!(cause, CoreError::NotSafetensors { .. } | CoreError::NoModelCard)
}

/// Returns random weights, by timm's rules except for the classifier. They depend on the seed alone. Burn's generator
/// is not used, because the whole process shares it and it differs from backend to backend.
fn fresh<B: Backend>(network: &EfficientNet<B>, seed: u64) -> StateDict {
    let mut weights = network.state_dict();
    for (index, (name, weight)) in weights.iter_mut().enumerate() {
        let mut random = generator(Purpose::Weights, [seed, index as u64, 0]);
        match *weight.shape.as_slice() {
            // Normal distribution of variance 2 / fan-out. A depthwise kernel's fan-out is that of one channel.
            [outputs, inputs, height, width] => {
                let groups = if inputs == 1 { outputs } else { 1 };
                let deviation = (2.0 / (height * width * outputs / groups) as f64).sqrt();
                weight.values.iter_mut().for_each(|value| *value = (normal(&mut random) * deviation) as f32);
            }
            // PyTorch's bound. With two classes, timm's bound, 1 / √outputs, gives logits in the tens.
            [_, inputs] => {
                let bound = 1.0 / (inputs as f64).sqrt();
                weight
                    .values
                    .iter_mut()
                    .for_each(|value| *value = ((2.0 * random.random::<f64>() - 1.0) * bound) as f32);
            }
            // Norms keep the values of a new network. Biases are 0, as in timm.
            _ if name.ends_with(".bias") => weight.values.fill(0.0),
            _ => {}
        }
    }
    weights
}

/// Draws a standard normal number (Box & Muller, 1958).
fn normal(random: &mut impl rand::Rng) -> f64 {
    let (radius, angle): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}
