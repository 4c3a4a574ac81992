use std::path::Path;

use burn::tensor::backend::Backend;
use image::RgbImage;
use rayon::prelude::*;

use crate::fused::{FusedEfficientNet, kernels::InstructionSet};
use crate::gpu::{self, BatchLimit};
use crate::preprocess::Preprocess;
use crate::{
    ActivationMap, EfficientNet, Engine, Error, FaceClassifier, FaceCrop, FaceScore, Golden, ModelCard, ModelFile,
    ModelInfo, Precision, WeightFormat,
};

const FUSED_IS_SINGLE: &str = "the fused engine computes in f32";

/// Scores faces: an EfficientNet with all that its model file says about using it.
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
#[derive(Debug)]
pub struct Classifier<B: Backend> {
    network: EfficientNet<B>,
    /// Takes the network's place where it is there.
    fused: Option<FusedEfficientNet>,
    precision: Precision,
    /// The network in half precision, where that is what computes.
    half: Option<EfficientNet<B>>,
    card: ModelCard,
    golden_input: Option<RgbImage>,
    sha256: Option<String>,
    device: B::Device,
    batches: BatchLimit,
}

impl<B: Backend> Classifier<B> {
    /// Largest number of faces that go through the network together on a GPU, unless told otherwise.
    pub const BATCH_SIZE: usize = 32;

    /// The model that comes with this crate.
    ///
    /// # Errors
    /// When the embedded file is damaged.
    pub fn pretrained(device: &B::Device) -> Result<Self, Error> {
        Self::from_bytes(include_bytes!("../weights/efficientnet_lite0.safetensors"), device)
    }

    /// Loads a model file.
    ///
    /// # Errors
    /// [`Error::Model`] with the path; its cause is what [`ModelFile::from_bytes`] and
    /// [`from_file`](Self::from_file) say.
    pub fn load(path: impl AsRef<Path>, device: &B::Device) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::from_file(ModelFile::read(path)?, device).map_err(|error| error.at(path))
    }

    /// Loads the content of a model file, such as an upload.
    ///
    /// # Errors
    /// What [`ModelFile::from_bytes`] and [`from_file`](Self::from_file) say.
    pub fn from_bytes(bytes: &[u8], device: &B::Device) -> Result<Self, Error> {
        Self::from_file(ModelFile::from_bytes(bytes)?, device)
    }

    /// A classifier of a model file's content.
    ///
    /// # Errors
    /// When the weights are not those of the card's architecture: [`Error::TensorNames`], [`Error::TensorShape`],
    /// [`Error::TensorNotFinite`]; when the card cannot be used ([`ModelCard::validate`]).
    pub fn from_file(file: ModelFile, device: &B::Device) -> Result<Self, Error> {
        file.card.validate()?;
        let config = file.card.architecture.config();
        let network = config.init::<B>(device);
        network.check_state_dict(&file.weights)?;
        let fused = match Engine::Auto.is_fused::<B>(device) {
            true => Some(FusedEfficientNet::new(&config, &file.weights, InstructionSet::from_environment()?)?),
            false => None,
        };
        let network = network.load_state_dict(file.weights)?;
        Ok(Self {
            network,
            fused,
            precision: Precision::Full,
            half: None,
            card: file.card,
            golden_input: file.golden_input,
            sha256: file.sha256,
            device: device.clone(),
            batches: BatchLimit::new(Self::BATCH_SIZE),
        })
    }

    /// A classifier of a network and the card that says how to use it. A `golden` of the card is dropped: its input is
    /// not here.
    ///
    /// # Errors
    /// When the card cannot be used ([`ModelCard::validate`]), the network is not of the card's architecture, or what
    /// [`with_engine`](Self::with_engine) says.
    pub fn new(network: EfficientNet<B>, card: ModelCard, device: &B::Device) -> Result<Self, Error> {
        card.validate()?;
        let classifier = Self {
            network,
            fused: None,
            precision: Precision::Full,
            half: None,
            card,
            golden_input: None,
            sha256: None,
            device: device.clone(),
            batches: BatchLimit::new(Self::BATCH_SIZE),
        };
        classifier.with_engine(Engine::Auto)
    }

    /// The same classifier on another engine; [`Engine::Auto`] unless told.
    ///
    /// # Errors
    /// [`Error::InstructionSet`] when the environment variable `DEEPSIGHT_CPU` names instructions that this processor does
    /// not have; [`Error::Precision`] when the fused engine is to compute in half precision.
    pub fn with_engine(mut self, engine: Engine) -> Result<Self, Error> {
        if self.precision != Precision::Full && engine.is_fused::<B>(&self.device) {
            return Err(self.refused(self.precision, FUSED_IS_SINGLE));
        }
        match (engine.is_fused::<B>(&self.device), &self.fused) {
            (true, None) => {
                let (config, weights) = (self.card.architecture.config(), self.network.state_dict());
                let set = InstructionSet::from_environment()?;
                self.fused = Some(FusedEfficientNet::new(&config, &weights, set)?);
            }
            (true, Some(_)) => {}
            (false, _) => self.fused = None,
        }
        Ok(self)
    }

    /// The same classifier computing in another precision; [`Precision::Full`] unless told.
    ///
    /// In half precision matrix products take and give numbers of that type and add up in single precision; all else stays in
    /// single precision. In `f32`, products keep their digits also on GPUs whose
    /// matrix units would round them ([`gpu::conv2d`]), which takes about three times as long there.
    ///
    /// # Errors
    /// [`Error::Precision`] when the device does not have the type, or the engine is the fused one, which computes in `f32`.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self, Error> {
        if precision != Precision::Full {
            if self.fused.is_some() {
                return Err(self.refused(precision, FUSED_IS_SINGLE));
            }
            if !B::supports_dtype(&self.device, precision.dtype()) {
                return Err(self.refused(precision, "the device does not have that type"));
            }
        }
        self.half = (precision != Precision::Full).then(|| self.network.with_products_in(precision.dtype()));
        self.precision = precision;
        Ok(self)
    }

    fn refused(&self, precision: Precision, reason: &'static str) -> Error {
        Error::Precision { precision, device: B::name(&self.device), reason }
    }

    /// The precision it computes in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Runs the network on `faces` blank faces, so that a GPU compiles its kernels, and finds the fastest ones for batches of
    /// that size, before the first face comes. A CPU needs no warming up.
    ///
    /// # Errors
    /// What [`logits`](Self::logits) says.
    pub fn warm_up(&self, faces: usize) -> Result<(), Error> {
        let side = self.card.input_size;
        self.logits(&vec![RgbImage::new(side, side); faces]).map(drop)
    }

    /// The engine in use: [`Engine::Burn`] or [`Engine::Fused`].
    pub fn engine(&self) -> Engine {
        if self.fused.is_some() { Engine::Fused } else { Engine::Burn }
    }

    /// The fused network, where that is the engine.
    pub fn fused(&self) -> Option<&FusedEfficientNet> {
        self.fused.as_ref()
    }

    /// The same classifier with at most this many faces (at least one) in the network together. GPU memory grows with it.
    ///
    /// It changes nothing on the CPU: there every face goes through the network alone, several at once on rayon's
    /// threads, which is faster than a batch on either engine.
    pub fn with_batch_size(self, batch_size: usize) -> Self {
        Self { batches: BatchLimit::new(batch_size), ..self }
    }

    /// The largest number of faces that go through the network together: smaller than was asked for since a GPU's memory was
    /// full, which the log says.
    pub fn batch_size(&self) -> usize {
        self.batches.size()
    }

    /// What the model file says.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// The network.
    pub fn network(&self) -> &EfficientNet<B> {
        &self.network
    }

    /// Logits of each face, uncalibrated, in the order of the card's labels.
    ///
    /// # Errors
    /// [`Error::EmptyFace`], [`Error::LogitsNotFinite`] and [`Error::Backend`].
    pub fn logits(&self, faces: &[RgbImage]) -> Result<Vec<[f32; 2]>, Error> {
        if let Some(index) = faces.iter().position(is_empty) {
            let (width, height) = faces[index].dimensions();
            return Err(Error::EmptyFace { index, width, height });
        }
        let mut logits = self.network_logits(faces)?;
        if self.card.mirrored {
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

    /// Returns the network's answers to the faces as they are.
    fn network_logits(&self, faces: &[RgbImage]) -> Result<Vec<[f32; 2]>, Error> {
        Ok(match &self.fused {
            Some(fused) => self.forward_fused(fused, faces),
            // One by one: most operators of Burn's CPU backends use one thread.
            None if Engine::Auto.is_fused::<B>(&self.device) => {
                faces.par_chunks(1).map(|face| self.forward(face)).collect::<Result<Vec<_>, _>>()?.concat()
            }
            None => {
                self.batches.run("faces", faces, || B::memory_cleanup(&self.device), |faces| self.forward(faces))?
            }
        })
    }

    fn forward(&self, faces: &[RgbImage]) -> Result<Vec<[f32; 2]>, Error> {
        let input = Preprocess::new(&self.card).batch(faces, &self.device);
        let network = self.half.as_ref().unwrap_or(&self.network);
        let logits = network.forward(input).try_into_data().map_err(backend)?;
        let logits: Vec<f32> = logits.iter::<f32>().collect();
        Ok(logits.as_chunks().0.to_vec())
    }

    fn forward_fused(&self, fused: &FusedEfficientNet, faces: &[RgbImage]) -> Vec<[f32; 2]> {
        let preprocess = Preprocess::new(&self.card);
        let logits = fused.forward(faces.len(), self.size(), |index, canvas| preprocess.fill(&faces[index], canvas));
        logits.as_chunks().0.to_vec()
    }

    /// Height and width of the network's input.
    fn size(&self) -> (usize, usize) {
        let side = self.card.input_size as usize;
        (side, side)
    }

    /// How much each place of a face speaks for the fake class rather than the real one, row by row, with the map's width
    /// and height.
    fn class_activation(&self, face: &RgbImage) -> Result<(Vec<f32>, usize, usize), Error> {
        let fake = self.card.fake_index();
        let preprocess = Preprocess::new(&self.card);
        let weights = self.network.classifier_weights();
        let margin = weights.clone().narrow(1, fake, 1) - weights.narrow(1, 1 - fake, 1);
        if let Some(fused) = &self.fused {
            let margin: Vec<f32> = margin.try_into_data().map_err(backend)?.iter::<f32>().collect();
            let (features, height, width) = fused.forward_features(self.size(), |canvas| preprocess.fill(face, canvas));
            let place = |features: &[f32]| features.iter().zip(&margin).map(|(feature, weight)| feature * weight).sum();
            return Ok((features.chunks_exact(margin.len()).map(place).collect(), width, height));
        }
        let features = self.network.forward_features(preprocess.batch(std::slice::from_ref(face), &self.device));
        let [_, channels, height, width] = features.dims();
        let map = margin.transpose().matmul(features.reshape([channels, height * width]));
        Ok((map.try_into_data().map_err(backend)?.iter::<f32>().collect(), width, height))
    }

    fn score(&self, logits: [f32; 2]) -> FaceScore {
        let fake = self.card.fake_index();
        let margin = f64::from(logits[fake] - logits[1 - fake]) / f64::from(self.card.temperature);
        FaceScore::new((1.0 / (1.0 + (-margin).exp())) as f32)
    }

    /// The same classifier with a golden input, a face as the card's crop cuts it out: its score is what the model file promises from
    /// here on, within 0.001. The face travels in the file, so it must be one that may be passed on.
    ///
    /// # Errors
    /// What [`logits`](Self::logits) says.
    pub fn with_golden_input(mut self, face: RgbImage) -> Result<Self, Error> {
        let score = self.score(self.logits(std::slice::from_ref(&face))?[0]);
        self.card.golden = Some(Golden { fake_probability: score.fake_probability, tolerance: 1e-3 });
        self.golden_input = Some(face);
        Ok(self)
    }

    /// Runs the golden input, and says what it scored; `None` if the model file carries none.
    ///
    /// # Errors
    /// [`Error::GoldenMismatch`] when the score is not the one the file promises, and what
    /// [`logits`](Self::logits) says.
    pub fn verify(&self) -> Result<Option<FaceScore>, Error> {
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

    /// The content of a model file with this classifier's weights, card and golden input.
    pub fn to_file(&self, format: WeightFormat) -> ModelFile {
        let mut card = self.card.clone();
        card.golden = card.golden.filter(|_| self.golden_input.is_some());
        ModelFile {
            card,
            weights: self.network.state_dict(),
            golden_input: self.golden_input.clone(),
            sha256: None,
            format,
        }
    }

    /// Writes a model file, in one step.
    ///
    /// # Errors
    /// As for [`ModelFile::write`].
    pub fn save(&self, path: impl AsRef<Path>, format: WeightFormat) -> Result<(), Error> {
        self.to_file(format).write(path)
    }
}

impl<B: Backend> FaceClassifier for Classifier<B> {
    type Error = Error;

    fn crop(&self) -> FaceCrop {
        self.card.crop
    }

    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Error> {
        Ok(self.logits(faces)?.into_iter().map(|logits| self.score(logits)).collect())
    }

    /// Class activation map (Zhou et al., CVPR 2016) of the margin between fake and real, which is all that a softmax of
    /// two classes sees: the last feature map weighted by the difference of the two classes' weights, what speaks for
    /// real cut off at 0, the strongest place scaled to 1. Where nothing speaks for a forgery the map is 0 throughout.
    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Error> {
        if is_empty(face) {
            return Err(Error::EmptyFace { index: 0, width: face.width(), height: face.height() });
        }
        let (values, width, height) = self.class_activation(face)?;
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
