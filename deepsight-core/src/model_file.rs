//! The self-describing weights file: safetensors whose metadata describes how the weights are used.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use half::f16;
use half::slice::HalfFloatSliceExt;
use image::RgbImage;
use safetensors::tensor::{SafeTensors, TensorView};
use safetensors::{Dtype, SafeTensorError};

use crate::digest;
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
        let failed = |source| Error::ModelIo { action: "read", source };
        let file = File::open(path).map_err(failed)?;
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
        limits.read(path).and_then(|bytes| Self::from_bytes(&bytes)).map_err(|error| error.at(path))
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
        let (sha256, parsed) = rayon::join(|| digest::sha256(bytes), || Self::parse(bytes));
        Ok(Self { sha256: Some(sha256), ..parsed? })
    }

    /// Reads everything except the hash.
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |error: SafeTensorError| Error::not_safetensors(bytes.len(), &error);
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let card = metadata.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
        let card = ModelCard::from_json(card.ok_or(Error::NoModelCard)?)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let mut views: BTreeMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
        let golden_input = views.remove(GOLDEN_INPUT).map(|view| image(GOLDEN_INPUT, &view)).transpose()?;
        let mut reference_inputs = Vec::new();
        for number in 1..=card.references.len() {
            let name = reference_input(number);
            let Some(view) = views.remove(&name) else {
                return Err(Error::TensorNames { missing: vec![name], unexpected: vec![] });
            };
            reference_inputs.push(image(&name, &view)?);
        }
        let integers: Vec<String> =
            views.iter().filter(|(_, view)| view.dtype() == Dtype::I8).map(|(name, _)| name.clone()).collect();
        let mut weights = StateDict::new();
        for name in &integers {
            let scale_name = format!("{name}{SCALE}");
            let Some(view) = views.remove(name) else { continue };
            let Some(scales) = views.remove(&scale_name) else {
                return Err(Error::TensorNames { missing: vec![scale_name], unexpected: vec![] });
            };
            weights.insert(name.clone(), integer_weight(name, &view, &scale_name, &scales)?);
        }
        let is_full = views.values().any(|view| view.dtype() == Dtype::F32);
        let format = match (integers.is_empty(), is_full) {
            (false, _) => WeightFormat::I8,
            (true, true) => WeightFormat::F32,
            (true, false) => WeightFormat::F16,
        };
        for (name, view) in views {
            let weight = weight(&name, &view)?;
            weights.insert(name, weight);
        }
        let model = Self { card, weights, golden_input, reference_inputs, sha256: None, format };
        model.validate()?;
        Ok(model)
    }

    fn validate(&self) -> Result<(), Error> {
        self.card.validate()?;
        let is_transformer = self.card.architecture.vision_transformer().is_some();
        let rule = "cannot be i8 for a vision transformer: choose f16 or f32";
        Error::check("weight format", self.format, !(is_transformer && self.format == WeightFormat::I8), rule)?;
        let (expected, found) = (self.card.references.len(), self.reference_inputs.len());
        if expected != found {
            let names = |numbers: std::ops::Range<usize>| numbers.map(|index| reference_input(index + 1)).collect();
            return Err(Error::TensorNames { missing: names(found..expected), unexpected: names(expected..found) });
        }
        match (&self.card.golden, &self.golden_input) {
            (Some(_), None) => Err(Error::TensorNames { missing: vec![GOLDEN_INPUT.into()], unexpected: vec![] }),
            (None, Some(_)) => Err(Error::TensorNames { missing: vec![], unexpected: vec![GOLDEN_INPUT.into()] }),
            _ => Ok(()),
        }
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

fn weight(name: &str, view: &TensorView<'_>) -> Result<Weight, Error> {
    let values = match view.dtype() {
        Dtype::F32 => full_values(view),
        Dtype::F16 => {
            // Converted as a slice, because the processor converts eight values at once. Converting them one by one
            // would take most of the loading time.
            let halves: Vec<f16> = view.data().chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect();
            halves.to_f32_vec()
        }
        other => {
            return Err(Error::TensorType { name: name.into(), found: format!("{other:?}"), expected: "F32 or F16" });
        }
    };
    Ok(Weight { shape: view.shape().to_vec(), values })
}

/// Reads the weight from a tensor of 8-bit integers and its scales.
fn integer_weight(
    name: &str,
    view: &TensorView<'_>,
    scale_name: &str,
    scales: &TensorView<'_>,
) -> Result<Weight, Error> {
    let shape = view.shape();
    // In a tensor of one dimension (a norm's or a bias), each value would need its own scale, so it is refused.
    let (2.., Some(outputs)) = (shape.len(), shape.first()) else {
        return Err(Error::TensorType { name: name.into(), found: "I8".into(), expected: "F32 or F16" });
    };
    if scales.dtype() != Dtype::F32 {
        let found = format!("{:?}", scales.dtype());
        return Err(Error::TensorType { name: scale_name.into(), found, expected: "F32" });
    }
    if scales.shape() != [*outputs] {
        let (found, expected) = (scales.shape().to_vec(), vec![*outputs]);
        return Err(Error::TensorShape { name: scale_name.into(), found, expected });
    }
    let integers = view.data().iter().map(|byte| byte.cast_signed()).collect();
    EightBits { integers, scales: full_values(scales) }.weight(shape, scale_name)
}

fn full_values(view: &TensorView<'_>) -> Vec<f32> {
    view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn full_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Reads the image of a golden input or a reference.
fn image(name: &str, view: &TensorView<'_>) -> Result<RgbImage, Error> {
    if view.dtype() != Dtype::U8 {
        let found = format!("{:?}", view.dtype());
        return Err(Error::TensorType { name: name.into(), found, expected: "U8" });
    }
    let image = match *view.shape() {
        [height, width, 3] if height * width > 0 => u32::try_from(width)
            .ok()
            .zip(u32::try_from(height).ok())
            .and_then(|(width, height)| RgbImage::from_raw(width, height, view.data().into())),
        _ => None,
    };
    image.ok_or_else(|| Error::TensorShape { name: name.into(), found: view.shape().to_vec(), expected: vec![1, 1, 3] })
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
