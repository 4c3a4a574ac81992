use deepsight_core::fused::kernels::Region;
use image::RgbImage;

use super::pyramid::{Level, Tile};
use crate::Error;

/// The three networks as the cascade needs them, whatever computes them.
pub(super) trait Networks: Sync {
    /// How its work is best cut up.
    const GRAIN: Grain;

    /// P-Net on a tile of images of one size: what it says of every window, in any order.
    fn propose(
        &self,
        images: &[&RgbImage],
        level: &Level,
        tile: &Tile,
        take: impl FnMut(Window, Output<4>),
    ) -> Result<(), Error>;

    /// R-Net on crops, which it stretches to 24 × 24 pixels; regression.
    fn refine(&self, crops: &[Crop<'_>]) -> Result<Vec<Output<4>>, Error>;

    /// O-Net on crops, which it stretches to 48 × 48 pixels; regression, then five x and five y of the landmarks.
    fn decide(&self, crops: &[Crop<'_>]) -> Result<Vec<Output<14>>, Error>;
}

/// Sizes of tasks.
pub(super) struct Grain {
    /// Columns and rows of P-Net's windows in a tile.
    pub(super) tile: (usize, usize),
    /// Images of one size in a batch of P-Net.
    pub(super) images: usize,
    /// Crops in a batch of R-Net.
    pub(super) refine: usize,
    /// Crops in a batch of O-Net.
    pub(super) decide: usize,
    /// Whether batches may be smaller, so that every thread gets as many.
    pub(super) even: bool,
}

/// Where one of P-Net's windows lies.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// The image's place in the batch.
    pub(super) image: usize,
    /// In the tile.
    pub(super) column: usize,
    /// In the tile.
    pub(super) row: usize,
}

/// A part of an image, all within it.
pub(super) struct Crop<'a> {
    pub(super) image: &'a RgbImage,
    pub(super) region: Region,
}

/// A network's answer for one window or crop.
pub(super) struct Output<const N: usize> {
    /// No face, face; before the softmax.
    pub(super) logits: [f32; 2],
    /// Shifts of left, top, right and bottom edge in box sides, then other outputs.
    pub(super) values: [f32; N],
}

/// What is done to colours before a network sees them: less this, and then times [`CONTRAST`].
pub(super) const MIDDLE: f32 = 127.5;
/// `1 / 128`, to about `-1..1`.
pub(super) const CONTRAST: f32 = 0.007_812_5;
/// Side of R-Net's crops in pixels.
pub(super) const RNET_SIDE: usize = 24;
/// Side of O-Net's crops in pixels.
pub(super) const ONET_SIDE: usize = 48;
