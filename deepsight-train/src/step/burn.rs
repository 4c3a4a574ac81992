use burn::backend::Autodiff;
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use deepsight_core::{
    gpu,
    model::{EfficientNet, EfficientNetConfig},
};

use super::depthwise::depthwise;
use super::gradients::{gradient_norm, scaled};
use super::loss_scale::LossScale;
use super::{Batch, Noise, Objective, Precision, Step, StepOutput};
use crate::Error;

/// A training step by Burn's automatic differentiation, on any backend. It runs on GPUs, and it is the reference that
/// every other engine is compared with.
#[derive(Debug)]
pub struct BurnStep<B: Backend> {
    config: EfficientNetConfig,
    input_size: u32,
    mean: [f32; 3],
    std: [f32; 3],
    device: B::Device,
    precision: Precision,
    scale: LossScale,
}

impl<B: Backend> BurnStep<B> {
    /// Creates a step for networks of that shape on that device, and for pictures of `input_size` pixels a side. `mean`
    /// and `std` are those of the model card.
    pub fn new(
        config: &EfficientNetConfig,
        input_size: u32,
        mean: [f32; 3],
        std: [f32; 3],
        device: &B::Device,
    ) -> Self {
        Self {
            config: config.clone(),
            input_size,
            mean,
            std,
            device: device.clone(),
            precision: Precision::Full,
            scale: LossScale::default(),
        }
    }

    /// Sets the precision that the step computes in. Parameters, their gradients, batch norms and the loss stay in
    /// `f32`. [`check_precision`](Self::check_precision) and [`Step::run`] return an error if the device cannot compute
    /// in that precision.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Checks that the device can compute in the step's precision.
    ///
    /// # Errors
    /// [`Error::Precision`] when it cannot.
    pub fn check_precision(&self) -> Result<(), Error> {
        if B::supports_dtype(&self.device, self.precision.dtype()) {
            return Ok(());
        }
        let (precision, device) = (self.precision.name(), B::name(&self.device));
        Err(Error::Precision { precision, device, reason: "it does not have that type" })
    }

    /// Returns the normalized pictures, `[batch, 3, side, side]`.
    fn input(&self, batch: &Batch) -> Tensor<Autodiff<B>, 4> {
        let (count, side) = (batch.images.len(), self.input_size as usize);
        let pixels = batch.images.iter().map(|image| image.as_raw().as_slice()).collect::<Vec<_>>().concat();
        gpu::normalized(pixels, [count, side, side], self.mean, self.std, &self.device)
    }

    /// Returns the logits in single precision, whatever precision the network computes in.
    fn logits(&self, network: &EfficientNet<Autodiff<B>>, batch: &Batch, noise: &Noise) -> Tensor<Autodiff<B>, 2> {
        let input = self.input(batch);
        match self.precision {
            Precision::Full => network.forward_training_with(input, noise, &depthwise),
            half => network.with_products_in(half.dtype()).forward_training_with(input, noise, &depthwise),
        }
    }
}

impl<B: Backend> Step<B> for BurnStep<B> {
    fn run(
        &mut self,
        network: &EfficientNet<Autodiff<B>>,
        batch: &Batch,
        noise: &Noise,
        objective: &Objective,
    ) -> Result<StepOutput, Error> {
        self.check_precision()?;
        batch.check(self.input_size)?;
        noise.check(&self.config, batch.images.len())?;
        let log_probabilities = log_softmax(self.logits(network, batch, noise), 1);
        let targets = TensorData::new(objective.targets(&batch.labels), [batch.labels.len(), 2]);
        let targets = Tensor::<Autodiff<B>, 2>::from_data(targets, &self.device);
        let loss = -(log_probabilities.clone() * targets).sum();

        let fake = log_probabilities.inner().exp().narrow(1, 1, 1).try_into_data().map_err(Error::backend)?;
        let fake_probabilities = fake.iter::<f32>().collect();
        let value = loss.clone().inner().try_into_data().map_err(Error::backend)?.iter::<f64>().sum();
        if self.precision != Precision::Half {
            let gradients = GradientsParams::from_grads(loss.backward(), network);
            return Ok(StepOutput { loss: value, fake_probabilities, gradients });
        }
        let scale = self.scale.value();
        let gradients = GradientsParams::from_grads((loss * scale).backward(), network);
        let gradients = scaled(network, gradients, 1.0 / scale);
        let usable = gradient_norm(network, &gradients)?.is_finite();
        self.scale.update(usable);
        let gradients = if usable { gradients } else { GradientsParams::new() };
        Ok(StepOutput { loss: value, fake_probabilities, gradients })
    }

    fn loss_scale(&self) -> Option<LossScale> {
        (self.precision == Precision::Half).then_some(self.scale)
    }

    fn set_loss_scale(&mut self, scale: LossScale) {
        self.scale = scale;
    }
}
