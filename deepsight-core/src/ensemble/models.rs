use std::path::Path;

use image::RgbImage;

use super::{Ensemble, EnsembleConfig, EnsembleFile};
use crate::{ActivationMap, CombinedScore, Error, FaceClassifier, FaceScore, ModelInfo};

/// One model, or several that score together. A program whose user names model files loads this type.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Models<C> {
    /// A single model.
    One(C),
    /// An ensemble.
    Several(Box<Ensemble<C>>),
}

impl<C: FaceClassifier<Error = Error>> Models<C> {
    /// Loads the models of these files: one model file, one ensemble file, or several model files, which are combined
    /// by their calibrated mean. `load` reads a model from its path, such as `|path| Classifier::load(path, &device)`.
    ///
    /// # Errors
    /// The errors of `load`, [`Ensemble::load`] and [`Ensemble::new`]; [`Error::EnsembleSize`] if there is no file, and
    /// [`Error::EnsembleMember`] if an ensemble file is among several files.
    pub fn load<P: AsRef<Path>>(files: &[P], mut load: impl FnMut(&Path) -> Result<C, Error>) -> Result<Self, Error> {
        match files {
            [file] if EnsembleFile::is_one(file) => Ensemble::load(file, load).map(Box::new).map(Self::Several),
            [file] => load(file.as_ref()).map(Self::One),
            files => {
                if let Some(file) = files.iter().find(|file| EnsembleFile::is_one(file)) {
                    let reason = "it is an ensemble file; give it alone, or give its models".into();
                    return Err(Error::EnsembleMember { name: file.as_ref().display().to_string(), reason });
                }
                let models = files.iter().map(|file| load(file.as_ref())).collect::<Result<_, _>>()?;
                Ensemble::new(models, EnsembleConfig::new()).map(Box::new).map(Self::Several)
            }
        }
    }
}

impl<C> Models<C> {
    /// Returns the models: one, or those of the ensemble in order.
    pub fn models(&self) -> &[C] {
        match self {
            Self::One(model) => std::slice::from_ref(model),
            Self::Several(ensemble) => &ensemble.models,
        }
    }
}

impl<C: FaceClassifier<Error = Error>> FaceClassifier for Models<C> {
    type Error = Error;

    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Error> {
        match self {
            Self::One(model) => model.classify(faces),
            Self::Several(ensemble) => ensemble.classify(faces),
        }
    }

    fn classify_crops(&self, crops: &[Vec<RgbImage>]) -> Result<Vec<CombinedScore>, Error> {
        match self {
            Self::One(model) => model.classify_crops(crops),
            Self::Several(ensemble) => ensemble.classify_crops(crops),
        }
    }

    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Error> {
        match self {
            Self::One(model) => model.explain(face),
            Self::Several(ensemble) => ensemble.explain(face),
        }
    }

    fn info(&self) -> ModelInfo {
        match self {
            Self::One(model) => model.info(),
            Self::Several(ensemble) => ensemble.info(),
        }
    }
}
