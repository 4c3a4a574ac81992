//! Area resampling straight from 8-bit pixels.

use image::{Rgb, RgbImage};

use crate::boxes::Region;

/// Shrinks (or stretches) a region of an image to `size` (width, height), and hands each pixel of `window`, a part of
/// the result, to `emit(column, row, mean)` with its mean colour in `0..=255`.
///
/// Output pixel `i` of `n` is the mean over `⌊i · input / n⌋ .. ⌈(i + 1) · input / n⌉`, as PyTorch's
/// `interpolate(mode="area")` has it. Sums are of integers, hence exact.
pub(crate) fn area(
    image: &RgbImage,
    region: Region,
    size: (usize, usize),
    window: Region,
    mut emit: impl FnMut(usize, usize, [f32; 3]),
) {
    let columns: Vec<(usize, usize)> =
        (window.x..window.x + window.width).map(|i| bin(i, region.width, size.0)).collect();
    let (Some(&(left, _)), Some(&(_, right))) = (columns.first(), columns.last()) else { return };
    let pitch = 3 * image.width() as usize;
    let mut sums = vec![0u32; 3 * (right - left)];
    for row in 0..window.height {
        let (top, bottom) = bin(window.y + row, region.height, size.1);
        sums.fill(0);
        for y in region.y + top..region.y + bottom {
            let start = y * pitch + 3 * (region.x + left);
            let pixels = &image.as_raw()[start..start + sums.len()];
            for (sum, &value) in sums.iter_mut().zip(pixels) {
                *sum += u32::from(value);
            }
        }
        for (column, &(start, end)) in columns.iter().enumerate() {
            let mut total = [0u64; 3];
            for pixel in sums[3 * (start - left)..3 * (end - left)].as_chunks::<3>().0 {
                for (t, &s) in total.iter_mut().zip(pixel) {
                    *t += u64::from(s);
                }
            }
            let count = ((bottom - top) * (end - start)) as f32;
            emit(column, row, total.map(|t| t as f32 / count));
        }
    }
}

/// A smaller copy of a whole image.
pub(crate) fn shrink(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let mut copy = RgbImage::new(width, height);
    let size = (width as usize, height as usize);
    area(image, whole(image), size, Region { x: 0, y: 0, width: size.0, height: size.1 }, |x, y, mean| {
        copy.put_pixel(x as u32, y as u32, Rgb(mean.map(|m| m.round() as u8)));
    });
    copy
}

/// All of an image.
pub(crate) fn whole(image: &RgbImage) -> Region {
    Region { x: 0, y: 0, width: image.width() as usize, height: image.height() as usize }
}

fn bin(i: usize, input: usize, output: usize) -> (usize, usize) {
    (i * input / output, ((i + 1) * input).div_ceil(output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_pixel_is_the_mean_of_its_bin() {
        let image = RgbImage::from_fn(13, 7, |x, y| Rgb([(x * 17) as u8, (y * 31) as u8, (x * y) as u8]));
        let region = Region { x: 2, y: 1, width: 10, height: 5 };
        let size = (4, 8);
        let mut seen = 0;
        area(&image, region, size, Region { x: 1, y: 2, width: 3, height: 6 }, |column, row, mean| {
            let (i, j) = (column + 1, row + 2);
            let (left, right) = (i * 10 / 4, ((i + 1) * 10).div_ceil(4));
            let (top, bottom) = (j * 5 / 8, ((j + 1) * 5).div_ceil(8));
            for (channel, value) in mean.into_iter().enumerate() {
                let pixels = (top..bottom).flat_map(|y| (left..right).map(move |x| (x, y)));
                let values: Vec<f32> =
                    pixels.map(|(x, y)| image.get_pixel(x as u32 + 2, y as u32 + 1).0[channel].into()).collect();
                assert!((value - values.iter().sum::<f32>() / values.len() as f32).abs() < 1e-4);
            }
            seen += 1;
        });
        assert_eq!(seen, 18);
    }

    #[test]
    fn a_uniform_image_stays_uniform_at_any_size() {
        let image = RgbImage::from_pixel(37, 23, Rgb([9, 130, 255]));
        assert!(shrink(&image, 11, 5).pixels().all(|pixel| pixel.0 == [9, 130, 255]));
    }
}
