//! Random erasing: covers a part of a face with a rectangle.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::picture::{FloatPicture, Pixel};

pub(super) fn erase(picture: &mut FloatPicture, area: f32, aspect: f32, random: &mut ChaCha8Rng) {
    let (width, height) = (picture.width, picture.height);
    if width == 0 || height == 0 {
        return;
    }
    let side = (area * width as f32 * height as f32).sqrt();
    let covered = |length: f32, limit: usize| (length.round() as usize).clamp(1, limit);
    let (across, down) = (covered(side * aspect.sqrt(), width), covered(side / aspect.sqrt(), height));
    let (left, top) = (random.random_range(0..=width - across), random.random_range(0..=height - down));
    let rows = move |picture: &mut FloatPicture, fill: &mut dyn FnMut(&mut Pixel)| {
        for row in picture.pixels.chunks_exact_mut(width).skip(top).take(down) {
            row[left..left + across].iter_mut().for_each(&mut *fill);
        }
    };
    match random.random_range(0..3) {
        0 => {
            let mut sum = Pixel::default();
            rows(picture, &mut |pixel| sum = std::array::from_fn(|c| sum[c] + pixel[c]));
            let mean = sum.map(|value| value / (across * down) as f32);
            rows(picture, &mut |pixel| *pixel = mean);
        }
        1 => {
            let gray = random.random_range(0..=255) as f32;
            rows(picture, &mut |pixel| *pixel = [gray; 4]);
        }
        _ => rows(picture, &mut |pixel| {
            let bytes = random.random::<u32>().to_le_bytes();
            *pixel = bytes.map(f32::from);
        }),
    }
}
