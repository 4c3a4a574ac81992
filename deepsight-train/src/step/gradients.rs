use burn::backend::Autodiff;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use deepsight_core::model::EfficientNet;

use crate::Error;

/// Returns the length of all gradients as one vector. It is not finite if one of them is not.
///
/// # Errors
/// [`deepsight_core::Error::Backend`] when the backend fails.
pub fn gradient_norm<B: Backend>(
    network: &EfficientNet<Autodiff<B>>,
    gradients: &GradientsParams,
) -> Result<f64, Error> {
    let mut squares = SquareSum { gradients, sum: None::<Tensor<B, 1>> };
    network.visit(&mut squares);
    let Some(sum) = squares.sum else { return Ok(0.0) };
    let sum = sum.try_into_data().map_err(Error::backend)?.iter::<f64>().sum::<f64>();
    Ok(sum.sqrt())
}

/// Scales gradients of length `norm` so that their length is at most `limit`, as PyTorch's `clip_grad_norm_` does. Both
/// numbers must be above 0.
pub fn clip<B: Backend>(
    network: &EfficientNet<Autodiff<B>>,
    gradients: GradientsParams,
    norm: f64,
    limit: f64,
) -> GradientsParams {
    let factor = limit / (norm + 1e-6);
    if factor >= 1.0 { gradients } else { scaled(network, gradients, factor as f32) }
}

/// Returns the sum of gradients, each multiplied by its factor, on the device of the first. They are added in the order
/// given.
pub fn weighted_sum<B: Backend>(
    network: &EfficientNet<Autodiff<B>>,
    parts: Vec<(GradientsParams, f32)>,
) -> GradientsParams {
    let mut sum = WeightedSum { parts, done: GradientsParams::new() };
    network.visit(&mut sum);
    sum.done
}

/// Multiplies gradients by a factor.
pub(super) fn scaled<B: Backend>(
    network: &EfficientNet<Autodiff<B>>,
    gradients: GradientsParams,
    factor: f32,
) -> GradientsParams {
    weighted_sum(network, vec![(gradients, factor)])
}

struct SquareSum<'a, B: Backend> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<B, 1>>,
}

impl<B: Backend> ModuleVisitor<Autodiff<B>> for SquareSum<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        let Some(gradient) = self.gradients.get::<B, D>(param.id) else { return };
        let squares = gradient.square().sum();
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + squares,
            None => squares,
        });
    }
}

struct WeightedSum {
    parts: Vec<(GradientsParams, f32)>,
    done: GradientsParams,
}

impl<B: Backend> ModuleVisitor<Autodiff<B>> for WeightedSum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        let mut sum: Option<Tensor<B, D>> = None;
        for (gradients, factor) in &mut self.parts {
            let Some(gradient) = gradients.remove::<B, D>(param.id) else { continue };
            let gradient = if *factor == 1.0 { gradient } else { gradient.mul_scalar(*factor) };
            sum = Some(match sum {
                Some(sum) => {
                    let device = sum.device();
                    sum + gradient.to_device(&device)
                }
                None => gradient,
            });
        }
        if let Some(sum) = sum {
            self.done.register::<B, D>(param.id, sum);
        }
    }
}
