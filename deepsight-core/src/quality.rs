use std::borrow::Cow;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::{Face, Landmarks};

/// The quality of a face, measured on its crop and independent of the size of its box.
///
/// A face that was enlarged, blurred or filmed out of focus has a large box and little detail. A classifier that looks
/// for traces of a forgery finds none there, or mistakes the blur for one; see [`QualityLimits`](crate::QualityLimits).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FaceQuality {
    /// Effective resolution in pixels, `0..=256`: the side of the smallest sharp image that shows as much as the crop.
    ///
    /// It is never more than the shorter side of the crop. A crop of 256 pixels that was enlarged from 60 has about 60.
    /// Values above 150 are imprecise.
    pub detail: f32,
    /// Exposure, `0..=1`: near 0 for a face that is nearly black or blown out, 1 for a well-lit one.
    pub light: f32,
    /// Angle between the face and the camera in degrees, `0..=90`: 0 from the front, 90 in profile or if the landmarks
    /// determine no pose. It is mainly the yaw. Pitch counts only beyond 20 degrees, and rotation within the image does
    /// not count.
    pub turn: f32,
}

impl FaceQuality {
    /// Creates a quality with these values.
    pub fn new(detail: f32, light: f32, turn: f32) -> Self {
        Self { detail, light, turn }
    }

    /// Measures a face on the crop made by [`FaceCrop`](crate::FaceCrop). Takes about a third of a millisecond.
    ///
    /// Only the shape of the landmarks is used, so they may be in pixels of the frame. Values are rounded to one
    /// decimal (`light` to three), because they are written to reports.
    ///
    /// ```
    /// use deepsight_core::{FaceQuality, Landmarks, image::{Rgb, RgbImage}};
    ///
    /// let front = Landmarks([[38.0, 52.0], [74.0, 52.0], [56.0, 72.0], [42.0, 92.0], [70.0, 92.0]]);
    /// let gray = RgbImage::from_pixel(256, 256, Rgb([128; 3]));
    /// let quality = FaceQuality::measure(&gray, &front);
    /// assert_eq!((quality.detail, quality.light), (0.0, 1.0));
    /// assert!(quality.turn < 5.0);
    /// ```
    pub fn measure(crop: &RgbImage, landmarks: &Landmarks) -> Self {
        Self { turn: tenth(turn(landmarks)), ..Self::of_crop(crop) }
    }

    /// Measures the crop of a face. A face without landmarks counts as seen from the front.
    pub(crate) fn of_face(crop: &RgbImage, face: &Face) -> Self {
        face.landmarks.as_ref().map_or_else(|| Self::of_crop(crop), |landmarks| Self::measure(crop, landmarks))
    }

    fn of_crop(crop: &RgbImage) -> Self {
        let Some(canvas) = FaceLuma::of(crop) else { return Self::new(0.0, 0.0, 0.0) };
        let side = crop.width().min(crop.height()).min(SIDE as u32) as f32;
        Self { detail: tenth(canvas.detail().min(side)), light: (canvas.light() * 1000.0).round() / 1000.0, turn: 0.0 }
    }
}

fn tenth(value: f32) -> f32 {
    (value * 10.0).round() / 10.0
}

/// Side in pixels of the square to which every crop is resized before it is measured.
const SIDE: usize = 256;
/// Side in pixels of the cells in which the strongest gradient is searched.
const CELL: usize = 8;
/// Number of cells along a side.
const CELLS: usize = SIDE / CELL;
/// Variances in square pixels of the three smoothed images whose gradients are compared: a binomial filter of five taps
/// (variance 1) on images of full, half and a quarter of the size.
const VARIANCES: [f32; 3] = [1.0, 5.0, 21.0];
/// Share of the cells that detail is measured on: those with the strongest edges.
const EDGE_CELLS: f32 = 0.1;
/// Mean squared gradient of white noise of variance 1 in each of the three images.
const NOISE_GAINS: [f32; 3] = [0.0450, 0.002_02, 0.000_118];
/// Ratio of the strongest of a cell's squared gradients to their mean in pure noise, for each of the three images.
const NOISE_PEAK: [f32; 3] = [3.0, 2.0, 1.0];
/// Standard deviation of the blur, in pixels of the source, that this method measures on real faces in a sharp image
/// that was enlarged bilinearly.
const SHARP_SIGMA: f32 = 0.35;
/// Share of equal neighbors at edges from which an image counts as made of blocks.
const BLOCKY: f32 = 0.42;

/// A crop as luma in a square of [`SIDE`] pixels, with the cells that show the face.
struct FaceLuma {
    luma: Vec<f32>,
    /// Whether each cell is inside the ellipse that a face fills, and not near the black outside the frame.
    counts: Vec<bool>,
}

impl FaceLuma {
    fn of(crop: &RgbImage) -> Option<Self> {
        let (width, height) = (crop.width() as usize, crop.height() as usize);
        if width == 0 || height == 0 {
            return None;
        }
        // The weights of ITU-R BT.601 in 1/1024, summed as integers, which is faster.
        let luma = |&[red, green, blue]: &[u8; 3]| {
            (306 * i32::from(red) + 601 * i32::from(green) + 117 * i32::from(blue)) as f32 / 1024.0
        };
        let pixels: Vec<f32> = crop.as_raw().as_chunks::<3>().0.iter().map(luma).collect();
        let luma = resampled(pixels, width, height);
        Some(Self { counts: counting(&luma), luma })
    }

    /// Measures the effective resolution. The ratio of gradients before and after a known blur at the strongest edges
    /// gives the blur that the edges already had (Zhuo and Sim, "Defocus map estimation from a single image", Pattern
    /// Recognition 2011).
    ///
    /// This function compares three images of rising blur, and uses only the strongest gradient of each cell. Noise and
    /// the blocks of a codec, which are weak beside the edges of a face, then have little influence.
    fn detail(&self) -> f32 {
        let noise = self.noise().powi(2);
        let mut image = Cow::Borrowed(&self.luma[..]);
        let mut side = SIDE;
        let mut peaks: Vec<Vec<f32>> = Vec::with_capacity(3);
        for level in 0..VARIANCES.len() {
            let smooth = smoothed(&image, side);
            let floor = noise * NOISE_GAINS[level] * NOISE_PEAK[level];
            let per_pixel = 1.0 / (1 << (2 * level)) as f32;
            peaks.push(strongest(&smooth, side).into_iter().map(|g| (g * per_pixel - floor).max(0.0)).collect());
            if level + 1 < VARIANCES.len() {
                let mut half = Vec::with_capacity(side * side / 4);
                smooth.chunks_exact(2 * side).for_each(|rows| half.extend(rows[..side].iter().step_by(2)));
                (image, side) = (Cow::Owned(half), side / 2);
            }
        }
        let mut cells: Vec<usize> = (0..CELLS * CELLS).filter(|&cell| self.counts[cell]).collect();
        cells.sort_by(|&a, &b| peaks[1][b].total_cmp(&peaks[1][a]));
        cells.truncate(((cells.len() as f32 * EDGE_CELLS) as usize).max(1));
        let energies: Vec<f32> =
            peaks.iter().map(|p| cells.iter().map(|&c| p[c]).sum::<f32>() / cells.len() as f32).collect();
        // A gradient of a hundredth of a gray level is not an edge.
        if energies.iter().any(|&energy| energy < 1e-4) {
            return 0.0;
        }
        let sigma = blur(&[energies[0], energies[1], energies[2]]);
        let detail = SHARP_SIGMA * SIDE as f32 / sigma;
        self.block_side(&cells).map_or(detail, |block| detail.min(SIDE as f32 / block))
    }

    /// Estimates the standard deviation of white noise in gray levels from the flattest quarter of the face (Immerkær,
    /// "Fast noise variance estimation", Computer Vision and Image Understanding 1996).
    fn noise(&self) -> f32 {
        let mut tiles = Vec::with_capacity(CELLS * CELLS / 4);
        for (row, column) in (0..CELLS / 2).flat_map(|row| (0..CELLS / 2).map(move |column| (row, column))) {
            if !self.counts[2 * row * CELLS + 2 * column] || !self.counts[(2 * row + 1) * CELLS + 2 * column + 1] {
                continue;
            }
            let (top, left) = (2 * CELL * row, 2 * CELL * column);
            let mut sum = 0.0;
            // Every second line is enough.
            for y in (top + 1..top + 2 * CELL - 1).step_by(2) {
                let line = |y: usize| &self.luma[y * SIDE + left..][..2 * CELL];
                let (above, here, below) = (line(y - 1), line(y), line(y + 1));
                for x in 1..2 * CELL - 1 {
                    let across = |row: &[f32]| row[x - 1] - 2.0 * row[x] + row[x + 1];
                    sum += (across(above) - 2.0 * across(here) + across(below)).abs();
                }
            }
            tiles.push(sum);
        }
        tiles.sort_by(f32::total_cmp);
        let pixels = ((CELL - 1) * (2 * CELL - 2)) as f32;
        tiles.get(tiles.len() / 4).map_or(0.0, |sum| sum / pixels / 6.0 * std::f32::consts::FRAC_PI_2.sqrt())
    }

    /// Returns the side in pixels of the image's blocks, if the image was enlarged by repeating pixels.
    ///
    /// Blocks have sharp borders, which would count as detail. But neighboring pixels within a block are equal, unlike
    /// those in the texture of a sharp image or in an interpolated image.
    fn block_side(&self, cells: &[usize]) -> Option<f32> {
        let (mut equal, mut starts) = (0, 0);
        for cell in cells {
            let (top, left) = (cell / CELLS * CELL, cell % CELLS * CELL);
            for step in [1, SIDE] {
                let at = |a: usize, b: usize| {
                    if step == 1 { (top + a) * SIDE + left + b } else { (top + b) * SIDE + left + a }
                };
                let change =
                    |index: usize| self.luma.get(index + step).map_or(0.0, |next| (next - self.luma[index]).abs());
                let mean = (0..CELL * CELL).map(|i| change(at(i / CELL, i % CELL))).sum::<f32>() / (CELL * CELL) as f32;
                for a in 0..CELL {
                    for b in 0..CELL {
                        let index = at(a, b);
                        let is_equal = change(index) < 0.5 * mean;
                        equal += usize::from(is_equal);
                        // A border may be two pixels wide after an interpolation, so only its beginning is counted.
                        let follows_equal = index >= step && change(index - step) < 0.5 * mean;
                        starts += usize::from(!is_equal && follows_equal);
                    }
                }
            }
        }
        let all = cells.len() * 2 * CELL * CELL;
        (equal as f32 >= BLOCKY * all as f32 && starts > 0).then(|| all as f32 / starts as f32)
    }

    /// Measures the exposure: the lowest brightness of the brightest tenth of the face, relative to good light, times
    /// the share of the face that is not blown out. With the brightest tenth, dark skin in good light does not count as
    /// dark.
    fn light(&self) -> f32 {
        /// Share of full brightness that the brightest tenth of a face reaches in good light.
        const BRIGHT: f32 = 0.5;
        let mut histogram = [0_usize; 256];
        for (cell, _) in self.counts.iter().enumerate().filter(|(_, counts)| **counts) {
            let (top, left) = (cell / CELLS * CELL, cell % CELLS * CELL);
            for y in top..top + CELL {
                for &luma in &self.luma[y * SIDE + left..][..CELL] {
                    histogram[usize::from((luma + 0.5) as u8)] += 1;
                }
            }
        }
        let all: usize = histogram.iter().sum();
        let blown: usize = histogram[250..].iter().sum();
        let mut above = 0;
        let bright = (0..256).rev().find(|&level| {
            above += histogram[level];
            above * 10 >= all.max(1)
        });
        let bright = bright.unwrap_or(0) as f32 / 255.0;
        (bright / BRIGHT).min(1.0) * (1.0 - blown as f32 / all.max(1) as f32)
    }
}

/// Resizes the image to [`SIDE`] by [`SIDE`] pixels: averages a larger image, and interpolates a smaller one
/// bilinearly.
fn resampled(image: Vec<f32>, width: usize, height: usize) -> Vec<f32> {
    if (width, height) == (SIDE, SIDE) {
        return image;
    }
    let columns = taps(width);
    let rows = taps(height);
    let narrow: Vec<f32> = image
        .chunks_exact(width)
        .flat_map(|line| columns.iter().map(|tap| tap.of(|index| line[index])).collect::<Vec<_>>())
        .collect();
    let mut out = vec![0.0; SIDE * SIDE];
    for (line, tap) in out.chunks_exact_mut(SIDE).zip(&rows) {
        for (offset, &weight) in tap.weights.iter().enumerate() {
            let source = &narrow[(tap.first + offset) * SIDE..][..SIDE];
            line.iter_mut().zip(source).for_each(|(out, &value)| *out += weight * value);
        }
    }
    out
}

/// The consecutive inputs of one output of a resampling, with weights that add up to 1.
struct TriangleTap {
    first: usize,
    weights: Vec<f32>,
}

impl TriangleTap {
    fn of(&self, value: impl Fn(usize) -> f32) -> f32 {
        self.weights.iter().enumerate().map(|(offset, weight)| weight * value(self.first + offset)).sum()
    }
}

/// Returns the taps for resampling `length` pixels to [`SIDE`]. They form a triangle filter whose radius is one pixel
/// of the input or of the output, whichever is larger.
fn taps(length: usize) -> Vec<TriangleTap> {
    let scale = length as f32 / SIDE as f32;
    let radius = scale.max(1.0);
    (0..SIDE)
        .map(|index| {
            let center = (index as f32 + 0.5) * scale - 0.5;
            let first = (center - radius).floor().max(0.0) as usize;
            let last = ((center + radius).ceil() as usize).min(length - 1);
            let weight = |at: usize| (1.0 - (at as f32 - center).abs() / radius).max(0.0);
            let mut weights: Vec<f32> = (first.min(last)..=last).map(weight).collect();
            let sum: f32 = weights.iter().sum();
            // At the border there may be a single pixel that is further away than the radius: it gets the whole weight.
            weights.iter_mut().for_each(|weight| *weight = if sum > 0.0 { *weight / sum } else { 1.0 });
            TriangleTap { first: first.min(last), weights }
        })
        .collect()
}

/// Returns the cells within the ellipse of a face, without those near pure black. A crop is black outside its frame,
/// and the frame's border is not an edge of the face. If less than a quarter would remain, as in a dark image, returns
/// all cells of the ellipse.
fn counting(luma: &[f32]) -> Vec<bool> {
    let half = (CELLS as f32 - 1.0) / 2.0;
    let cells = || (0..CELLS * CELLS).map(|cell| (cell / CELLS, cell % CELLS));
    let inside: Vec<bool> = cells()
        .map(|(row, column)| {
            let (x, y) = ((column as f32 - half) / (0.42 * CELLS as f32), (row as f32 - half) / (0.46 * CELLS as f32));
            x * x + y * y <= 1.0
        })
        .collect();
    let black: Vec<bool> = cells()
        .map(|(row, column)| {
            (0..CELL).any(|y| luma[(row * CELL + y) * SIDE + column * CELL..][..CELL].iter().any(|&luma| luma < 0.5))
        })
        .collect();
    let near_black = |row: usize, column: usize| {
        let rows = row.saturating_sub(1)..=(row + 1).min(CELLS - 1);
        rows.flat_map(|row| (column.saturating_sub(1)..=(column + 1).min(CELLS - 1)).map(move |column| (row, column)))
            .any(|(row, column)| black[row * CELLS + column])
    };
    let clear: Vec<bool> =
        cells().zip(&inside).map(|((row, column), &inside)| inside && !near_black(row, column)).collect();
    let count = |cells: &[bool]| cells.iter().filter(|&&counts| counts).count();
    if 4 * count(&clear) >= count(&inside) { clear } else { inside }
}

/// Applies the binomial filter 1 4 6 4 1 in both directions, with repeated borders.
fn smoothed(image: &[f32], side: usize) -> Vec<f32> {
    let mut out = vec![0.0; side * side];
    let mut padded = vec![0.0; side + 4];
    for (y, out) in out.chunks_exact_mut(side).enumerate() {
        let line = |offset: usize| &image[(y + offset).saturating_sub(2).min(side - 1) * side..][..side];
        let (a, b, c, d, e) = (line(0), line(1), line(2), line(3), line(4));
        let down = &mut padded[2..side + 2];
        for x in 0..side {
            down[x] = ((a[x] + e[x]) + 4.0 * (b[x] + d[x]) + 6.0 * c[x]) / 16.0;
        }
        (padded[0], padded[1]) = (padded[2], padded[2]);
        (padded[side + 2], padded[side + 3]) = (padded[side + 1], padded[side + 1]);
        let line = |offset: usize| &padded[offset..][..side];
        let (a, b, c, d, e) = (line(0), line(1), line(2), line(3), line(4));
        for x in 0..side {
            out[x] = ((a[x] + e[x]) + 4.0 * (b[x] + d[x]) + 6.0 * c[x]) / 16.0;
        }
    }
    out
}

/// Returns the strongest squared gradient of each cell, by central differences in pixels of the image.
fn strongest(image: &[f32], side: usize) -> Vec<f32> {
    let cell = side / CELLS;
    let mut strongest = Vec::with_capacity(CELLS * CELLS);
    let mut columns = vec![0.0_f32; side];
    for top in (0..side).step_by(cell) {
        // The maximum of each column first, then of each cell: the compiler vectorizes this order well.
        columns.fill(0.0);
        for y in top.max(1)..(top + cell).min(side - 1) {
            let line = |y: usize, x: usize| &image[y * side + x..][..side - 2];
            let (left, right, above, below) = (line(y, 0), line(y, 2), line(y - 1, 1), line(y + 1, 1));
            let columns = &mut columns[1..side - 1];
            for x in 0..side - 2 {
                let (dx, dy) = (right[x] - left[x], below[x] - above[x]);
                let squared = (dx * dx + dy * dy) / 4.0;
                columns[x] = if squared > columns[x] { squared } else { columns[x] };
            }
        }
        strongest.extend(columns.chunks_exact(cell).map(|cell| cell.iter().copied().fold(0.0, f32::max)));
    }
    strongest
}

/// Returns the standard deviation in pixels of the blur that edges had before the three smoothings. At a step that was
/// blurred by `sigma`, the squared gradient is proportional to `1 / (sigma² + variance)`. The result is the
/// least-squares fit of the logarithms over a grid of sigmas.
fn blur(energies: &[f32; 3]) -> f32 {
    let logarithms = energies.map(f32::ln);
    let misfit = |sigma: f32| {
        let errors: [f32; 3] = std::array::from_fn(|i| logarithms[i] + (sigma * sigma + VARIANCES[i]).ln());
        let mean = errors.iter().sum::<f32>() / 3.0;
        errors.iter().map(|error| (error - mean).powi(2)).sum::<f32>()
    };
    // From 0.25 to 40 pixels in steps of 2 %.
    let sigmas = (0..256).map(|step| 0.25 * 1.02_f32.powi(step));
    sigmas.min_by(|&a, &b| misfit(a).total_cmp(&misfit(b))).unwrap_or(40.0)
}

/// Returns the angle between the face and the camera in degrees, from a scaled orthographic view of a head.
///
/// The eyes and the corners of the mouth of the ArcFace template lie in one plane, and the tip of the nose lies in
/// front of it. An affine map takes the plane to the image. The shift of the nose's tip from its foot on the plane, in
/// the plane's coordinates, gives yaw and pitch.
fn turn(landmarks: &Landmarks) -> f32 {
    /// The template's eyes and corners of the mouth minus their mean, in the template's pixels, `[x, y]`.
    const PLANE: [[f64; 2]; 4] = [[-17.7, -20.2], [17.6, -20.4], [-14.4, 20.4], [14.8, 20.2]];
    /// Position of the nose seen from the front, in the same coordinates.
    const NOSE: [f64; 2] = [0.0, -0.2];
    /// Distance of the nose's tip from the plane in the template's pixels: 25 mm for eyes that are 63 mm apart.
    const DEPTH: f64 = 14.0;
    /// Pitch in degrees that does not count, because faces that look straight ahead differ by that much.
    const FREE_PITCH: f64 = 20.0;
    let [left_eye, right_eye, nose, left_mouth, right_mouth] = landmarks.0.map(|point| point.map(f64::from));
    let seen = [left_eye, right_eye, left_mouth, right_mouth];
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for [x, y] in PLANE {
        (xx, xy, yy) = (xx + x * x, xy + x * y, yy + y * y);
    }
    // For each axis of the image: the least-squares fit of `seen = a·x + b·y + mean`, and the nose's shift from its
    // foot.
    let row = |axis: usize| {
        let mean = seen.iter().map(|point| point[axis]).sum::<f64>() / 4.0;
        let (mut sx, mut sy) = (0.0, 0.0);
        for ([x, y], point) in PLANE.iter().zip(&seen) {
            (sx, sy) = (sx + x * (point[axis] - mean), sy + y * (point[axis] - mean));
        }
        let determinant = xx * yy - xy * xy;
        let (a, b) = ((sx * yy - sy * xy) / determinant, (sy * xx - sx * xy) / determinant);
        (a, b, nose[axis] - mean - a * NOSE[0] - b * NOSE[1])
    };
    let ((a, b, u), (c, d, v)) = (row(0), row(1));
    let determinant = a * d - b * c;
    let angle = |shift: f64| (shift / determinant / DEPTH).atan().to_degrees();
    let (yaw, pitch) = (angle(d * u - b * v), angle(a * v - c * u));
    let turn = yaw.hypot((pitch.abs() - FREE_PITCH).max(0.0));
    if turn.is_finite() { turn.min(90.0) as f32 } else { 90.0 }
}
