use burn::tensor::backend::Backend;
use deepsight_core::{Classifier, FaceClassifier, model::ModelFile};
use image::RgbImage;

use super::FittedOn;
use crate::Error;

/// Returns, for each face, the logit of fake minus that of real, before the temperature is applied.
///
/// # Errors
/// The errors of [`Classifier::logits`].
pub fn fake_logits<B: Backend>(
    classifier: &Classifier<B>,
    faces: &[RgbImage],
) -> Result<Vec<f64>, deepsight_core::Error> {
    let fake = classifier.card().fake_index();
    let margin = |logits: [f32; 2]| f64::from(logits[fake]) - f64::from(logits[1 - fake]);
    Ok(classifier.logits(faces)?.into_iter().map(margin).collect())
}

/// Returns the model with another temperature, threshold and reliability. The score of the golden input in its card is
/// computed again.
///
/// # Errors
/// [`Error::Core`] when the new card is not valid, or the model cannot be loaded or run.
pub fn calibrated_file<B: Backend>(
    mut file: ModelFile,
    fitted: &FittedOn,
    device: &B::Device,
) -> Result<ModelFile, Error> {
    file.card.temperature = fitted.calibration.temperature as f32;
    file.card.threshold = fitted.calibration.threshold as f32;
    file.card.reliability = Some(fitted.reliability.clone());
    file.card.validate()?;
    if let Some(face) = &file.golden_input {
        let classifier = Classifier::<B>::from_file(file.clone(), device)?;
        let score = classifier.classify(std::slice::from_ref(face))?;
        if let (Some(golden), Some(score)) = (&mut file.card.golden, score.first()) {
            golden.fake_probability = score.fake_probability;
        }
    }
    file.sha256 = None;
    Ok(file)
}
