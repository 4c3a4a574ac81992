use std::path::Path;
use std::sync::Arc;

use burn::tensor::backend::Backend;
use image::RgbImage;
use rayon::prelude::*;

use crate::fused::{FusedNetwork, InstructionSet};
use crate::gpu::{self, BatchLimit};
use crate::model_file::StoredModel;
use crate::preprocess::Preprocess;
use crate::state_dict::Tensors;
use crate::{
    ActivationMap, Engine, Error, FaceClassifier, FaceScore, ModelInfo, Precision,
    model::{Golden, ModelCard, ModelFile, ModelLimits, Network, StateDict, WeightFormat},
};

const FUSED_IS_SINGLE: &str = "the fused engine computes in f32";

/// A classifier of faces: a network with the card of its model file. Clones share the weights.
///
/// ```no_run
/// use burn::backend::Flex;
/// use deepsight_core::{Classifier, FaceClassifier};
///
/// let classifier = Classifier::<Flex>::load("model.safetensors", &Default::default())?;
/// let face = deepsight_core::image::RgbImage::new(180, 200);
/// println!("{:.1} % fake", 100.0 * classifier.classify(&[face])?[0].fake_probability);
/// # Ok::<(), deepsight_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Classifier<B: Backend> {
    computation: Computation<B>,
    precision: Precision,
    card: ModelCard,
    golden_input: Option<RgbImage>,
    reference_inputs: Vec<RgbImage>,
    sha256: Option<String>,
    device: B::Device,
    batches: Arc<BatchLimit>,
}

/// What computes the logits.
#[derive(Debug, Clone)]
enum Computation<B: Backend> {
    Burn {
        network: Box<Network<B>>,
        /// The network in half precision, if the classifier's precision is not [`Precision::Full`].
        half: Option<Box<Network<B>>>,
    },
    Fused {
        network: Arc<Fused>,
        origin: Weights<B>,
    },
}

/// The weights from which a fused network was built.
#[derive(Debug, Clone)]
enum Weights<B: Backend> {
    Loaded(Box<Network<B>>),
    /// Only in the model file, because a large network would need twice the memory.
    Stored(Arc<StoredModel<'static>>),
}

#[derive(Debug)]
struct Fused {
    network: FusedNetwork,
    /// The differences between the fake and the real class's weights, one for each feature; empty for a vision
    /// transformer.
    margin: Vec<f32>,
}

impl Fused {
    fn new(card: &ModelCard, tensors: &dyn Tensors) -> Result<Self, Error> {
        let network = FusedNetwork::from_tensors(&card.config(), tensors, InstructionSet::from_environment()?)?;
        let mut margin = Vec::new();
        if matches!(network, FusedNetwork::EfficientNet(_)) {
            // `[classes, features]`
            let weights = tensors.values("classifier.weight")?;
            let class = |index: usize| weights.chunks_exact(weights.len() / card.labels.len()).nth(index);
            let (fake, real) = (class(card.fake_index()), class(1 - card.fake_index()));
            margin = fake.into_iter().flatten().zip(real.into_iter().flatten()).map(|(a, b)| a - b).collect();
        }
        Ok(Self { network, margin })
    }
}

impl<B: Backend> Classifier<B> {
    /// Default for the largest batch of faces on a GPU.
    pub const BATCH_SIZE: usize = 32;

    /// Loads the bundled model, which the crate `deepsight-weights` holds. It is for research use only.
    ///
    /// # Errors
    /// Returns an error if the embedded file is damaged.
    #[cfg(feature = "weights")]
    pub fn pretrained(device: &B::Device) -> Result<Self, Error> {
        Self::from_stored(StoredModel::from_bytes(deepsight_weights::EFFICIENTNET_LITE0)?, device)
    }

    /// Loads a model file of up to 4 GiB.
    ///
    /// With the fused engine, memory holds only the fused network. The file stays open, and its weights are read again
    /// if they are needed, such as by [`network`](Self::network).
    ///
    /// # Errors
    /// [`Error::Model`] with the path. Its cause is an error of [`ModelFile::read`] or [`from_file`](Self::from_file).
    pub fn load(path: impl AsRef<Path>, device: &B::Device) -> Result<Self, Error> {
        let path = path.as_ref();
        StoredModel::open(path, ModelLimits::default())
            .and_then(|stored| Self::from_stored(stored, device))
            .map_err(|error| error.at(path))
    }

    /// Loads the content of a model file, such as an upload.
    ///
    /// # Errors
    /// The errors of [`ModelFile::from_bytes`] and [`from_file`](Self::from_file).
    pub fn from_bytes(bytes: &[u8], device: &B::Device) -> Result<Self, Error> {
        Self::from_stored(StoredModel::from_bytes(bytes.to_vec())?, device)
    }

    fn from_stored(stored: StoredModel<'static>, device: &B::Device) -> Result<Self, Error> {
        if !Engine::Auto.is_fused::<B>(device) {
            return Self::from_file(stored.read()?, device);
        }
        let card = stored.card.clone();
        card.config().init::<B>(device)?.check_shapes(&stored)?;
        let (sha256, fused) = stored.read_with(|| Fused::new(&card, &stored))?;
        Ok(Self {
            precision: Precision::Full,
            card,
            golden_input: stored.golden_input.clone(),
            reference_inputs: stored.reference_inputs.clone(),
            sha256: Some(sha256),
            device: device.clone(),
            batches: Arc::new(BatchLimit::new(Self::BATCH_SIZE)),
            computation: Computation::Fused { network: Arc::new(fused), origin: Weights::Stored(Arc::new(stored)) },
        })
    }

    /// Creates a classifier from a model file's content.
    ///
    /// # Errors
    /// [`Error::TensorNames`], [`Error::TensorShape`] or [`Error::TensorNotFinite`] when the weights are not those of
    /// the card's architecture, and the errors of [`ModelCard::validate`] when the card is not usable.
    pub fn from_file(file: ModelFile, device: &B::Device) -> Result<Self, Error> {
        file.card.validate()?;
        let network = file.card.config().init::<B>(device)?;
        network.check_state_dict(&file.weights)?;
        let fused = match Engine::Auto.is_fused::<B>(device) {
            true => Some(Arc::new(Fused::new(&file.card, &file.weights)?)),
            false => None,
        };
        let loaded = Box::new(network.load_state_dict(file.weights)?);
        let computation = match fused {
            Some(network) => Computation::Fused { network, origin: Weights::Loaded(loaded) },
            None => Computation::Burn { network: loaded, half: None },
        };
        Ok(Self {
            computation,
            precision: Precision::Full,
            card: file.card,
            golden_input: file.golden_input,
            reference_inputs: file.reference_inputs,
            sha256: file.sha256,
            device: device.clone(),
            batches: Arc::new(BatchLimit::new(Self::BATCH_SIZE)),
        })
    }

    /// Creates a classifier from a network and the card that describes its use. `golden` and `references` of the card
    /// are ignored, because their inputs are missing.
    ///
    /// # Errors
    /// Returns an error if the card is not usable ([`ModelCard::validate`]), if the network is not the one that the
    /// card describes ([`Network::check_config`]), or if [`compute_with`](Self::compute_with) fails.
    pub fn new(network: impl Into<Network<B>>, mut card: ModelCard, device: &B::Device) -> Result<Self, Error> {
        let network = network.into();
        card.validate()?;
        network.check_config(&card.config())?;
        card.references.clear();
        let classifier = Self {
            computation: Computation::Burn { network: Box::new(network), half: None },
            precision: Precision::Full,
            card,
            golden_input: None,
            reference_inputs: Vec::new(),
            sha256: None,
            device: device.clone(),
            batches: Arc::new(BatchLimit::new(Self::BATCH_SIZE)),
        };
        classifier.compute_with(Engine::Auto)
    }

    /// Changes the engine; it is [`Engine::Auto`] at first.
    ///
    /// # Errors
    /// [`Error::InstructionSet`] when the environment variable `DEEPSIGHT_CPU` names instructions that this processor
    /// does not have; [`Error::Precision`] when the engine is the fused one and the precision is not `f32`; the errors
    /// of [`network`](Self::network).
    pub fn compute_with(mut self, engine: Engine) -> Result<Self, Error> {
        let is_fused = engine.is_fused::<B>(&self.device);
        if self.precision != Precision::Full && is_fused {
            return Err(self.refused(self.precision, FUSED_IS_SINGLE));
        }
        match (&self.computation, is_fused) {
            (Computation::Burn { network, .. }, true) => {
                let fused = Arc::new(Fused::new(&self.card, &network.state_dict())?);
                self.computation = Computation::Fused { network: fused, origin: Weights::Loaded(network.clone()) };
            }
            (Computation::Fused { .. }, false) => {
                self.computation = Computation::Burn { network: Box::new(self.network()?), half: None };
            }
            _ => {}
        }
        Ok(self)
    }

    /// Changes the precision; it is [`Precision::Full`] at first.
    ///
    /// In half precision, operands and results of matrix products have that type, and sums are in single precision.
    /// Everything else stays in single precision. In `f32`, products keep all digits even on GPUs whose matrix units
    /// would round them ([`gpu::conv2d`]), which takes about three times as long there.
    ///
    /// # Errors
    /// [`Error::Precision`] when the device does not have the type, or the engine is the fused one, which computes in
    /// `f32`.
    pub fn compute_in(mut self, precision: Precision) -> Result<Self, Error> {
        let is_half = precision != Precision::Full;
        if is_half && self.engine() == Engine::Fused {
            return Err(self.refused(precision, FUSED_IS_SINGLE));
        }
        if is_half && !B::supports_dtype(&self.device, precision.dtype()) {
            return Err(self.refused(precision, "the device does not have that type"));
        }
        if let Computation::Burn { network, half } = &mut self.computation {
            *half = is_half.then(|| Box::new(network.with_products_in(precision.dtype())));
        }
        self.precision = precision;
        Ok(self)
    }

    fn refused(&self, precision: Precision, reason: &'static str) -> Error {
        Error::Precision { precision, device: B::name(&self.device), reason }
    }

    /// Returns the precision.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Runs the network on `faces` blank faces. A GPU then compiles its kernels, and finds the fastest ones for batches
    /// of that size, before the first real face. A CPU does not need this.
    ///
    /// # Errors
    /// The errors of [`logits`](Self::logits).
    pub fn warm_up(&self, faces: usize) -> Result<(), Error> {
        let side = self.card.input_size;
        self.logits(&vec![RgbImage::new(side, side); faces]).map(drop)
    }

    /// Returns the engine in use: [`Engine::Burn`] or [`Engine::Fused`].
    pub fn engine(&self) -> Engine {
        match self.computation {
            Computation::Burn { .. } => Engine::Burn,
            Computation::Fused { .. } => Engine::Fused,
        }
    }

    /// Returns the fused network, if that is the engine.
    pub fn fused(&self) -> Option<&FusedNetwork> {
        match &self.computation {
            Computation::Burn { .. } => None,
            Computation::Fused { network, .. } => Some(&network.network),
        }
    }

    /// Sets the largest batch of faces, at least 1. GPU memory grows with it.
    ///
    /// It has no effect on the CPU. There, each face goes through the network alone, and rayon's threads process
    /// several at once, which is faster than a batch on either engine.
    #[must_use]
    pub fn with_batch_size(self, batch_size: usize) -> Self {
        Self { batches: Arc::new(BatchLimit::new(batch_size)), ..self }
    }

    /// Returns the largest batch of faces. It is smaller than the configured one after a GPU's memory was full, which
    /// is logged.
    pub fn batch_size(&self) -> usize {
        self.batches.size()
    }

    /// Returns the model card.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// Returns the network on Burn. With the fused engine, this reads the weights of a loaded model again.
    ///
    /// # Errors
    /// [`Error::ModelIo`] when the model file cannot be read any more, [`Error::ModelChanged`] when its content
    /// changed.
    pub fn network(&self) -> Result<Network<B>, Error> {
        let stored = match &self.computation {
            Computation::Burn { network, .. } | Computation::Fused { origin: Weights::Loaded(network), .. } => {
                return Ok(network.as_ref().clone());
            }
            Computation::Fused { origin: Weights::Stored(stored), .. } => stored,
        };
        let weights = self.unchanged(stored)?;
        self.card.config().init::<B>(&self.device)?.load_state_dict(weights)
    }

    /// Returns the weights, by timm's names.
    fn state_dict(&self) -> Result<StateDict, Error> {
        match &self.computation {
            Computation::Burn { network, .. } | Computation::Fused { origin: Weights::Loaded(network), .. } => {
                Ok(network.state_dict())
            }
            Computation::Fused { origin: Weights::Stored(stored), .. } => self.unchanged(stored),
        }
    }

    /// Reads the weights, and checks that the file is still the one that was loaded.
    fn unchanged(&self, stored: &StoredModel<'_>) -> Result<StateDict, Error> {
        let file = stored.read()?;
        if file.sha256 != self.sha256 {
            return Err(Error::ModelChanged { name: self.card.name.clone() });
        }
        Ok(file.weights)
    }

    /// Computes the uncalibrated logits of each face, in the order of the card's labels.
    ///
    /// # Errors
    /// [`Error::EmptyFace`], [`Error::LogitsNotFinite`] and [`Error::Backend`].
    pub fn logits(&self, faces: &[RgbImage]) -> Result<Vec<[f32; 2]>, Error> {
        self.checked_logits(faces, self.card.mirrored)
    }

    fn checked_logits(&self, faces: &[RgbImage], mirrored: bool) -> Result<Vec<[f32; 2]>, Error> {
        if let Some(index) = faces.iter().position(is_empty) {
            let (width, height) = faces[index].dimensions();
            return Err(Error::EmptyFace { index, width, height });
        }
        let mut logits = self.network_logits(faces)?;
        if mirrored {
            let mirrored: Vec<RgbImage> = faces.par_iter().map(image::imageops::flip_horizontal).collect();
            for (logits, other) in logits.iter_mut().zip(self.network_logits(&mirrored)?) {
                *logits = [0, 1].map(|class| f32::midpoint(logits[class], other[class]));
            }
        }
        match logits.iter().position(|logits| logits.iter().any(|logit| !logit.is_finite())) {
            Some(index) => Err(Error::LogitsNotFinite { index, logits: logits[index].to_vec() }),
            None => Ok(logits),
        }
    }

    /// Computes the network's logits of the faces, without those of their mirror images.
    fn network_logits(&self, faces: &[RgbImage]) -> Result<Vec<[f32; 2]>, Error> {
        let (network, half) = match &self.computation {
            Computation::Fused { network, .. } => return Ok(self.forward_fused(&network.network, faces)),
            Computation::Burn { network, half } => (network, half),
        };
        let network = half.as_ref().unwrap_or(network);
        Ok(match Engine::Auto.is_fused::<B>(&self.device) {
            // One face per call, in parallel, because most operators of Burn's CPU backends use one thread.
            true => {
                let logits = faces.par_chunks(1).map(|face| self.forward(network, face));
                logits.collect::<Result<Vec<_>, _>>()?.concat()
            }
            false => {
                let clean_up = || B::memory_cleanup(&self.device);
                self.batches.run("faces", faces, clean_up, |faces| self.forward(network, faces))?
            }
        })
    }

    fn forward(&self, network: &Network<B>, faces: &[RgbImage]) -> Result<Vec<[f32; 2]>, Error> {
        let input = Preprocess::new(&self.card).batch(faces, &self.device);
        let logits = network.forward(input).try_into_data().map_err(backend)?;
        let logits: Vec<f32> = logits.iter::<f32>().collect();
        Ok(logits.as_chunks().0.to_vec())
    }

    fn forward_fused(&self, fused: &FusedNetwork, faces: &[RgbImage]) -> Vec<[f32; 2]> {
        let preprocess = Preprocess::new(&self.card);
        let logits = fused.forward(faces.len(), self.size(), |index, canvas| preprocess.fill(&faces[index], canvas));
        logits.as_chunks().0.to_vec()
    }

    /// Returns the height and width of the network's input.
    fn size(&self) -> (usize, usize) {
        let side = self.card.input_size as usize;
        (side, side)
    }

    /// Computes how strongly each position of a face supports the fake class against the real one. Returns the values
    /// row by row, and the map's width and height; `None` for a vision transformer.
    fn class_activation(&self, face: &RgbImage) -> Result<Option<(Vec<f32>, usize, usize)>, Error> {
        let preprocess = Preprocess::new(&self.card);
        let network = match &self.computation {
            Computation::Fused { network, .. } => {
                let FusedNetwork::EfficientNet(fused) = &network.network else { return Ok(None) };
                let (features, height, width) =
                    fused.forward_features(self.size(), |canvas| preprocess.fill(face, canvas));
                let margin = &network.margin;
                let place = |features: &[f32]| features.iter().zip(margin).map(|(value, weight)| value * weight).sum();
                return Ok(Some((features.chunks_exact(margin.len()).map(place).collect(), width, height)));
            }
            Computation::Burn { network, .. } => {
                let Network::EfficientNet(network) = network.as_ref() else { return Ok(None) };
                network
            }
        };
        let fake = self.card.fake_index();
        let weights = network.classifier_weights();
        let margin = weights.clone().narrow(1, fake, 1) - weights.narrow(1, 1 - fake, 1);
        let features = network.forward_features(preprocess.batch(std::slice::from_ref(face), &self.device));
        let [_, channels, height, width] = features.dims();
        let map = margin.transpose().matmul(features.reshape([channels, height * width]));
        Ok(Some((map.try_into_data().map_err(backend)?.iter::<f32>().collect(), width, height)))
    }

    fn score(&self, logits: [f32; 2]) -> FaceScore {
        self.score_at(logits, self.card.temperature)
    }

    fn score_at(&self, logits: [f32; 2], temperature: f32) -> FaceScore {
        let fake = self.card.fake_index();
        let margin = f64::from(logits[fake] - logits[1 - fake]) / f64::from(temperature);
        FaceScore::new((1.0 / (1.0 + (-margin).exp())) as f32)
    }

    /// Scores a golden input and records it, a face as the card's crop cuts it out. Its score becomes the one that the
    /// model file specifies, with a tolerance of 0.001. The face is stored in the file, so it must be one that may be
    /// distributed.
    ///
    /// # Errors
    /// The errors of [`logits`](Self::logits).
    pub fn record_golden_input(mut self, face: RgbImage) -> Result<Self, Error> {
        let score = self.score(self.logits(std::slice::from_ref(&face))?[0]);
        self.card.golden = Some(Golden { fake_probability: score.fake_probability, tolerance: 1e-3 });
        self.golden_input = Some(face);
        Ok(self)
    }

    /// Scores a face, as the card's crop cuts it out, and compares the score with that of the original network. The
    /// face and the score are then stored in the model file, so it must be a face that may be distributed. The score is
    /// the softmax of the network's logits, without the card's temperature and without the mirror image.
    ///
    /// # Errors
    /// [`Error::ReferenceMismatch`] when the fake probabilities differ by more than `tolerance`,
    /// [`Error::ModelCardInvalid`] when the probability or the tolerance is not usable, and the errors of
    /// [`logits`](Self::logits).
    pub fn record_reference(mut self, face: RgbImage, fake_probability: f32, tolerance: f32) -> Result<Self, Error> {
        self.card.references.push(Golden { fake_probability, tolerance });
        self.card.validate()?;
        self.reference_inputs.push(face);
        self.verify_reference(self.reference_inputs.len() - 1)?;
        Ok(self)
    }

    fn verify_reference(&self, index: usize) -> Result<(), Error> {
        let Golden { fake_probability: expected, tolerance } = self.card.references[index];
        let face = &self.reference_inputs[index];
        // The original has neither the card's temperature nor, as a rule, mirror images, and both may change later.
        let logits = self.checked_logits(std::slice::from_ref(face), false)?[0];
        let found = self.score_at(logits, 1.0).fake_probability;
        if (found - expected).abs() <= tolerance {
            return Ok(());
        }
        Err(Error::ReferenceMismatch { number: index + 1, found, expected, tolerance })
    }

    /// Scores the golden input and the references, and returns the golden input's score; `None` if the model file
    /// contains none.
    ///
    /// # Errors
    /// [`Error::GoldenMismatch`] when the score is not the one that the file specifies, [`Error::ReferenceMismatch`]
    /// when a reference does not get the score of the original network, and the errors of [`logits`](Self::logits).
    pub fn verify(&self) -> Result<Option<FaceScore>, Error> {
        (0..self.reference_inputs.len()).try_for_each(|index| self.verify_reference(index))?;
        let (Some(golden), Some(face)) = (self.card.golden, &self.golden_input) else { return Ok(None) };
        let score = self.score(self.logits(std::slice::from_ref(face))?[0]);
        if (score.fake_probability - golden.fake_probability).abs() > golden.tolerance {
            return Err(Error::GoldenMismatch {
                found: score.fake_probability,
                expected: golden.fake_probability,
                tolerance: golden.tolerance,
            });
        }
        Ok(Some(score))
    }

    /// Returns a classifier with the weights as a model file of this format stores them, rounded. It scores the golden
    /// input again. The references keep the scores of the original network; [`verify`](Self::verify) compares them.
    /// Engine and precision are those of a model that was just loaded.
    ///
    /// # Errors
    /// The errors of [`network`](Self::network), [`ModelFile::to_bytes`], [`from_file`](Self::from_file) and
    /// [`logits`](Self::logits).
    pub fn round_weights(&self, format: WeightFormat) -> Result<Self, Error> {
        let rounded = Self::from_bytes(&self.to_file(format)?.to_bytes()?, &self.device)?;
        match rounded.golden_input.clone() {
            Some(face) => rounded.record_golden_input(face),
            None => Ok(rounded),
        }
    }

    /// Returns the content of a model file with this classifier's weights, card and golden input.
    ///
    /// # Errors
    /// The errors of [`network`](Self::network).
    pub fn to_file(&self, format: WeightFormat) -> Result<ModelFile, Error> {
        let mut card = self.card.clone();
        card.golden = card.golden.filter(|_| self.golden_input.is_some());
        Ok(ModelFile {
            card,
            weights: self.state_dict()?,
            golden_input: self.golden_input.clone(),
            reference_inputs: self.reference_inputs.clone(),
            sha256: None,
            format,
        })
    }

    /// Writes a model file, in one step.
    ///
    /// # Errors
    /// The errors of [`network`](Self::network) and [`ModelFile::write`].
    pub fn save(&self, path: impl AsRef<Path>, format: WeightFormat) -> Result<(), Error> {
        self.to_file(format)?.write(path)
    }
}

impl<B: Backend> FaceClassifier for Classifier<B> {
    type Error = Error;

    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Error> {
        Ok(self.logits(faces)?.into_iter().map(|logits| self.score(logits)).collect())
    }

    /// Computes the class activation map (Zhou et al., CVPR 2016) of the margin between fake and real, because a
    /// softmax of two classes depends only on that margin. The map is the last feature map weighted by the difference
    /// of the two classes' weights. Negative values, which support the real class, become 0, and the largest value
    /// becomes 1. If no position supports the fake class, the map is 0 everywhere. `None` for a vision transformer,
    /// whose logits are no sum over positions.
    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Error> {
        if is_empty(face) {
            return Err(Error::EmptyFace { index: 0, width: face.width(), height: face.height() });
        }
        let Some((values, width, height)) = self.class_activation(face)? else { return Ok(None) };
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::LogitsNotFinite { index: 0, logits: vec![*value] });
        }
        Ok(Some(ActivationMap::from_coarse(&values, width, height, face.width(), face.height())))
    }

    fn info(&self) -> ModelInfo {
        let mut info = ModelInfo::new(&self.card.name);
        info.architecture = self.card.architecture.to_string();
        info.sha256.clone_from(&self.sha256);
        info.trained_on.clone_from(&self.card.trained_on);
        info.terms.clone_from(&self.card.terms);
        info.threshold = self.card.threshold;
        info.crop = self.card.crop;
        info.engine = Some(self.engine());
        info.precision = Some(self.precision);
        info.reliability.clone_from(&self.card.reliability);
        info
    }
}

fn is_empty(face: &RgbImage) -> bool {
    face.width() == 0 || face.height() == 0
}

fn backend(error: impl std::fmt::Display) -> Error {
    Error::Backend { reason: gpu::device_message(&error.to_string()) }
}
