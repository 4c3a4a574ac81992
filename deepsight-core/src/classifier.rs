use std::path::Path;

use burn::tensor::backend::Backend;
use image::RgbImage;
use rayon::prelude::*;

use crate::preprocess::Preprocess;
use crate::{
    ActivationMap, EfficientNet, Error, FaceClassifier, FaceCrop, FaceScore, ModelCard, ModelFile, ModelInfo, Precision,
};

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
    card: ModelCard,
    golden_input: Option<RgbImage>,
    sha256: Option<String>,
    device: B::Device,
    batch_size: usize,
    threads: Threads,
}

/// What is spread over the CPU's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threads {
    /// Faces: each goes through the network alone, several at once. On Burn's CPU backends this beats a batch, because
    /// most of their operators use one thread.
    Faces,
    /// Nothing here: one tensor of many faces, for a device that wants large batches.
    Batches,
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
        let network = file.card.architecture.config().init::<B>(device).load_state_dict(file.weights)?;
        let mut classifier = Self::new(network, file.card, device)?;
        classifier.golden_input = file.golden_input;
        classifier.sha256 = file.sha256;
        Ok(classifier)
    }

    /// A classifier of a network and the card that says how to use it. A `golden` of the card is dropped: its input is
    /// not here.
    ///
    /// # Errors
    /// When the card cannot be used ([`ModelCard::validate`]).
    pub fn new(network: EfficientNet<B>, card: ModelCard, device: &B::Device) -> Result<Self, Error> {
        card.validate()?;
        // By name, because nothing in a backend's type says whether it computes on the CPU.
        let name = B::name(device);
        let on_cpu = ["flex", "ndarray"].iter().any(|cpu| name.contains(cpu));
        Ok(Self {
            network,
            card,
            golden_input: None,
            sha256: None,
            device: device.clone(),
            batch_size: Self::BATCH_SIZE,
            threads: if on_cpu { Threads::Faces } else { Threads::Batches },
        })
    }

    /// The same classifier with at most this many faces (at least one) in the network together. GPU memory grows with it.
    ///
    /// It changes nothing on `flex` and `ndarray`: there every face goes through the network alone, several at once on
    /// the threads of the CPU, which is faster than a batch.
    pub fn with_batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size.max(1);
        self
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
        let chunks: Vec<Vec<[f32; 2]>> = match self.threads {
            Threads::Faces => faces.par_chunks(1).map(|face| self.forward(face)).collect::<Result<_, _>>()?,
            Threads::Batches => {
                faces.chunks(self.batch_size).map(|faces| self.forward(faces)).collect::<Result<_, _>>()?
            }
        };
        let logits = chunks.concat();
        match logits.iter().position(|logits| logits.iter().any(|logit| !logit.is_finite())) {
            Some(index) => Err(Error::LogitsNotFinite { index, logits: logits[index].to_vec() }),
            None => Ok(logits),
        }
    }

    fn forward(&self, faces: &[RgbImage]) -> Result<Vec<[f32; 2]>, Error> {
        let input = Preprocess::new(&self.card).batch(faces, &self.device);
        let logits = self.network.forward(input).try_into_data().map_err(backend)?;
        let logits: Vec<f32> = logits.iter::<f32>().collect();
        Ok(logits.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
    }

    fn score(&self, logits: [f32; 2]) -> FaceScore {
        let fake = self.card.fake_index();
        let margin = f64::from(logits[fake] - logits[1 - fake]) / f64::from(self.card.temperature);
        FaceScore::new((1.0 / (1.0 + (-margin).exp())) as f32)
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
    pub fn to_file(&self, precision: Precision) -> ModelFile {
        let mut card = self.card.clone();
        card.golden = card.golden.filter(|_| self.golden_input.is_some());
        ModelFile {
            card,
            weights: self.network.state_dict(),
            golden_input: self.golden_input.clone(),
            sha256: None,
            precision,
        }
    }

    /// Writes a model file, in one step.
    ///
    /// # Errors
    /// As for [`ModelFile::write`].
    pub fn save(&self, path: impl AsRef<Path>, precision: Precision) -> Result<(), Error> {
        self.to_file(precision).write(path)
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
        let input = Preprocess::new(&self.card).batch(std::slice::from_ref(face), &self.device);
        let features = self.network.forward_features(input);
        let [_, channels, height, width] = features.dims();
        let fake = self.card.fake_index();
        let weights = self.network.classifier_weights();
        let margin = weights.clone().narrow(1, fake, 1) - weights.narrow(1, 1 - fake, 1);
        let map = margin.transpose().matmul(features.reshape([channels, height * width]));
        let values: Vec<f32> = map.try_into_data().map_err(backend)?.iter::<f32>().collect();
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
        info
    }
}

fn is_empty(face: &RgbImage) -> bool {
    face.width() == 0 || face.height() == 0
}

fn backend(error: impl std::fmt::Display) -> Error {
    Error::Backend { reason: error.to_string() }
}
