//! The faces as datasets and batches for Burn's data loaders.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::Dataset;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::{FaceDataset, Sample};
use crate::sampler::Draw;
use crate::{Error, Label};

/// A sample, or the error of loading it. Burn's loaders have no errors of their own. The error is shared because they
/// clone items.
pub type Loaded = Result<Sample, Arc<Error>>;

/// The faces of the rows without augmentation, as in validation.
impl Dataset<Loaded> for FaceDataset {
    fn get(&self, index: usize) -> Option<Loaded> {
        let row = self.rows().get(index)?;
        let image = self.plain(index).map_err(Arc::new);
        Some(image.map(|image| Sample { image, label: row.label, row: index }))
    }

    fn len(&self) -> usize {
        self.rows().len()
    }
}

/// The samples of an epoch, in the order they were drawn.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use burn::{backend::Flex, data::dataloader::DataLoaderBuilder, tensor::backend::Backend};
/// # use deepsight_train::dataset::{EpochDataset, FaceBatcher, FaceDataset};
/// # use deepsight_train::sampler::Sampler;
/// # fn epoch(faces: Arc<FaceDataset>, sampler: &Sampler) {
/// let draws = sampler.epoch(0);
/// let loader = DataLoaderBuilder::<Flex, _, _>::new(FaceBatcher { mean: [0.5; 3], std: [0.5; 3] })
///     .batch_size(32)
///     .num_workers(2)
///     .build(EpochDataset::new(faces, draws));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EpochDataset {
    faces: Arc<FaceDataset>,
    draws: Vec<Draw>,
}

impl EpochDataset {
    /// Creates a dataset of the samples of `draws`.
    pub fn new(faces: Arc<FaceDataset>, draws: Vec<Draw>) -> Self {
        Self { faces, draws }
    }
}

impl Dataset<Loaded> for EpochDataset {
    fn get(&self, index: usize) -> Option<Loaded> {
        self.draws.get(index).map(|draw| self.faces.sample(draw).map_err(Arc::new))
    }

    fn len(&self) -> usize {
        self.draws.len()
    }
}

/// A batcher, which makes tensors of samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaceBatcher {
    /// Numbers subtracted from red, green and blue, as shares of white.
    pub mean: [f32; 3],
    /// Numbers that the differences are divided by.
    pub std: [f32; 3],
}

/// A batch of samples.
#[derive(Debug, Clone)]
pub struct FaceBatch<B: Backend> {
    /// Normalized pictures, `[batch, 3, size, size]`.
    pub images: Tensor<B, 4>,
    /// Classes, 0 for real and 1 for fake, `[batch]`.
    pub labels: Tensor<B, 1, Int>,
    /// The row of each sample.
    pub rows: Vec<usize>,
}

impl<B: Backend> Batcher<B, Loaded, Result<FaceBatch<B>, Arc<Error>>> for FaceBatcher {
    /// Returns the samples as one batch, or the first error among them. Samples that differ in size are an error too.
    fn batch(&self, items: Vec<Loaded>, device: &B::Device) -> Result<FaceBatch<B>, Arc<Error>> {
        let samples = items.into_iter().collect::<Result<Vec<_>, _>>()?;
        let size = samples.first().map_or((0, 0), |sample| sample.image.dimensions());
        if let Some(other) = samples.iter().map(|sample| sample.image.dimensions()).find(|other| *other != size) {
            let value = format!("{} × {} beside {} × {}", other.0, other.1, size.0, size.1);
            let rule = "must be the same";
            return Err(Arc::new(Error::Setting { name: "size of a batch's pictures", value, rule }));
        }
        let (width, height) = (size.0 as usize, size.1 as usize);
        let plane = width * height;
        let mut values = vec![0.0_f32; samples.len() * 3 * plane];
        for (sample, planes) in samples.iter().zip(values.chunks_exact_mut((3 * plane).max(1))) {
            for (channel, out) in planes.chunks_exact_mut(plane).enumerate() {
                let (mean, std) = (self.mean[channel], self.std[channel]);
                for (value, pixel) in out.iter_mut().zip(sample.image.as_raw().chunks_exact(3)) {
                    *value = (f32::from(pixel[channel]) / 255.0 - mean) / std;
                }
            }
        }
        let labels: Vec<i32> = samples.iter().map(|sample| i32::from(sample.label == Label::Fake)).collect();
        let shape = [samples.len(), 3, height, width];
        Ok(FaceBatch {
            images: Tensor::from_data(TensorData::new(values, shape), device),
            labels: Tensor::from_data(TensorData::new(labels, [samples.len()]), device),
            rows: samples.iter().map(|sample| sample.row).collect(),
        })
    }
}
