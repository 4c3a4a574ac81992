use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::{Tensor, TensorData};

use super::block::channel_means;
use super::layer::convolve_training;
use super::{Depthwise, EfficientNet, EfficientNetConfig};
use crate::Error;

/// The random part of a training pass, drawn beforehand: with it, the pass is a function of its inputs alone, and every
/// engine computes the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Noise {
    /// What pooled features are multiplied with before the classifier, `[batch, features]`: 0, or `1 / keep`. Empty for no dropout.
    pub dropout: Vec<f32>,
    /// For each block with a residual connection, in order, what each picture's branch is multiplied with: 0, or `1 / keep`.
    /// Empty for no stochastic depth (Huang et al., ECCV 2016).
    pub drop_path: Vec<Vec<f32>>,
}

impl Noise {
    /// Checks that there is a factor for everything in a batch, or none at all.
    ///
    /// # Errors
    /// [`Error::TensorShape`] with what is there and what is needed.
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
    /// Positions of the blocks with a residual connection among all blocks: those that stochastic depth can leave out.
    ///
    /// ```
    /// use deepsight_core::EfficientNetConfig;
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

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.stages().iter().map(|stage| stage.blocks).sum()
    }
}

impl<B: Backend> EfficientNet<B> {
    /// Class logits as in training: batch norms by the batch's statistics, with the running ones moved towards them,
    /// stochastic depth and dropout. `[batch, 3, height, width]` to `[batch, classes]`.
    ///
    /// # Panics
    /// When the noise is not for this network and batch ([`Noise::check`]).
    pub fn forward_training(&self, images: Tensor<B, 4>, noise: &Noise) -> Tensor<B, 2> {
        self.forward_training_with(images, noise, &|x, weight, options| conv2d(x, weight, None, options))
    }

    /// The same with depthwise convolutions of the caller's, such as some with a gradient of their own.
    ///
    /// # Panics
    /// As for [`forward_training`](Self::forward_training).
    pub fn forward_training_with(
        &self,
        images: Tensor<B, 4>,
        noise: &Noise,
        depthwise: Depthwise<'_, B>,
    ) -> Tensor<B, 2> {
        let device = images.device();
        let mut x = self.bn1.forward_training(convolve_training(&self.conv_stem, images, depthwise));
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
        let channels = features.dims()[1];
        let mut pooled = channel_means(features).reshape([batch, channels]);
        if !noise.dropout.is_empty() {
            let factors = TensorData::new(noise.dropout.clone(), [batch, channels]);
            pooled = pooled * Tensor::<B, 2>::from_data(factors, &device);
        }
        self.classifier.forward(pooled)
    }
}
