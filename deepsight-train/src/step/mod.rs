//! One forward and backward pass: pictures and labels to loss and gradients.

use burn::backend::Autodiff;
use burn::optim::GradientsParams;
use burn::tensor::backend::Backend;
use deepsight_core::EfficientNet;
use image::RgbImage;

use crate::{Error, Label};

/// Faces and what they are.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Pictures of the network's input size.
    pub images: Vec<RgbImage>,
    /// One for each picture.
    pub labels: Vec<Label>,
}

/// What is minimised: cross-entropy with weighted classes and smoothed labels, as PyTorch's `CrossEntropyLoss` defines it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// Weights of real and fake.
    pub class_weights: [f32; 2],
    /// Share of the target that is spread over both classes, `0..1`.
    pub label_smoothing: f32,
}

/// The random part of a pass, drawn beforehand so that every engine computes the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Noise {
    /// What pooled features are multiplied with before the classifier, `[batch, features]`: 0, or `1 / keep`. Empty for no dropout.
    pub dropout: Vec<f32>,
    /// For each block with a residual connection, in order, what each picture's branch is multiplied with: 0, or `1 / keep`.
    /// Empty for no stochastic depth (Huang et al., ECCV 2016).
    pub drop_path: Vec<Vec<f32>>,
}

/// What a pass gives.
#[derive(Debug)]
pub struct Passed {
    /// Mean loss over the batch.
    pub loss: f64,
    /// Of each picture, not calibrated.
    pub fake_probabilities: Vec<f32>,
    /// Of the loss with respect to every parameter.
    pub gradients: GradientsParams,
}

/// Computes gradients. Running statistics of batch norms in the network move on with each pass.
pub trait Step<B: Backend> {
    /// Runs the network forth and back.
    ///
    /// # Errors
    /// When pictures are of another size than the step was made for, or there is not one label and one row of noise for each.
    fn run(
        &mut self,
        network: &EfficientNet<Autodiff<B>>,
        batch: &Batch,
        noise: &Noise,
        objective: &Objective,
    ) -> Result<Passed, Error>;
}
