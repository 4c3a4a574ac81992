use deepsight_kernels::{AreaResize, Convolution, InstructionSet, MaxPool, Pointwise};
use image::RgbImage;

use super::layers::{Loader, first};
use crate::{
    Error,
    mtcnn::{
        networks::{CONTRAST, Crop, MIDDLE, Output},
        weights::Weights,
    },
};

/// R-Net or O-Net, whose input is crops of one size.
pub(super) struct CropNetwork {
    set: InstructionSet,
    pooled: Vec<Pooled>,
    last: Convolution,
    dense: Pointwise,
    /// Logits of no face and face, then all other outputs.
    heads: Pointwise,
}

/// A convolution and the pool after it.
struct Pooled {
    convolution: Convolution,
    /// Output channels of the convolution, without the padding to whole vectors.
    channels: usize,
    pool: MaxPool,
}

/// The buffers in which a batch is computed.
pub(super) struct CropBuffers {
    resize: AreaResize,
    /// Pixels of one crop.
    image: Vec<f32>,
    convolved: Vec<f32>,
    pooled: Vec<f32>,
    gathered: Vec<f32>,
    /// Features of all crops, which the last convolution reads.
    features: Vec<f32>,
    hidden: Vec<f32>,
    answers: Vec<f32>,
}

impl CropNetwork {
    /// Loads the refinement network, which rejects most of P-Net's proposals and corrects the others.
    pub(super) fn rnet(set: InstructionSet, weights: &Weights) -> Result<Self, Error> {
        let loader = Loader { set, weights, network: "rnet" };
        Ok(Self {
            set,
            pooled: vec![Pooled::load(&loader, 1, [3, 28], 3)?, Pooled::load(&loader, 2, [28, 48], 3)?],
            last: loader.convolution(3, [48, 64], 2)?,
            dense: loader.dense(4, [3, 3, 64], 128)?,
            heads: loader.heads(&[("dense5_1", 2), ("dense5_2", 4)], 128, &[])?,
        })
    }

    /// Loads the output network, which makes the final decision, places the final box and finds the landmarks.
    pub(super) fn onet(set: InstructionSet, weights: &Weights) -> Result<Self, Error> {
        let loader = Loader { set, weights, network: "onet" };
        Ok(Self {
            set,
            pooled: vec![
                Pooled::load(&loader, 1, [3, 32], 3)?,
                Pooled::load(&loader, 2, [32, 64], 3)?,
                Pooled::load(&loader, 3, [64, 64], 2)?,
            ],
            last: loader.convolution(4, [64, 128], 2)?,
            dense: loader.dense(5, [3, 3, 128], 256)?,
            heads: loader.heads(&[("dense6_1", 2), ("dense6_2", 4), ("dense6_3", 10)], 256, &[])?,
        })
    }

    pub(super) fn buffers(&self) -> CropBuffers {
        CropBuffers {
            resize: AreaResize::new(self.set, MIDDLE, CONTRAST),
            image: Vec::new(),
            convolved: Vec::new(),
            pooled: Vec::new(),
            gathered: Vec::new(),
            features: Vec::new(),
            hidden: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Resizes each crop to `side` × `side` and returns the network's output for each.
    pub(super) fn forward<const N: usize>(
        &self,
        images: &[&RgbImage],
        crops: &[Crop],
        side: usize,
        buffers: &mut CropBuffers,
    ) -> Vec<Output<N>> {
        let CropBuffers { resize, image, convolved, pooled, gathered, features, hidden, answers } = buffers;
        features.clear();
        let mut size = side;
        // The large layers run crop by crop, so that they stay in cache. The small last layers run once for all crops.
        for crop in crops {
            let source = images[crop.image];
            resize.plan(crop.region, (side, side), 0..side);
            let input = first(image, 3 * side * side);
            resize.rows(source.as_raw(), source.width() as usize, 0..side, input);
            size = side;
            for (layer, Pooled { convolution, channels, pool }) in self.pooled.iter().enumerate() {
                let before = if layer == 0 { &*image } else { &*pooled };
                let before = &before[..size * size * convolution.inputs()];
                let (inner, pitch) = (convolution.output_size(size), convolution.outputs());
                let convolved = first(convolved, inner * inner * pitch);
                convolution.forward_images(before, size, size, gathered, convolved);
                size = pool.output_size(inner);
                pool.forward(convolved, inner, pitch, *channels, first(pooled, size * size * channels));
            }
            features.extend_from_slice(&pooled[..size * size * self.last.inputs()]);
        }
        let last = self.last.output_size(size);
        let convolved = first(convolved, crops.len() * last * last * self.last.outputs());
        self.last.forward_images(features, size, size, gathered, convolved);
        let hidden = first(hidden, crops.len() * self.dense.outputs());
        self.dense.forward(convolved, None, hidden);
        let answers = first(answers, crops.len() * self.heads.outputs());
        self.heads.forward(hidden, None, answers);
        let output = |answer: &[f32]| Output {
            logits: [answer[0], answer[1]],
            values: std::array::from_fn(|value| answer[2 + value]),
        };
        answers.chunks_exact(self.heads.outputs()).map(output).collect()
    }
}

impl Pooled {
    fn load(loader: &Loader<'_>, number: u32, channels: [usize; 2], window: usize) -> Result<Self, Error> {
        // Every kernel before a pool is 3 × 3.
        let convolution = loader.convolution(number, channels, 3)?;
        Ok(Self { convolution, channels: channels[1], pool: MaxPool::new(loader.set, window) })
    }
}
