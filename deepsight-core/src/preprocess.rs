//! A face's pixels to the numbers the network was trained on.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use image::RgbImage;
use rayon::prelude::*;

use crate::{ModelCard, ResizeFilter};

/// Resize, scale to `0..=1`, subtract the mean, divide by the deviation; as a model's card says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Preprocess {
    pub(crate) input_size: u32,
    pub(crate) resize: ResizeFilter,
    pub(crate) mean: [f32; 3],
    pub(crate) std: [f32; 3],
}

impl Preprocess {
    pub(crate) fn new(card: &ModelCard) -> Self {
        Self { input_size: card.input_size, resize: card.resize, mean: card.mean, std: card.std }
    }

    /// Images of any size to one tensor `[batch, 3, input_size, input_size]`, images spread over the threads.
    pub(crate) fn batch<B: Backend>(&self, images: &[RgbImage], device: &B::Device) -> Tensor<B, 4> {
        let side = self.input_size as usize;
        let mut values = vec![0.0_f32; images.len() * 3 * side * side];
        images.par_iter().zip(values.par_chunks_exact_mut(3 * side * side)).for_each(|(image, out)| {
            self.write(image, out);
        });
        Tensor::from_data(TensorData::new(values, [images.len(), 3, side, side]), device)
    }

    /// One image as `[3, input_size, input_size]`.
    fn write(&self, image: &RgbImage, out: &mut [f32]) {
        let resized = self.resize.resize(image, self.input_size, self.input_size);
        let plane = out.len() / 3;
        for (channel, values) in out.chunks_exact_mut(plane).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let pixels = resized.as_raw().iter().skip(channel).step_by(3);
            for (value, pixel) in values.iter_mut().zip(pixels) {
                *value = (f32::from(*pixel) / 255.0 - mean) / std;
            }
        }
    }
}
