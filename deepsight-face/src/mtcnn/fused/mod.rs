//! The networks on the CPU kernels: nothing between two layers leaves the cache of one core.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use deepsight_core::fused::kernels::InstructionSet;
use image::RgbImage;

use self::{crop::CropNetwork, pnet::PNet};
use super::{
    networks::{Crop, Grain, Networks, ONET_SIDE, Output, RNET_SIDE, Window},
    pyramid::{Level, Tile},
    weights::Weights,
};
use crate::Error;

mod crop;
mod layers;
mod pnet;

/// The three networks, packed for the processor's instructions.
pub(super) struct Fused {
    pnet: PNet,
    rnet: CropNetwork,
    onet: CropNetwork,
    /// As many as were ever in use at once.
    buffers: Mutex<Vec<Buffers>>,
}

/// What one task computes in; kept for the next one.
struct Buffers {
    tile: pnet::Buffers,
    crops: crop::Buffers,
}

impl Fused {
    pub(super) fn load(set: InstructionSet, weights: &Weights) -> Result<Self, Error> {
        Ok(Self {
            pnet: PNet::load(set, weights)?,
            rnet: CropNetwork::rnet(set, weights)?,
            onet: CropNetwork::onet(set, weights)?,
            buffers: Mutex::default(),
        })
    }

    fn with_buffers<R>(&self, task: impl FnOnce(&mut Buffers) -> R) -> R {
        let free = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = free().pop();
        let new = || Buffers { tile: self.pnet.buffers(), crops: self.rnet.buffers() };
        let mut buffers = kept.unwrap_or_else(new);
        let result = task(&mut buffers);
        free().push(buffers);
        result
    }
}

impl fmt::Debug for Fused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fused")
    }
}

impl Networks for Fused {
    // A row of a tile fills the registers, and a batch one tile of the widest processors' matrix product.
    const GRAIN: Grain = Grain { tile: (120, 64), images: 1, refine: 12, decide: 12, even: true };

    fn propose(
        &self,
        images: &[&RgbImage],
        level: &Level,
        tile: &Tile,
        mut take: impl FnMut(Window, Output<4>),
    ) -> Result<(), Error> {
        self.with_buffers(|buffers| {
            for (index, image) in images.iter().enumerate() {
                self.pnet.forward(image, level, tile, &mut buffers.tile, |column, row, output| {
                    take(Window { image: index, column, row }, output);
                });
            }
        });
        Ok(())
    }

    fn refine(&self, crops: &[Crop<'_>]) -> Result<Vec<Output<4>>, Error> {
        Ok(self.with_buffers(|buffers| self.rnet.forward(crops, RNET_SIDE, &mut buffers.crops)))
    }

    fn decide(&self, crops: &[Crop<'_>]) -> Result<Vec<Output<14>>, Error> {
        Ok(self.with_buffers(|buffers| self.onet.forward(crops, ONET_SIDE, &mut buffers.crops)))
    }
}
