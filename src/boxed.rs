//! Networks without the type of their backend, so that it can be chosen at run time.

use std::sync::Arc;

use deepsight_core::image::RgbImage;
use deepsight_core::{
    ActivationMap, BoxError, CombinedScore, DetectorInfo, Face, FaceClassifier, FaceDetector, FaceScore, ModelInfo,
};

/// A face detector on any backend.
pub(crate) type AnyDetector = Arc<dyn FaceDetector<Error = BoxError>>;
/// A classifier on any backend.
pub(crate) type AnyClassifier = Arc<dyn FaceClassifier<Error = BoxError>>;

/// A network whose errors are boxed.
pub(crate) struct Boxed<T>(pub(crate) T);

impl<T: FaceDetector> FaceDetector for Boxed<T> {
    type Error = BoxError;

    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, BoxError> {
        self.0.detect(images).map_err(Into::into)
    }

    fn find_again(&self, image: &RgbImage, earlier: &[Face]) -> Result<Vec<Face>, BoxError> {
        self.0.find_again(image, earlier).map_err(Into::into)
    }

    fn info(&self) -> DetectorInfo {
        self.0.info()
    }
}

impl<T: FaceClassifier> FaceClassifier for Boxed<T> {
    type Error = BoxError;

    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, BoxError> {
        self.0.classify(faces).map_err(Into::into)
    }

    fn classify_crops(&self, crops: &[Vec<RgbImage>]) -> Result<Vec<CombinedScore>, BoxError> {
        self.0.classify_crops(crops).map_err(Into::into)
    }

    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, BoxError> {
        self.0.explain(face).map_err(Into::into)
    }

    fn info(&self) -> ModelInfo {
        self.0.info()
    }
}
