//! Conversion of a face's pixels to the network's input.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use image::RgbImage;
use rayon::prelude::*;

use crate::fused::Canvas;
use crate::gpu;
use crate::model::{ModelCard, ResizeFilter};

/// Preprocessing by a model's card: resizes, scales to `0..=1`, subtracts the mean and divides by the standard
/// deviation.
#[derive(Debug)]
pub(crate) struct Preprocess {
    input_size: u32,
    resize: ResizeFilter,
    mean: [f32; 3],
    std: [f32; 3],
    /// The normalized value of each 8-bit value of each channel.
    values: [[f32; 256]; 3],
}

impl Preprocess {
    pub(crate) fn new(card: &ModelCard) -> Self {
        let values = std::array::from_fn(|channel| {
            let (mean, std) = (card.mean[channel], card.std[channel]);
            std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std)
        });
        Self { input_size: card.input_size, resize: card.resize, mean: card.mean, std: card.std, values }
    }

    /// Converts images of any size to one tensor, `[batch, 3, input_size, input_size]`. The images are resized on the
    /// CPU's threads as 8-bit pixels, so that every bit is the same on all devices, and normalized on the device.
    pub(crate) fn batch<B: Backend>(&self, images: &[RgbImage], device: &B::Device) -> Tensor<B, 4> {
        let side = self.input_size as usize;
        let mut pixels = vec![0; images.len() * 3 * side * side];
        images.par_iter().zip(pixels.par_chunks_exact_mut(3 * side * side)).for_each(|(image, out)| {
            let mut lines = out.chunks_exact_mut(3 * side);
            self.resize.rows(image, self.input_size, self.input_size, |row| {
                if let Some(line) = lines.next() {
                    line.copy_from_slice(row);
                }
            });
        });
        gpu::normalized(pixels, [images.len(), side, side], self.mean, self.std, device)
    }

    /// Writes one image to the fused engine's input, resized and normalized row by row.
    pub(crate) fn fill(&self, image: &RgbImage, mut canvas: Canvas<'_>) {
        let [red, green, blue] = &self.values;
        let mut rows = canvas.rows();
        self.resize.rows(image, self.input_size, self.input_size, |row| {
            let Some(out) = rows.next() else { return };
            for (value, pixel) in out.as_chunks_mut::<3>().0.iter_mut().zip(row.as_chunks::<3>().0) {
                *value = [red[usize::from(pixel[0])], green[usize::from(pixel[1])], blue[usize::from(pixel[2])]];
            }
        });
    }
}
