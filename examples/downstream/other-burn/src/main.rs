//! Two versions of Burn in one program: `deepsight` on its own, and a small network on Burn 0.22.

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

/// A second opinion on a clip from the scores of its people: a network of one layer, not trained.
struct Opinion {
    layer: Linear,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clip = std::env::args().nth(1).ok_or("name a clip")?;
    let report = deepsight::Detector::open()?.analyze(&clip)?;

    let device = Device::default();
    let opinion = Opinion { layer: LinearConfig::new(2, 1).init(&device) };
    for person in &report.tracks {
        let features = [person.fake_probability.unwrap_or(0.5), person.faces as f32 / 100.0];
        let input = Tensor::<2>::from_floats([features], &device);
        println!("person {}: {}", person.id + 1, opinion.layer.forward(input).into_scalar::<f32>());
    }
    println!("{}", report.verdict);
    Ok(())
}
