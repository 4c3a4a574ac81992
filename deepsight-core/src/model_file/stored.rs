use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use half::f16;
use half::slice::HalfFloatSliceExt;
use image::RgbImage;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::{
    GOLDEN_INPUT, METADATA_KEY, ModelFile, ModelLimits, SCALE, WeightFormat, full_values, reference_input, validate,
};
use crate::digest::Sha256Reader;
use crate::eight_bits::EightBits;
use crate::model::{ModelCard, StateDict, Weight};
use crate::state_dict::Tensors;
use crate::{Error, digest};

/// Number of bytes before the header, which hold its length.
const LENGTH: u64 = 8;
/// Largest header that is read.
const LARGEST_HEADER: u64 = 100_000_000;

/// A model file whose weights are read when they are needed.
#[derive(Debug)]
pub(crate) struct StoredModel<'a> {
    content: Content<'a>,
    pub(crate) card: ModelCard,
    pub(crate) golden_input: Option<RgbImage>,
    pub(crate) reference_inputs: Vec<RgbImage>,
    format: WeightFormat,
    weights: BTreeMap<String, StoredWeight>,
}

#[derive(Debug)]
struct StoredWeight {
    shape: Vec<usize>,
    dtype: Dtype,
    /// Position in the file.
    bytes: Range<u64>,
    /// The position of the scales of a tensor of integers.
    scales: Option<Range<u64>>,
}

/// The bytes of a model file.
enum Content<'a> {
    /// Opened, so that its name may change; with its length and the time of its last change.
    File(Mutex<File>, u64, Option<SystemTime>),
    Bytes(Cow<'a, [u8]>),
}

impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, ..) => file.fmt(f),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

fn unreadable(source: io::Error) -> Error {
    Error::ModelIo { action: "read", source }
}

impl Content<'_> {
    fn length(&self) -> u64 {
        match self {
            Self::File(_, length, _) => *length,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Reads bytes that must be within the content.
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, Error> {
        match self {
            Self::Bytes(bytes) => Ok(Cow::Borrowed(&bytes[range.start as usize..range.end as usize])),
            Self::File(file, ..) => {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                let mut file = locked(file);
                file.seek(SeekFrom::Start(range.start)).map_err(unreadable)?;
                file.read_exact(&mut bytes).map_err(unreadable)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    fn sha256(&self) -> Result<String, Error> {
        match self {
            Self::Bytes(bytes) => Ok(digest::sha256(bytes)),
            Self::File(file, ..) => {
                let mut read = Sha256Reader::default();
                let mut position = 0;
                loop {
                    // Locked for each part, so that another thread can read weights meanwhile.
                    let mut file = locked(file);
                    file.seek(SeekFrom::Start(position)).map_err(unreadable)?;
                    match read.next(&mut *file).map_err(unreadable)? {
                        0 => return Ok(read.finish()),
                        bytes => position += bytes as u64,
                    }
                }
            }
        }
    }
}

fn locked(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> StoredModel<'a> {
    /// Opens a model file and reads all but its weights.
    ///
    /// # Errors
    /// [`Error::ModelIo`], [`Error::ModelTooLarge`], and the errors of [`from_bytes`](Self::from_bytes).
    pub(crate) fn open(path: &Path, limits: ModelLimits) -> Result<Self, Error> {
        let file = File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        limits.check(found.len())?;
        match found.is_file() {
            true => Self::new(Content::File(Mutex::new(file), found.len(), found.modified().ok())),
            // A pipe can be read only once.
            false => Self::new(Content::Bytes(Cow::Owned(limits.read_open(file)?))),
        }
    }

    /// Reads all but the weights.
    ///
    /// # Errors
    /// Those of [`ModelFile::from_bytes`], except [`Error::TensorNotFinite`].
    pub(crate) fn from_bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Result<Self, Error> {
        Self::new(Content::Bytes(bytes.into()))
    }

    fn new(content: Content<'a>) -> Result<Self, Error> {
        let (start, metadata) = header(&content)?;
        let card = metadata.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
        let card = ModelCard::from_json(card.ok_or(Error::NoModelCard)?)?;
        let mut tensors: BTreeMap<String, &TensorInfo> = metadata.tensors().into_iter().collect();
        let position = |tensor: &TensorInfo| {
            let (first, end) = tensor.data_offsets;
            start + first as u64..start + end as u64
        };
        let picture = |name: &str, tensor: &TensorInfo| image(name, tensor, &content.read(position(tensor))?);
        let golden_input = tensors.remove(GOLDEN_INPUT).map(|tensor| picture(GOLDEN_INPUT, tensor)).transpose()?;
        let mut reference_inputs = Vec::new();
        for number in 1..=card.references.len() {
            let name = reference_input(number);
            let Some(tensor) = tensors.remove(&name) else {
                return Err(Error::TensorNames { missing: vec![name], unexpected: vec![] });
            };
            reference_inputs.push(picture(&name, tensor)?);
        }
        let integers: Vec<String> =
            tensors.iter().filter(|(_, tensor)| tensor.dtype == Dtype::I8).map(|(name, _)| name.clone()).collect();
        let mut scales = BTreeMap::new();
        for name in integers {
            let scale_name = format!("{name}{SCALE}");
            let Some(found) = tensors.remove(&scale_name) else {
                return Err(Error::TensorNames { missing: vec![scale_name], unexpected: vec![] });
            };
            check_scales(&name, tensors[&name], &scale_name, found)?;
            scales.insert(name, position(found));
        }
        let is_full = tensors.values().any(|tensor| tensor.dtype == Dtype::F32);
        let format = match (scales.is_empty(), is_full) {
            (false, _) => WeightFormat::I8,
            (true, true) => WeightFormat::F32,
            (true, false) => WeightFormat::F16,
        };
        let mut weights = BTreeMap::new();
        for (name, tensor) in tensors {
            let scales = scales.remove(&name);
            if scales.is_none() && !matches!(tensor.dtype, Dtype::F32 | Dtype::F16) {
                let found = format!("{:?}", tensor.dtype);
                return Err(Error::TensorType { name, found, expected: "F32 or F16" });
            }
            let (shape, dtype, bytes) = (tensor.shape.clone(), tensor.dtype, position(tensor));
            weights.insert(name, StoredWeight { shape, dtype, bytes, scales });
        }
        validate(&card, format, golden_input.as_ref(), &reference_inputs)?;
        Ok(Self { content, card, golden_input, reference_inputs, format, weights })
    }

    /// Reads the rest: the weights, and the hash of the whole file.
    ///
    /// # Errors
    /// [`Error::ModelIo`], and those of [`read_with`](Self::read_with).
    pub(crate) fn read(&self) -> Result<ModelFile, Error> {
        let (sha256, weights) = self.read_with(|| self.state_dict())?;
        Ok(ModelFile {
            card: self.card.clone(),
            weights,
            golden_input: self.golden_input.clone(),
            reference_inputs: self.reference_inputs.clone(),
            sha256: Some(sha256),
            format: self.format,
        })
    }

    /// Reads weights, and at the same time the hash of the whole file.
    ///
    /// # Errors
    /// [`Error::ModelIo`], the errors of `weights`, and [`Error::ModelChanged`] if the file has changed since it was
    /// opened, because hash and weights would not belong together.
    pub(crate) fn read_with<T: Send>(
        &self,
        weights: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<(String, T), Error> {
        let (sha256, weights) = rayon::join(|| self.content.sha256(), weights);
        let (sha256, weights) = (sha256?, weights?);
        if let Content::File(file, length, modified) = &self.content {
            let now = locked(file).metadata().map_err(unreadable)?;
            if now.len() != *length || now.modified().ok() != *modified {
                return Err(Error::ModelChanged { name: self.card.name.clone() });
            }
        }
        Ok((sha256, weights))
    }

    fn state_dict(&self) -> Result<StateDict, Error> {
        let weight = |(name, stored): (&String, &StoredWeight)| {
            let values = self.values(name)?.into_owned();
            Ok((name.clone(), Weight { shape: stored.shape.clone(), values }))
        };
        self.weights.iter().map(weight).collect()
    }
}

impl Tensors for StoredModel<'_> {
    fn shapes(&self) -> BTreeMap<&str, &[usize]> {
        self.weights.iter().map(|(name, weight)| (name.as_str(), &weight.shape[..])).collect()
    }

    fn values(&self, name: &str) -> Result<Cow<'_, [f32]>, Error> {
        let weight = &self.weights[name];
        let bytes = self.content.read(weight.bytes.clone())?;
        if let Some(scales) = &weight.scales {
            let integers = bytes.iter().map(|byte| byte.cast_signed()).collect();
            let scales = full_values(&self.content.read(scales.clone())?);
            let weight = EightBits { integers, scales }.weight(&weight.shape, &format!("{name}{SCALE}"))?;
            return Ok(Cow::Owned(weight.values));
        }
        if weight.dtype == Dtype::F32 {
            return Ok(Cow::Owned(full_values(&bytes)));
        }
        // Converted as a slice, because the processor converts eight values at once. Converting them one by one would
        // take most of the loading time.
        let halves: Vec<f16> = bytes.as_chunks().0.iter().map(|half| f16::from_le_bytes(*half)).collect();
        Ok(Cow::Owned(halves.to_f32_vec()))
    }
}

/// Reads the header. Returns it with the position of the first tensor.
fn header(content: &Content<'_>) -> Result<(u64, Metadata), Error> {
    let length = content.length();
    let damaged = |reason: String| Error::NotSafetensors { bytes: length as usize, reason };
    if length < LENGTH {
        return Err(damaged("it is too short for a header".into()));
    }
    let mut header = [0; LENGTH as usize];
    header.copy_from_slice(&content.read(0..LENGTH)?);
    let header = u64::from_le_bytes(header);
    if header > LARGEST_HEADER {
        return Err(damaged("its header claims to have more than 100 MB".into()));
    }
    let start = LENGTH + header;
    if start > length {
        return Err(damaged("it ends within its header".into()));
    }
    let metadata: Metadata = serde_json::from_slice(&content.read(LENGTH..start)?)
        .map_err(|error| damaged(format!("its header cannot be read: {error}")))?;
    if start.checked_add(metadata.data_len() as u64) != Some(length) {
        return Err(damaged("its data is cut off, or longer than its header says".into()));
    }
    Ok((start, metadata))
}

/// Checks a tensor of 8-bit integers and its scales.
fn check_scales(name: &str, tensor: &TensorInfo, scale_name: &str, scales: &TensorInfo) -> Result<(), Error> {
    // In a tensor of one dimension (a norm's or a bias), each value would need its own scale, so it is refused.
    let (2.., Some(outputs)) = (tensor.shape.len(), tensor.shape.first()) else {
        return Err(Error::TensorType { name: name.into(), found: "I8".into(), expected: "F32 or F16" });
    };
    if scales.dtype != Dtype::F32 {
        let found = format!("{:?}", scales.dtype);
        return Err(Error::TensorType { name: scale_name.into(), found, expected: "F32" });
    }
    if scales.shape != [*outputs] {
        let (found, expected) = (scales.shape.clone(), vec![*outputs]);
        return Err(Error::TensorShape { name: scale_name.into(), found, expected });
    }
    Ok(())
}

/// Reads the image of a golden input or a reference.
fn image(name: &str, tensor: &TensorInfo, bytes: &[u8]) -> Result<RgbImage, Error> {
    if tensor.dtype != Dtype::U8 {
        let found = format!("{:?}", tensor.dtype);
        return Err(Error::TensorType { name: name.into(), found, expected: "U8" });
    }
    let image = match *tensor.shape {
        [height, width, 3] if height * width > 0 => u32::try_from(width)
            .ok()
            .zip(u32::try_from(height).ok())
            .and_then(|(width, height)| RgbImage::from_raw(width, height, bytes.into())),
        _ => None,
    };
    image.ok_or_else(|| Error::TensorShape { name: name.into(), found: tensor.shape.clone(), expected: vec![1, 1, 3] })
}
