//! Smaller copies of whole images.

use deepsight_kernels::{AreaResize, InstructionSet, Region};
use image::RgbImage;
use rayon::prelude::*;

/// Rows of the copy that one parallel task computes.
const ROWS: usize = 16;

/// Returns a smaller copy of an image. Each pixel is the mean of the area it covers in the original.
pub(crate) fn shrink(set: InstructionSet, image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let mut copy = RgbImage::new(width, height);
    let size = (width as usize, height as usize);
    let mut resize = AreaResize::new(set, 0.0, 1.0);
    resize.plan(whole(image), size, 0..size.0);
    copy.par_chunks_mut(ROWS * 3 * size.0).enumerate().for_each_init(
        || (resize.clone(), vec![0.0; ROWS * 3 * size.0]),
        |(resize, means), (part, pixels)| {
            let means = &mut means[..pixels.len()];
            resize.rows(
                image.as_raw(),
                image.width() as usize,
                part * ROWS..part * ROWS + pixels.len() / (3 * size.0),
                means,
            );
            for (pixel, mean) in pixels.iter_mut().zip(means) {
                *pixel = mean.round() as u8;
            }
        },
    );
    copy
}

/// Returns the region of the whole image.
pub(crate) fn whole(image: &RgbImage) -> Region {
    Region { x: 0, y: 0, width: image.width() as usize, height: image.height() as usize }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn a_uniform_image_stays_uniform_at_any_size() {
        let image = RgbImage::from_pixel(37, 53, Rgb([9, 130, 255]));
        assert!(shrink(InstructionSet::best(), &image, 11, 35).pixels().all(|pixel| pixel.0 == [9, 130, 255]));
    }

    #[test]
    fn half_the_size_holds_the_means_of_four_pixels() {
        let image = RgbImage::from_fn(64, 80, |x, y| Rgb([(3 * x) as u8, (2 * y) as u8, (x + y) as u8]));
        let copy = shrink(InstructionSet::best(), &image, 32, 40);
        for (x, y, pixel) in copy.enumerate_pixels() {
            // The mean of 6 x and 6 x + 3 is 6 x + 1.5, which rounds up. The means of green and blue are whole numbers.
            assert_eq!(pixel.0, [(6 * x + 2) as u8, (4 * y + 1) as u8, (2 * x + 2 * y + 1) as u8]);
        }
    }
}
