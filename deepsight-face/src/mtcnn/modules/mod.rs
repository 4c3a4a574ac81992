//! The networks as Burn modules. They are the reference implementation, and the one that runs on GPUs.
//!
//! Images go to the device once, as bytes. Pyramids and crops are computed there ([`table`]). The device returns one
//! number for each of P-Net's windows, and then the outputs for the few windows that may be faces. So a batch of frames
//! waits for the device four times, however many frames it has.

use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};
use deepsight_core::gpu::device_message;
use image::RgbImage;
use rayon::prelude::*;

use self::{onet::ONet, pnet::PNet, rnet::RNet, table::Table};
use super::{
    networks::{Crop, Networks, ONET_SIDE, Output, RNET_SIDE, Window, by_size},
    pyramid::{Level, windows},
    weights::Weights,
};
use crate::Error;

mod layers;
mod onet;
mod pnet;
mod rnet;
mod table;

/// Most crops that go through R-Net at once. Their features take a quarter of a gigabyte.
const REFINED: usize = 4096;
/// Most crops that go through O-Net at once, which bounds the memory of their features too.
const DECIDED: usize = 1024;

/// The three networks on a Burn device.
#[derive(Debug)]
pub(super) struct Modules<B: Backend> {
    pnet: PNet<B>,
    rnet: RNet<B>,
    onet: ONet<B>,
    device: B::Device,
}

/// Images on the device, grouped by size.
pub(super) struct Held<B: Backend> {
    groups: Vec<Group<B>>,
    /// For each image, the index of its group and its index in that group.
    places: Vec<(usize, usize)>,
}

/// Images of one size.
struct Group<B: Backend> {
    table: Table<B>,
    /// Index of each of them among all images.
    images: Vec<usize>,
}

impl<B: Backend> Modules<B> {
    pub(super) fn load(weights: &Weights, device: &B::Device) -> Result<Self, Error> {
        Ok(Self {
            pnet: PNet::load(weights, device)?,
            rnet: RNet::load(weights, device)?,
            onet: ONet::load(weights, device)?,
            device: device.clone(),
        })
    }

    /// Frees the memory that the device keeps for reuse.
    pub(super) fn free_memory(&self) {
        B::memory_cleanup(&self.device);
    }

    /// Runs P-Net on images of one size.
    fn propose_in(
        &self,
        group: &Group<B>,
        levels: &[Level],
        least: f32,
        found: &(impl Fn(Vec<Window>) + Sync),
    ) -> Result<(), Error> {
        if levels.is_empty() {
            return Ok(());
        }
        let outputs = levels.iter().map(|level| self.pnet.forward(group.table.level(level)));
        let (margins, regressions): (Vec<_>, Vec<_>) =
            outputs.map(|output| (output.margins, output.regressions)).unzip();
        let margins = read("P-Net", Tensor::cat(margins, 1))?;
        let cells: usize = levels.iter().map(|level| windows(level.width) * windows(level.height)).sum();
        let passed = passed(&margins, least);
        if passed.is_empty() {
            return Ok(());
        }
        let count = group.images.len();
        let regressions = Tensor::cat(regressions, 1).reshape([count * cells, 4]);
        let picked: Vec<i32> = passed.iter().map(|&cell| cell as i32).collect();
        let values = read("P-Net", regressions.select(0, indices(picked, &self.device)))?;
        let seen = passed.iter().zip(values.as_chunks::<4>().0).map(|(&cell, &values)| {
            let (level, column, row) = place(levels, cell % cells);
            let output = Output { logits: [0.0, margins[cell]], values };
            let (image, scale) = (group.images[cell / cells], levels[level].scale);
            Window { image, level, scale, column, row, output }
        });
        found(seen.collect());
        Ok(())
    }

    /// Returns a network's outputs for crops, in their order. The crops of each group run in batches of at most `most`.
    fn answers<const N: usize>(
        &self,
        images: &Held<B>,
        crops: &[Crop],
        (side, most): (usize, usize),
        network: impl Fn(Tensor<B, 4>) -> Result<Vec<Output<N>>, Error>,
    ) -> Result<Vec<Output<N>>, Error> {
        let mut by_group: Vec<Vec<usize>> = vec![Vec::new(); images.groups.len()];
        for (index, crop) in crops.iter().enumerate() {
            by_group[images.places[crop.image].0].push(index);
        }
        let mut outputs: Vec<Option<Output<N>>> = crops.iter().map(|_| None).collect();
        for (group, of_group) in images.groups.iter().zip(by_group) {
            for batch in of_group.chunks(most) {
                let regions = batch.iter().map(|&index| (images.places[crops[index].image].1, crops[index].region));
                let answers = network(group.table.crops(regions, side))?;
                for (&index, output) in batch.iter().zip(answers) {
                    outputs[index] = Some(output);
                }
            }
        }
        Ok(outputs.into_iter().flatten().collect())
    }
}

impl<B: Backend> Networks for Modules<B> {
    type Images<'a> = Held<B>;

    fn hold(&self, images: &[&RgbImage]) -> Result<Held<B>, Error> {
        let mut held = Held { groups: Vec::new(), places: vec![(0, 0); images.len()] };
        for ((width, height), places) in by_size(images) {
            for (slot, &place) in places.iter().enumerate() {
                held.places[place] = (held.groups.len(), slot);
            }
            let of_size: Vec<&RgbImage> = places.iter().map(|&place| images[place]).collect();
            held.groups.push(Group { table: Table::new(&of_size, width, height, &self.device), images: places });
        }
        Ok(held)
    }

    fn propose(
        &self,
        images: &Held<B>,
        pyramid: impl Fn(usize, usize) -> Vec<Level> + Sync,
        least: f32,
        found: impl Fn(Vec<Window>) + Sync,
    ) -> Result<(), Error> {
        images.groups.iter().try_for_each(|group| {
            let (width, height) = group.table.size();
            self.propose_in(group, &pyramid(width, height), least, &found)
        })
    }

    fn refine(&self, images: &Held<B>, crops: &[Crop]) -> Result<Vec<Output<4>>, Error> {
        self.answers(images, crops, (RNET_SIDE, REFINED), |crops| outputs("R-Net", self.rnet.forward(crops)))
    }

    fn decide(&self, images: &Held<B>, crops: &[Crop]) -> Result<Vec<Output<14>>, Error> {
        self.answers(images, crops, (ONET_SIDE, DECIDED), |crops| outputs("O-Net", self.onet.forward(crops)))
    }
}

/// Returns the positions of the margins that are at least `least`, in order.
fn passed(margins: &[f32], least: f32) -> Vec<usize> {
    const PART: usize = 1 << 16;
    let parts = margins.par_chunks(PART).enumerate().map(|(part, margins)| {
        let of_part = margins.iter().enumerate().filter(|(_, margin)| **margin >= least);
        of_part.map(|(cell, _)| part * PART + cell).collect::<Vec<_>>()
    });
    parts.collect::<Vec<_>>().concat()
}

/// Returns the level, column and row of the window at position `cell` in the list of all windows of an image.
fn place(levels: &[Level], mut cell: usize) -> (usize, usize, usize) {
    for (number, level) in levels.iter().enumerate() {
        let (columns, rows) = (windows(level.width), windows(level.height));
        if cell < columns * rows {
            return (number, cell % columns, cell / columns);
        }
        cell -= columns * rows;
    }
    unreachable!("there are as many cells as the levels have")
}

/// Uploads positions to the device.
fn indices<B: Backend>(values: Vec<i32>, device: &B::Device) -> Tensor<B, 1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), (device, DType::I32))
}

/// Splits `[count, 2 + N]` into one output per crop: two logits, then `N` other values.
fn outputs<B: Backend, const N: usize>(network: &'static str, answers: Tensor<B, 2>) -> Result<Vec<Output<N>>, Error> {
    let values = read(network, answers)?;
    let output = |values: &[f32]| Output {
        logits: [values[0], values[1]],
        values: std::array::from_fn(|output| values[2 + output]),
    };
    Ok(values.chunks_exact(2 + N).map(output).collect())
}

fn read<B: Backend, const D: usize>(network: &'static str, tensor: Tensor<B, D>) -> Result<Vec<f32>, Error> {
    let error = |reason: String| Error::Device { network, reason: device_message(&reason) };
    let data = tensor.try_into_data().map_err(|e| error(e.to_string()))?;
    data.convert::<f32>().into_vec().map_err(|e| error(e.to_string()))
}
