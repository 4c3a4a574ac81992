//! The self-describing weights file: safetensors whose metadata describes how the weights are used.

mod stored;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use half::f16;
use image::RgbImage;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

pub(crate) use stored::StoredModel;

use crate::eight_bits::EightBits;
use crate::{
    Error,
    model::{ModelCard, StateDict, Weight},
};

/// The format in which a file stores weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightFormat {
    /// 32-bit floating point, which is exact.
    F32,
    /// 16-bit floating point: half the size of `F32`, 11 significant bits.
    F16,
    /// Signed 8-bit integers with a 32-bit scale for each output channel in the pointwise convolutions of the last
    /// stage and the head; 16-bit floating point in all other tensors. Six sevenths of the size of `F16`. The crate's
    /// README has the effect on probabilities. Not for vision transformers.
    I8,
}

impl WeightFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::I8];

    /// Returns its name: `f32`, `f16`, `i8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
        }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WeightFormat {
    type Err = Error;

    /// Reads [`name`](Self::name).
    fn from_str(name: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| Error::Setting {
            name: "weight format",
            value: name.into(),
            rule: "must be f32, f16 or i8",
        })
    }
}

/// Limits on the model files that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelLimits {
    /// Largest file in bytes; 4 GiB by default. A checkpoint of CLIP ViT-L/14 with what its training adds has 2 GB.
    pub max_bytes: u64,
}

impl Default for ModelLimits {
    fn default() -> Self {
        Self { max_bytes: 4 << 30 }
    }
}

impl ModelLimits {
    /// Reads a whole file, if it is within the limit.
    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>, Error> {
        self.read_open(File::open(path).map_err(|source| Error::ModelIo { action: "read", source })?)
    }

    /// Reads a whole open file, if it is within the limit.
    fn read_open(&self, file: File) -> Result<Vec<u8>, Error> {
        let failed = |source| Error::ModelIo { action: "read", source };
        let bytes = file.metadata().map_err(failed)?.len();
        self.check(bytes)?;
        let mut content = Vec::with_capacity(bytes as usize);
        // `take` also limits a file that grows in the meantime, or a device without a length.
        file.take(self.max_bytes.saturating_add(1)).read_to_end(&mut content).map_err(failed)?;
        self.check(content.len() as u64)?;
        Ok(content)
    }

    fn check(&self, bytes: u64) -> Result<(), Error> {
        if bytes > self.max_bytes {
            return Err(Error::ModelTooLarge { bytes, limit: self.max_bytes });
        }
        Ok(())
    }
}

/// The content of a model file: weights with everything needed to use them.
///
/// The file is safetensors. It contains tensors in half or full precision under timm's names, the [`ModelCard`] as JSON
/// under `deepsight` in the metadata, and optionally the golden input, a crop of a face, as `golden.input`
/// (`[height, width, 3]`, u8 RGB), and reference images as `reference.1.input` and so on. A tensor of two or more
/// dimensions may be of signed 8-bit integers. The tensor with `.scale` after its name then has the factor of each
/// output channel, `[outputs]`, f32.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelFile {
    /// The description of how the weights are used.
    pub card: ModelCard,
    /// The network's parameters and batch-norm statistics.
    pub weights: StateDict,
    /// The face whose expected score is the card's `golden`.
    pub golden_input: Option<RgbImage>,
    /// The images whose expected scores are the card's `references`.
    pub reference_inputs: Vec<RgbImage>,
    /// SHA-256 of the file in hexadecimal, if it was read from one.
    pub sha256: Option<String>,
    /// The format of the weights in the file: `I8` if it has a tensor of integers, otherwise the widest of its types.
    pub format: WeightFormat,
}

const METADATA_KEY: &str = "deepsight";
const GOLDEN_INPUT: &str = "golden.input";

/// Returns the name of the tensor of a reference image, which are numbered from 1.
fn reference_input(number: usize) -> String {
    format!("reference.{number}.input")
}

/// Suffix that is added to the name of a tensor of integers to name the tensor of its scales.
const SCALE: &str = ".scale";

impl ModelFile {
    /// Creates the content of a model file in full precision, to be written.
    ///
    /// # Errors
    /// Returns an error if the card has a value that is not usable ([`ModelCard::validate`]).
    pub fn new(card: ModelCard, weights: StateDict) -> Result<Self, Error> {
        let model = Self {
            card,
            weights,
            golden_input: None,
            reference_inputs: vec![],
            sha256: None,
            format: WeightFormat::F32,
        };
        model.validate()?;
        Ok(model)
    }

    /// Reads and checks a model file of up to 4 GiB.
    ///
    /// # Errors
    /// [`Error::Model`] with the path. Its cause is an error of [`from_bytes`](Self::from_bytes), [`Error::ModelIo`] or
    /// [`Error::ModelTooLarge`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::read_within(path, ModelLimits::default())
    }

    /// Reads and checks a model file within the given limits.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_within(path: impl AsRef<Path>, limits: ModelLimits) -> Result<Self, Error> {
        let path = path.as_ref();
        StoredModel::open(path, limits).and_then(|stored| stored.read()).map_err(|error| error.at(path))
    }

    /// Reads and checks the content of a model file.
    ///
    /// That the tensors are those of the architecture is only checked when a [`Classifier`](crate::Classifier) is
    /// created.
    ///
    /// # Errors
    /// One variant of [`Error`] for each possible defect: [`Error::NotSafetensors`], [`Error::NoModelCard`], the
    /// `ModelCard...` ones, [`Error::UnsupportedSchema`], [`Error::UnknownArchitecture`] and [`Error::TensorType`]. For
    /// a tensor of 8-bit integers also [`Error::TensorNames`] when its scales are missing, [`Error::TensorShape`] when
    /// there is not one scale for each channel, and [`Error::TensorNotFinite`] when a scale is not usable.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        StoredModel::from_bytes(bytes)?.read()
    }

    fn validate(&self) -> Result<(), Error> {
        validate(&self.card, self.format, self.golden_input.as_ref(), &self.reference_inputs)
    }

    /// Writes the bytes of a model file in the model's `format`.
    ///
    /// # Errors
    /// As for [`new`](Self::new). Also [`Error::TensorShape`] for a weight whose number of values does not match its
    /// shape, and [`Error::TensorNotFinite`] for a value that the format cannot represent.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        self.validate()?;
        let mut tensors = Vec::new();
        for (name, weight) in &self.weights {
            weight.check_length(name)?;
            let shape = weight.shape.clone();
            match self.format {
                WeightFormat::F32 => tensors.push((name.clone(), Dtype::F32, shape, full_bytes(&weight.values))),
                WeightFormat::I8 if is_rounded(name, weight) => {
                    let rounded = EightBits::round(name, weight)?;
                    let integers = rounded.integers.iter().map(|value| value.cast_unsigned()).collect();
                    tensors.push((name.clone(), Dtype::I8, shape, integers));
                    let scales = (vec![rounded.scales.len()], full_bytes(&rounded.scales));
                    tensors.push((format!("{name}{SCALE}"), Dtype::F32, scales.0, scales.1));
                }
                WeightFormat::F16 | WeightFormat::I8 => {
                    tensors.push((name.clone(), Dtype::F16, shape, half_bytes(name, &weight.values)?));
                }
            }
        }
        let references =
            self.reference_inputs.iter().enumerate().map(|(index, face)| (reference_input(index + 1), face));
        let golden = self.golden_input.iter().map(|face| (GOLDEN_INPUT.to_owned(), face));
        for (name, face) in golden.chain(references) {
            let shape = vec![face.height() as usize, face.width() as usize, 3];
            tensors.push((name, Dtype::U8, shape, face.as_raw().clone()));
        }
        let failed = |error: SafeTensorError| Error::not_safetensors(0, &error);
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect();
        let card = serde_json::to_string(&self.card.written())
            .map_err(|e| Error::ModelCardSyntax { reason: e.to_string() })?;
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), card)]);
        safetensors::serialize(views.map_err(failed)?, Some(metadata)).map_err(failed)
    }

    /// Writes a model file. The file is written under another name in the same directory and then renamed, so that a
    /// reader never sees an incomplete file.
    ///
    /// # Errors
    /// [`Error::Model`] with the path. Its cause is an error of [`to_bytes`](Self::to_bytes) or [`Error::ModelIo`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let io = |source| Error::ModelIo { action: "write", source };
        self.to_bytes().and_then(|bytes| crate::files::write(path, &bytes).map_err(io)).map_err(|error| error.at(path))
    }
}

/// Checks the description, and that exactly the images that it expects are present.
fn validate(
    card: &ModelCard,
    format: WeightFormat,
    golden_input: Option<&RgbImage>,
    reference_inputs: &[RgbImage],
) -> Result<(), Error> {
    card.validate()?;
    let is_transformer = card.architecture.vision_transformer().is_some();
    let rule = "cannot be i8 for a vision transformer: choose f16 or f32";
    Error::check("weight format", format, !(is_transformer && format == WeightFormat::I8), rule)?;
    let (expected, found) = (card.references.len(), reference_inputs.len());
    if expected != found {
        let names = |numbers: std::ops::Range<usize>| numbers.map(|index| reference_input(index + 1)).collect();
        return Err(Error::TensorNames { missing: names(found..expected), unexpected: names(expected..found) });
    }
    match (&card.golden, golden_input) {
        (Some(_), None) => Err(Error::TensorNames { missing: vec![GOLDEN_INPUT.into()], unexpected: vec![] }),
        (None, Some(_)) => Err(Error::TensorNames { missing: vec![], unexpected: vec![GOLDEN_INPUT.into()] }),
        _ => Ok(()),
    }
}

impl Error {
    /// Adds the path of the file to the error.
    pub(crate) fn at(self, path: &Path) -> Self {
        Self::Model { path: path.into(), cause: Box::new(self) }
    }

    pub(crate) fn not_safetensors(bytes: usize, error: &SafeTensorError) -> Self {
        Self::NotSafetensors { bytes, reason: reason(error) }
    }
}

fn reason(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::HeaderTooSmall => "it is too short for a header".into(),
        SafeTensorError::HeaderTooLarge => "its header claims to have more than 100 MB".into(),
        SafeTensorError::InvalidHeaderLength => "it ends within its header".into(),
        SafeTensorError::MetadataIncompleteBuffer => "its data is cut off, or longer than its header says".into(),
        other => other.to_string(),
    }
}

fn full_values(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

fn full_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Returns whether [`WeightFormat::I8`] stores the weight in 8 bits. It does so for the head and the pointwise
/// convolutions of the last stage, except those of gates. Rounding errors of earlier layers would grow in the later
/// ones.
fn is_rounded(name: &str, weight: &Weight) -> bool {
    let is_pointwise = matches!(weight.shape[..], [_, inputs, 1, 1] if inputs > 1) && !name.contains(".se.");
    is_pointwise && (name == "conv_head.weight" || name.starts_with("blocks.6."))
}

fn half_bytes(name: &str, values: &[f32]) -> Result<Vec<u8>, Error> {
    let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
    match halves.iter().position(|half| !half.is_finite()) {
        Some(index) => Err(Error::TensorNotFinite { name: name.into(), index, value: values[index] }),
        None => Ok(halves.iter().flat_map(|half| half.to_le_bytes()).collect()),
    }
}
