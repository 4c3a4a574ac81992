//! The networks as Burn modules: the reference, and what runs on GPUs.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use deepsight_core::fused::kernels::{AreaResize, InstructionSet, Region};
use image::RgbImage;

use self::{onet::ONet, pnet::PNet, rnet::RNet};
use super::{
    networks::{CONTRAST, Crop, Grain, MIDDLE, Networks, ONET_SIDE, Output, RNET_SIDE, Window},
    pyramid::{Level, Tile},
    weights::Weights,
};
use crate::{Error, resample::whole};

mod layers;
mod onet;
mod pnet;
mod rnet;

/// The three networks on a device of Burn's.
#[derive(Debug)]
pub(super) struct Modules<B: Backend> {
    pnet: PNet<B>,
    rnet: RNet<B>,
    onet: ONet<B>,
    device: B::Device,
    set: InstructionSet,
}

impl<B: Backend> Modules<B> {
    pub(super) fn load(set: InstructionSet, weights: &Weights, device: &B::Device) -> Result<Self, Error> {
        Ok(Self {
            pnet: PNet::load(weights, device)?,
            rnet: RNet::load(weights, device)?,
            onet: ONet::load(weights, device)?,
            device: device.clone(),
            set,
        })
    }

    /// A batch of crops, `[3, side, side, batch]`.
    fn crops(&self, crops: &[Crop<'_>], side: usize) -> Tensor<B, 4> {
        let window = Region { x: 0, y: 0, width: side, height: side };
        let parts = crops.iter().map(|crop| (crop.image, crop.region));
        self.batch(parts, (side, side), window)
    }

    /// Parts of images, each resized to `size` (width, height) and of that a window, as the networks want them: RGB,
    /// `(value − 127.5) / 128`, `[3, height, width, batch]`.
    fn batch<'a>(
        &self,
        parts: impl ExactSizeIterator<Item = (&'a RgbImage, Region)>,
        size: (usize, usize),
        window: Region,
    ) -> Tensor<B, 4> {
        let Region { x, y, width, height } = window;
        let count = parts.len();
        let mut resize = AreaResize::new(self.set, MIDDLE, CONTRAST);
        let mut pixels = vec![0.0; 3 * width * height];
        let mut input = vec![0.0; pixels.len() * count];
        for (slot, (image, region)) in parts.enumerate() {
            resize.plan(region, size, x..x + width);
            resize.rows(image.as_raw(), image.width() as usize, y..y + height, &mut pixels);
            for (place, pixel) in pixels.as_chunks::<3>().0.iter().enumerate() {
                for (channel, value) in pixel.iter().enumerate() {
                    input[(channel * width * height + place) * count + slot] = *value;
                }
            }
        }
        Tensor::from_data(TensorData::new(input, [3, height, width, count]), &self.device)
    }
}

impl<B: Backend> Networks for Modules<B> {
    // Three layers of a tile fit the second-level cache of one core; crops are enough for a matrix product, and few enough
    // for every core to get a batch.
    const GRAIN: Grain = Grain { tile: (32, 32), images: 4, refine: 32, decide: 8, even: false };

    fn propose(
        &self,
        images: &[&RgbImage],
        level: &Level,
        tile: &Tile,
        mut take: impl FnMut(Window, Output<4>),
    ) -> Result<(), Error> {
        let parts = images.iter().map(|&image| (image, whole(image)));
        let output = self.pnet.forward(self.batch(parts, (level.width, level.height), tile.pixels));
        let (logits, regression) = (read("P-Net", output.logits)?, read("P-Net", output.regression)?);
        let cells = tile.cells.width * tile.cells.height;
        for cell in 0..cells {
            for image in 0..images.len() {
                let value = |values: &[f32], channel: usize| values[(channel * cells + cell) * images.len() + image];
                let window = Window { image, column: cell % tile.cells.width, row: cell / tile.cells.width };
                let logits = [value(&logits, 0), value(&logits, 1)];
                take(window, Output { logits, values: [0, 1, 2, 3].map(|edge| value(&regression, edge)) });
            }
        }
        Ok(())
    }

    fn refine(&self, crops: &[Crop<'_>]) -> Result<Vec<Output<4>>, Error> {
        let output = self.rnet.forward(self.crops(crops, RNET_SIDE));
        Ok(outputs(crops.len(), &read("R-Net", output.logits)?, &read("R-Net", output.regression)?))
    }

    fn decide(&self, crops: &[Crop<'_>]) -> Result<Vec<Output<14>>, Error> {
        let output = self.onet.forward(self.crops(crops, ONET_SIDE));
        let values = Tensor::cat(vec![output.regression, output.landmarks], 0);
        Ok(outputs(crops.len(), &read("O-Net", output.logits)?, &read("O-Net", values)?))
    }
}

/// One answer a crop, of `[2, count]` and `[N, count]`.
fn outputs<const N: usize>(count: usize, logits: &[f32], values: &[f32]) -> Vec<Output<N>> {
    (0..count)
        .map(|slot| Output {
            logits: [logits[slot], logits[count + slot]],
            values: std::array::from_fn(|output| values[output * count + slot]),
        })
        .collect()
}

fn read<B: Backend, const D: usize>(network: &'static str, tensor: Tensor<B, D>) -> Result<Vec<f32>, Error> {
    let error = |reason: String| Error::Device { network, reason };
    let data = tensor.try_into_data().map_err(|e| error(e.to_string()))?;
    data.convert::<f32>().into_vec().map_err(|e| error(e.to_string()))
}
