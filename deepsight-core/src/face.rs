use std::sync::Arc;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::{ActivationMap, BoxError, Engine, EnsembleInfo, FaceCrop, Precision, Reliability};

/// An axis-parallel rectangle in pixels of its image. It may extend beyond the image's border.
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
    /// Creates a box from its top left and its bottom right corner.
    pub const fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// Returns the width in pixels, `x2 − x1`.
    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    /// Returns the height in pixels, `y2 − y1`.
    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// Returns the area in square pixels; 0 for an inverted box.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Returns the center, `(x, y)`.
    pub fn center(&self) -> (f32, f32) {
        ((self.x1 + self.x2) / 2.0, (self.y1 + self.y2) / 2.0)
    }

    /// Returns the intersection over union with another box, in `0..=1`; 0 if neither has an area.
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
    /// Its position.
    #[serde(rename = "box")]
    pub bounding_box: BoundingBox,
    /// Its five landmarks, if the detector finds them. Alignment needs them.
    pub landmarks: Option<Landmarks>,
    /// The detector's probability that this is a face, `0..=1`.
    pub confidence: f32,
}

impl Face {
    /// Creates a face from its box, its landmarks and the detector's confidence in `0..=1`.
    pub fn new(bounding_box: BoundingBox, landmarks: Option<Landmarks>, confidence: f32) -> Self {
        Self { bounding_box, landmarks, confidence }
    }

    /// Returns the box's shorter side in pixels. A face whose size is too small cannot be judged.
    pub fn size(&self) -> f32 {
        self.bounding_box.width().min(self.bounding_box.height())
    }

    /// Returns whether all numbers of the face are finite.
    pub(crate) fn is_finite(&self) -> bool {
        let edges: [f32; 4] = self.bounding_box.into();
        let mut points = self.landmarks.iter().flat_map(|landmarks| landmarks.0.iter().flatten());
        edges.iter().all(|edge| edge.is_finite())
            && points.all(|point| point.is_finite())
            && self.confidence.is_finite()
    }
}

/// A classifier's result for one face.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FaceScore {
    /// Calibrated probability that the face is forged, `0..=1`.
    pub fake_probability: f32,
}

impl FaceScore {
    /// Creates a score with this probability in `0..=1`.
    pub fn new(fake_probability: f32) -> Self {
        Self { fake_probability }
    }
}

/// A classifier's result for one face, with those of the models that it combines.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct CombinedScore {
    /// Calibrated probability that the face is forged, `0..=1`.
    pub fake_probability: f32,
    /// The probability of each model of an ensemble, in the order of [`EnsembleInfo::models`]; empty for a single
    /// model.
    pub by_model: Vec<f32>,
}

impl CombinedScore {
    /// Creates a score from the combined probability and that of each model, all in `0..=1`.
    pub fn new(fake_probability: f32, by_model: Vec<f32>) -> Self {
        Self { fake_probability, by_model }
    }
}

impl From<FaceScore> for CombinedScore {
    fn from(score: FaceScore) -> Self {
        Self::new(score.fake_probability, Vec::new())
    }
}

/// A detector that finds faces in images. An [`Analyzer`](crate::Analyzer) needs one.
pub trait FaceDetector: Send + Sync {
    /// The error of a failed detection: an error type, or a [`BoxError`].
    type Error: Into<BoxError>;

    /// Finds the faces of each image, in the order of the images. An image without a face gives an empty list.
    ///
    /// The images may differ in size.
    ///
    /// # Errors
    /// Returns an error if the detector cannot run. An image without a face is not an error.
    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Self::Error>;

    /// Finds the faces of the previous frame, `earlier`, again in this one. An [`Analyzer`](crate::Analyzer) calls this
    /// for the frames between two full detections ([`detect_every`](crate::AnalyzerConfig::detect_every)).
    ///
    /// Only the neighborhood of each earlier face has to be searched. The result has at most one face for each earlier
    /// one, and none for a face that is no longer there. It may miss faces that appear elsewhere. Boxes and landmarks
    /// are in pixels of `image`. The default runs a full detection, for detectors without a cheaper search.
    ///
    /// # Errors
    /// Returns an error if the detector cannot run. Finding none of the faces is not an error.
    fn find_again(&self, image: &RgbImage, earlier: &[Face]) -> Result<Vec<Face>, Self::Error> {
        let _ = earlier;
        Ok(self.detect(&[image])?.pop().unwrap_or_default())
    }

    /// Returns the detector's name and settings, for the report.
    fn info(&self) -> DetectorInfo;
}

/// A classifier that scores faces. An [`Analyzer`](crate::Analyzer) needs one.
pub trait FaceClassifier: Send + Sync {
    /// The error of a failed classification: an error type, or a [`BoxError`].
    type Error: Into<BoxError>;

    /// Returns one score for each crop of a face, in order. The faces may differ in size, and may come from several
    /// analyses, so the score of one must not depend on the others.
    ///
    /// # Errors
    /// Returns an error if the network cannot run.
    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Self::Error>;

    /// Returns one score for each face, in order, for a classifier that needs several crops of a face.
    ///
    /// `crops` has one list for each of [`ModelInfo::crops`], in that order. Each list has one crop of every face, so
    /// all lists have the same length. The default passes the first list to [`classify`](Self::classify), which is
    /// right for every classifier except an [`Ensemble`](crate::Ensemble).
    ///
    /// # Errors
    /// Returns an error if a network cannot run.
    fn classify_crops(&self, crops: &[Vec<RgbImage>]) -> Result<Vec<CombinedScore>, Self::Error> {
        let scores = self.classify(crops.first().map_or(&[], Vec::as_slice))?;
        Ok(scores.into_iter().map(CombinedScore::from).collect())
    }

    /// Returns a map of where in the crop the evidence for a forgery lies; `None` if the classifier cannot compute one,
    /// which is the default. The crop is the first of [`ModelInfo::crops`].
    ///
    /// # Errors
    /// Returns an error if the network cannot run.
    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Self::Error> {
        let _ = face;
        Ok(None)
    }

    /// Returns the identity, the decision threshold and the crop that the classifier expects, for the analysis and the
    /// report.
    fn info(&self) -> ModelInfo;
}

/// Implements both traits for a pointer to something that implements them.
macro_rules! through_pointer {
    ($pointer:ty) => {
        impl<T: FaceDetector + ?Sized> FaceDetector for $pointer {
            type Error = T::Error;

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

        impl<T: FaceClassifier + ?Sized> FaceClassifier for $pointer {
            type Error = T::Error;

            fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Self::Error> {
                (**self).classify(faces)
            }

            fn classify_crops(&self, crops: &[Vec<RgbImage>]) -> Result<Vec<CombinedScore>, Self::Error> {
                (**self).classify_crops(crops)
            }

            fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Self::Error> {
                (**self).explain(face)
            }

            fn info(&self) -> ModelInfo {
                (**self).info()
            }
        }
    };
}

through_pointer!(&T);
through_pointer!(Box<T>);
through_pointer!(Arc<T>);

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
    /// Creates the information of a detector with this name and no settings.
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
    /// Architecture, such as `efficientnet_b3`; empty if it has no name.
    pub architecture: String,
    /// SHA-256 of the weights file in hexadecimal, if the model was read from one.
    pub sha256: Option<String>,
    /// Data that it was trained on; empty if unknown.
    pub trained_on: String,
    /// Terms of use of the weights; empty if unknown.
    pub terms: String,
    /// Probability from which a face counts as fake, `0..=1`.
    pub threshold: f32,
    /// The method by which faces are cut from their frame.
    pub crop: FaceCrop,
    /// The engine that computed it, if there is a choice.
    #[serde(default)]
    pub engine: Option<Engine>,
    /// The precision that it was computed in, if there is a choice.
    #[serde(default, skip_serializing_if = "is_single")]
    pub precision: Option<Precision>,
    /// The reliability of its probabilities, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reliability: Option<Reliability>,
    /// The models of an ensemble and how they are combined; `None` for a single model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<EnsembleInfo>,
}

/// Returns whether the precision is single or absent. Reports leave it out then.
fn is_single(precision: &Option<Precision>) -> bool {
    precision.is_none_or(|precision| precision == Precision::Full)
}

impl ModelInfo {
    /// Creates the information of a model with this name, threshold 0.5 and [`FaceCrop::Box`].
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
            ensemble: None,
        }
    }

    /// Returns the crops of a face that the classifier needs, each once: [`crop`](Self::crop), or those of the models
    /// of an ensemble in the order in which the models first name them.
    pub fn crops(&self) -> Vec<FaceCrop> {
        let models = self.ensemble.as_ref().map_or(&[][..], |ensemble| &ensemble.models);
        let mut crops = Vec::new();
        for crop in models.iter().map(|model| model.crop) {
            if !crops.contains(&crop) {
                crops.push(crop);
            }
        }
        if crops.is_empty() { vec![self.crop] } else { crops }
    }
}
