//! The mask: the share of the source at each pixel.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::augment::{Filter, FloatPicture, Transform};

/// Longer side in pixels at which a mask is made. It is blurred anyway, and a quarter of the pixels takes a quarter of
/// the time.
const SIDE: f32 = 128.0;

/// Returns a mask of a convex `polygon`, in pixels of a picture of `width` by `height`. Returns `None` if it covers
/// nothing.
pub(super) fn mask(
    polygon: &[[f32; 2]],
    (width, height): (usize, usize),
    deformation: f32,
    random: &mut ChaCha8Rng,
) -> Option<FloatPicture> {
    let scale = SIDE / width.max(height) as f32;
    let shrunk = |length: usize| ((length as f32 * scale).round() as usize).max(1);
    let corners: Vec<[f32; 2]> = polygon.iter().map(|point| point.map(|p| (p + 0.5) * scale)).collect();
    let mut mask = filled(&corners, shrunk(width), shrunk(height));
    let covered = mask.values_mut().iter().sum::<f32>() / 4.0;
    if covered < 4.0 {
        return None;
    }
    let size = covered.sqrt();
    deform(&mut mask, deformation * size, random);

    // Shiohara and Yamasaki, section 3.2: blur, set all values below 1 to 0, and blur again. The first blur removes the
    // mask's border, the second gives it a soft one. Which blur is larger decides whether the mask shrinks or grows.
    let mut share = |low: f32, high: f32| (low + (high - low) * random.random::<f32>()) * size;
    mask.blur(share(0.0, 0.025));
    for value in mask.values_mut() {
        *value = f32::from(u8::from(*value > 0.99));
    }
    mask.blur(share(0.008, 0.07).max(0.5));
    let peak = mask.values_mut().iter().copied().fold(0.0, f32::max);
    if peak < 0.1 {
        return None;
    }
    mask.values_mut().iter_mut().for_each(|value| *value /= peak);
    Some(mask)
}

/// Returns the coverage of each pixel by a convex polygon, `0..=1`.
fn filled(corners: &[[f32; 2]], width: usize, height: usize) -> FloatPicture {
    let mut mask = FloatPicture::filled(width, height);
    for (row, pixels) in mask.rows_mut().enumerate() {
        let y = row as f32 + 0.5;
        let (mut left, mut right) = (f32::INFINITY, f32::NEG_INFINITY);
        for (from, to) in corners.iter().zip(corners.iter().cycle().skip(1)) {
            if (from[1] <= y) != (to[1] <= y) {
                let x = from[0] + (y - from[1]) / (to[1] - from[1]) * (to[0] - from[0]);
                (left, right) = (left.min(x), right.max(x));
            }
        }
        for (column, pixel) in pixels.iter_mut().enumerate() {
            let x = column as f32;
            *pixel = [(right.min(x + 1.0) - left.max(x)).clamp(0.0, 1.0); 4];
        }
    }
    mask
}

/// Deforms the mask elastically (Simard et al., 2003): every pixel is moved by a smooth random field.
fn deform(mask: &mut FloatPicture, reach: f32, random: &mut ChaCha8Rng) {
    let nodes = random.random_range(4..=8);
    let mut field = FloatPicture::filled(nodes, nodes);
    for value in field.values_mut() {
        *value = reach * (2.0 * random.random::<f32>() - 1.0);
    }
    let (width, height) = mask.size();
    field.resize(width, height, Filter::Bicubic);
    mask.displace(&field);
}

/// Returns the mask at the picture's size, moved like the source.
pub(super) fn placed(mut mask: FloatPicture, transform: Transform, (width, height): (usize, usize)) -> FloatPicture {
    mask.warp(transform, width, height);
    mask
}
