use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param};
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

/// Returns a copy of the network, moved by `radius` along its gradients of length `norm`: the point where
/// sharpness-aware minimization (Foret et al., ICLR 2021, section 2) takes the gradients of its step. The copy has
/// running statistics of its own, so passes of it leave those of the network unchanged.
pub fn ascended<B: Backend>(
    network: &EfficientNet<Autodiff<B>>,
    gradients: GradientsParams,
    norm: f64,
    radius: f64,
) -> EfficientNet<Autodiff<B>> {
    let factor = radius / (norm + 1e-12);
    EfficientNet::from_inner(network.valid().map(&mut Ascent { gradients, factor }))
}

struct Ascent {
    gradients: GradientsParams,
    factor: f64,
}

impl<B: Backend> ModuleMapper<B> for Ascent {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(gradient) = self.gradients.remove::<B, D>(param.id) else { return param };
        param.map(|weights| weights + gradient * self.factor)
    }
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

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;
    use deepsight_core::model::{Architecture, StateDict};
    use image::{Rgb, RgbImage};

    use super::*;
    use crate::Label;
    use crate::step::{Batch, FusedStep, Noise, Objective, Step as _, StepOutput};

    #[test]
    fn the_ascended_network_is_the_radius_away_where_the_loss_is_higher() -> Result<(), Error> {
        let config = Architecture::EfficientNetLite0.config();
        let network = config.init::<Autodiff<Flex>>(&Default::default());
        let picture = |n: u32| RgbImage::from_fn(64, 64, |x, y| Rgb([(x * n) as u8, (y * 7) as u8, (x * y + n) as u8]));
        let batch = Batch { images: (1..9).map(picture).collect(), labels: [Label::Real, Label::Fake].repeat(4) };
        let objective = Objective { class_weights: [1.0; 2], label_smoothing: 0.0 };
        let mut step = FusedStep::new(&config, 64, [0.5; 3], [0.5; 3])?;
        let mut run = |network: &EfficientNet<Autodiff<Flex>>| -> Result<StepOutput, Error> {
            step.run(network, &batch, &Noise::default(), &objective)
        };

        let StepOutput { loss, gradients, .. } = run(&network)?;
        let (before, norm) = (network.state_dict(), gradient_norm(&network, &gradients)?);
        let radius = 1e-3;
        let uphill = ascended(&network, gradients, norm, radius);
        let after = uphill.state_dict();
        let squares = |name: &String| {
            let pairs = before[name].values.iter().zip(&after[name].values);
            pairs.map(|(before, after)| f64::from(after - before).powi(2)).sum::<f64>()
        };
        let distance = before.keys().map(squares).sum::<f64>().sqrt();
        assert!((distance / radius - 1.0).abs() < 1e-2, "{distance}");
        let rise = run(&uphill)?.loss - loss;
        assert!((0.5..2.0).contains(&(rise / (radius * norm))), "{rise}, gradients of length {norm}");
        // Its passes do not change the running statistics of the network.
        let statistics = |state: &StateDict| state["bn1.running_mean"].clone();
        assert_eq!(statistics(&network.state_dict()), statistics(&before));
        assert_ne!(statistics(&uphill.state_dict()), statistics(&before));
        Ok(())
    }
}
