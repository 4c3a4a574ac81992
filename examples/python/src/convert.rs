//! Converts weights of PyTorch to model files.

use std::path::PathBuf;
use std::str::FromStr;

use deepsight::CancelToken;
use deepsight::burn::backend::Flex;
use deepsight::core::model::{
    Conversion, ConversionNote, ForeignWeights, Head, MlpActivation, NetworkName, Origin, Padding, ResizeFilter,
    Variant, WeightFormat, WeightSet,
};
use deepsight::core::{Error, FaceCrop};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::fault::{Kind, OrRaise};
use crate::{pixels, pool, wait};

/// Writes a model file, and returns notes for the user.
#[pyfunction]
pub(crate) fn convert(
    py: Python<'_>,
    weights: Source<'_>,
    head_weights: Option<Source<'_>>,
    output: PathBuf,
    settings: Settings,
    proofs: Proofs<'_>,
) -> PyResult<Vec<String>> {
    let (conversion, format, set) = settings.read().or_raise(py)?;
    let Settings { architecture, .. } = settings;
    let (weights, head) = (weights.content(py)?, head_weights.map(|head| head.content(py)).transpose()?);
    let tolerance = proofs.tolerance;
    let golden = proofs.golden.map(|face| pixels::picture(&face, "golden")).transpose()?;
    let mut references = Vec::new();
    for (index, (face, score)) in proofs.references.iter().enumerate() {
        references.push((pixels::picture(face, &format!("references[{index}]"))?, *score));
    }
    let (threads, cancel) = (pool::threads(py)?, CancelToken::new());
    let token = cancel.clone();
    let work = move || {
        let mut weights = weights.open()?.with_set(set).with_architecture(architecture);
        if let Some(head) = head {
            weights = head.add_head(weights)?;
        }
        let notes = conversion.notes(&weights)?;
        let classifier = conversion.classifier::<Flex>(&weights, &Default::default())?;
        drop(weights);
        // The scores are computed with the rounded weights that the file stores.
        let mut rounded = classifier.round_weights(format)?;
        if let Some(face) = golden {
            rounded = rounded.record_golden_input(face)?;
        }
        for (face, score) in references {
            rounded = rounded.record_reference(face, score, tolerance)?;
        }
        // After Ctrl-C, the file must not be written.
        if token.is_cancelled() {
            return Err(Error::Cancelled);
        }
        rounded.save(&output, format)?;
        Ok(notes)
    };
    let notes = wait::run(py, &cancel, None, move |_| threads.install(work))?.or_raise(py)?;
    Ok(notes.iter().map(described).collect())
}

/// Returns a note with the argument that helps.
fn described(note: &ConversionNote) -> String {
    match note {
        ConversionNote::OtherNetworks { .. } => format!("{note}: which=\"ema\" or \"plain\" chooses"),
        ConversionNote::LikelyOrigin { origin } => format!("{note}: origin=\"{origin}\" sets all of them"),
        ConversionNote::Preparation { .. } => format!("{note}; references show how much that matters"),
        _ => note.to_string(),
    }
}

/// Tensors, as `python/deepsight/_tensors.py` passes them: name, type as in safetensors, shape, and the values as bytes
/// in little-endian order.
type Tensor<'py> = (String, String, Vec<usize>, PyReadonlyArray1<'py, u8>);

/// The path of a file, or dictionaries of tensors by their keys.
#[derive(FromPyObject)]
pub(crate) enum Source<'py> {
    Dictionaries(Vec<(String, Vec<Tensor<'py>>)>),
    Path(PathBuf),
}

/// The path of a file, or the contents of safetensors files by their keys.
enum Content {
    Dictionaries(Vec<(String, Vec<u8>)>),
    Path(PathBuf),
}

impl Source<'_> {
    /// Copies the tensors. Holds the interpreter's lock meanwhile, because Python could change them.
    fn content(self, py: Python<'_>) -> PyResult<Content> {
        let dictionaries = match self {
            Self::Path(path) => return Ok(Content::Path(path)),
            Self::Dictionaries(dictionaries) => dictionaries,
        };
        let copied = dictionaries.iter().map(|(keys, tensors)| Ok((keys.clone(), safetensors_file(py, tensors)?)));
        copied.collect::<PyResult<_>>().map(Content::Dictionaries)
    }
}

/// Returns the content of a safetensors file with these tensors.
fn safetensors_file(py: Python<'_>, tensors: &[Tensor<'_>]) -> PyResult<Vec<u8>> {
    let mut views = Vec::new();
    for (name, kind, shape, bytes) in tensors {
        let refused = |reason: String| Kind::Array.exception(py, format!("tensor {name:?} cannot be read: {reason}"));
        let kind = serde_json::from_value(Value::from(kind.as_str())).map_err(|error| refused(error.to_string()))?;
        let bytes = bytes.as_slice().map_err(|error| refused(error.to_string()))?;
        views.push((name, TensorView::new(kind, shape.clone(), bytes).map_err(|error| refused(error.to_string()))?));
    }
    safetensors::serialize(views, None)
        .map_err(|error| Kind::Model.exception(py, format!("weights cannot be read: {error}")))
}

impl Content {
    fn open(self) -> Result<ForeignWeights, Error> {
        match self {
            Self::Dictionaries(dictionaries) => ForeignWeights::from_dictionaries(dictionaries),
            Self::Path(path) => ForeignWeights::read(path),
        }
    }

    /// Adds this head to the weights.
    fn add_head(self, weights: ForeignWeights) -> Result<ForeignWeights, Error> {
        match self {
            // As with a file, the first dictionary is used.
            Self::Dictionaries(dictionaries) => match dictionaries.first() {
                Some((_, bytes)) => weights.with_head_bytes(bytes),
                None => Ok(weights),
            },
            Self::Path(path) => weights.with_head(path),
        }
    }
}

/// Faces with known scores, which verify a conversion.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Proofs<'py> {
    golden: Option<Bound<'py, PyAny>>,
    references: Vec<(Bound<'py, PyAny>, f32)>,
    tolerance: f32,
}

/// The settings of a conversion, as `python/deepsight/_convert.py` passes them.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Settings {
    name: String,
    /// Timm's name of a network in memory.
    architecture: Option<String>,
    model_name: Option<String>,
    origin: Option<String>,
    variant: Option<String>,
    which: Option<String>,
    activation: Option<String>,
    /// Activation of a network in memory.
    clip_activation: Option<String>,
    head: Option<String>,
    input_size: Option<u32>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    resize: Option<String>,
    crop: Option<Crop>,
    fake_first: bool,
    threshold: Option<f32>,
    temperature: Option<f32>,
    mirrored: Option<bool>,
    padding: Option<String>,
    batch_norm_epsilon: Option<f64>,
    trained_on: String,
    terms: String,
    format: String,
}

impl Settings {
    /// Returns the conversion, the format, and the kind of weights to read.
    fn read(&self) -> Result<(Conversion, WeightFormat, Option<WeightSet>), Error> {
        let network: Option<NetworkName> = named("model_name", self.model_name.as_deref())?;
        let conversion = Conversion::new(&self.name)
            .with_network(network)
            .with_origin(named::<Origin>("origin", self.origin.as_deref())?)
            .with_variant(named::<Variant>("variant", self.variant.as_deref())?)
            .with_padding(named::<Padding>("padding", self.padding.as_deref())?)
            .with_batch_norm_epsilon(self.batch_norm_epsilon)
            .with_activation(named::<MlpActivation>("activation", self.activation.as_deref())?)
            .with_clip_activation(named::<MlpActivation>("activation", self.clip_activation.as_deref())?)
            .with_head(named::<Head>("head", self.head.as_deref())?)
            .with_input_size(self.input_size)
            .with_mean(self.mean)
            .with_std(self.std)
            .with_resize(named::<ResizeFilter>("resize", self.resize.as_deref())?)
            .with_crop(self.crop.as_ref().map(|crop| crop.0))
            .with_threshold(self.threshold)
            .with_temperature(self.temperature)
            .with_mirrored(self.mirrored)
            .with_fake_first(self.fake_first)
            .with_trained_on(&self.trained_on)
            .with_terms(&self.terms);
        let format = named::<WeightFormat>("format", Some(&self.format))?.unwrap_or(WeightFormat::F32);
        Ok((conversion, format, named("which", self.which.as_deref())?))
    }
}

/// Parses the name of a value. Its error names the argument of Python.
fn named<T: FromStr<Err = Error>>(argument: &'static str, text: Option<&str>) -> Result<Option<T>, Error> {
    text.map(str::parse).transpose().map_err(|error| match error {
        Error::Setting { value, rule, .. } => Error::Setting { name: argument, value, rule },
        other => other,
    })
}

/// The crop of a face, from its kind and numbers.
struct Crop(FaceCrop);

impl<'py> FromPyObject<'_, 'py> for Crop {
    type Error = PyErr;

    fn extract(pair: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let (kind, numbers): (String, Vec<f32>) = pair.extract()?;
        Ok(Self(match (kind.as_str(), numbers.as_slice()) {
            ("box", []) => FaceCrop::Box,
            ("margin", [fraction]) => FaceCrop::Margin { fraction: *fraction },
            // The check of the card refuses an invalid size.
            ("aligned", [size, scale, down]) => FaceCrop::Aligned { size: *size as u32, scale: *scale, down: *down },
            _ => return Err(Kind::Setting.exception(pair.py(), format!("no crop {kind:?} of {numbers:?}"))),
        }))
    }
}
