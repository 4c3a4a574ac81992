//! Computes the weights, pictures and noise of `training.py` again.

use burn::backend::{Autodiff, Flex};
use deepsight_core::{
    Noise,
    model::{Architecture, EfficientNet, Weight},
};
use deepsight_train::Label;
use deepsight_train::step::Batch;
use image::RgbImage;

use super::uniform::uniform;

pub(crate) const SIDE: u32 = 64;
const BATCH: usize = 4;

/// Returns Lite0 with the formula's weights.
pub(crate) fn network() -> EfficientNet<Autodiff<Flex>> {
    let network = Architecture::EfficientNetLite0.config().init::<Autodiff<Flex>>(&Default::default());
    let weights = network.state_shapes().into_iter().map(|(name, shape)| {
        let values = values(&name, &shape);
        (name, Weight { shape, values })
    });
    let weights = weights.collect();
    network.load_state_dict(weights).unwrap()
}

fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let u = uniform(name, shape.iter().product());
    if shape.len() >= 2 {
        let fan_in: usize = shape[1..].iter().product();
        let scale = (3.0 / fan_in as f64).sqrt() as f32;
        return u.iter().map(|u| u * scale).collect();
    }
    let offset = if name.ends_with("weight") || name.ends_with("running_var") { 1.0 } else { 0.0 };
    u.iter().map(|u| offset + u * 0.3).collect()
}

pub(crate) fn batch() -> Batch {
    let side = SIDE as usize;
    let noise = uniform("pictures 3", BATCH * side * side * 3);
    let value = |index: usize| {
        let (channel, x, y) = (index % 3, index / 3 % side, index / 3 / side % side);
        let picture = index / (3 * side * side);
        ((f64::from(noise[index]) + 1.0) * 64.0) as u8 + ((x * (picture + 1) + y * (channel + 1)) % 128) as u8
    };
    let values: Vec<u8> = (0..noise.len()).map(value).collect();
    let pictures = values.chunks_exact(side * side * 3);
    Batch {
        images: pictures.map(|pixels| RgbImage::from_raw(SIDE, SIDE, pixels.to_vec()).unwrap()).collect(),
        labels: vec![Label::Real, Label::Fake, Label::Fake, Label::Real],
    }
}

pub(crate) fn noise() -> Noise {
    let config = Architecture::EfficientNetLite0.config();
    let blocks = config.residual_blocks().len();
    Noise {
        dropout: factors("dropout", BATCH * config.features()),
        drop_path: (0..blocks).map(|index| factors(&format!("drop_path.{index}"), BATCH)).collect(),
    }
}

fn factors(name: &str, count: usize) -> Vec<f32> {
    let rate = 0.25;
    let factor = |u: &f32| if (f64::from(*u) + 1.0) / 2.0 < rate { 0.0 } else { (1.0 / (1.0 - rate)) as f32 };
    uniform(name, count).iter().map(factor).collect()
}
