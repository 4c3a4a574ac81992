mod answer;
mod config;
mod derived;
mod file;
mod models;
mod stacking;

use image::RgbImage;

pub use self::answer::{EnsembleAnswer, ModelAnswer};
pub use self::config::{Combination, EnsembleConfig, EnsembleInfo};
pub use self::file::{EnsembleFile, EnsembleMember};
pub use self::models::Models;
use crate::{ActivationMap, CombinedScore, Error, FaceClassifier, FaceCrop, FaceScore, ModelInfo};

/// Several models that score every face together.
///
/// Each model gets the crop that it needs. Its probability is calibrated, but its threshold is its own, so the models
/// are combined by their log-odds relative to their thresholds: see [`Combination`]. The analysis reports the answer of
/// each model and their disagreement, and calls a clip UNCERTAIN on which they disagree too much
/// ([`EnsembleConfig::max_disagreement`]).
///
/// ```
/// # use std::convert::Infallible;
/// # use deepsight_core::image::RgbImage;
/// # use deepsight_core::{Ensemble, EnsembleConfig, FaceClassifier, FaceScore, ModelInfo};
/// # struct Always(&'static str, f32, f32);
/// # impl FaceClassifier for Always {
/// #     type Error = Infallible;
/// #     fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Infallible> {
/// #         Ok(vec![FaceScore::new(self.1); faces.len()])
/// #     }
/// #     fn info(&self) -> ModelInfo {
/// #         let mut info = ModelInfo::new(self.0);
/// #         info.threshold = self.2;
/// #         info
/// #     }
/// # }
/// // Each answers its probability, and has its threshold. Both are at their thresholds.
/// let models = vec![Always("strict", 0.8, 0.8), Always("lenient", 0.3, 0.3)];
/// let ensemble = Ensemble::new(models, EnsembleConfig::new())?;
/// let score = &ensemble.classify(&[RgbImage::new(8, 8)])?[0];
/// assert!((score.fake_probability - 0.5).abs() < 1e-6);
/// # Ok::<(), deepsight_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ensemble<C> {
    models: Vec<C>,
    info: ModelInfo,
    config: EnsembleConfig,
    thresholds: Vec<f32>,
    /// For each model, the position of its crop among those of [`ModelInfo::crops`].
    crops: Vec<usize>,
}

impl<C: FaceClassifier> Ensemble<C> {
    /// Creates an ensemble of these models.
    ///
    /// # Errors
    /// - [`Error::EnsembleSize`] unless there are 2 to 8 models;
    /// - [`Error::EnsembleDuplicate`] if two models were read from equal files;
    /// - [`Error::EnsembleMember`] if a model is an ensemble itself, or has a threshold of 0 or 1;
    /// - [`Error::Setting`] if a value of the configuration is outside its range or does not fit the models.
    pub fn new(models: Vec<C>, config: EnsembleConfig) -> Result<Self, Error> {
        let infos: Vec<ModelInfo> = models.iter().map(FaceClassifier::info).collect();
        if !EnsembleConfig::SIZES.contains(&infos.len()) {
            return Err(Error::EnsembleSize { count: infos.len(), range: EnsembleConfig::SIZES });
        }
        for (position, info) in infos.iter().enumerate() {
            check(info)?;
            let earlier = infos[..position].iter().find(|earlier| earlier.sha256 == info.sha256);
            if let (Some(_), Some(sha256)) = (earlier, &info.sha256) {
                return Err(Error::EnsembleDuplicate { name: info.name.clone(), sha256: sha256.clone() });
            }
        }
        config.validate(infos.len())?;
        let thresholds = infos.iter().map(|info| info.threshold).collect();
        let info = derived::info(infos, &config);
        let needed = info.crops();
        let position = |crop: FaceCrop| needed.iter().position(|&needed| needed == crop).unwrap_or(0);
        let models_of = info.ensemble.iter().flat_map(|ensemble| &ensemble.models);
        let crops = models_of.map(|model| position(model.crop)).collect();
        Ok(Self { models, info, config, thresholds, crops })
    }

    /// Returns the models, in order.
    pub fn models(&self) -> &[C] {
        &self.models
    }

    /// Returns the configuration.
    pub fn config(&self) -> &EnsembleConfig {
        &self.config
    }

    fn name(&self, model: usize) -> String {
        self.info.ensemble.as_ref().and_then(|info| info.models.get(model)).map_or(String::new(), |m| m.name.clone())
    }

    /// Returns the probabilities that one model gives the faces, after checking them.
    fn score(&self, model: usize, faces: &[RgbImage]) -> Result<Vec<f32>, Error> {
        let failed = |source| Error::Member { name: self.name(model), source };
        let scores = self.models[model].classify(faces).map_err(|error| failed(error.into()))?;
        if scores.len() != faces.len() {
            return Err(failed(format!("it gave {} scores for {} faces", scores.len(), faces.len()).into()));
        }
        let probability = |score: FaceScore| {
            let probability = score.fake_probability;
            let usable = (0.0..=1.0).contains(&probability);
            usable
                .then_some(probability)
                .ok_or_else(|| failed(format!("its probability is {probability}, outside 0..=1").into()))
        };
        scores.into_iter().map(probability).collect()
    }

    /// Combines the scores of each model, of which each has one for every face.
    fn combine(&self, columns: &[Vec<f32>]) -> Vec<CombinedScore> {
        let faces = columns.first().map_or(0, Vec::len);
        let score = |face: usize| {
            let by_model: Vec<f32> = columns.iter().map(|column| column[face]).collect();
            CombinedScore::new(self.config.combination.combine(&by_model, &self.thresholds), by_model)
        };
        (0..faces).map(score).collect()
    }
}

/// Checks that a model can be part of an ensemble.
fn check(info: &ModelInfo) -> Result<(), Error> {
    let refused = |reason: String| Err(Error::EnsembleMember { name: info.name.clone(), reason });
    if info.ensemble.is_some() {
        return refused("it is an ensemble itself; name its models instead".into());
    }
    if !(info.threshold > 0.0 && info.threshold < 1.0) {
        let threshold = info.threshold;
        return refused(format!(
            "its threshold is {threshold}, and probabilities are compared relative to thresholds between 0 and 1; \
             calibrate the model"
        ));
    }
    Ok(())
}

impl<C: FaceClassifier> FaceClassifier for Ensemble<C> {
    type Error = Error;

    /// Returns the combined score of each face, if all models need the same crop.
    ///
    /// # Errors
    /// [`Error::EnsembleCrops`] if the models need different crops, [`Error::Member`] if a model fails.
    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Error> {
        let needed = self.info.crops().len();
        if needed != 1 {
            return Err(Error::EnsembleCrops { needed, found: 1 });
        }
        let columns: Result<Vec<_>, Error> = (0..self.models.len()).map(|model| self.score(model, faces)).collect();
        Ok(self.combine(&columns?).into_iter().map(|score| FaceScore::new(score.fake_probability)).collect())
    }

    /// Returns the combined score of each face, and that of each model.
    ///
    /// # Errors
    /// [`Error::EnsembleCrops`] if the number of crops is not that of [`ModelInfo::crops`], [`Error::Member`] if a
    /// model fails.
    fn classify_crops(&self, crops: &[Vec<RgbImage>]) -> Result<Vec<CombinedScore>, Error> {
        let needed = self.info.crops().len();
        if needed != crops.len() {
            return Err(Error::EnsembleCrops { needed, found: crops.len() });
        }
        let score = |(model, &crop): (usize, &usize)| self.score(model, &crops[crop]);
        let columns = self.crops.iter().enumerate().map(score).collect::<Result<Vec<_>, Error>>()?;
        if let Some(short) = columns.iter().position(|column| column.len() != columns[0].len()) {
            let (found, expected) = (columns[short].len(), columns[0].len());
            let source = format!("it got crops of {found} faces, and the first model of {expected}").into();
            return Err(Error::Member { name: self.name(short), source });
        }
        Ok(self.combine(&columns))
    }

    /// Computes the map of the first model, whose crop the reports show.
    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Error> {
        let failed = |source| Error::Member { name: self.name(0), source };
        self.models[0].explain(face).map_err(|error| failed(error.into()))
    }

    fn info(&self) -> ModelInfo {
        self.info.clone()
    }
}
