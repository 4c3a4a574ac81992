use std::ops::Range;

use super::InstructionSet;
use super::matmul::volume;
use super::simd::{Kernel, Simd};

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// A resize of a region of an 8-bit RGB image by the mean over each output pixel's area, with normalization in the same
/// pass.
///
/// Output pixel `i` of `n` is the mean over `⌊i · input / n⌋ .. ⌈(i + 1) · input / n⌉`, as in PyTorch's
/// `interpolate(mode="area")`. The mean is then normalized to `(mean − subtract) · multiply`. Sums are sums of
/// integers, so they are exact.
///
/// ```
/// use deepsight_kernels::{AreaResize, InstructionSet, Region};
///
/// let image = [0, 0, 0, 10, 20, 30, 40, 60, 80, 30, 40, 50]; // 4 × 1
/// let mut resize = AreaResize::new(InstructionSet::best(), 5.0, 2.0);
/// resize.plan(Region { x: 0, y: 0, width: 4, height: 1 }, (2, 1), 0..2);
/// let mut output = [0.0; 6];
/// resize.rows(&image, 4, 0..1, &mut output);
/// assert_eq!(output, [0.0, 10.0, 20.0, 60.0, 90.0, 120.0]);
/// ```
#[derive(Debug, Clone)]
pub struct AreaResize {
    set: InstructionSet,
    subtract: f32,
    multiply: f32,
    region: Region,
    size: (usize, usize),
    /// The source columns of each requested output column, as start and end (exclusive), relative to `left`.
    columns: Vec<(usize, usize)>,
    /// First source column of the first requested output column, relative to the region.
    left: usize,
    /// Largest number of source columns under one output column.
    widest: usize,
    /// Sums of each source column over the rows of a bin. One extra value allows reading pixels four values at a time.
    sums: Vec<u32>,
    /// Prefix sums of `sums`, pixel by pixel.
    prefix: Vec<[u32; 4]>,
    /// Width of each requested column in source columns, once per color channel.
    widths: Vec<[f32; 3]>,
    /// Sum over the bin of each requested column.
    totals: Vec<[i32; 3]>,
}

/// Largest number of pixels in a bin whose sum is certain to fit an `i32`.
const MAX_PIXELS: usize = i32::MAX as usize / 255;

impl AreaResize {
    /// Creates a resize to `(mean − subtract) · multiply`. It keeps its buffers from one image to the next.
    pub fn new(set: InstructionSet, subtract: f32, multiply: f32) -> Self {
        let region = Region { x: 0, y: 0, width: 1, height: 1 };
        Self {
            set,
            subtract,
            multiply,
            region,
            size: (1, 1),
            columns: Vec::new(),
            left: 0,
            widest: 0,
            sums: Vec::new(),
            prefix: Vec::new(),
            widths: Vec::new(),
            totals: Vec::new(),
        }
    }

    /// Plans the next calls of [`rows`](Self::rows): they resize a region of an image to `size` pixels (columns, rows),
    /// and compute only the output columns in `columns`.
    ///
    /// # Panics
    /// Panics if the region is empty, if the columns go beyond the size, or if the region and the size are so large
    /// along an axis that computing the bins could overflow.
    pub fn plan(&mut self, region: Region, size: (usize, usize), columns: Range<usize>) {
        assert!(region.width > 0 && region.height > 0, "an empty region");
        assert!(columns.end <= size.0, "columns {columns:?} of {}", size.0);
        let countable = |from: usize, to: usize| volume([3, from, to]) < usize::MAX;
        assert!(
            countable(region.width, size.0) && countable(region.height, size.1),
            "{region:?} to {} × {} is too large",
            size.0,
            size.1
        );
        (self.region, self.size) = (region, size);
        self.left = if columns.is_empty() { 0 } else { bin(columns.start, region.width, size.0).0 };
        self.columns.clear();
        self.columns.extend(columns.map(|column| {
            let (start, end) = bin(column, region.width, size.0);
            (start - self.left, end - self.left)
        }));
        self.widest = self.columns.iter().map(|(start, end)| end - start).max().unwrap_or(0);
        let width = self.columns.last().map_or(0, |last| last.1);
        self.sums.clear();
        self.sums.resize(3 * width + 1, 0);
        self.prefix.clear();
        self.prefix.resize(width + 1, [0; 4]);
        self.widths.clear();
        self.widths.extend(self.columns.iter().map(|(start, end)| [(end - start) as f32; 3]));
        self.totals.clear();
        self.totals.resize(self.columns.len(), [0; 3]);
    }

    /// Computes some rows of the planned result, `[rows, columns, 3]`, from an image that is `width` pixels wide,
    /// `[height, width, 3]`.
    ///
    /// # Panics
    /// Panics if the region does not lie in the image, if the rows go beyond the planned size, or if `output` does not
    /// have the length of these rows.
    pub fn rows(&mut self, image: &[u8], width: usize, rows: Range<usize>, output: &mut [f32]) {
        let Region { x, y, width: columns, height } = self.region;
        assert!(
            x.saturating_add(columns) <= width && volume([y.saturating_add(height), width, 3]) <= image.len(),
            "{:?} of an image {width} wide",
            self.region
        );
        assert!(rows.end <= self.size.1, "rows {rows:?} of {}", self.size.1);
        let (rows_wanted, columns_wanted) = (rows.len(), self.columns.len());
        assert_eq!(
            output.len(),
            volume([rows_wanted, columns_wanted, 3]),
            "output of {rows_wanted} × {columns_wanted} pixels"
        );
        if !output.is_empty() {
            self.set.run(Resize { plan: self, image, width, rows, output });
        }
    }
}

fn bin(i: usize, input: usize, output: usize) -> (usize, usize) {
    (i * input / output, ((i + 1) * input).div_ceil(output))
}

struct Resize<'a> {
    plan: &'a mut AreaResize,
    image: &'a [u8],
    width: usize,
    rows: Range<usize>,
    output: &'a mut [f32],
}

impl Kernel for Resize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let AreaResize { subtract, multiply, region, size, left, widest, .. } = *self.plan;
        let AreaResize { columns, widths, sums, prefix, totals, .. } = self.plan;
        let values = sums.len() - 1;
        let source = |y: usize| &self.image[3 * ((region.y + y) * self.width + region.x + left)..][..values];
        for (row, output) in self.rows.zip(self.output.chunks_exact_mut(3 * columns.len())) {
            let (top, bottom) = bin(row, region.height, size.1);
            if (bottom - top).saturating_mul(widest) > MAX_PIXELS {
                let output = output.as_chunks_mut::<3>().0;
                for (&(start, end), pixel) in columns.iter().zip(output) {
                    *pixel = mean_of_many((top..bottom).map(|y| &source(y)[3 * start..3 * end]))
                        .map(|mean| (mean - subtract) * multiply);
                }
                continue;
            }
            add_rows(&mut sums[..values], top..bottom, source);
            add_up(sums, prefix);
            for (&(start, end), totals) in columns.iter().zip(totals.iter_mut()) {
                let (before, after) = (&prefix[start], &prefix[end]);
                *totals = std::array::from_fn(|channel| after[channel].wrapping_sub(before[channel]) as i32);
            }
            let rows = (bottom - top) as f32;
            for ((value, total), width) in output.iter_mut().zip(totals.as_flattened()).zip(widths.as_flattened()) {
                *value = (*total as f32 / (rows * width) - subtract) * multiply;
            }
        }
    }
}

/// Writes the sum of the pixels before each pixel, and last the sum of all pixels. The total of a bin of any width is
/// the difference of two of these sums. The total fits, so the sums may wrap around. The fourth value of each sum is
/// unused.
#[inline(always)]
fn add_up(sums: &[u32], prefix: &mut [[u32; 4]]) {
    let mut total = [0_u32; 4];
    for (pixel, prefix) in prefix.iter_mut().enumerate() {
        *prefix = total;
        if let Some(sum) = sums.get(3 * pixel..3 * pixel + 4) {
            total = std::array::from_fn(|lane| total[lane].wrapping_add(sum[lane]));
        }
    }
}

/// Sets each sum to that of its column over these rows, three rows per pass.
#[inline(always)]
fn add_rows<'a>(sums: &mut [u32], rows: Range<usize>, source: impl Fn(usize) -> &'a [u8]) {
    let mut start = rows.start;
    while start < rows.end {
        let count = (rows.end - start).min(3);
        let (a, b, c) = (source(start), source(start + count / 2), source(start + count - 1));
        let first = start == rows.start;
        let old = |sum: &u32| if first { 0 } else { *sum };
        match count {
            1 => sums.iter_mut().zip(a).for_each(|(sum, &a)| *sum = old(sum) + u32::from(a)),
            2 => {
                let pairs = sums.iter_mut().zip(a).zip(b);
                pairs.for_each(|((sum, &a), &b)| *sum = old(sum) + u32::from(u16::from(a) + u16::from(b)));
            }
            _ => {
                let triples = sums.iter_mut().zip(a).zip(b).zip(c);
                triples.for_each(|(((sum, &a), &b), &c)| {
                    *sum = old(sum) + u32::from(u16::from(a) + u16::from(b) + u16::from(c));
                });
            }
        }
        start += count;
    }
}

/// Returns the mean color of more pixels than a sum of 32 bits can hold.
fn mean_of_many<'a>(rows: impl Iterator<Item = &'a [u8]>) -> [f32; 3] {
    let (mut total, mut count) = ([0_u64; 3], 0_u64);
    for row in rows {
        for pixel in row.as_chunks::<3>().0 {
            for (total, &value) in total.iter_mut().zip(pixel) {
                *total += u64::from(value);
            }
        }
        count += row.len() as u64 / 3;
    }
    total.map(|total| total as f32 / count as f32)
}
