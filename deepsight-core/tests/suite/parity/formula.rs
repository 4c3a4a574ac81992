//! The weights and images of `export.py`, computed by the same formula.

use std::collections::BTreeMap;

use deepsight_core::model::{StateDict, Weight};
use serde_json::Value;

use super::uniform::uniform;

/// Returns images of stripes of different slope and period with noise, `[count, 3, height, width]`, values in `-2..2`.
pub(crate) fn images(name: &str, count: usize, height: usize, width: usize) -> Vec<f32> {
    let noise = uniform(name, count * 3 * height * width);
    let pixel = |index: usize| {
        let (x, y) = (index % width, index / width % height);
        let (channel, image) = (index / (width * height) % 3, index / (width * height * 3));
        let period = 4 + 5 * image + 2 * channel;
        let phase = ((x * (image + 1) + y * 3) as i64 - (y * image) as i64).rem_euclid(period as i64);
        3.0 * (phase as f32 / period as f32) - 1.5 + noise[index] / 2.0
    };
    (0..noise.len()).map(pixel).collect()
}

/// Returns the weights of one model of `logits.json`, whose tensors have these shapes.
pub(crate) fn weights(shapes: BTreeMap<String, Vec<usize>>, expected: &Value) -> StateDict {
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let values = values(&name, &shape, expected);
            (name, Weight { shape, values })
        })
        .collect()
}

fn values(name: &str, shape: &[usize], expected: &Value) -> Vec<f32> {
    let u = uniform(name, shape.iter().product());
    let statistics = |index: usize| {
        let layer = name.rsplit_once('.').unwrap().0;
        expected["batch_norms"][layer][index].as_f64().unwrap() as f32
    };
    if name == "classifier.bias" {
        return expected["classifier_bias"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    }
    if shape.len() >= 2 {
        let fan_in: usize = shape[1..].iter().product();
        let gain = if name.contains(".se.") { 1.0 } else { 0.25 };
        let mut scale = (gain * (3.0 / fan_in as f64).sqrt()) as f32;
        if name == "classifier.weight" {
            scale *= expected["classifier_scale"].as_f64().unwrap() as f32;
        }
        return u.iter().map(|u| u * scale).collect();
    }
    match name.rsplit('.').next().unwrap() {
        "weight" => u.iter().map(|u| 1.0 + u * 0.3).collect(),
        "running_mean" => u.iter().map(|u| statistics(0) + 0.3 * statistics(1).sqrt() * u).collect(),
        "running_var" => u.iter().map(|u| statistics(1) * (1.0 + 0.3 * u)).collect(),
        _ => u.iter().map(|u| u * 0.3).collect(),
    }
}

/// Computes a tensor of a vision transformer as `vit.py` does.
pub(crate) fn transformer_values(name: &str, shape: &[usize]) -> Vec<f32> {
    let u = uniform(name, shape.iter().product());
    if shape.len() >= 2 {
        let scale = (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt() as f32;
        return u.iter().map(|u| u * scale).collect();
    }
    let is_factor = ["weight", "gamma", "lambda1", "S_residual"].iter().any(|end| name.ends_with(end));
    u.iter().map(|u| if is_factor { 1.0 + u * 0.3 } else { u * 0.3 }).collect()
}
