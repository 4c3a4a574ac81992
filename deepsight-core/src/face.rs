use std::sync::Arc;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::{ActivationMap, Engine, FaceCrop, Precision, Reliability};

/// An axis-parallel rectangle in pixels of the image it was found in; it may reach over the image's border.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f32; 4]", into = "[f32; 4]")]
pub struct BoundingBox {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
}

impl BoundingBox {
    /// The box between two corners.
    pub const fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// Width in pixels, `x2 − x1`.
    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    /// Height in pixels, `y2 − y1`.
    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// Area in square pixels; 0 for a box that is inside out.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// The point in the middle, `(x, y)`.
    pub fn center(&self) -> (f32, f32) {
        ((self.x1 + self.x2) / 2.0, (self.y1 + self.y2) / 2.0)
    }

    /// Intersection over union with another box, in `0..=1`; 0 when neither has an area.
    ///
    /// ```
    /// use deepsight_core::BoundingBox;
    ///
    /// let left = BoundingBox::new(0.0, 0.0, 10.0, 10.0);
    /// let shifted = BoundingBox::new(5.0, 0.0, 15.0, 10.0);
    /// assert!((left.iou(&shifted) - 1.0 / 3.0).abs() < 1e-6);
    /// ```
    pub fn iou(&self, other: &Self) -> f32 {
        let width = (self.x2.min(other.x2) - self.x1.max(other.x1)).max(0.0);
        let height = (self.y2.min(other.y2) - self.y1.max(other.y1)).max(0.0);
        let intersection = width * height;
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }
}

impl From<[f32; 4]> for BoundingBox {
    fn from([x1, y1, x2, y2]: [f32; 4]) -> Self {
        Self { x1, y1, x2, y2 }
    }
}

impl From<BoundingBox> for [f32; 4] {
    fn from(b: BoundingBox) -> Self {
        [b.x1, b.y1, b.x2, b.y2]
    }
}

/// Five points of a face as `[x, y]` in pixels: left eye, right eye, nose, left and right corner of the mouth.
///
/// Left and right are the viewer's, as in MTCNN (Zhang et al., 2016).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Landmarks(pub [[f32; 2]; 5]);

/// A face found in an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Face {
    /// Where it is.
    #[serde(rename = "box")]
    pub bounding_box: BoundingBox,
    /// Its five landmarks, where the detector finds them. Alignment needs them.
    pub landmarks: Option<Landmarks>,
    /// The detector's probability that this is a face, `0..=1`.
    pub confidence: f32,
}

impl Face {
    /// A face with its box, landmarks and the detector's confidence in `0..=1`.
    pub fn new(bounding_box: BoundingBox, landmarks: Option<Landmarks>, confidence: f32) -> Self {
        Self { bounding_box, landmarks, confidence }
    }

    /// The box's shorter side in pixels: what "too small to judge" is measured by.
    pub fn size(&self) -> f32 {
        self.bounding_box.width().min(self.bounding_box.height())
    }

    /// Whether the face is somewhere: all its numbers are finite.
    pub(crate) fn is_finite(&self) -> bool {
        let edges: [f32; 4] = self.bounding_box.into();
        let mut points = self.landmarks.iter().flat_map(|landmarks| landmarks.0.iter().flatten());
        edges.iter().all(|edge| edge.is_finite())
            && points.all(|point| point.is_finite())
            && self.confidence.is_finite()
    }
}

/// What a classifier says of one face.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FaceScore {
    /// Calibrated probability that the face is forged, `0..=1`.
    pub fake_probability: f32,
}

impl FaceScore {
    /// A score of the given probability in `0..=1`.
    pub fn new(fake_probability: f32) -> Self {
        Self { fake_probability }
    }
}

/// Finds faces in images. What an [`Analyzer`](crate::Analyzer) needs of a detector.
pub trait FaceDetector: Send + Sync {
    /// Why detection failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The faces of each image, in the order of the images; an image without a face gives an empty list.
    ///
    /// The images may differ in size.
    ///
    /// # Errors
    /// When the detector cannot run. An image in which nothing is found is no error.
    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Self::Error>;

    /// The faces of the previous frame, `earlier`, found again in this one: what an [`Analyzer`](crate::Analyzer) asks on
    /// the frames between two full detections ([`detect_every`](crate::AnalyzerConfig::detect_every)).
    ///
    /// Only the neighbourhood of each earlier face need be searched, and of each face there may be one at most; faces that
    /// come into view elsewhere may be missed, and a face that is not there any more is left out. Boxes and landmarks
    /// are in pixels of `image`. Where the detector has nothing cheaper it detects anew, which is the default.
    ///
    /// # Errors
    /// When the detector cannot run. Finding none of the faces is no error.
    fn find_again(&self, image: &RgbImage, earlier: &[Face]) -> Result<Vec<Face>, Self::Error> {
        let _ = earlier;
        Ok(self.detect(&[image])?.pop().unwrap_or_default())
    }

    /// Name and settings, for the report.
    fn info(&self) -> DetectorInfo;
}

/// Scores faces. What an [`Analyzer`](crate::Analyzer) needs of a classifier.
pub trait FaceClassifier: Send + Sync {
    /// Why scoring failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// How faces are to be cut from their frame for this classifier.
    fn crop(&self) -> FaceCrop;

    /// One score for each cut-out face, in order. The faces may differ in size, and may come from several analyses: the score
    /// of one must not depend on the others.
    ///
    /// # Errors
    /// When the network cannot run.
    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Self::Error>;

    /// Where in the cut-out face the evidence for a forgery lies; `None` where the classifier cannot say.
    ///
    /// # Errors
    /// When the network cannot run.
    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Self::Error> {
        let _ = face;
        Ok(None)
    }

    /// Identity and decision threshold, for the report and the verdict.
    fn info(&self) -> ModelInfo;
}

/// A shared detector: several analyzers, with settings of their own, can use one.
impl<D: FaceDetector + ?Sized> FaceDetector for Arc<D> {
    type Error = D::Error;

    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Self::Error> {
        (**self).detect(images)
    }

    fn find_again(&self, image: &RgbImage, earlier: &[Face]) -> Result<Vec<Face>, Self::Error> {
        (**self).find_again(image, earlier)
    }

    fn info(&self) -> DetectorInfo {
        (**self).info()
    }
}

/// A shared classifier.
impl<C: FaceClassifier + ?Sized> FaceClassifier for Arc<C> {
    type Error = C::Error;

    fn crop(&self) -> FaceCrop {
        (**self).crop()
    }

    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Self::Error> {
        (**self).classify(faces)
    }

    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Self::Error> {
        (**self).explain(face)
    }

    fn info(&self) -> ModelInfo {
        (**self).info()
    }
}

/// A detector's name and settings, as a report shows them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DetectorInfo {
    /// Name of the method, such as `mtcnn`.
    pub name: String,
    /// Settings by name.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl DetectorInfo {
    /// A detector of this name, without settings.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// A classifier's identity, as a report shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Name of the model.
    pub name: String,
    /// Architecture, such as `efficientnet_b3`; empty where there is none to name.
    pub architecture: String,
    /// SHA-256 of the weights file in hexadecimal, where it came from one.
    pub sha256: Option<String>,
    /// What it was trained on; empty when unknown.
    pub trained_on: String,
    /// Terms of use of the weights; empty when unknown.
    pub terms: String,
    /// Probability from which a face counts as fake, `0..=1`.
    pub threshold: f32,
    /// How faces are cut from their frame.
    pub crop: FaceCrop,
    /// What computed it, where there is a choice.
    #[serde(default)]
    pub engine: Option<Engine>,
    /// What it computed in, where there is a choice.
    #[serde(default, skip_serializing_if = "is_single")]
    pub precision: Option<Precision>,
    /// How far its probabilities can be trusted, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reliability: Option<Reliability>,
}

/// Single precision goes without saying.
fn is_single(precision: &Option<Precision>) -> bool {
    precision.is_none_or(|precision| precision == Precision::Full)
}

impl ModelInfo {
    /// A model of this name with threshold 0.5 and the plain box as crop.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            architecture: String::new(),
            sha256: None,
            trained_on: String::new(),
            terms: String::new(),
            threshold: 0.5,
            crop: FaceCrop::Box,
            engine: None,
            precision: None,
            reliability: None,
        }
    }
}
