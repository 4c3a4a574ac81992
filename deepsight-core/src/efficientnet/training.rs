use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::{Tensor, TensorData};

use super::layer::{TO_PIXELS, convolve_training, pixel_means};
use super::{Depthwise, EfficientNet, EfficientNetConfig};
use crate::Error;

/// The random factors of a training pass, drawn in advance. With them, the pass depends on its inputs alone, and every
/// engine computes the same result.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Noise {
    /// Factors of the pooled features before the classifier, `[batch, features]`: 0 or `1 / keep`. Empty for no
    /// dropout.
    pub dropout: Vec<f32>,
    /// Factors of each image's branch, for each block with a residual connection, in order: 0 or `1 / keep`. Empty for
    /// no stochastic depth (Huang et al., ECCV 2016).
    pub drop_path: Vec<Vec<f32>>,
}

impl Noise {
    /// Checks that each of the two lists has a factor for every element of a batch, or is empty.
    ///
    /// # Errors
    /// [`Error::TensorShape`] with the shape found and the shape expected.
    pub fn check(&self, config: &EfficientNetConfig, batch: usize) -> Result<(), Error> {
        let wrong = |name: &str, found, expected| Error::TensorShape { name: name.into(), found, expected };
        let features = config.features();
        if !self.dropout.is_empty() && self.dropout.len() != batch * features {
            return Err(wrong("dropout", vec![self.dropout.len()], vec![batch, features]));
        }
        let blocks = config.residual_blocks().len();
        let complete = self.drop_path.len() == blocks && self.drop_path.iter().all(|factors| factors.len() == batch);
        if !self.drop_path.is_empty() && !complete {
            let longest = self.drop_path.iter().map(Vec::len).max().unwrap_or(0);
            return Err(wrong("drop_path", vec![self.drop_path.len(), longest], vec![blocks, batch]));
        }
        Ok(())
    }
}

impl EfficientNetConfig {
    /// Returns the indices, among all blocks, of the blocks with a residual connection. Stochastic depth can drop them.
    ///
    /// ```
    /// use deepsight_core::model::EfficientNetConfig;
    ///
    /// let lite0 = EfficientNetConfig::lite0();
    /// assert_eq!((lite0.residual_blocks(), lite0.blocks()), (vec![2, 4, 6, 7, 9, 10, 12, 13, 14], 16));
    /// ```
    pub fn residual_blocks(&self) -> Vec<usize> {
        let mut input = self.stem_channels();
        let mut residual = Vec::new();
        let mut position = 0;
        for stage in self.stages() {
            for index in 0..stage.blocks {
                let stride = if index == 0 { stage.stride } else { 1 };
                if stride == 1 && input == stage.channels {
                    residual.push(position);
                }
                input = stage.channels;
                position += 1;
            }
        }
        residual
    }

    /// Returns the number of blocks.
    pub fn blocks(&self) -> usize {
        self.stages().iter().map(|stage| stage.blocks).sum()
    }
}

impl<B: Backend> EfficientNet<B> {
    /// Computes class logits as in training: `[batch, 3, height, width]` to `[batch, classes]`. Batch norms use the
    /// batch's statistics and move the running ones towards them; stochastic depth and dropout are applied.
    ///
    /// # Panics
    /// Panics if the noise does not fit this network and batch ([`Noise::check`]).
    pub fn forward_training(&self, images: Tensor<B, 4>, noise: &Noise) -> Tensor<B, 2> {
        self.forward_training_with(images, noise, &|x, weight, options| conv2d(x, weight, None, options))
    }

    /// Computes the same with the caller's depthwise convolution, such as one with its own backward pass.
    ///
    /// # Panics
    /// Panics as [`forward_training`](Self::forward_training) does.
    pub fn forward_training_with(
        &self,
        images: Tensor<B, 4>,
        noise: &Noise,
        depthwise: Depthwise<'_, B>,
    ) -> Tensor<B, 2> {
        let device = images.device();
        let mut x = self.bn1.forward_training(convolve_training(&self.conv_stem, images.permute(TO_PIXELS), depthwise));
        let [batch, _, _, _] = x.dims();
        let mut drop_path = noise.drop_path.iter();
        for block in self.blocks.iter().flatten() {
            let branch = if block.is_residual() { drop_path.next() } else { None };
            let branch = branch.map(|factors| {
                let data = TensorData::new(factors.clone(), [batch, 1, 1, 1]);
                Tensor::<B, 4>::from_data(data, &device)
            });
            x = block.forward_training(x, branch, depthwise);
        }
        let features = self.bn2.forward_training(convolve_training(&self.conv_head, x, depthwise));
        let channels = features.dims()[3];
        let mut pooled = pixel_means(features).reshape([batch, channels]);
        if !noise.dropout.is_empty() {
            let factors = TensorData::new(noise.dropout.clone(), [batch, channels]);
            pooled = pooled * Tensor::<B, 2>::from_data(factors, &device);
        }
        self.classifier.forward(pooled)
    }
}
