use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use crate::{BoundingBox, Error, Face, Landmarks};

/// The method by which a face is cut out of its frame before it is classified.
///
/// The method belongs to the model and is stored in the weights file, so that analysis uses the same crops as training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaceCrop {
    /// The detector's box, rounded to whole pixels and black outside the image, as PIL's `Image.crop` does it.
    Box,
    /// The box widened on each side by `fraction` of its width and height; black outside the image.
    Margin {
        /// Share of the box's side added on each side, at least 0; 0.3 makes the crop 1.6 times as wide.
        fraction: f32,
    },
    /// A square of `size` pixels in which eyes, nose and mouth are at the positions of the ArcFace template
    /// (a similarity transform: rotation, scale, shift).
    ///
    /// The transform is the least-squares one of Umeyama (1991), without reflection. Pixels are sampled bilinearly as
    /// in OpenCV's `warpAffine`, and averaged if the face is larger than the square.
    Aligned {
        /// Side of the square in pixels, `1..=2048`; 112 and 224 are usual.
        size: u32,
        /// Ratio of the area's side to that of the 112-pixel ArcFace template, `0.1..=10`: 1 shows what the template
        /// shows, and 1.5 shows half as much again along each side.
        scale: f32,
        /// Distance by which the square is moved down the face, as a share of its side, `-1..=1`. Above 0 it shows more
        /// chin and less forehead than the template, whose middle is between the eyes and the tip of the nose.
        #[serde(default)]
        down: f32,
    },
}

impl FaceCrop {
    /// The longest side in pixels that [`FaceCrop::Box`] and [`FaceCrop::Margin`] cut out. It is more than any frame of
    /// 8K video needs, and limits the memory for a defective detector's boxes to 200 MB.
    pub const MAX_SIDE: u32 = 8192;

    /// Cuts one face out of its image.
    ///
    /// ```
    /// use deepsight_core::{BoundingBox, Face, FaceCrop, image::RgbImage};
    ///
    /// let image = RgbImage::new(640, 480);
    /// let face = Face::new(BoundingBox::new(99.6, 50.2, 180.3, 150.5), None, 0.99);
    /// assert_eq!(FaceCrop::Box.cut(&image, &face)?.dimensions(), (80, 100));
    /// assert_eq!(FaceCrop::Margin { fraction: 0.25 }.cut(&image, &face)?.dimensions(), (121, 151));
    /// assert!(FaceCrop::Aligned { size: 112, scale: 1.0, down: 0.0 }.cut(&image, &face).is_err(), "needs landmarks");
    /// # Ok::<(), deepsight_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::CropBox`] when the box is empty, before or after rounding, or not finite;
    /// - [`Error::CropTooLarge`] when a side would be longer than [`FaceCrop::MAX_SIDE`];
    /// - [`Error::NoLandmarks`] and [`Error::DegenerateLandmarks`] when there are no usable landmarks for alignment;
    /// - [`Error::CropSetting`] when a field of the crop itself is out of range.
    pub fn cut(&self, image: &RgbImage, face: &Face) -> Result<RgbImage, Error> {
        match *self {
            Self::Box => cut_box(image, &face.bounding_box, 0.0),
            Self::Margin { fraction } => cut_box(image, &face.bounding_box, checked_fraction(fraction)?),
            Self::Aligned { size, scale, down } => Ok(warp(image, &to_image(face, size, scale, down)?, size)),
        }
    }

    /// Returns the positions of the crop's corners in the image, clockwise from the top left: `[x, y]` in pixels, in
    /// the coordinates of boxes and landmarks. They may lie outside the image, and those of an aligned face are rotated
    /// with the face.
    ///
    /// The crop is an affine image of the area between them, so they determine the position of any image point in it.
    ///
    /// ```
    /// use deepsight_core::{BoundingBox, Face, FaceCrop};
    ///
    /// let face = Face::new(BoundingBox::new(99.6, 50.2, 180.3, 150.5), None, 0.99);
    /// assert_eq!(FaceCrop::Box.outline(&face)?, [[100.0, 50.0], [180.0, 50.0], [180.0, 150.0], [100.0, 150.0]]);
    /// # Ok::<(), deepsight_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`FaceCrop::cut`].
    pub fn outline(&self, face: &Face) -> Result<[[f64; 2]; 4], Error> {
        let upright = |CutBox { left, top, width, height }: CutBox| {
            let [left, top, right, bottom] = [left, top, left + width, top + height].map(|edge| edge as f64);
            [[left, top], [right, top], [right, bottom], [left, bottom]]
        };
        match *self {
            Self::Box => CutBox::around(&face.bounding_box, 0.0).map(upright),
            Self::Margin { fraction } => CutBox::around(&face.bounding_box, checked_fraction(fraction)?).map(upright),
            Self::Aligned { size, scale, down } => {
                let to_image = to_image(face, size, scale, down)?;
                let side = f64::from(size);
                Ok([[0.0, 0.0], [side, 0.0], [side, side], [0.0, side]].map(|[x, y]| to_image.apply(x, y).into()))
            }
        }
    }
}

impl Landmarks {
    /// Returns the deviation of the points from those of a face seen from the front. It is the root mean square
    /// distance in pixels of the 112-pixel ArcFace template, after the best-fitting similarity transform. Faces in
    /// profile reach 8; points that are not those of a face exceed 10.
    ///
    /// `None` if the points determine no transform, because they coincide or are not finite.
    pub fn misfit(&self) -> Option<f64> {
        let to_template = Similarity::between(self, &ARCFACE_112)?;
        let squared = self.0.iter().zip(&ARCFACE_112).map(|(&[x, y], [u, v])| {
            let (x, y) = to_template.apply(x.into(), y.into());
            (x - u).powi(2) + (y - v).powi(2)
        });
        let misfit = (squared.sum::<f64>() / 5.0).sqrt();
        misfit.is_finite().then_some(misfit)
    }
}

const MAX_ALIGNED_SIDE: u32 = 2048;

fn setting(name: &'static str, value: f64, allowed: &'static str) -> Error {
    Error::CropSetting { name, value, allowed }
}

fn checked_fraction(fraction: f32) -> Result<f64, Error> {
    if fraction.is_finite() && fraction >= 0.0 {
        return Ok(fraction.into());
    }
    Err(setting("fraction", fraction.into(), "0 and above"))
}

/// Returns the transform from pixels of the aligned crop to pixels of the image.
fn to_image(face: &Face, size: u32, scale: f32, down: f32) -> Result<Similarity, Error> {
    if !(1..=MAX_ALIGNED_SIDE).contains(&size) {
        return Err(setting("size", size.into(), "1..=2048"));
    }
    if !(0.1..=10.0).contains(&scale) {
        return Err(setting("scale", scale.into(), "0.1..=10"));
    }
    if !(-1.0..=1.0).contains(&down) {
        return Err(setting("down", down.into(), "-1..=1"));
    }
    let landmarks = face.landmarks.ok_or(Error::NoLandmarks)?;
    Similarity::between(&landmarks, &template(size, scale, down))
        .and_then(|to_template| to_template.inverse())
        .ok_or(Error::DegenerateLandmarks(landmarks))
}

/// A rectangle in whole pixels of the image, which may extend beyond it.
struct CutBox {
    left: i64,
    top: i64,
    width: i64,
    height: i64,
}

impl CutBox {
    /// Widens the box on each side by `fraction` of its width and height, and rounds every coordinate. Ties round to
    /// even, as in Python.
    fn around(face_box: &BoundingBox, fraction: f64) -> Result<Self, Error> {
        let [x1, y1, x2, y2] = <[f32; 4]>::from(*face_box).map(f64::from);
        let (dx, dy) = (fraction * (x2 - x1), fraction * (y2 - y1));
        let [left, top, right, bottom] = [x1 - dx, y1 - dy, x2 + dx, y2 + dy].map(f64::round_ties_even);
        let (width, height) = (right - left, bottom - top);
        if !(width > 0.0 && height > 0.0 && width.is_finite() && height.is_finite()) {
            return Err(Error::CropBox(*face_box));
        }
        let limit = FaceCrop::MAX_SIDE;
        if width > f64::from(limit) || height > f64::from(limit) {
            return Err(Error::CropTooLarge { width, height, limit });
        }
        // The casts are in range: two floats too large for i64 differ by more than the limit, or are equal.
        Ok(Self { left: left as i64, top: top as i64, width: width as i64, height: height as i64 })
    }
}

/// Cuts out a box as PIL's `crop` does: black outside the image.
fn cut_box(image: &RgbImage, face_box: &BoundingBox, fraction: f64) -> Result<RgbImage, Error> {
    let CutBox { left, top, width, height } = CutBox::around(face_box, fraction)?;
    let mut cut = RgbImage::new(width as u32, height as u32);
    let columns = left.max(0)..(left + width).min(image.width().into());
    let rows = top.max(0)..(top + height).min(image.height().into());
    if columns.is_empty() || rows.is_empty() {
        return Ok(cut);
    }
    let bytes = 3 * (columns.end - columns.start) as usize;
    for row in rows {
        let from = 3 * (row as usize * image.width() as usize + columns.start as usize);
        let to = 3 * ((row - top) * width + (columns.start - left)) as usize;
        cut.as_mut()[to..to + bytes].copy_from_slice(&image.as_raw()[from..from + bytes]);
    }
    Ok(cut)
}

/// Positions of the five landmarks in a 112-pixel ArcFace crop (Deng et al., 2019; insightface `arcface_dst`).
const ARCFACE_112: [[f64; 2]; 5] =
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

/// Returns the template's landmarks in a square of `size` pixels that shows `scale` times as much along each side and
/// is moved down by `down` of its side.
fn template(size: u32, scale: f32, down: f32) -> [[f64; 2]; 5] {
    let (size, scale, down) = (f64::from(size), f64::from(scale), f64::from(down));
    let at = |p: f64| size / 2.0 + (p - 56.0) / 112.0 * size / scale;
    ARCFACE_112.map(|[x, y]| [at(x), at(y) - down * size])
}

/// The transform `(x, y) ↦ (a·x − b·y + tx, b·x + a·y + ty)`: rotation, uniform scale and shift.
#[derive(Debug, Clone, Copy)]
struct Similarity {
    a: f64,
    b: f64,
    tx: f64,
    ty: f64,
}

impl Similarity {
    /// Returns the least-squares similarity from landmarks to target points; `None` if the landmarks determine none.
    ///
    /// In two dimensions, Umeyama's singular value decomposition reduces to a linear fit of `a` and `b`: every such
    /// pair is a rotation times a scale, and none is a reflection.
    fn between(landmarks: &Landmarks, target: &[[f64; 2]; 5]) -> Option<Self> {
        let source = landmarks.0.map(|point| point.map(f64::from));
        let ([sx, sy], [tx, ty]) = (mean(&source), mean(target));
        let (mut spread, mut along, mut across) = (0.0, 0.0, 0.0);
        for ([x, y], [u, v]) in source.iter().zip(target) {
            let (x, y, u, v) = (x - sx, y - sy, u - tx, v - ty);
            spread += x * x + y * y;
            along += x * u + y * v;
            across += x * v - y * u;
        }
        // Landmarks within a fraction of a pixel of each other determine no pose. This condition also excludes NaN.
        if !(spread.is_finite() && spread > 1e-2) {
            return None;
        }
        let (a, b) = (along / spread, across / spread);
        Some(Self { a, b, tx: tx - a * sx + b * sy, ty: ty - b * sx - a * sy })
    }

    fn inverse(&self) -> Option<Self> {
        let Self { a, b, tx, ty } = *self;
        let squared = a * a + b * b;
        let inverse =
            Self { a: a / squared, b: -b / squared, tx: -(a * tx + b * ty) / squared, ty: (b * tx - a * ty) / squared };
        (inverse.scale().is_finite() && inverse.tx.is_finite() && inverse.ty.is_finite()).then_some(inverse)
    }

    fn scale(&self) -> f64 {
        self.a.hypot(self.b)
    }

    fn apply(&self, x: f64, y: f64) -> (f64, f64) {
        (self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty)
    }
}

fn mean(points: &[[f64; 2]; 5]) -> [f64; 2] {
    [0, 1].map(|axis| points.iter().map(|p| p[axis]).sum::<f64>() / 5.0)
}

/// Samples a square of `size` pixels, whose pixel `(x, y)` shows the image at `to_image(x, y)`.
fn warp(image: &RgbImage, to_image: &Similarity, size: u32) -> RgbImage {
    // If the image is shrunk, one bilinear sample per pixel would skip image pixels, so a grid of samples is averaged.
    let grid = to_image.scale().ceil().clamp(1.0, 8.0);
    let offsets: Vec<f64> = (0..grid as u32).map(|a| (f64::from(a) + 0.5) / grid - 0.5).collect();
    RgbImage::from_fn(size, size, |x, y| {
        let mut sum = [0.0; 3];
        for dy in &offsets {
            for dx in &offsets {
                let (u, v) = to_image.apply(f64::from(x) + dx, f64::from(y) + dy);
                add_bilinear(image, u, v, &mut sum);
            }
        }
        Rgb(sum.map(|s| (s / (grid * grid)).round() as u8))
    })
}

/// Adds the image's value at `(x, y)` to `sum`. Integer coordinates are the centers of pixels, and outside is black.
fn add_bilinear(image: &RgbImage, x: f64, y: f64, sum: &mut [f64; 3]) {
    let (width, height) = image.dimensions();
    if !(x > -1.0 && y > -1.0 && x < width.into() && y < height.into()) {
        return;
    }
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let (left, top) = (left as i64, top as i64);
    for (row, wy) in [(top, 1.0 - fy), (top + 1, fy)] {
        for (column, wx) in [(left, 1.0 - fx), (left + 1, fx)] {
            if (0..i64::from(width)).contains(&column) && (0..i64::from(height)).contains(&row) {
                let pixel = image.get_pixel(column as u32, row as u32);
                for (s, &p) in sum.iter_mut().zip(&pixel.0) {
                    *s += wx * wy * f64::from(p);
                }
            }
        }
    }
}
