use std::collections::BTreeMap;

use deepsight_kernels::Region;
use image::RgbImage;

use super::pyramid::Level;
use crate::Error;

/// The three networks as the cascade uses them, on any engine.
pub(super) trait Networks: Sync {
    /// Images in a form that the networks can read.
    type Images<'a>: Sync;

    /// Converts images to that form.
    fn hold<'a>(&self, images: &[&'a RgbImage]) -> Result<Self::Images<'a>, Error>;

    /// Runs P-Net on all images, each at the levels that `pyramid` returns for its width and height. Calls `found` with
    /// the windows whose logit of face minus logit of no face is at least `least`. The windows come in any order and in
    /// any number of calls.
    fn propose(
        &self,
        images: &Self::Images<'_>,
        pyramid: impl Fn(usize, usize) -> Vec<Level> + Sync,
        least: f32,
        found: impl Fn(Vec<Window>) + Sync,
    ) -> Result<(), Error>;

    /// Runs R-Net on crops, which it resizes to 24 × 24 pixels. The output values are the regression.
    fn refine(&self, images: &Self::Images<'_>, crops: &[Crop]) -> Result<Vec<Output<4>>, Error>;

    /// Runs O-Net on crops, which it resizes to 48 × 48 pixels. The output values are the regression, then five x and
    /// five y of the landmarks.
    fn decide(&self, images: &Self::Images<'_>, crops: &[Crop]) -> Result<Vec<Output<14>>, Error>;
}

/// One of P-Net's windows and the network's output for it.
pub(super) struct Window {
    /// Index of the image among those held.
    pub(super) image: usize,
    /// Index of the level in the image's pyramid.
    pub(super) level: usize,
    /// Pixels of the level per pixel of the image.
    pub(super) scale: f64,
    /// Column in the level, counted in windows.
    pub(super) column: usize,
    /// Row in the level, counted in windows.
    pub(super) row: usize,
    pub(super) output: Output<4>,
}

/// A region of an image that lies entirely within it.
pub(super) struct Crop {
    /// Index of the image among those held.
    pub(super) image: usize,
    pub(super) region: Region,
}

/// A network's output for one window or crop.
pub(super) struct Output<const N: usize> {
    /// Logits of no face and face.
    pub(super) logits: [f32; 2],
    /// Shifts of the left, top, right and bottom edge, in box sides, then other outputs.
    pub(super) values: [f32; N],
}

/// Value that is subtracted from colors before a network sees them. The difference is multiplied by [`CONTRAST`].
pub(super) const MIDDLE: f32 = 127.5;
/// `1 / 128`, which scales colors to about `-1..1`.
pub(super) const CONTRAST: f32 = 0.007_812_5;
/// Side of R-Net's crops in pixels.
pub(super) const RNET_SIDE: usize = 24;
/// Side of O-Net's crops in pixels.
pub(super) const ONET_SIDE: usize = 48;

/// Returns the indices of the images of each width and height. Images without pixels are left out.
pub(super) fn by_size(images: &[&RgbImage]) -> BTreeMap<(usize, usize), Vec<usize>> {
    let mut by_size: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, image) in images.iter().enumerate().filter(|(_, image)| !image.is_empty()) {
        by_size.entry((image.width() as usize, image.height() as usize)).or_default().push(place);
    }
    by_size
}
