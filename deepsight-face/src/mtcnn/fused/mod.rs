//! The networks on the CPU kernels. The values that pass between two layers stay in the cache of one core.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use deepsight_kernels::InstructionSet;
use image::RgbImage;
use rayon::prelude::*;

use self::{crop::CropNetwork, pnet::FusedPNet};
use super::{
    networks::{Crop, Networks, ONET_SIDE, Output, RNET_SIDE, Window, by_size},
    pyramid::Level,
    weights::Weights,
};
use crate::Error;

mod crop;
mod layers;
mod pnet;

/// The three networks, packed for the processor's instruction set.
pub(super) struct Fused {
    pnet: FusedPNet,
    rnet: CropNetwork,
    onet: CropNetwork,
    /// Buffers that are not in use. They grow to the largest number that was in use at once.
    buffers: Mutex<Vec<Buffers>>,
}

/// The buffers in which one task computes. They are kept for the next task.
struct Buffers {
    tile: pnet::TileBuffers,
    crops: crop::CropBuffers,
}

impl Fused {
    pub(super) fn load(set: InstructionSet, weights: &Weights) -> Result<Self, Error> {
        Ok(Self {
            pnet: FusedPNet::load(set, weights)?,
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

/// Columns and rows of P-Net's windows in a tile. A row of this length fills the registers.
const TILE: (usize, usize) = (120, 64);
/// Most crops that go through a network at once: one tile of the matrix product on processors with the widest vectors.
const BATCH: usize = 12;

impl Networks for Fused {
    type Images<'a> = Vec<&'a RgbImage>;

    fn hold<'a>(&self, images: &[&'a RgbImage]) -> Result<Vec<&'a RgbImage>, Error> {
        Ok(images.to_vec())
    }

    fn propose(
        &self,
        images: &Vec<&RgbImage>,
        pyramid: impl Fn(usize, usize) -> Vec<Level> + Sync,
        least: f32,
        found: impl Fn(Vec<Window>) + Sync,
    ) -> Result<(), Error> {
        let mut tasks = Vec::new();
        for ((width, height), places) in by_size(images) {
            let levels = pyramid(width, height);
            for place in places {
                for (number, level) in levels.iter().enumerate() {
                    tasks.extend(level.tiles(TILE).into_iter().map(|tile| (place, number, level.clone(), tile)));
                }
            }
        }
        tasks.into_par_iter().for_each(|(image, number, level, tile)| {
            let mut seen = Vec::new();
            self.with_buffers(|buffers| {
                self.pnet.forward(images[image], &level, &tile, &mut buffers.tile, |column, row, output| {
                    // Nearly all windows are rejected here.
                    if output.logits[1] - output.logits[0] >= least {
                        let (column, row) = (tile.cells.x + column, tile.cells.y + row);
                        seen.push(Window { image, level: number, scale: level.scale, column, row, output });
                    }
                });
            });
            found(seen);
        });
        Ok(())
    }

    fn refine(&self, images: &Vec<&RgbImage>, crops: &[Crop]) -> Result<Vec<Output<4>>, Error> {
        let forward = |crops: &[Crop]| {
            self.with_buffers(|buffers| self.rnet.forward(images, crops, RNET_SIDE, &mut buffers.crops))
        };
        Ok(crops.par_chunks(batch(crops.len())).flat_map_iter(forward).collect())
    }

    fn decide(&self, images: &Vec<&RgbImage>, crops: &[Crop]) -> Result<Vec<Output<14>>, Error> {
        let forward = |crops: &[Crop]| {
            self.with_buffers(|buffers| self.onet.forward(images, crops, ONET_SIDE, &mut buffers.crops))
        };
        Ok(crops.par_chunks(batch(crops.len())).flat_map_iter(forward).collect())
    }
}

/// Returns the batch size for `crops` crops.
fn batch(crops: usize) -> usize {
    // The number of batches is a multiple of the number of threads. Otherwise one thread works while the others wait.
    let batches = crops.div_ceil(BATCH).next_multiple_of(rayon::current_num_threads().max(1));
    crops.div_ceil(batches.max(1)).max(1)
}
