//! Compares a training step with that of the CPU.

use burn::backend::{Autodiff, Flex};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use deepsight_core::image::{Rgb, RgbImage};
use deepsight_core::{
    Noise, Precision, gpu,
    model::{Architecture, EfficientNetConfig, StateDict},
};
use deepsight_train::Label;
use deepsight_train::step::{Batch, BurnStep, Objective, Step};

use super::Checked;
use super::table::Check;

const SIDE: u32 = 64;
const PICTURES: u32 = 8;

/// Loss and gradients of one step.
struct StepResult {
    loss: f64,
    /// Gradients and running statistics, concatenated.
    values: Vec<f64>,
}

pub(crate) fn step<B: Backend>(device: &B::Device) -> Checked {
    // A network with smooth activations, because rounding can change a gradient at a kink. The random weights are equal
    // on each device.
    let config = Architecture::EfficientNetB0.config();
    Flex::seed(&Default::default(), 1);
    let start = config.init::<Flex>(&Default::default()).state_dict();
    let expected = run::<Flex>(&config, &start, Precision::Full, &Default::default())?;
    let expected = expected.ok_or("the CPU's step gave no gradients")?;
    let mut checks = Vec::new();
    for precision in Precision::ALL {
        if precision != Precision::Full && gpu::is_cpu::<B>(device) {
            checks.push(Check::absent(precision.name(), "CPUs train in f32"));
            continue;
        }
        if !B::supports_dtype(device, precision.dtype()) {
            checks.push(Check::absent(precision.name(), "the device does not have that type"));
            continue;
        }
        // Such devices round products, as with PyTorch, which is precise enough for training.
        let limits = match precision {
            Precision::Full if gpu::rounds_products::<B>(device) => [1e-2, 2e-2],
            Precision::Full => [1e-3, 1e-3],
            _ => [5e-2, 0.2],
        };
        let ours = run::<B>(&config, &start, precision, device)?;
        let ours = ours.ok_or_else(|| format!("{precision}: gradients overflow at every loss scale"))?;
        let apart = distance(&ours.values, &expected.values);
        checks.push(Check::new(format!("{precision}: loss, relative"), relative(&ours, &expected), limits[0]));
        checks.push(Check::new(format!("{precision}: gradients, relative"), apart, limits[1]));
    }
    Ok(checks)
}

/// Runs one step. Returns `None` if `f16` overflows at every loss scale.
fn run<B: Backend>(
    config: &EfficientNetConfig,
    start: &StateDict,
    precision: Precision,
    device: &B::Device,
) -> Result<Option<StepResult>, Box<dyn std::error::Error>> {
    let mut step = BurnStep::<B>::new(config, SIDE, [0.5; 3], [0.25; 3], device).with_precision(precision);
    let objective = Objective { class_weights: [1.0, 2.0], label_smoothing: 0.1 };
    for _ in 0..24 {
        let network = config.init::<Autodiff<B>>(device).load_state_dict(start.clone())?;
        let output = step.run(&network, &batch(), &Noise::default(), &objective)?;
        if output.gradients.is_empty() {
            continue;
        }
        let mut values = ParameterValues { gradients: &output.gradients, found: Vec::new() };
        network.visit(&mut values);
        return Ok(Some(StepResult { loss: output.loss, values: values.found }));
    }
    Ok(None)
}

fn batch() -> Batch {
    let picture = |n: u32| {
        RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let noise = (x * 1_103 + y * 7_919 + n * 104_729).wrapping_mul(2_654_435_761) >> 26;
            Rgb([(x * (n + 1) + noise) as u8, (y * 2 + n * 20) as u8, (x * y / 8 + noise) as u8])
        })
    };
    let label = |n| if n % 3 == 0 { Label::Fake } else { Label::Real };
    Batch { images: (0..PICTURES).map(picture).collect(), labels: (0..PICTURES).map(label).collect() }
}

/// Collects the gradient of each parameter, or its value if it has none, as running statistics.
struct ParameterValues<'a> {
    gradients: &'a GradientsParams,
    found: Vec<f64>,
}

impl<B: Backend> ModuleVisitor<Autodiff<B>> for ParameterValues<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        let values = match self.gradients.get::<B, D>(param.id) {
            Some(gradient) => gradient.into_data(),
            None => param.val().into_data(),
        };
        self.found.extend(values.iter::<f64>());
    }
}

fn relative(ours: &StepResult, expected: &StepResult) -> f64 {
    (ours.loss - expected.loss).abs() / expected.loss.abs()
}

/// Returns the distance of two vectors relative to the length of the second.
fn distance(ours: &[f64], expected: &[f64]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let apart = length(&mut ours.iter().zip(expected).map(|(a, b)| a - b));
    if ours.len() == expected.len() { apart / length(&mut expected.iter().copied()) } else { f64::INFINITY }
}
