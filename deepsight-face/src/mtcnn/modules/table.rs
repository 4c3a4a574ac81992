//! Means over areas of images, computed on the device. They give the levels of the pyramid, and crops of any size.

use burn::tensor::{FloatDType, Int, IntDType, Tensor, TensorData, backend::Backend};
use deepsight_core::gpu;
use deepsight_kernels::Region;
use image::RgbImage;

use super::indices;
use crate::mtcnn::{
    networks::{CONTRAST, MIDDLE},
    pyramid::Level,
};

/// Summed-area tables of images of one size (Crow, SIGGRAPH 1984). Each entry is the sum of all pixels above and to the
/// left of a pixel corner.
///
/// The sum over any area follows from the entries at its four corners. Resizing by area therefore takes four look-ups
/// per pixel, whatever the size. Integer sums are exact. In 32 bits they may overflow from 8 million pixels on, but
/// their differences are still right.
#[derive(Debug)]
pub(super) struct Table<B: Backend> {
    /// `[images, height + 1, width + 1, 3]`. The first row and the first column are 0.
    sums: Tensor<B, 4, Int>,
    device: B::Device,
}

impl<B: Backend> Table<B> {
    /// Uploads images of `width` × `height` pixels and computes their tables.
    pub(super) fn new(images: &[&RgbImage], width: usize, height: usize, device: &B::Device) -> Self {
        let bytes = 3 * width * height * images.len();
        let pixels = images.iter().map(|image| image.as_raw().as_slice()).collect::<Vec<_>>().concat();
        let pixels = gpu::upload::<B>(pixels, device).narrow(0, 0, bytes).reshape([images.len(), height, width, 3]);
        // On a CPU an overflow would panic instead of wrapping, so sums have 64 bits there.
        let pixels = if gpu::is_cpu::<B>(device) { pixels.cast(IntDType::I64) } else { pixels };
        let zeros = |shape: [usize; 4]| Tensor::<B, 4, Int>::zeros(shape, (device, pixels.dtype()));
        let (above, left) = (zeros([images.len(), 1, width, 3]), zeros([images.len(), height + 1, 1, 3]));
        let down = prefix_sums(Tensor::cat(vec![above, pixels], 1), 1);
        let sums = prefix_sums(Tensor::cat(vec![left, down], 2), 2);
        Self { sums, device: device.clone() }
    }

    /// Returns the width and height of the images.
    pub(super) fn size(&self) -> (usize, usize) {
        let [_, rows, columns, _] = self.sums.dims();
        (columns - 1, rows - 1)
    }

    /// Resizes all images to a level of their pyramid: `[images, 3, height, width]`, normalized for the networks.
    pub(super) fn level(&self, level: &Level) -> Tensor<B, 4> {
        let (width, height) = self.size();
        let (rows, columns) = (Spans::new(0, height, level.height), Spans::new(0, width, level.width));
        let pick = |sums: Tensor<B, 4, Int>, axis, spans: &Spans| {
            let [starts, ends] = [&spans.starts, &spans.ends].map(|at| indices::<B>(at.clone(), &self.device));
            sums.clone().select(axis, ends) - sums.select(axis, starts)
        };
        let sums = pick(pick(self.sums.clone(), 1, &rows), 2, &columns);
        let shares =
            |spans: Spans, shape| Tensor::<B, 4>::from_data(TensorData::new(spans.shares, shape), &self.device);
        let shares = shares(rows, [1, level.height, 1, 1]) * shares(columns, [1, 1, level.width, 1]);
        toned(sums, shares)
    }

    /// Resizes parts of images, each given by the image's index and its region, to `side` × `side`:
    /// `[parts, 3, side, side]`, normalized for the networks.
    pub(super) fn crops(&self, parts: impl Iterator<Item = (usize, Region)>, side: usize) -> Tensor<B, 4> {
        let [images, height, width, _] = self.sums.dims();
        let (mut rows, mut columns) = (Spans::default(), Spans::default());
        for (image, region) in parts {
            columns.extend(Spans::new(region.x, region.width, side));
            rows.extend(Spans::new(region.y, region.height, side).of_lines(image * height, width));
        }
        let count = rows.starts.len() / side;
        let corners = |at: Vec<i32>, shape| indices::<B>(at, &self.device).reshape(shape);
        let [top, bottom] = [rows.starts, rows.ends].map(|at| corners(at, [count, side, 1]));
        let [left, right] = [columns.starts, columns.ends].map(|at| corners(at, [count, 1, side]));
        let sums = self.sums.clone().reshape([images * height * width, 3]);
        let corner = |row: &Tensor<B, 3, Int>, column: &Tensor<B, 3, Int>| {
            let at = (row.clone() + column.clone()).reshape([count * side * side]);
            sums.clone().select(0, at)
        };
        let sums = corner(&bottom, &right) - corner(&bottom, &left) - corner(&top, &right) + corner(&top, &left);
        let shares = |values: Vec<f32>, shape| Tensor::<B, 4>::from_data(TensorData::new(values, shape), &self.device);
        let shares = shares(rows.shares, [count, side, 1, 1]) * shares(columns.shares, [count, 1, side, 1]);
        toned(sums.reshape([count, side, side, 3]), shares)
    }
}

/// Turns sums into means and normalizes them for the networks: `[images, height, width, 3]` to
/// `[images, 3, height, width]`.
fn toned<B: Backend>(sums: Tensor<B, 4, Int>, shares: Tensor<B, 4>) -> Tensor<B, 4> {
    ((sums.cast(FloatDType::F32) * shares - MIDDLE) * CONTRAST).permute([0, 3, 1, 2])
}

/// For each pixel of a resized axis, the range of pixels whose mean it is. PyTorch's area interpolation uses the same
/// ranges.
#[derive(Debug, Default)]
struct Spans {
    starts: Vec<i32>,
    ends: Vec<i32>,
    /// One over the number of pixels in each range.
    shares: Vec<f32>,
}

impl Spans {
    /// Computes the ranges for `length` pixels from `start` on, resized to `size`.
    fn new(start: usize, length: usize, size: usize) -> Self {
        let edges = |at: usize| (at * length / size, ((at + 1) * length).div_ceil(size));
        let (starts, ends): (Vec<usize>, Vec<usize>) = (0..size).map(edges).unzip();
        let shares = starts.iter().zip(&ends).map(|(from, to)| 1.0 / (to - from) as f32).collect();
        let at = |edges: Vec<usize>| edges.into_iter().map(|edge| (start + edge) as i32).collect();
        Self { starts: at(starts), ends: at(ends), shares }
    }

    /// Converts line numbers to positions in lines of `width` numbers each. Line 0 of the ranges is line `first`.
    fn of_lines(mut self, first: usize, width: usize) -> Self {
        for edge in self.starts.iter_mut().chain(&mut self.ends) {
            *edge = (*edge + first as i32) * width as i32;
        }
        self
    }

    fn extend(&mut self, other: Self) {
        self.starts.extend(other.starts);
        self.ends.extend(other.ends);
        self.shares.extend(other.shares);
    }
}

/// Returns the inclusive prefix sums along an axis.
///
/// The sums are computed in blocks, because Burn's `cumsum` on a GPU adds up each sum from the start of the axis.
fn prefix_sums<B: Backend>(x: Tensor<B, 4, Int>, axis: usize) -> Tensor<B, 4, Int> {
    const BLOCK: usize = 32;
    let shape = x.dims();
    let (outer, length, inner) = (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product());
    let blocks = length.div_ceil(BLOCK);
    let x = x.reshape([outer, length, inner]);
    let rest = Tensor::zeros([outer, blocks * BLOCK - length, inner], (&x.device(), x.dtype()));
    let x = if blocks * BLOCK == length { x } else { Tensor::cat(vec![x, rest], 1) };
    let within: Tensor<B, 4, Int> = x.reshape([outer, blocks, BLOCK, inner]).cumsum(2);
    let totals = within.clone().slice([0..outer, 0..blocks, BLOCK - 1..BLOCK, 0..inner]);
    let before = totals.clone().cumsum(1) - totals;
    (within + before).reshape([outer, blocks * BLOCK, inner]).slice([0..outer, 0..length]).reshape(shape)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use deepsight_kernels::{AreaResize, InstructionSet};
    use image::Rgb;

    use super::*;

    type B = burn::backend::Flex;

    fn pictures(width: u32, height: u32) -> Vec<RgbImage> {
        let picture = |n: u32| {
            RgbImage::from_fn(width, height, |x, y| Rgb([(x * n) as u8, (y * 7 + x) as u8, (x * y * n + 3) as u8]))
        };
        vec![picture(3), picture(11)]
    }

    /// Returns the result of the CPU kernels.
    fn expected(image: &RgbImage, region: Region, (width, height): (usize, usize)) -> Vec<f32> {
        let mut resize = AreaResize::new(InstructionSet::best(), MIDDLE, CONTRAST);
        resize.plan(region, (width, height), 0..width);
        let mut pixels = vec![0.0; 3 * width * height];
        resize.rows(image.as_raw(), image.width() as usize, 0..height, &mut pixels);
        pixels
    }

    fn assert_close(ours: Tensor<B, 4>, expected: &[f32]) {
        let ours: Vec<f32> = ours.permute([0, 2, 3, 1]).into_data().iter::<f32>().collect();
        assert_eq!(ours.len(), expected.len());
        let furthest = ours.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-6, "{furthest}");
    }

    #[test]
    fn levels_and_crops_equal_those_of_the_cpu_kernels() {
        let pictures = pictures(101, 67);
        let table = Table::<B>::new(&[&pictures[0], &pictures[1]], 101, 67, &Default::default());
        let whole = Region { x: 0, y: 0, width: 101, height: 67 };
        for (width, height) in [(61, 41), (101, 67), (13, 12)] {
            let level = Level { scale: 1.0, width, height };
            let expected = pictures.iter().flat_map(|picture| expected(picture, whole, (width, height)));
            assert_close(table.level(&level), &expected.collect::<Vec<_>>());
        }
        let parts = [
            (1, Region { x: 5, y: 60, width: 7, height: 7 }),
            (0, Region { x: 0, y: 0, width: 101, height: 67 }),
            (1, Region { x: 100, y: 66, width: 1, height: 1 }),
            (0, Region { x: 20, y: 3, width: 60, height: 31 }),
        ];
        let expected = parts.iter().flat_map(|(image, region)| expected(&pictures[*image], *region, (24, 24)));
        assert_close(table.crops(parts.into_iter(), 24), &expected.collect::<Vec<_>>());
    }

    #[test]
    fn sums_beyond_32_bits_still_give_the_means() {
        // White, and large enough for a sum above 2³², which overflows in the 32 bits of a GPU.
        let white = RgbImage::from_pixel(4200, 4100, Rgb([255, 255, 254]));
        let device = Default::default();
        let table = Table::<B>::new(&[&white], 4200, 4100, &device);
        let corner = Region { x: 4000, y: 4000, width: 60, height: 80 };
        let crop = table.crops([(0, corner)].into_iter(), 24);
        assert_close(crop, &expected(&white, corner, (24, 24)));
    }
}
