use std::collections::BTreeMap;

use deepsight_core::fused::kernels::Region;
use image::RgbImage;

use super::pyramid::Level;
use crate::Error;

/// The three networks as the cascade needs them, whatever computes them.
pub(super) trait Networks: Sync {
    /// Images where the networks can read them.
    type Images<'a>: Sync;

    /// Brings images there.
    fn hold<'a>(&self, images: &[&'a RgbImage]) -> Result<Self::Images<'a>, Error>;

    /// P-Net on all images, each at the levels that `pyramid` gives for its width and height: the windows whose logits are at
    /// least `least` apart, in any order and in any portions.
    fn propose(
        &self,
        images: &Self::Images<'_>,
        pyramid: impl Fn(usize, usize) -> Vec<Level> + Sync,
        least: f32,
        found: impl Fn(Vec<Window>) + Sync,
    ) -> Result<(), Error>;

    /// R-Net on crops, which it stretches to 24 × 24 pixels; regression.
    fn refine(&self, images: &Self::Images<'_>, crops: &[Crop]) -> Result<Vec<Output<4>>, Error>;

    /// O-Net on crops, which it stretches to 48 × 48 pixels; regression, then five x and five y of the landmarks.
    fn decide(&self, images: &Self::Images<'_>, crops: &[Crop]) -> Result<Vec<Output<14>>, Error>;
}

/// One of P-Net's windows, and what the network says of it.
pub(super) struct Window {
    /// The image's place among those held.
    pub(super) image: usize,
    /// The level's place in the image's pyramid.
    pub(super) level: usize,
    /// Pixels of the level per pixel of the image.
    pub(super) scale: f64,
    /// By windows, in the level.
    pub(super) column: usize,
    /// By windows, in the level.
    pub(super) row: usize,
    pub(super) output: Output<4>,
}

/// A part of an image, all within it.
pub(super) struct Crop {
    /// The image's place among those held.
    pub(super) image: usize,
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

/// Places of the images of each width and height; those without a pixel have none.
pub(super) fn by_size(images: &[&RgbImage]) -> BTreeMap<(usize, usize), Vec<usize>> {
    let mut by_size: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, image) in images.iter().enumerate().filter(|(_, image)| !image.is_empty()) {
        by_size.entry((image.width() as usize, image.height() as usize)).or_default().push(place);
    }
    by_size
}
