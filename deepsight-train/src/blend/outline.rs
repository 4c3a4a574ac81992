//! The outline of a face, estimated from its five landmarks.

use deepsight_core::Landmarks;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The part of a face that a forgery replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Region {
    /// From the hairline to the chin.
    Face,
    /// From the brows to the chin, like the hull of 68 landmarks.
    BelowForehead,
    /// Brows, cheeks and mouth, within the outline.
    Inner,
    /// From under the eyes to the chin.
    LowerHalf,
    /// The mouth and its surroundings, which lip synchronization replaces.
    Mouth,
    /// Brows and eyes.
    Eyes,
}

impl Region {
    /// Returns the points of the shape whose hull is the region.
    fn points(self) -> Vec<ShapePoint> {
        let of = |groups: &[&[ShapePoint]]| groups.concat().iter().flat_map(ShapePoint::both).collect::<Vec<_>>();
        let jaw = &OUTLINE[8..];
        match self {
            Self::Face => of(&[&OUTLINE]),
            Self::BelowForehead => of(&[&OUTLINE[7..], &BROWS]),
            Self::Inner => of(&[&BROWS, &CHEEKS, &MOUTH]),
            Self::LowerHalf => of(&[&jaw[2..], &NOSE, &CHEEKS[..1]]),
            Self::Mouth => of(&[&NOSE[1..], &CHEEKS[2..], &MOUTH]),
            Self::Eyes => of(&[&BROWS, &CHEEKS[..1]]),
        }
    }
}

/// A point of the shape, in the coordinates of the 112-pixel ArcFace template, and how it moves with the pose of the
/// head.
#[derive(Debug, Clone, Copy)]
struct ShapePoint {
    mean: [f32; 2],
    /// Movement for each unit that the nose lies further to the right than in a frontal face.
    yaw: [f32; 2],
    /// Movement for each unit that the nose lies lower.
    pitch: [f32; 2],
    /// Movement for each unit that the distance from eyes to mouth exceeds that between the eyes.
    length: [f32; 2],
}

const MIDDLE: f32 = 56.0;

const fn point(mean: [f32; 2], yaw: [f32; 2], pitch: [f32; 2], length: [f32; 2]) -> ShapePoint {
    ShapePoint { mean, yaw, pitch, length }
}

// A linear model of a face's shape. It was fitted to 468 points (MediaPipe's face mesh) of 393 photographs and their
// mirror images, aligned to the template by their five landmarks. The points are regressed on the position of the nose
// between eyes and mouth, and on the length of the face. The remaining deviation is 2 to 4 units of the template's 112.
// This is the right half; the left mirrors it. `scripts/face-shape.py` prints it.

/// From the middle of the hairline down to the chin.
const OUTLINE: [ShapePoint; 19] = [
    point([56.0, 23.4], [4.3, 0.0], [0.0, -10.3], [0.0, -7.1]),
    point([66.4, 23.6], [0.5, 1.9], [1.7, -11.3], [-4.0, -7.6]),
    point([75.2, 25.1], [-7.5, 3.4], [2.8, -13.3], [-7.0, -8.8]),
    point([83.5, 28.3], [-20.5, 4.3], [3.1, -17.6], [-9.2, -11.0]),
    point([88.9, 33.1], [-33.5, 4.3], [2.8, -22.3], [-10.1, -13.0]),
    point([92.4, 39.3], [-45.7, 3.6], [2.1, -27.2], [-10.2, -14.8]),
    point([94.2, 46.0], [-55.4, 2.6], [1.1, -30.9], [-10.6, -16.1]),
    point([94.7, 54.3], [-63.8, 1.0], [-0.4, -33.7], [-11.2, -17.0]),
    point([94.3, 62.3], [-67.0, -0.5], [-1.8, -34.4], [-11.5, -16.9]),
    point([93.9, 70.5], [-67.2, -2.2], [-3.1, -33.5], [-11.3, -16.4]),
    point([92.9, 79.3], [-65.7, -4.0], [-4.3, -32.5], [-10.8, -15.5]),
    point([90.4, 88.6], [-61.3, -5.7], [-4.8, -30.9], [-10.4, -13.9]),
    point([86.9, 96.1], [-52.3, -6.9], [-5.4, -27.1], [-9.7, -11.7]),
    point([82.9, 101.7], [-41.5, -7.5], [-6.3, -22.2], [-8.6, -9.4]),
    point([77.8, 106.6], [-30.6, -7.4], [-7.0, -17.9], [-6.7, -7.9]),
    point([73.4, 110.1], [-21.6, -6.5], [-6.5, -14.5], [-5.2, -7.2]),
    point([68.7, 113.1], [-13.0, -5.0], [-5.1, -11.3], [-3.9, -6.6]),
    point([63.2, 115.3], [-6.9, -2.9], [-3.0, -9.6], [-2.1, -6.2]),
    point([56.0, 116.1], [-4.3, 0.0], [0.0, -9.1], [0.0, -6.2]),
];
/// Upper edge of the brow, from the nose outward.
const BROWS: [ShapePoint; 5] = [
    point([63.8, 41.0], [8.4, 1.2], [0.3, 6.2], [-3.6, -4.9]),
    point([71.5, 40.1], [3.9, 1.7], [0.6, 4.0], [-6.6, -5.3]),
    point([78.4, 39.7], [-3.3, 2.0], [0.8, 0.4], [-9.0, -6.1]),
    point([83.8, 41.3], [-11.8, 1.9], [0.8, -3.6], [-10.9, -7.1]),
    point([87.3, 44.4], [-21.1, 1.5], [0.7, -8.8], [-11.6, -8.7]),
];
/// Bridge between the eyes, and wing of the nose.
const NOSE: [ShapePoint; 2] = [
    point([56.0, 54.5], [13.4, 0.0], [0.0, 10.9], [0.0, -3.7]),
    point([67.6, 72.9], [4.6, -0.8], [-1.0, 7.0], [-6.2, -0.8]),
];
/// Under the eye, cheekbone, and beside the mouth.
const CHEEKS: [ShapePoint; 3] = [
    point([84.9, 61.6], [-18.2, -0.7], [-2.6, -8.3], [-12.2, -5.9]),
    point([82.8, 70.5], [-12.4, -1.5], [-1.5, -4.2], [-14.3, -2.7]),
    point([78.1, 75.4], [-5.9, -1.8], [-0.4, 0.5], [-13.2, -1.5]),
];
/// Corner of the mouth, and upper end of the chin.
const MOUTH: [ShapePoint; 2] = [
    point([70.2, 90.3], [-6.8, -1.4], [0.9, -6.1], [-14.6, 7.3]),
    point([56.0, 105.3], [4.1, 0.0], [0.0, -1.7], [0.0, -4.4]),
];

impl ShapePoint {
    /// Returns the point and its mirror image. A face that looks in the opposite direction is a mirrored face.
    fn both(&self) -> [Self; 2] {
        let [x, y] = self.mean;
        let mirror = |[dx, dy]: [f32; 2]| [-dx, dy];
        let mirrored = Self {
            mean: [2.0 * MIDDLE - x, y],
            yaw: [self.yaw[0], -self.yaw[1]],
            pitch: mirror(self.pitch),
            length: mirror(self.length),
        };
        [*self, mirrored]
    }
}

/// Pose and shape of a face, in units of the distance between the eyes, relative to the mean face.
#[derive(Debug, Clone, Copy)]
struct Pose {
    yaw: f32,
    pitch: f32,
    length: f32,
}

/// The map from the template to the picture, and the pose of the face.
struct FaceFit {
    /// `x' = a·x − b·y + tx`, `y' = b·x + a·y + ty`.
    to_picture: [f32; 4],
    pose: Pose,
}

const TEMPLATE: [[f32; 2]; 5] =
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

/// The template's distance between the eyes.
const UNIT: f32 = 35.0;

/// Values of the mean face, and the distance from them within which the regression holds.
const MEAN: Pose = Pose { yaw: 0.0, pitch: 0.039, length: 0.113 };
const REACH: Pose = Pose { yaw: 0.45, pitch: 0.3, length: 0.35 };

impl FaceFit {
    /// Fits a similarity by least squares (Umeyama, 1991). Returns `None` if the landmarks lie within a pixel of each
    /// other or are not finite.
    fn new(landmarks: &Landmarks) -> Option<Self> {
        let mean = |points: &[[f32; 2]; 5]| [0, 1].map(|axis| points.iter().map(|p| p[axis]).sum::<f32>() / 5.0);
        let ([sx, sy], [tx, ty]) = (mean(&TEMPLATE), mean(&landmarks.0));
        let (mut spread, mut along, mut across) = (0.0, 0.0, 0.0);
        for ([x, y], [u, v]) in TEMPLATE.iter().zip(&landmarks.0) {
            let (x, y, u, v) = (x - sx, y - sy, u - tx, v - ty);
            spread += x * x + y * y;
            along += x * u + y * v;
            across += x * v - y * u;
        }
        let (a, b) = (along / spread, across / spread);
        let squared = a * a + b * b;
        // NaN fails here too.
        if !(squared.is_finite() && squared * UNIT * UNIT > 1.0) {
            return None;
        }
        let offset = [tx - a * sx + b * sy, ty - b * sx - a * sy];
        let in_template = landmarks.0.map(|[u, v]| {
            let (u, v) = (u - offset[0], v - offset[1]);
            [(a * u + b * v) / squared, (a * v - b * u) / squared]
        });
        Some(Self { to_picture: [a, b, offset[0], offset[1]], pose: Pose::of(&in_template) })
    }

    fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [a, b, tx, ty] = self.to_picture;
        [a * x - b * y + tx, b * x + a * y + ty]
    }
}

impl Pose {
    fn of([left_eye, right_eye, nose, left_mouth, right_mouth]: &[[f32; 2]; 5]) -> Self {
        let between = |a: &[f32; 2], b: &[f32; 2]| [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0];
        let distance = |a: &[f32; 2], b: &[f32; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        let (eyes, mouth) = (between(left_eye, right_eye), between(left_mouth, right_mouth));
        let middle = between(&eyes, &mouth);
        let within = |value: f32, mean: f32, reach: f32| (value - mean).clamp(-reach, reach);
        Self {
            yaw: within((nose[0] - middle[0]) / UNIT, MEAN.yaw, REACH.yaw),
            pitch: within((nose[1] - middle[1]) / UNIT, MEAN.pitch, REACH.pitch),
            length: within((distance(&eyes, &mouth) - distance(left_eye, right_eye)) / UNIT, MEAN.length, REACH.length),
        }
    }
}

/// Returns the hull of a region of the face, in pixels of the picture. It varies a little at random, because a model of
/// the mean face does not fit each face exactly, and forgeries differ in what they replace. Returns `None` if the
/// landmarks are not those of a face.
pub(super) fn outline(landmarks: &Landmarks, region: Region, random: &mut ChaCha8Rng) -> Option<Vec<[f32; 2]>> {
    let fit = FaceFit::new(landmarks)?;
    let Pose { yaw, pitch, length } = fit.pose;
    let points = region.points();
    let placed = points.iter().map(|point| {
        [0, 1].map(|axis| {
            point.mean[axis] + yaw * point.yaw[axis] + pitch * point.pitch[axis] + length * point.length[axis]
        })
    });
    let placed: Vec<[f32; 2]> = placed.collect();
    let center = [0, 1].map(|axis| placed.iter().map(|point| point[axis]).sum::<f32>() / placed.len() as f32);
    let mut uniform = |low: f32, high: f32| low + (high - low) * random.random::<f32>();
    let (factors, shift) = ([(); 2].map(|()| uniform(0.9, 1.08)), [(); 2].map(|()| uniform(-1.5, 1.5)));
    let varied = placed.iter().map(|point| {
        let jitter = [(); 2].map(|()| uniform(-1.5, 1.5));
        fit.apply(
            [0, 1].map(|axis| center[axis] + (point[axis] - center[axis]) * factors[axis] + shift[axis] + jitter[axis]),
        )
    });
    Some(hull(varied.collect()))
}

/// Returns the convex hull, by Andrew's monotone chain (1979).
pub(super) fn hull(mut points: Vec<[f32; 2]>) -> Vec<[f32; 2]> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let turns_left =
        |o: [f32; 2], a: [f32; 2], b: [f32; 2]| (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]) > 0.0;
    let chain = |points: &mut dyn Iterator<Item = [f32; 2]>| {
        let mut chain: Vec<[f32; 2]> = Vec::new();
        for point in points {
            while let [.., before, last] = chain[..]
                && !turns_left(before, last, point)
            {
                chain.pop();
            }
            chain.push(point);
        }
        // The last point is also the first of the other chain.
        chain.pop();
        chain
    };
    let mut hull = chain(&mut points.iter().copied());
    hull.extend(chain(&mut points.iter().rev().copied()));
    hull
}
