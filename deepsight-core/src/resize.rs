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
}

impl ResizeFilter {
    /// Every filter.
    pub const ALL: [Self; 3] = [Self::OpencvBilinear, Self::PilBilinear, Self::PilBicubic];

    /// Returns its name, as in model files: `opencv_bilinear`, `pil_bilinear` or `pil_bicubic`.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpencvBilinear => "opencv_bilinear",
            Self::PilBilinear => "pil_bilinear",
            Self::PilBicubic => "pil_bicubic",
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
            rule: "must be opencv_bilinear, pil_bilinear or pil_bicubic",
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
