//! One forward and backward pass: pictures and labels to loss and gradients.

mod burn;
mod depthwise;
mod fused;
mod gradients;
mod loss_scale;

use ::burn::backend::Autodiff;
use ::burn::optim::GradientsParams;
use ::burn::tensor::backend::Backend;
use deepsight_core::model::EfficientNet;
/// The types of `deepsight-core`: the random factors of a pass, and the type that its products are computed in.
pub use deepsight_core::{Noise, Precision};
use image::RgbImage;

use crate::{Error, Label};

pub use self::burn::BurnStep;
pub use self::fused::FusedStep;
pub use gradients::{ascended, clip, gradient_norm, weighted_sum};
pub use loss_scale::LossScale;

/// A batch of face pictures and their labels.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Pictures of the network's input size.
    pub images: Vec<RgbImage>,
    /// One label for each picture.
    pub labels: Vec<Label>,
}

impl Batch {
    /// Checks that the batch is not empty, that every picture has `input_size` pixels a side, and that there is one
    /// label for each picture.
    ///
    /// # Errors
    /// [`Error::Batch`] with the defect.
    pub fn check(&self, input_size: u32) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Batch { what });
        if self.images.is_empty() || self.images.len() != self.labels.len() {
            return wrong(format!("{} pictures and {} labels", self.images.len(), self.labels.len()));
        }
        match self.images.iter().position(|image| image.dimensions() != (input_size, input_size)) {
            Some(index) => {
                let (width, height) = self.images[index].dimensions();
                wrong(format!("picture {index} has {width} x {height} pixels, not {input_size} x {input_size}"))
            }
            None => Ok(()),
        }
    }
}

impl Label {
    /// Returns the index of the class among the network's logits: real before fake.
    pub fn class(self) -> usize {
        match self {
            Self::Real => 0,
            Self::Fake => 1,
        }
    }
}

/// The loss that training minimizes: cross-entropy with class weights and label smoothing, as PyTorch's
/// `CrossEntropyLoss` defines it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// Weights of the classes real and fake.
    pub class_weights: [f32; 2],
    /// Share of the target that is spread over both classes, `0..1`.
    pub label_smoothing: f32,
}

impl Objective {
    /// Returns the factor of each class's negative log-probability in the loss of a batch, `[batch, 2]`, real before
    /// fake. The loss is the sum of the negative log-probabilities, each multiplied by its factor.
    pub fn targets(&self, labels: &[Label]) -> Vec<f32> {
        let total = self.weight(labels);
        let share = |label: Label, class: usize| {
            let hit = if label.class() == class { 1.0 - self.label_smoothing } else { 0.0 };
            (hit + self.label_smoothing / 2.0) * self.class_weights[class] / total
        };
        labels.iter().flat_map(|label| [share(*label, 0), share(*label, 1)]).collect()
    }

    /// Returns the sum of the pictures' class weights, which the mean loss of a batch is divided by. Losses and
    /// gradients of parts of a batch add up to those of the whole batch if each is multiplied by its part's share of
    /// this sum.
    pub fn weight(&self, labels: &[Label]) -> f32 {
        labels.iter().map(|label| self.class_weights[label.class()]).sum()
    }
}

/// The results of one forward and backward pass.
#[derive(Debug)]
pub struct StepOutput {
    /// Mean cross-entropy over the batch in nats, class weights and label smoothing included.
    pub loss: f64,
    /// Probability of each picture to be fake, not calibrated.
    pub fake_probabilities: Vec<f32>,
    /// Gradients of the loss with respect to every parameter. Empty if the loss scale of half precision was too high:
    /// the batch is then lost, and the scale has been lowered.
    pub gradients: GradientsParams,
}

/// A way to compute the gradients of a batch. Each pass updates the running statistics of the network's batch norms.
pub trait Step<B: Backend> {
    /// Runs the network forward and backward.
    ///
    /// # Errors
    /// - [`Error::Precision`] when the device cannot compute in the step's precision;
    /// - [`Error::Batch`] when pictures do not have the size that the step was made for, or there is not one label for
    ///   each;
    /// - [`deepsight_core::Error::TensorShape`] when the noise is for another number of pictures;
    /// - [`deepsight_core::Error::Backend`] when the backend fails.
    fn run(
        &mut self,
        network: &EfficientNet<Autodiff<B>>,
        batch: &Batch,
        noise: &Noise,
        objective: &Objective,
    ) -> Result<StepOutput, Error>;

    /// Returns the factor that the loss is multiplied by before the backward pass, if the step computes in a type that
    /// needs one.
    fn loss_scale(&self) -> Option<LossScale> {
        None
    }

    /// Restores the loss scale of an earlier run.
    fn set_loss_scale(&mut self, _scale: LossScale) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_pytorchs_weighted_smoothed_cross_entropy() {
        let objective = Objective { class_weights: [0.5, 2.0], label_smoothing: 0.1 };
        // Derivatives by -log p of torch.nn.CrossEntropyLoss(torch.tensor([0.5, 2.0]), label_smoothing=0.1).
        let expected = [0.19, 0.04, 0.01, 0.76];
        let targets = objective.targets(&[Label::Real, Label::Fake]);
        assert!(
            targets.iter().zip(expected).all(|(ours, theirs): (&f32, f32)| (ours - theirs).abs() < 1e-6),
            "{targets:?}"
        );
        assert_eq!(objective.weight(&[Label::Real, Label::Fake]), 2.5);
    }

    #[test]
    fn a_batch_that_does_not_fit_is_an_error_that_says_how() {
        let batch = Batch { images: vec![RgbImage::new(4, 4), RgbImage::new(4, 5)], labels: vec![Label::Real; 2] };
        let message = batch.check(4).map_err(|error| error.to_string());
        assert_eq!(message, Err("the batch cannot be used: picture 1 has 4 x 5 pixels, not 4 x 4".into()));
        assert!(Batch::default().check(4).is_err());
    }
}
