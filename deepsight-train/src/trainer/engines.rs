use std::thread;

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module};
use burn::tensor::backend::Backend;
use deepsight_core::{Engine, Noise, model::EfficientNet};

use super::config::TrainConfig;
use super::noise;
use crate::Error;
use crate::step::{Batch, BurnStep, FusedStep, LossScale, Objective, Precision, Step, StepOutput, weighted_sum};

/// The training steps of a run: one for each device. Each computes a part of every batch.
pub(super) struct Engines<B: Backend> {
    steps: Vec<(Box<dyn Step<B> + Send>, B::Device)>,
    name: &'static str,
}

impl<B: Backend> Engines<B> {
    /// Creates one step for each device.
    ///
    /// # Errors
    /// Returns an error if a device or the engine cannot compute in the precision, or if there is no device.
    pub(super) fn new(
        config: &TrainConfig,
        mean: [f32; 3],
        std: [f32; 3],
        devices: &[B::Device],
    ) -> Result<Self, Error> {
        let (network, size) = (config.model_name.config(), config.input_size());
        let mut name = Engine::Burn.name();
        let mut make = |device: &B::Device| -> Result<Box<dyn Step<B> + Send>, Error> {
            let (precision, on_cpu) = (config.precision.name(), Engine::Auto.is_fused::<B>(device));
            let refused = |reason| Err(Error::Precision { precision, device: B::name(device), reason });
            match (config.precision, config.engine.is_fused::<B>(device)) {
                (Precision::Full, true) => {
                    name = Engine::Fused.name();
                    Ok(Box::new(FusedStep::new(&network, size, mean, std)?))
                }
                (_, true) => refused("CPUs compute in f32 only"),
                (Precision::Full, false) => Ok(Box::new(BurnStep::new(&network, size, mean, std, device))),
                (_, false) if on_cpu => refused("CPUs compute in f32 only"),
                (half, false) => {
                    let step = BurnStep::new(&network, size, mean, std, device).with_precision(half);
                    step.check_precision()?;
                    Ok(Box::new(step))
                }
            }
        };
        let steps =
            devices.iter().map(|device| Ok((make(device)?, device.clone()))).collect::<Result<Vec<_>, Error>>()?;
        match steps.is_empty() {
            true => Err(Error::Setting { name: "devices", value: "none".into(), rule: "at least one is needed" }),
            false => Ok(Self { steps, name }),
        }
    }

    /// Returns the name of the engine: `burn` or `fused`.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Runs one pass of a batch. With several devices, each computes on a copy of the network, and batch norms use the
    /// statistics of the device's part. Gradients are added up on the first device, whose running statistics are kept.
    ///
    /// # Errors
    /// The errors of [`Step::run`].
    pub(super) fn run(
        &mut self,
        network: &EfficientNet<Autodiff<B>>,
        batch: &Batch,
        noise: &Noise,
        objective: &Objective,
    ) -> Result<StepOutput, Error> {
        let parts = split(batch.images.len(), self.steps.len());
        let [(first, _), others @ ..] = self.steps.as_mut_slice() else {
            return Err(Error::Batch { what: "there is no device to run it on".into() });
        };
        if parts.len() == 1 {
            return first.run(network, batch, noise, objective);
        }
        let part = |range: &std::ops::Range<usize>| {
            let images = batch.images[range.clone()].to_vec();
            let part = Batch { images, labels: batch.labels[range.clone()].to_vec() };
            (part, noise::part(noise, batch.images.len(), range.clone()))
        };
        let outputs: Vec<Result<StepOutput, Error>> = thread::scope(|scope| {
            let running: Vec<_> = others
                .iter_mut()
                .zip(&parts[1..])
                .map(|((step, device), range)| {
                    // Not a clone: clones share their running statistics.
                    let copy = EfficientNet::from_inner(network.valid()).fork(device);
                    let (batch, noise) = part(range);
                    scope.spawn(move || step.run(&copy, &batch, &noise, objective))
                })
                .collect();
            let (batch, noise) = part(&parts[0]);
            let own = first.run(network, &batch, &noise, objective);
            let joined = running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            std::iter::once(own).chain(joined).collect()
        });
        let whole = objective.weight(&batch.labels);
        let share = |range: &std::ops::Range<usize>| objective.weight(&batch.labels[range.clone()]) / whole;
        combine(network, outputs.into_iter().zip(parts.iter().map(share)))
    }

    /// Returns the loss scale of each device.
    pub(super) fn loss_scales(&self) -> Vec<Option<LossScale>> {
        self.steps.iter().map(|(step, _)| step.loss_scale()).collect()
    }

    /// Restores the loss scales of an earlier run.
    pub(super) fn set_loss_scales(&mut self, scales: &[Option<LossScale>]) {
        for ((step, _), scale) in self.steps.iter_mut().zip(scales) {
            if let Some(scale) = scale {
                step.set_loss_scale(*scale);
            }
        }
    }
}

/// Combines the outputs of a batch's parts into that of the whole batch, each part weighted by its share. If the
/// gradients of one part were lost, those of the whole batch are lost.
pub(super) fn combine<B: Backend>(
    network: &EfficientNet<Autodiff<B>>,
    outputs: impl Iterator<Item = (Result<StepOutput, Error>, f32)>,
) -> Result<StepOutput, Error> {
    let (mut loss, mut fake_probabilities, mut gradients, mut lost) = (0.0, Vec::new(), Vec::new(), false);
    for (output, share) in outputs {
        let output = output?;
        loss += output.loss * f64::from(share);
        fake_probabilities.extend(output.fake_probabilities);
        lost |= output.gradients.is_empty();
        gradients.push((output.gradients, share));
    }
    if lost {
        gradients.clear();
    }
    Ok(StepOutput { loss, fake_probabilities, gradients: weighted_sum(network, gradients) })
}

/// Divides pictures into ranges of nearly equal length: at most one for each device, and none shorter than two
/// pictures.
fn split(pictures: usize, devices: usize) -> Vec<std::ops::Range<usize>> {
    let parts = devices.min(pictures / 2).max(1);
    (0..parts).map(|part| part * pictures / parts..(part + 1) * pictures / parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_divided_without_loss_and_never_into_single_pictures() {
        assert_eq!(split(7, 2), [0..3, 3..7]);
        assert_eq!(split(5, 4), [0..2, 2..5]);
        assert_eq!(split(3, 8), vec![0..3]);
    }

    #[cfg(feature = "flex")]
    #[test]
    fn two_devices_give_the_mean_of_their_parts_by_class_weight() -> Result<(), Error> {
        use burn::backend::Flex;
        use deepsight_core::model::Architecture;
        use image::{Rgb, RgbImage};

        use crate::Label;
        use crate::step::gradient_norm;

        let mut config = TrainConfig::new(Architecture::EfficientNetLite0);
        (config.input_size, config.engine, config.dropout) = (Some(32), Engine::Burn, 0.3);
        let picture = |n: u32| RgbImage::from_fn(32, 32, |x, y| Rgb([(x * n) as u8, (y * 7) as u8, (x * y + n) as u8]));
        let labels = vec![Label::Real, Label::Real, Label::Real, Label::Fake, Label::Fake];
        let batch = Batch { images: (1..6).map(picture).collect(), labels };
        let noise = noise::noise(&config, &config.model_name.config(), 0, 0, 5);
        let objective = Objective { class_weights: [1.0, 3.0], label_smoothing: 0.1 };
        let network = super::super::init::initial::<Flex>(&config, &Default::default())?.0;
        let engines =
            |count: usize| Engines::<Flex>::new(&config, [0.5; 3], [0.5; 3], &vec![Default::default(); count]);

        let both = engines(2)?.run(&network, &batch, &noise, &objective)?;
        let running = network.state_dict()["bn2.running_mean"].clone();
        let (mut loss, mut parts) = (0.0, Vec::new());
        for (range, share) in [(0..2, 2.0 / 9.0), (2..5, 7.0 / 9.0)] {
            let images = batch.images[range.clone()].to_vec();
            let part = Batch { images, labels: batch.labels[range.clone()].to_vec() };
            let network = EfficientNet::from_inner(network.valid());
            let output = engines(1)?.run(&network, &part, &noise::part(&noise, 5, range), &objective)?;
            loss += f64::from(share) * output.loss;
            parts.push((output.gradients, share));
        }
        assert!((both.loss - loss).abs() < 1e-5 * loss, "{} {loss}", both.loss);
        assert_eq!(both.fake_probabilities.len(), 5);
        // The difference of the two gradients.
        let length = gradient_norm(&network, &both.gradients)?;
        let sum = weighted_sum(&network, parts);
        let rest = weighted_sum(&network, vec![(both.gradients, 1.0), (sum, -1.0)]);
        let rest = gradient_norm(&network, &rest)?;
        assert!(rest < 1e-4 * length, "{rest} of {length}");
        // The second device does not change the network's running statistics.
        assert_eq!(network.state_dict()["bn2.running_mean"], running);
        Ok(())
    }
}
