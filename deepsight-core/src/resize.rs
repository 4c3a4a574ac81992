//! Resizing with the same bits as OpenCV and PIL. Both compute in fixed point, and a classifier trained with one of
//! them must get the same pixels here.

use std::fmt;
use std::str::FromStr;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The filter that resizes a face to the network's input size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResizeFilter {
    /// OpenCV's `cv2.resize(..., interpolation=cv2.INTER_LINEAR)` on 8-bit images, bit for bit (OpenCV's own code,
    /// without vendor libraries). It does not smooth when it shrinks.
    OpencvBilinear,
    /// PIL's `Image.resize(..., Image.Resampling.BILINEAR)` on 8-bit images. It smooths when it shrinks. The result is
    /// bit for bit that of Pillow up to version 12. Pillow 13 shrinks rows before columns if rows shrink far more, and
    /// may differ by one level.
    PilBilinear,
    /// PIL's `Image.resize(..., Image.Resampling.BICUBIC)` on 8-bit images, as for CLIP and DINOv2. It smooths when it
    /// shrinks. The result is bit for bit that of Pillow up to version 12, as for [`PilBilinear`](Self::PilBilinear).
    PilBicubic,
    /// OpenCV's `INTER_AREA` where the image shrinks and `INTER_CUBIC` where it grows, bit for bit (OpenCV's own code),
    /// to the largest size of the image's own shape that fits, in the middle of a black image. The winner of the DFDC
    /// prepares faces like this.
    OpencvPadded,
}

impl ResizeFilter {
    /// Every filter.
    pub const ALL: [Self; 4] = [Self::OpencvBilinear, Self::PilBilinear, Self::PilBicubic, Self::OpencvPadded];

    /// Returns its name, as in model files: `opencv_bilinear`, `pil_bilinear`, `pil_bicubic` or `opencv_padded`.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpencvBilinear => "opencv_bilinear",
            Self::PilBilinear => "pil_bilinear",
            Self::PilBicubic => "pil_bicubic",
            Self::OpencvPadded => "opencv_padded",
        }
    }

    /// Resizes the image to `width` by `height` pixels. An image without pixels gives a black one, and a size without
    /// pixels an empty one.
    pub fn resize(self, image: &RgbImage, width: u32, height: u32) -> RgbImage {
        let mut out = RgbImage::new(width, height);
        let mut lines = out.chunks_exact_mut((width as usize * 3).max(1));
        self.rows(image, width, height, |row| {
            if let Some(line) = lines.next() {
                line.copy_from_slice(row);
            }
        });
        out
    }

    /// Passes the rows of the resized image to `emit`, top to bottom, `[width, 3]` each. The whole resized image is
    /// never in memory.
    pub(crate) fn rows(self, image: &RgbImage, width: u32, height: u32, mut emit: impl FnMut(&[u8])) {
        let pitch = width as usize * 3;
        if image.dimensions() == (width, height) {
            image.as_raw().chunks_exact(pitch.max(1)).for_each(emit);
        } else if image.width() == 0 || image.height() == 0 || pitch == 0 {
            let black = vec![0; pitch];
            (0..height).for_each(|_| emit(&black));
        } else {
            let size = (width, height);
            match self {
                Self::OpencvBilinear if image.dimensions() == (2 * width, 2 * height) => halve(image, width, emit),
                Self::OpencvBilinear => opencv_bilinear(image, size, emit),
                Self::PilBilinear => pil(image, size, &TRIANGLE, emit),
                Self::PilBicubic => pil(image, size, &CUBIC, emit),
                Self::OpencvPadded => opencv_padded(image, size, emit),
            }
        }
    }
}

impl fmt::Display for ResizeFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ResizeFilter {
    type Err = Error;

    /// Reads [`name`](Self::name).
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|filter| filter.name() == name).ok_or_else(|| Error::Setting {
            name: "resize",
            value: name.into(),
            rule: "must be opencv_bilinear, pil_bilinear, pil_bicubic or opencv_padded",
        })
    }
}

/// Computes the mean of four pixels, as OpenCV does instead of interpolating when both sides are exactly halved.
fn halve(source: &RgbImage, width: u32, mut emit: impl FnMut(&[u8])) {
    let stride = source.width() as usize * 3;
    let mut row = vec![0; width as usize * 3];
    for rows in source.as_raw().chunks_exact(2 * stride) {
        let (above, below) = rows.split_at(stride);
        for (index, value) in row.iter_mut().enumerate() {
            let left = index / 3 * 6 + index % 3;
            let sum = [above[left], above[left + 3], below[left], below[left + 3]].map(u32::from).iter().sum::<u32>();
            *value = ((sum + 2) >> 2) as u8;
        }
        emit(&row);
    }
}

/// The two neighboring inputs of one output position and their weights in 1/2048.
struct Tap {
    first: usize,
    second: usize,
    weights: [i32; 2],
}

/// Computes OpenCV's `resizeGeneric_` for `INTER_LINEAR` on `uchar`, with 11-bit weights and rows summed at reduced
/// precision.
fn opencv_bilinear(source: &RgbImage, (width, height): (u32, u32), mut emit: impl FnMut(&[u8])) {
    let columns = opencv_taps(source.width(), width, true);
    let rows = opencv_taps(source.height(), height, false);
    let stride = source.width() as usize * 3;
    let horizontal = |y: usize, row: &mut Vec<i32>| {
        let line = &source.as_raw()[y * stride..][..stride];
        row.clear();
        row.extend(columns.iter().flat_map(|tap| {
            [0, 1, 2].map(|channel| {
                i32::from(line[tap.first * 3 + channel]) * tap.weights[0]
                    + i32::from(line[tap.second * 3 + channel]) * tap.weights[1]
            })
        }));
    };
    // Consecutive output rows often read the same input rows, so the last two are kept.
    let mut kept: [(Option<usize>, Vec<i32>); 2] = Default::default();
    let mut line = vec![0; width as usize * 3];
    for tap in &rows {
        if kept[1].0 == Some(tap.first) {
            kept.swap(0, 1);
        }
        for (slot, y) in kept.iter_mut().zip([tap.first, tap.second]) {
            if slot.0 != Some(y) {
                horizontal(y, &mut slot.1);
                slot.0 = Some(y);
            }
        }
        for ((value, above), below) in line.iter_mut().zip(&kept[0].1).zip(&kept[1].1) {
            let sum = (((above >> 4) * tap.weights[0]) >> 16) + (((below >> 4) * tap.weights[1]) >> 16);
            *value = ((sum + 2) >> 2).clamp(0, 255) as u8;
        }
        emit(&line);
    }
}

fn opencv_taps(from: u32, to: u32, horizontal: bool) -> Vec<Tap> {
    let scale = 1.0 / (f64::from(to) / f64::from(from));
    let last = from as i64 - 1;
    (0..to)
        .map(|position| {
            let exact = ((f64::from(position) + 0.5) * scale - 0.5) as f32;
            let mut first = exact.floor() as i64;
            let mut fraction = exact - first as f32;
            // Beyond the border, OpenCV moves columns onto it, but it only clamps rows and keeps their weights.
            if horizontal && first < 0 {
                (first, fraction) = (0, 0.0);
            }
            if horizontal && first >= last {
                (first, fraction) = (last, 0.0);
            }
            let weights = [1.0 - fraction, fraction].map(|weight| (weight * 2048.0).round_ties_even() as i32);
            let clamped = |index: i64| index.clamp(0, last) as usize;
            Tap { first: clamped(first), second: clamped(first + 1), weights }
        })
        .collect()
}

/// Keeps the image's shape and adds black borders; of an odd number of black rows or columns, the last part has one
/// more.
fn opencv_padded(source: &RgbImage, (width, height): (u32, u32), mut emit: impl FnMut(&[u8])) {
    let [wide, high] = [source.width(), source.height()].map(f64::from);
    let (across, down) = (f64::from(width) / wide, f64::from(height) / high);
    // The other side is cut off to whole pixels.
    let (inner_width, inner_height) =
        if across < down { (width, (high * across) as u32) } else { ((wide * down) as u32, height) };
    let mut line = vec![0; width as usize * 3];
    let above = (height - inner_height) / 2;
    (0..above).for_each(|_| emit(&line));
    if inner_width > 0 && inner_height > 0 {
        let left = ((width - inner_width) / 2) as usize * 3;
        let inner = left..left + inner_width as usize * 3;
        opencv_area_or_cubic(source, (inner_width, inner_height), |row| {
            line[inner.clone()].copy_from_slice(row);
            emit(&line);
        });
    }
    line.fill(0);
    let below = if inner_width > 0 { height - above - inner_height } else { height - above };
    (0..below).for_each(|_| emit(&line));
}

fn opencv_area_or_cubic(source: &RgbImage, size: (u32, u32), mut emit: impl FnMut(&[u8])) {
    if source.dimensions() == size {
        source.as_raw().chunks_exact(size.0 as usize * 3).for_each(emit);
    } else if source.dimensions() == (2 * size.0, 2 * size.1) {
        halve(source, size.0, emit);
    } else if size.0 <= source.width() && size.1 <= source.height() {
        opencv_area(source, size, emit);
    } else {
        opencv_cubic(source, size, &mut emit);
    }
}

/// The inputs that one output position covers, each with its share of the output.
type Shares = Vec<(usize, f32)>;

/// Computes `INTER_AREA` for an image that shrinks: the mean over the area of each output pixel, in single precision.
fn opencv_area(source: &RgbImage, (width, height): (u32, u32), mut emit: impl FnMut(&[u8])) {
    if source.width().is_multiple_of(width) && source.height().is_multiple_of(height) {
        return opencv_whole_area(source, (width, height), emit);
    }
    let columns = opencv_shares(source.width(), width);
    let stride = source.width() as usize * 3;
    let (mut sums, mut line) = (vec![0.0_f32; width as usize * 3], vec![0; width as usize * 3]);
    for rows in opencv_shares(source.height(), height) {
        sums.fill(0.0);
        for (y, share) in rows {
            let row = source.as_raw()[y * stride..][..stride].as_chunks::<3>().0;
            for (sum, column) in sums.as_chunks_mut::<3>().0.iter_mut().zip(&columns) {
                let mut across = [0.0_f32; 3];
                for (x, share) in column {
                    across.iter_mut().zip(row[*x]).for_each(|(sum, value)| *sum += f32::from(value) * share);
                }
                sum.iter_mut().zip(across).for_each(|(sum, across)| *sum += share * across);
            }
        }
        line.iter_mut().zip(&sums).for_each(|(value, sum)| *value = sum.round_ties_even() as u8);
        emit(&line);
    }
}

/// The same where every output pixel covers whole pixels: OpenCV then adds whole numbers.
fn opencv_whole_area(source: &RgbImage, (width, height): (u32, u32), mut emit: impl FnMut(&[u8])) {
    let (across, down) = ((source.width() / width) as usize, (source.height() / height) as usize);
    let stride = source.width() as usize * 3;
    let (mut sums, mut line) = (vec![0_u32; width as usize * 3], vec![0; width as usize * 3]);
    let share = 1.0 / (across * down) as f32;
    for rows in source.as_raw().chunks_exact(down * stride) {
        sums.fill(0);
        for row in rows.chunks_exact(stride) {
            for (sum, covered) in sums.as_chunks_mut::<3>().0.iter_mut().zip(row.chunks_exact(across * 3)) {
                for pixel in covered.as_chunks::<3>().0 {
                    sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u32::from(*value));
                }
            }
        }
        line.iter_mut().zip(&sums).for_each(|(value, sum)| *value = (*sum as f32 * share).round_ties_even() as u8);
        emit(&line);
    }
}

fn opencv_shares(from: u32, to: u32) -> Vec<Shares> {
    // OpenCV leaves out an input of which less than this part is covered.
    const LEAST: f64 = 1e-3;
    let scale = 1.0 / (f64::from(to) / f64::from(from));
    let shares = |position: u32| {
        let start = f64::from(position) * scale;
        let (end, covered) = (start + scale, scale.min(f64::from(from) - start));
        let last = (end.floor() as usize).min(from as usize - 1);
        let first = (start.ceil() as usize).min(last);
        let mut shares = Shares::new();
        let before = first as f64 - start;
        if before > LEAST {
            shares.push((first - 1, (before / covered) as f32));
        }
        shares.extend((first..last).map(|index| (index, (1.0 / covered) as f32)));
        let after = end - last as f64;
        if after > LEAST {
            shares.push((last, (after.min(1.0).min(covered) / covered) as f32));
        }
        shares
    };
    (0..to).map(shares).collect()
}

/// Computes `INTER_CUBIC`: Keys' cubic convolution (1981) with the parameter -0.75, columns in whole numbers with
/// 11-bit weights, rows in single precision, except for the last values of a row, which do not fill a vector.
fn opencv_cubic(source: &RgbImage, (width, height): (u32, u32), emit: &mut impl FnMut(&[u8])) {
    let columns = opencv_cubic_taps(source.width(), width);
    let stride = source.width() as usize * 3;
    let horizontal = |row: &[u8]| -> Vec<i32> {
        let pixels = row.as_chunks::<3>().0;
        let pixel = |taps: &[(usize, i32); 4]| {
            [0, 1, 2].map(|channel| taps.iter().map(|(x, weight)| i32::from(pixels[*x][channel]) * weight).sum())
        };
        columns.iter().flat_map(pixel).collect()
    };
    let narrow: Vec<Vec<i32>> = source.as_raw().chunks_exact(stride).map(horizontal).collect();
    let mut line = vec![0; width as usize * 3];
    for taps in opencv_cubic_taps(source.height(), height) {
        let weights = taps.map(|(_, weight)| weight as f32 / (1 << 22) as f32);
        let vectors = line.len() / VECTOR * VECTOR;
        let (most, last) = line.split_at_mut(vectors);
        for (index, value) in most.iter_mut().enumerate() {
            // From the last row to the first, as OpenCV adds them.
            let rows = taps.iter().zip(weights).rev();
            let sum = rows.fold(0.0, |sum, ((y, _), weight)| sum + narrow[*y][index] as f32 * weight);
            *value = sum.round_ties_even() as u8;
        }
        for (index, value) in (vectors..).zip(last) {
            let sum: i64 = taps.iter().map(|(y, weight)| i64::from(narrow[*y][index]) * i64::from(*weight)).sum();
            *value = ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8;
        }
        emit(&line);
    }
}

/// Number of values that OpenCV interpolates at once.
const VECTOR: usize = 8;

/// Returns the four neighboring inputs of each output position and their weights in 1/2048. Beyond the border, the last
/// input is repeated.
fn opencv_cubic_taps(from: u32, to: u32) -> Vec<[(usize, i32); 4]> {
    const A: f32 = -0.75;
    let scale = 1.0 / (f64::from(to) / f64::from(from));
    let taps = |position: u32| {
        let exact = ((f64::from(position) + 0.5) * scale - 0.5) as f32;
        let first = exact.floor();
        let x = exact - first;
        let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
        let outer = ((A * (x + 1.0) - 5.0 * A) * (x + 1.0) + 8.0 * A) * (x + 1.0) - 4.0 * A;
        let (left, right) = (near(x), near(1.0 - x));
        let weights = [outer, left, right, 1.0 - outer - left - right];
        let index = |tap: usize| (first as i64 + tap as i64 - 1).clamp(0, i64::from(from) - 1) as usize;
        std::array::from_fn(|tap| (index(tap), (weights[tap] * 2048.0).round_ties_even() as i32))
    };
    (0..to).map(taps).collect()
}

/// The window of input positions of one output position, and their weights in 2⁻²².
struct Window {
    start: usize,
    weights: Vec<i32>,
}

/// A filter of PIL.
struct PilFilter {
    /// Distance in input pixels, when not shrinking, from which on the kernel is 0.
    support: f64,
    kernel: fn(f64) -> f64,
}

const TRIANGLE: PilFilter = PilFilter { support: 1.0, kernel: |x| (1.0 - x.abs()).max(0.0) };

/// Keys' cubic convolution (1981) with the parameter -0.5.
const CUBIC: PilFilter = PilFilter {
    support: 2.0,
    kernel: |x| {
        const A: f64 = -0.5;
        let x = x.abs();
        if x < 1.0 {
            ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
        } else if x < 2.0 {
            (((x - 5.0) * x + 8.0) * x - 4.0) * A
        } else {
            0.0
        }
    },
};

/// Computes PIL's `ImagingResample`: columns first, then rows, with 8 bits in between.
fn pil(source: &RgbImage, (width, height): (u32, u32), filter: &PilFilter, mut emit: impl FnMut(&[u8])) {
    let columns = pil_windows(source.width(), width, filter);
    let rows = pil_windows(source.height(), height, filter);
    let (stride, width) = (source.width() as usize * 3, width as usize);
    let mut narrow = vec![0_u8; source.height() as usize * width * 3];
    for (line, row) in source.chunks_exact(stride).zip(narrow.chunks_exact_mut(width * 3)) {
        for (window, pixel) in columns.iter().zip(row.chunks_exact_mut(3)) {
            let mut sums = [HALF; 3];
            for (weight, values) in window.weights.iter().zip(line[window.start * 3..].chunks_exact(3)) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += weight * i32::from(*value);
                }
            }
            pixel.copy_from_slice(&sums.map(|sum| (sum >> PRECISION).clamp(0, 255) as u8));
        }
    }
    let mut sums = vec![HALF; width * 3];
    let mut line = vec![0; width * 3];
    for window in &rows {
        sums.fill(HALF);
        for (weight, values) in window.weights.iter().zip(narrow[window.start * width * 3..].chunks_exact(width * 3)) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += weight * i32::from(*value);
            }
        }
        for (value, sum) in line.iter_mut().zip(&sums) {
            *value = (sum >> PRECISION).clamp(0, 255) as u8;
        }
        emit(&line);
    }
}

const PRECISION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION - 1);

fn pil_windows(from: u32, to: u32, filter: &PilFilter) -> Vec<Window> {
    let scale = f64::from(from) / f64::from(to);
    // The kernel is stretched to the step between output pixels, but never narrower than for input pixels.
    let stretch = scale.max(1.0);
    let support = filter.support * stretch;
    (0..to)
        .map(|position| {
            let center = (f64::from(position) + 0.5) * scale;
            let start = ((center - support + 0.5) as i64).max(0) as usize;
            let end = ((center + support + 0.5) as i64).min(i64::from(from)) as usize;
            let exact: Vec<f64> =
                (start..end).map(|index| (filter.kernel)((index as f64 - center + 0.5) * (1.0 / stretch))).collect();
            let total: f64 = exact.iter().sum();
            let fixed = |weight: &f64| {
                let scaled = weight / total * f64::from(1 << PRECISION);
                (scaled + 0.5_f64.copysign(scaled)) as i32
            };
            Window { start, weights: exact.iter().map(fixed).collect() }
        })
        .collect()
}
