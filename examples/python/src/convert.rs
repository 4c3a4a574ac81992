//! Weights of PyTorch to model files.

use std::path::{Path, PathBuf};

use deepsight::burn::backend::Flex;
use deepsight::core::model::{ForeignWeights, ModelCard, Origin, TimmName, Variant, WeightFormat, WeightSet};
use deepsight::core::{Classifier, Error};
use deepsight::image::RgbImage;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::fault::OrRaise;
use crate::{pixels, pool};

/// Writes a model file. The weights are the content of a file, or the path of one. `card` has the fields of the model
/// card that the caller sets, as JSON. `names` may have `network`, `variant`, `origin`, `weights` and `format`.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "called by the package only, with all of them")]
pub(crate) fn convert(
    py: Python<'_>,
    content: Option<&Bound<'_, PyBytes>>,
    path: Option<PathBuf>,
    output: PathBuf,
    name: String,
    names: &Bound<'_, PyDict>,
    card: &str,
    references: Vec<(Bound<'_, PyAny>, f32)>,
    tolerance: f32,
) -> PyResult<()> {
    let named = |key: &str| -> PyResult<Option<String>> { names.get_item(key)?.map(|text| text.extract()).transpose() };
    let network = named("network")?.map(|text| text.parse::<TimmName>()).transpose().or_raise(py)?;
    let variant = named("variant")?.map(|text| text.parse::<Variant>()).transpose().or_raise(py)?;
    let origin = named("origin")?.map(|text| text.parse::<Origin>()).transpose().or_raise(py)?;
    let set = named("weights")?.map(|text| text.parse::<WeightSet>()).transpose().or_raise(py)?;
    let format = named("format")?.map(|text| text.parse::<WeightFormat>()).transpose().or_raise(py)?;
    let mut faces = Vec::new();
    for (index, (face, score)) in references.iter().enumerate() {
        faces.push((pixels::picture(face, &format!("references[{index}]"))?, *score));
    }
    let content = content.map(|bytes| bytes.as_bytes().to_vec());
    let threads = pool::threads(py)?;
    let converted = py.detach(|| {
        threads.install(|| {
            let weights = match (content, path) {
                (Some(content), _) => ForeignWeights::from_bytes(content)?,
                (None, Some(path)) => ForeignWeights::read(path)?,
                (None, None) => return Err(missing("weights", "are needed: a state dict, or the path of a file")),
            };
            let weights = weights.with_set(set);
            let card = described(&weights, name, network, variant, origin, card)?;
            let network = weights.load_into(card.config().init::<Flex>(&Default::default())?)?;
            let classifier = Classifier::new(network, card, &Default::default())?;
            save(&classifier, format.unwrap_or(WeightFormat::F32), faces, tolerance, &output)
        })
    });
    converted.or_raise(py)
}

/// Returns the card of the weights: what the weights and the origin say, then what is given.
fn described(
    weights: &ForeignWeights,
    name: String,
    network: Option<TimmName>,
    variant: Option<Variant>,
    origin: Option<Origin>,
    given: &str,
) -> Result<ModelCard, Error> {
    let published = origin.and_then(Origin::network);
    let network = match (network, published, weights.architecture()) {
        (Some(name), ..) | (None, Some(name), _) => name,
        (None, None, Some(name)) => name.parse()?,
        (None, None, None) => return Err(missing("model_name", "is needed: the weights do not say their network")),
    };
    let mut card = weights.card(name, &network, variant)?;
    if let Some(origin) = origin {
        origin.apply(&mut card, weights)?;
    }
    let invalid = |error: serde_json::Error| Error::ModelCardSyntax { reason: error.to_string() };
    let given: Map<String, Value> = serde_json::from_str(given).map_err(invalid)?;
    for (field, value) in given {
        set(&mut card, &field, value)?;
    }
    card.validate()?;
    Ok(card)
}

/// Sets a field of the card.
fn set(card: &mut ModelCard, field: &str, value: Value) -> Result<(), Error> {
    fn read<T: DeserializeOwned>(slot: &mut T, value: &Value) -> Result<(), serde_json::Error> {
        *slot = serde_json::from_value(value.clone())?;
        Ok(())
    }
    let (place, done) = match field {
        "input_size" => ("input_size", read(&mut card.input_size, &value)),
        "mean" => ("mean", read(&mut card.mean, &value)),
        "std" => ("std", read(&mut card.std, &value)),
        "resize" => ("resize", read(&mut card.resize, &value)),
        "crop" => ("crop", read(&mut card.crop, &value)),
        "threshold" => ("threshold", read(&mut card.threshold, &value)),
        "temperature" => ("temperature", read(&mut card.temperature, &value)),
        "mirrored" => ("mirrored", read(&mut card.mirrored, &value)),
        "padding" => ("padding", read(&mut card.padding, &value)),
        "batch_norm_epsilon" => ("batch_norm_epsilon", read(&mut card.batch_norm_epsilon, &value)),
        "labels" => ("labels", read(&mut card.labels, &value)),
        "trained_on" => ("trained_on", read(&mut card.trained_on, &value)),
        "terms" => ("terms", read(&mut card.terms, &value)),
        _ => return Err(Error::ModelCardSyntax { reason: format!("the field `{field}` is not one that can be set") }),
    };
    done.map_err(|error| Error::ModelCardInvalid {
        field: place,
        value: value.to_string(),
        expected: error.to_string(),
    })
}

fn save(
    classifier: &Classifier<Flex>,
    format: WeightFormat,
    faces: Vec<(RgbImage, f32)>,
    tolerance: f32,
    output: &Path,
) -> Result<(), Error> {
    // The scores are those of the weights as the file will have them, rounded.
    let bytes = classifier.to_file(format).to_bytes()?;
    let mut rounded = Classifier::<Flex>::from_bytes(&bytes, &Default::default())?;
    for (face, score) in faces {
        rounded = rounded.record_reference(face, score, tolerance)?;
    }
    rounded.save(output, format)
}

fn missing(name: &'static str, rule: &'static str) -> Error {
    Error::Setting { name, value: "missing".into(), rule }
}
