use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use crate::{BoundingBox, Error, Face, Landmarks};

/// How a face is cut out of its frame before it is classified.
///
/// The choice belongs to the model: it travels in the weights file, so that a face is cut in analysis as in training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaceCrop {
    /// The detector's box, rounded to whole pixels; black outside the image. What PIL's `Image.crop` does.
    Box,
    /// The box widened on each side by `fraction` of its width and height; black outside the image.
    Margin {
        /// Share of the box's side added on each side, at least 0; 0.3 makes the crop 1.6 times as wide.
        fraction: f32,
    },
    /// A square of `size` pixels in which eyes, nose and mouth lie where the ArcFace template has them
    /// (a similarity transform: rotation, scale, shift).
    ///
    /// The transform is the least-squares one of Umeyama (1991), without reflection; pixels are sampled bilinearly as
    /// OpenCV's `warpAffine` does, and averaged where the face is larger than the square.
    Aligned {
        /// Side of the square in pixels, `1..=2048`; 112 and 224 are usual.
        size: u32,
        /// How much more than the 112-pixel ArcFace template is shown, `0.1..=10`: 1 is the template's own framing,
        /// 1.5 half as much again.
        scale: f32,
        /// How far the square is moved down the face, as a share of its side, `-1..=1`: above 0 it shows more chin and less
        /// forehead than the template, whose middle is between the eyes and the tip of the nose.
        #[serde(default)]
        down: f32,
    },
}

impl FaceCrop {
    /// The longest side in pixels that [`FaceCrop::Box`] and [`FaceCrop::Margin`] cut out: more than any frame of
    /// 8K video needs, little enough (200 MB) to survive a detector gone mad.
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
    /// - [`Error::CropBox`] when the box is empty, also after rounding, or not finite;
    /// - [`Error::CropTooLarge`] when a side would be longer than [`FaceCrop::MAX_SIDE`];
    /// - [`Error::NoLandmarks`] and [`Error::DegenerateLandmarks`] when alignment has nothing to go by;
    /// - [`Error::CropSetting`] when a field of the crop itself is out of range.
    pub fn cut(&self, image: &RgbImage, face: &Face) -> Result<RgbImage, Error> {
        match *self {
            Self::Box => cut_box(image, &face.bounding_box, 0.0),
            Self::Margin { fraction } => cut_box(image, &face.bounding_box, checked_fraction(fraction)?),
            Self::Aligned { size, scale, down } => Ok(warp(image, &to_image(face, size, scale, down)?, size)),
        }
    }

    /// Where in the image the cut-out's corners lie, clockwise from its top left: `[x, y]` in pixels, in the coordinates of boxes
    /// and landmarks. They may lie outside the image, and those of an aligned face are turned as the face is.
    ///
    /// The cut-out is an affine picture of what is between them, so they tell where a point of the image is seen in it.
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
    /// As [`FaceCrop::cut`].
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
    /// How far the points are from those of a face seen from the front: root mean square distance in pixels of the 112-pixel
    /// ArcFace template, after the similarity transform that fits best. Profiles reach 8; what is no face exceeds 10.
    ///
    /// `None` when the points determine no transform: they coincide, or are not finite.
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

/// From pixels of the aligned cut-out to pixels of the image.
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

/// Whole pixels of the image, also outside it.
struct CutBox {
    left: i64,
    top: i64,
    width: i64,
    height: i64,
}

impl CutBox {
    /// The box widened by `fraction` of its sides, every coordinate rounded half to even, as Python rounds.
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
        // In range: two floats of a size that i64 cannot hold are further apart than the limit, or equal.
        Ok(Self { left: left as i64, top: top as i64, width: width as i64, height: height as i64 })
    }
}

/// PIL's `crop`: black where there is no image.
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

/// Where the five landmarks lie in a 112-pixel ArcFace crop (Deng et al., 2019; insightface `arcface_dst`).
const ARCFACE_112: [[f64; 2]; 5] =
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

/// The template in a square of `size` pixels that shows `scale` times as much, from `down` of its side further below.
fn template(size: u32, scale: f32, down: f32) -> [[f64; 2]; 5] {
    let (size, scale, down) = (f64::from(size), f64::from(scale), f64::from(down));
    let at = |p: f64| size / 2.0 + (p - 56.0) / 112.0 * size / scale;
    ARCFACE_112.map(|[x, y]| [at(x), at(y) - down * size])
}

/// `(x, y) ↦ (a·x − b·y + tx, b·x + a·y + ty)`: rotation, uniform scale and shift.
#[derive(Debug, Clone, Copy)]
struct Similarity {
    a: f64,
    b: f64,
    tx: f64,
    ty: f64,
}

impl Similarity {
    /// The least-squares similarity from landmarks to target points, or `None` when the landmarks determine none.
    ///
    /// In the plane Umeyama's singular value decomposition comes down to a linear fit of `a` and `b`: a rotation times
    /// a scale is any such pair, a reflection is none.
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
        // Landmarks within a fraction of a pixel of each other say nothing of a face; NaN fails here too.
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

/// A square of `size` pixels whose pixel `(x, y)` shows the image at `to_image(x, y)`.
fn warp(image: &RgbImage, to_image: &Similarity, size: u32) -> RgbImage {
    // One bilinear sample per pixel would skip image pixels where the image is shrunk: average a grid of them instead.
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

/// Adds the image's value at `(x, y)`, whole numbers being the middles of pixels, black outside.
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
