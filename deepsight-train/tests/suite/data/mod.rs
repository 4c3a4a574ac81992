//! Tests of the steps from a face's file to the network's input.

mod augmentation;
mod blending;
#[cfg(feature = "flex")]
mod burn_data;
mod clip;
mod dataset;
mod sampling;

use deepsight_core::Landmarks;
use deepsight_train::image::{Rgb, RgbImage};
use deepsight_train::{Label, Row};

/// Returns a picture with edges, gradients and colors, and without symmetry.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
        let disc = if (u - 0.55).powi(2) + (v - 0.5).powi(2) < 0.1 { 60.0 } else { 0.0 };
        let wave = 20.0 * (23.0 * u + 5.0 * v).sin() * (17.0 * v).cos();
        Rgb([70.0 + 90.0 * u + disc + wave, 90.0 + 70.0 * v + disc - wave, 130.0 - 60.0 * u + wave]
            .map(|level| level as u8))
    })
}

/// Returns the five landmarks of a face that fills a picture of `size` pixels like an aligned crop of scale 1.4.
fn face(size: f32) -> Landmarks {
    let template = [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]];
    Landmarks(template.map(|point: [f32; 2]| point.map(|p| size * (0.5 + (p - 56.0) / 112.0 / 1.4))))
}

fn row(file: &str, label: Label, video: &str) -> Row {
    let mut row = Row::new(file, label, video);
    row.landmarks = Some(face(96.0));
    row
}

/// Returns the mean absolute difference of two pictures in levels.
fn difference(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum: u64 = a.iter().zip(b.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.as_raw().len() as f64
}
