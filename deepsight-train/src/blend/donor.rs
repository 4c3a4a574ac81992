//! The face of another person, to be blended into a picture.

use deepsight_core::Landmarks;

use crate::augment::{FloatPicture, Transform};

/// Warps the donor's picture to `size`, so that its landmarks lie on those of the target, by the affine map of least
/// squares. Returns `None` if the five points do not determine such a map.
pub(super) fn fitted(
    mut donor: FloatPicture,
    landmarks: &Landmarks,
    target: &Landmarks,
    size: (usize, usize),
) -> Option<FloatPicture> {
    let between = |points: &Landmarks, (width, height): (usize, usize)| {
        points
            .0
            .map(|[x, y]| [x, y].map(|p| f64::from(p) + 0.5).map(|p| 2.0 * p))
            .map(|[x, y]| [x / width as f64 - 1.0, y / height as f64 - 1.0])
    };
    let (from, to) = (between(target, size), between(landmarks, donor.size()));
    let mean = |points: &[[f64; 2]; 5]| [0, 1].map(|axis| points.iter().map(|point| point[axis]).sum::<f64>() / 5.0);
    let (from_mean, to_mean) = (mean(&from), mean(&to));
    // Normal equations of the linear part, after the means are subtracted.
    let sum = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| (0..5).map(|n| a(n) * b(n)).sum::<f64>();
    let x = |n: usize| from[n][0] - from_mean[0];
    let y = |n: usize| from[n][1] - from_mean[1];
    let (xx, xy, yy) = (sum(&x, &x), sum(&x, &y), sum(&y, &y));
    let determinant = xx * yy - xy * xy;
    let row = |axis: usize| {
        let u = |n: usize| to[n][axis] - to_mean[axis];
        let (xu, yu) = (sum(&x, &u), sum(&y, &u));
        let (a, b) = ((yy * xu - xy * yu) / determinant, (xx * yu - xy * xu) / determinant);
        [a, b, to_mean[axis] - a * from_mean[0] - b * from_mean[1]].map(|number| number as f32)
    };
    let ([a, b, c], [d, e, f]) = (row(0), row(1));
    // Refuses a map that mirrors the face, changes its area by a factor of twenty or more, or is not finite.
    if !(0.05..20.0).contains(&(a * e - b * d)) || ![a, b, c, d, e, f].iter().all(|number| number.is_finite()) {
        return None;
    }
    donor.warp(Transform([a, b, c, d, e, f]), size.0, size.1);
    Some(donor)
}

/// Gives each channel of the source the mean and the standard deviation that the target has within the mask (Reinhard
/// et al., 2001, in RGB).
pub(super) fn match_colors(source: &mut FloatPicture, target: &FloatPicture, mask: &FloatPicture) {
    let moments = |picture: &FloatPicture| {
        let (mut weight, mut sums, mut squares) = (0.0_f64, [0.0_f64; 3], [0.0_f64; 3]);
        for (pixel, share) in picture.values().chunks_exact(4).zip(mask.values().chunks_exact(4)) {
            let share = f64::from(share[0]);
            weight += share;
            for c in 0..3 {
                let value = f64::from(pixel[c]);
                sums[c] += share * value;
                squares[c] += share * value * value;
            }
        }
        let mean = sums.map(|sum| sum / weight.max(1e-9));
        let deviation = [0, 1, 2].map(|c| (squares[c] / weight.max(1e-9) - mean[c] * mean[c]).max(0.0).sqrt());
        (mean, deviation)
    };
    let ((from, from_deviation), (to, to_deviation)) = (moments(source), moments(target));
    // The gain is limited, because a flat source has no detail to amplify.
    let gain = [0, 1, 2].map(|c| (to_deviation[c] / from_deviation[c].max(1.0)).clamp(0.4, 2.5));
    for pixel in source.values_mut().chunks_exact_mut(4) {
        for c in 0..3 {
            let value = (f64::from(pixel[c]) - from[c]) * gain[c] + to[c];
            pixel[c] = value.clamp(0.0, 255.0) as f32;
        }
    }
}
