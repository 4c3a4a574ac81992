//! Layouts of uncompressed pictures, and their conversion to RGB. The crate `yuv` is not used, because its rounding is
//! not that of ffmpeg, and the same clip should give the same pixels as a file and as Y4M.

use std::{fmt, str::FromStr};

use crate::VideoError;

/// Layout of the pixels of an uncompressed picture, by ffmpeg's name for it.
///
/// Rows follow each other without padding, from the top. Planes follow each other. Chroma planes of a picture of odd
/// size are rounded up. YUV is BT.601 with luma from 16 to 235, which is what cameras give and what ffmpeg assumes.
///
/// ```
/// use deepsight_video::PixelFormat;
/// let format: PixelFormat = "nv12".parse()?;
/// assert_eq!(format, PixelFormat::Nv12);
/// assert_eq!(format.frame_bytes(640, 480), Some(460_800));
/// # Ok::<(), deepsight_video::VideoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Red, green, blue: 3 bytes a pixel.
    Rgb24,
    /// Blue, green, red: 3 bytes a pixel, as in OpenCV.
    Bgr24,
    /// Red, green, blue, and a byte that is ignored.
    Rgba,
    /// Blue, green, red, and a byte that is ignored.
    Bgra,
    /// One byte a pixel, from black at 0 to white at 255.
    Gray,
    /// Planes of luma and of both chromas, which have half the width and half the height.
    Yuv420p,
    /// Planes of luma and of both chromas, which have half the width.
    Yuv422p,
    /// Planes of luma and of both chromas.
    Yuv444p,
    /// A plane of luma, and one of pairs of chroma (U, V) of half the width and half the height.
    Nv12,
    /// Like [`Nv12`](Self::Nv12), with pairs of V and U.
    Nv21,
    /// Two pixels in four bytes: Y, U, Y, V. Most webcams give it.
    Yuyv422,
    /// Two pixels in four bytes: U, Y, V, Y.
    Uyvy422,
    /// Like [`Yuv420p`](Self::Yuv420p), with 10 bits in two bytes each, low byte first.
    Yuv420p10le,
    /// Like [`Yuv422p`](Self::Yuv422p), with 10 bits in two bytes each, low byte first.
    Yuv422p10le,
    /// Like [`Yuv444p`](Self::Yuv444p), with 10 bits in two bytes each, low byte first.
    Yuv444p10le,
}

impl PixelFormat {
    /// All formats.
    pub const ALL: &'static [Self] = &[
        Self::Rgb24,
        Self::Bgr24,
        Self::Rgba,
        Self::Bgra,
        Self::Gray,
        Self::Yuv420p,
        Self::Yuv422p,
        Self::Yuv444p,
        Self::Nv12,
        Self::Nv21,
        Self::Yuyv422,
        Self::Uyvy422,
        Self::Yuv420p10le,
        Self::Yuv422p10le,
        Self::Yuv444p10le,
    ];

    /// Returns ffmpeg's name for the format, such as `yuv420p`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rgb24 => "rgb24",
            Self::Bgr24 => "bgr24",
            Self::Rgba => "rgba",
            Self::Bgra => "bgra",
            Self::Gray => "gray",
            Self::Yuv420p => "yuv420p",
            Self::Yuv422p => "yuv422p",
            Self::Yuv444p => "yuv444p",
            Self::Nv12 => "nv12",
            Self::Nv21 => "nv21",
            Self::Yuyv422 => "yuyv422",
            Self::Uyvy422 => "uyvy422",
            Self::Yuv420p10le => "yuv420p10le",
            Self::Yuv422p10le => "yuv422p10le",
            Self::Yuv444p10le => "yuv444p10le",
        }
    }

    /// Returns the number of bytes of a picture of `width` × `height` pixels, or `None` if it does not fit in 64 bits.
    pub fn frame_bytes(self, width: u32, height: u32) -> Option<u64> {
        let (width, height) = (u64::from(width), u64::from(height));
        let pixels = width.checked_mul(height)?;
        let Layout { step, planes, .. } = self.layout();
        match planes {
            Planes::Rgb(_) | Planes::Gray => pixels.checked_mul(step as u64),
            Planes::Packed(_) => width.div_ceil(2).checked_mul(4)?.checked_mul(height),
            Planes::Yuv(across, down) => {
                let chroma = width.div_ceil(across as u64).checked_mul(height.div_ceil(down as u64))?;
                pixels.checked_add(chroma.checked_mul(2)?)?.checked_mul(step as u64)
            }
            Planes::Pairs(_) => pixels.checked_add(width.div_ceil(2).checked_mul(height.div_ceil(2))?.checked_mul(2)?),
        }
    }

    /// Converts a picture to RGB, 3 bytes a pixel. `bytes` and `rgb` have the lengths of pictures of that size, which
    /// fits in memory.
    pub(crate) fn convert(self, range: Range, bytes: &[u8], width: usize, rgb: &mut [u8]) {
        let Layout { step, planes, bits } = self.layout();
        if width == 0 {
            return;
        }
        let height = rgb.len() / 3 / width;
        let to_rgb = Matrix::new(range);
        let rows = rgb.chunks_exact_mut(3 * width).enumerate();
        match planes {
            Planes::Rgb([r, g, b]) => {
                for (to, from) in rgb.chunks_exact_mut(3).zip(bytes.chunks_exact(step)) {
                    to.copy_from_slice(&[from[r], from[g], from[b]]);
                }
            }
            Planes::Gray => {
                for (to, &from) in rgb.chunks_exact_mut(3).zip(bytes) {
                    to.fill(from);
                }
            }
            Planes::Packed([y, u, v]) => {
                let row = width.div_ceil(2) * 4;
                for ((_, to), from) in rows.zip(bytes.chunks_exact(row)) {
                    for (pair, from) in to.chunks_mut(6).zip(from.chunks_exact(4)) {
                        let chroma = to_rgb.chroma(eight(from[u]), eight(from[v]));
                        for (to, from) in pair.chunks_exact_mut(3).zip(from[y..].iter().step_by(2)) {
                            to.copy_from_slice(&to_rgb.pixel(eight(*from), chroma));
                        }
                    }
                }
            }
            Planes::Pairs([u, v]) => {
                let (luma, pairs) = bytes.split_at((width * height).min(bytes.len()));
                let row = width.div_ceil(2) * 2;
                for ((y, to), luma) in rows.zip(luma.chunks_exact(width)) {
                    let pairs = pairs.get(y / 2 * row..).unwrap_or_default().chunks_exact(2);
                    for ((to, luma), pair) in to.chunks_mut(6).zip(luma.chunks(2)).zip(pairs) {
                        let chroma = to_rgb.chroma(eight(pair[u]), eight(pair[v]));
                        for (to, &luma) in to.chunks_exact_mut(3).zip(luma) {
                            to.copy_from_slice(&to_rgb.pixel(eight(luma), chroma));
                        }
                    }
                }
            }
            Planes::Yuv(across, down) => {
                let row = width.div_ceil(across) * step;
                let (luma, chroma) = bytes.split_at((width * height * step).min(bytes.len()));
                let (u, v) = chroma.split_at((row * height.div_ceil(down)).min(chroma.len()));
                for ((y, to), luma) in rows.zip(luma.chunks_exact(width * step)) {
                    let line = |plane: &'_ [u8]| y / down * row..((y / down + 1) * row).min(plane.len());
                    let (u, v) = (u.get(line(u)).unwrap_or_default(), v.get(line(v)).unwrap_or_default());
                    // One monomorphic loop each, because this is where the time goes.
                    match bits {
                        8 => planar(&to_rgb, across, to, luma, u, v, |bytes: &[u8; 1]| eight(bytes[0])),
                        _ => planar(&to_rgb, across, to, luma, u, v, |bytes: &[u8; 2]| {
                            (i32::from(u16::from_le_bytes(*bytes)) & 0x3ff) << 1
                        }),
                    }
                }
            }
        }
    }

    fn layout(self) -> Layout {
        let (step, planes, bits) = match self {
            Self::Rgb24 => (3, Planes::Rgb([0, 1, 2]), 8),
            Self::Bgr24 => (3, Planes::Rgb([2, 1, 0]), 8),
            Self::Rgba => (4, Planes::Rgb([0, 1, 2]), 8),
            Self::Bgra => (4, Planes::Rgb([2, 1, 0]), 8),
            Self::Gray => (1, Planes::Gray, 8),
            Self::Yuv420p => (1, Planes::Yuv(2, 2), 8),
            Self::Yuv422p => (1, Planes::Yuv(2, 1), 8),
            Self::Yuv444p => (1, Planes::Yuv(1, 1), 8),
            Self::Nv12 => (1, Planes::Pairs([0, 1]), 8),
            Self::Nv21 => (1, Planes::Pairs([1, 0]), 8),
            Self::Yuyv422 => (2, Planes::Packed([0, 1, 3]), 8),
            Self::Uyvy422 => (2, Planes::Packed([1, 0, 2]), 8),
            Self::Yuv420p10le => (2, Planes::Yuv(2, 2), 10),
            Self::Yuv422p10le => (2, Planes::Yuv(2, 1), 10),
            Self::Yuv444p10le => (2, Planes::Yuv(1, 1), 10),
        };
        Layout { step, planes, bits }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PixelFormat {
    type Err = VideoError;

    fn from_str(name: &str) -> Result<Self, VideoError> {
        let found = Self::ALL.iter().find(|format| format.name() == name);
        found.copied().ok_or_else(|| VideoError::UnknownPixelFormat { name: name.into() })
    }
}

struct Layout {
    /// Bytes of a pixel, or of a sample of a plane.
    step: usize,
    planes: Planes,
    bits: u32,
}

enum Planes {
    /// Offsets of red, green and blue in a pixel.
    Rgb([usize; 3]),
    Gray,
    /// Columns and rows of pixels that share a sample of chroma.
    Yuv(usize, usize),
    /// Offsets of both chromas in a pair.
    Pairs([usize; 2]),
    /// Offsets of the first luma and of both chromas in four bytes.
    Packed([usize; 3]),
}

/// Range of the values of YUV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Range {
    /// Luma from 16 to 235 and chroma from 16 to 240 (of 255).
    #[default]
    Limited,
    /// All from 0 to 255.
    Full,
}

/// Returns a value of 8 bits in the 11 bits with which the matrix computes.
fn eight(value: u8) -> i32 {
    i32::from(value) << 3
}

/// Converts one row of planes. A sample of chroma belongs to `across` pixels.
fn planar<const N: usize>(
    matrix: &Matrix,
    across: usize,
    to: &mut [u8],
    luma: &[u8],
    u: &[u8],
    v: &[u8],
    value: impl Fn(&[u8; N]) -> i32,
) {
    let (luma, u, v) = (luma.as_chunks().0, u.as_chunks().0, v.as_chunks().0);
    for ((to, luma), (u, v)) in to.chunks_mut(3 * across).zip(luma.chunks(across)).zip(u.iter().zip(v)) {
        let chroma = matrix.chroma(value(u), value(v));
        for (to, luma) in to.chunks_exact_mut(3).zip(luma) {
            to.copy_from_slice(&matrix.pixel(value(luma), chroma));
        }
    }
}

/// BT.601 in the fixed-point arithmetic of swscale's vector code (`libswscale/x86/yuv_2_rgb.asm`): products of 16 bits
/// whose upper half is kept. So pictures with 4:2:0 chroma equal those of ffmpeg, bit for bit.
struct Matrix {
    black: i32,
    luma: i32,
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

impl Matrix {
    fn new(range: Range) -> Self {
        // `ff_yuv2rgb_coeffs` of BT.601, which is for limited range, in units of 1/8192.
        match range {
            Range::Limited => {
                Self { black: 16 << 3, luma: 9539, red_v: 13075, green_u: -3209, green_v: -6660, blue_u: 16525 }
            }
            Range::Full => Self { black: 0, luma: 8192, red_v: 11485, green_u: -2819, green_v: -5850, blue_u: 14516 },
        }
    }

    /// Returns what a pair of chroma values adds to red, green and blue.
    fn chroma(&self, u: i32, v: i32) -> [i32; 3] {
        let (u, v) = (u - (128 << 3), v - (128 << 3));
        let high = |factor: i32, value: i32| (factor * value) >> 16;
        [high(self.red_v, v), high(self.green_u, u) + high(self.green_v, v), high(self.blue_u, u)]
    }

    fn pixel(&self, luma: i32, chroma: [i32; 3]) -> [u8; 3] {
        let luma = (self.luma * (luma - self.black)) >> 16;
        chroma.map(|chroma| (luma + chroma).clamp(0, 255) as u8)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_parse_back_and_an_unknown_name_lists_the_known_ones() {
        for &format in PixelFormat::ALL {
            assert_eq!(format.to_string().parse::<PixelFormat>().unwrap(), format);
        }
        let message = "p010".parse::<PixelFormat>().unwrap_err().to_string();
        assert!(message.contains("\"p010\"") && message.contains("yuyv422"), "{message}");
    }

    #[test]
    fn a_frame_has_the_bytes_of_its_planes() {
        for (format, bytes) in [
            (PixelFormat::Rgb24, 45),
            (PixelFormat::Rgba, 60),
            (PixelFormat::Gray, 15),
            (PixelFormat::Yuv420p, 15 + 2 * 6),
            (PixelFormat::Yuv422p, 15 + 2 * 9),
            (PixelFormat::Yuv444p, 45),
            (PixelFormat::Nv12, 15 + 2 * 6),
            (PixelFormat::Yuyv422, 3 * 12),
            (PixelFormat::Yuv420p10le, 2 * (15 + 2 * 6)),
        ] {
            assert_eq!(format.frame_bytes(5, 3), Some(bytes), "{format}");
        }
        assert_eq!(PixelFormat::Yuv444p10le.frame_bytes(u32::MAX, u32::MAX), None);
    }

    #[test]
    fn primary_colors_come_out_of_every_layout() {
        // Y, U and V of red in limited range, and in 10 bits.
        let (y, u, v) = (81, 90, 240);
        let wide = |values: &[u16]| values.iter().flat_map(|value| (value << 2).to_le_bytes()).collect::<Vec<_>>();
        for (format, bytes) in [
            (PixelFormat::Rgb24, [255, 0, 0].repeat(4)),
            (PixelFormat::Bgr24, [0, 0, 255].repeat(4)),
            (PixelFormat::Rgba, [255, 0, 0, 9].repeat(4)),
            (PixelFormat::Bgra, [0, 0, 255, 9].repeat(4)),
            (PixelFormat::Yuv420p, vec![y, y, y, y, u, v]),
            (PixelFormat::Yuv422p, vec![y, y, y, y, u, u, v, v]),
            (PixelFormat::Yuv444p, vec![y, y, y, y, u, u, u, u, v, v, v, v]),
            (PixelFormat::Nv12, vec![y, y, y, y, u, v]),
            (PixelFormat::Nv21, vec![y, y, y, y, v, u]),
            (PixelFormat::Yuyv422, vec![y, u, y, v, y, u, y, v]),
            (PixelFormat::Uyvy422, vec![u, y, v, y, u, y, v, y]),
            (PixelFormat::Yuv420p10le, wide(&[81, 81, 81, 81, 90, 240])),
            (PixelFormat::Yuv422p10le, wide(&[81, 81, 81, 81, 90, 90, 240, 240])),
            (PixelFormat::Yuv444p10le, wide(&[81, 81, 81, 81, 90, 90, 90, 90, 240, 240, 240, 240])),
        ] {
            let mut rgb = vec![77; 12];
            format.convert(Range::Limited, &bytes, 2, &mut rgb);
            for pixel in rgb.chunks(3) {
                assert!(pixel[0] >= 252 && pixel[1] <= 3 && pixel[2] <= 3, "{format}: {pixel:?}");
            }
        }
        let mut rgb = vec![77; 12];
        PixelFormat::Gray.convert(Range::Limited, &[0, 9, 200, 255], 2, &mut rgb);
        assert_eq!(rgb, [0, 0, 0, 9, 9, 9, 200, 200, 200, 255, 255, 255]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_of_any_size_are_converted_without_a_panic(
            width in 0usize..9, height in 0usize..9, bytes in proptest::collection::vec(0u8.., 0..500),
        ) {
            for &format in PixelFormat::ALL {
                for range in [Range::Limited, Range::Full] {
                    format.convert(range, &bytes, width, &mut vec![0; 3 * width * height]);
                }
            }
        }
    }
}
