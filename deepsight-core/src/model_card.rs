//! The description in a model file of how its weights are used.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::network::VISION_TRANSFORMER;
use crate::{
    Error, FaceCrop, Reliability,
    model::{
        Activation, Architecture, ModelArchitecture, NetworkConfig, Padding, ResizeFilter, VisionTransformerConfig,
    },
};

/// Everything needed to use a model's weights correctly. It is the JSON under `deepsight` in the file's metadata.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModelCard {
    /// Version of this layout, up to [`ModelCard::SCHEMA`]. A file is written in the first version that can describe
    /// it.
    pub schema: u32,
    /// Name of the model.
    pub name: String,
    /// The network that the weights are for: the field `architecture`, and `vision_transformer` with the shape of one.
    #[serde(flatten)]
    pub architecture: ModelArchitecture,
    /// How the network's convolutions pad their input; the architecture's own rule if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padding: Option<Padding>,
    /// Whether the network's first convolution does not pad its input, as in DeepfakeBench.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unpadded_stem: bool,
    /// Number that the network's batch norms add to the variance, above 0; the architecture's own if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_norm_epsilon: Option<f64>,
    /// The network's non-linearity; the architecture's own if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// Side of the network's square input in pixels, `32..=1024`. That of a vision transformer is part of its shape.
    pub input_size: u32,
    /// Mean that is subtracted from pixels in `0..=1`, RGB.
    pub mean: [f32; 3],
    /// Standard deviation by which the result is divided, RGB; above 0.
    pub std: [f32; 3],
    /// The filter that resizes a face to the input size.
    pub resize: ResizeFilter,
    /// The method by which a face is cut from its frame.
    pub crop: FaceCrop,
    /// The classes of the two logits: `real` and `fake`, in the order of the logits.
    pub labels: [String; 2],
    /// Fake probability from which a face counts as fake, `0..=1`.
    pub threshold: f32,
    /// Temperature by which the logits are divided before the softmax (Guo et al., ICML 2017); above 0.
    pub temperature: f32,
    /// Data that it was trained on.
    pub trained_on: String,
    /// Terms of use of the weights.
    pub terms: String,
    /// Measured quality by name, such as `video_auc`.
    pub metrics: BTreeMap<String, f64>,
    /// Whether a face's logits are the mean of those of the face and of its mirror image. This doubles the time of
    /// scoring.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mirrored: bool,
    /// The reliability of the probabilities, if it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reliability: Option<Reliability>,
    /// The score that the golden input must get, if the file contains one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub golden: Option<Golden>,
    /// The scores that another implementation of the network gave to the reference images in the file, without
    /// temperature and mirror images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Golden>,
}

/// The expected score of a model file's golden input, or of one of its reference images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// Calibrated fake probability, `0..=1`.
    pub fake_probability: f32,
    /// Largest allowed difference from this probability, above 0.
    pub tolerance: f32,
}

impl ModelCard {
    /// The last schema that this version reads and writes.
    pub const SCHEMA: u32 = 3;

    /// Creates a card with timm's input size, mean and deviation for the architecture, [`FaceCrop::Box`], labels `real`
    /// and `fake`, threshold 0.5 and temperature 1. The resize is OpenCV's bilinear one for an EfficientNet, and PIL's
    /// bicubic one for a vision transformer.
    pub fn new(name: impl Into<String>, architecture: impl Into<ModelArchitecture>) -> Self {
        let architecture = architecture.into();
        let ((mean, std), input_size, resize) = match &architecture {
            ModelArchitecture::EfficientNet(known) => {
                (known.timm_normalization(), known.config().resolution, ResizeFilter::OpencvBilinear)
            }
            ModelArchitecture::VisionTransformer(config) => {
                (config.normalization(), config.image_size(), ResizeFilter::PilBicubic)
            }
        };
        Self {
            schema: 1,
            name: name.into(),
            architecture,
            padding: None,
            unpadded_stem: false,
            batch_norm_epsilon: None,
            activation: None,
            input_size: u32::try_from(input_size).unwrap_or(u32::MAX),
            mean,
            std,
            resize,
            crop: FaceCrop::Box,
            labels: ["real".into(), "fake".into()],
            threshold: 0.5,
            temperature: 1.0,
            trained_on: String::new(),
            terms: String::new(),
            metrics: BTreeMap::new(),
            mirrored: false,
            reliability: None,
            golden: None,
            references: Vec::new(),
        }
    }

    /// Returns the shape of the network: that of the architecture, with the card's own padding, epsilon and activation.
    pub fn config(&self) -> NetworkConfig {
        let mut config = self.architecture.config();
        if let NetworkConfig::EfficientNet(config) = &mut config {
            config.padding = self.padding.unwrap_or(config.padding);
            config.pad_stem = !self.unpadded_stem;
            config.batch_norm_epsilon = self.batch_norm_epsilon.unwrap_or(config.batch_norm_epsilon);
            config.activation = self.activation.unwrap_or(config.activation);
        }
        config
    }

    /// Returns the card as a file has it: with the padding, epsilon and activation of an EfficientNet in any case, and
    /// in the first schema that can describe it. The first versions of this crate know schema 1 only and would ignore
    /// other settings than the architecture's own; schema 3 has vision transformers.
    #[must_use]
    pub fn written(&self) -> Self {
        let config = self.config();
        let mut card = self.clone();
        let NetworkConfig::EfficientNet(own) = &config else {
            card.schema = 3;
            return card;
        };
        card.padding = Some(own.padding);
        card.batch_norm_epsilon = Some(own.batch_norm_epsilon);
        card.activation = Some(own.activation);
        let is_first = config == self.architecture.config() && self.references.is_empty();
        card.schema = if is_first { 1 } else { 2 };
        card
    }

    /// Returns the index of the fake class among the logits.
    pub fn fake_index(&self) -> usize {
        usize::from(self.labels[1] == "fake")
    }

    /// Checks that every value is usable.
    ///
    /// # Errors
    /// [`Error::ModelCardInvalid`] with the first field that is wrong, [`Error::UnsupportedSchema`].
    pub fn validate(&self) -> Result<(), Error> {
        if !(1..=Self::SCHEMA).contains(&self.schema) {
            return Err(Error::UnsupportedSchema { found: self.schema.into(), supported: Self::SCHEMA });
        }
        let probability = |value: f32| (0.0..=1.0).contains(&value);
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let crop_is_usable = match self.crop {
            FaceCrop::Box => true,
            FaceCrop::Margin { fraction } => (0.0..=4.0).contains(&fraction),
            FaceCrop::Aligned { size, scale, down } => {
                (16..=1024).contains(&size) && (0.1..=10.0).contains(&scale) && (-1.0..=1.0).contains(&down)
            }
        };
        let labels: Vec<_> = self.labels.iter().map(String::as_str).collect();
        let score_is_usable =
            |g: &Golden| probability(g.fake_probability) && g.tolerance > 0.0 && g.tolerance.is_finite();
        // A name is printed to terminals, so it must not contain control characters.
        require(!self.name.contains(char::is_control), "name", &self.name, "text on one line is needed")?;
        if let ModelArchitecture::VisionTransformer(config) = &self.architecture {
            self.validate_transformer(config)?;
        }
        require(
            self.padding.is_none_or(Padding::is_usable),
            "padding",
            &self.padding,
            "a side of 32 to 1024 pixels is usable",
        )?;
        require(
            self.batch_norm_epsilon.is_none_or(|epsilon| epsilon > 0.0 && epsilon <= 1.0),
            "batch_norm_epsilon",
            &self.batch_norm_epsilon,
            "a number above 0 and up to 1 is needed",
        )?;
        require(
            self.activation != Some(Activation::Identity),
            "activation",
            &self.activation,
            "silu and relu6 are usable",
        )?;
        require(
            (32..=1024).contains(&self.input_size),
            "input_size",
            &self.input_size,
            "32 to 1024 pixels are usable",
        )?;
        require(finite(&self.mean), "mean", &self.mean, "finite numbers are needed")?;
        require(
            finite(&self.std) && self.std.iter().all(|std| *std > 0.0),
            "std",
            &self.std,
            "numbers above 0 are needed",
        )?;
        require(
            crop_is_usable,
            "crop",
            &self.crop,
            "usable are a fraction of 0 to 4, a size of 16 to 1024, a scale of 0.1 to 10 and -1 to 1 down",
        )?;
        require(
            matches!(labels[..], ["real", "fake"] | ["fake", "real"]),
            "labels",
            &labels,
            "`real` and `fake` are needed, in the order of the logits",
        )?;
        require(probability(self.threshold), "threshold", &self.threshold, "a number in 0..=1 is needed")?;
        require(
            self.temperature > 0.0 && self.temperature.is_finite(),
            "temperature",
            &self.temperature,
            "a number above 0 is needed",
        )?;
        require(
            self.metrics.values().all(|metric| metric.is_finite()),
            "metrics",
            &self.metrics,
            "finite numbers are needed",
        )?;
        if let Some(reliability) = &self.reliability {
            reliability.validate().map_err(|error| Error::ModelCardInvalid {
                field: "reliability",
                value: serde_json::to_string(reliability).unwrap_or_default(),
                expected: error.to_string(),
            })?;
        }
        let expected = "a probability in 0..=1 and a tolerance above 0 are needed";
        require(self.golden.as_ref().is_none_or(score_is_usable), "golden", &self.golden, expected)?;
        require(self.references.iter().all(score_is_usable), "references", &self.references, expected)
    }

    /// Checks the conditions on the card of a vision transformer.
    fn validate_transformer(&self, config: &VisionTransformerConfig) -> Result<(), Error> {
        config.validate().map_err(|error| Error::ModelCardInvalid {
            field: VISION_TRANSFORMER,
            value: serde_json::to_string(config).unwrap_or_default(),
            expected: error.to_string(),
        })?;
        require(config.classes == 2, VISION_TRANSFORMER, config, "two classes are needed")?;
        let side = config.image_size();
        let expected = format!("the vision transformer's patches need {side} pixels");
        require(self.input_size as usize == side, "input_size", &self.input_size, &expected)?;
        let expected = "only an EfficientNet has this setting";
        require(self.padding.is_none(), "padding", &self.padding, expected)?;
        require(!self.unpadded_stem, "unpadded_stem", &self.unpadded_stem, expected)?;
        require(self.batch_norm_epsilon.is_none(), "batch_norm_epsilon", &self.batch_norm_epsilon, expected)?;
        require(self.activation.is_none(), "activation", &self.activation, expected)
    }

    pub(crate) fn from_json(text: &str) -> Result<Self, Error> {
        // Parsed JSON takes many times its length in memory, so the length is limited.
        const MAX_BYTES: usize = 1 << 20;
        if text.len() > MAX_BYTES {
            return Err(Error::ModelCardTooLarge { bytes: text.len(), limit: MAX_BYTES });
        }
        let syntax = |reason: String| Error::ModelCardSyntax { reason };
        let Value::Object(card) = serde_json::from_str(text).map_err(|error| syntax(error.to_string()))? else {
            return Err(syntax("it is another JSON value".into()));
        };
        let schema: u64 = field(&card, "schema")?;
        if !(1..=u64::from(Self::SCHEMA)).contains(&schema) {
            return Err(Error::UnsupportedSchema { found: schema, supported: Self::SCHEMA });
        }
        let name: String = field(&card, "architecture")?;
        let architecture = match name.as_str() {
            VISION_TRANSFORMER => ModelArchitecture::VisionTransformer(field(&card, VISION_TRANSFORMER)?),
            name => ModelArchitecture::EfficientNet(name.parse::<Architecture>()?),
        };
        let own = architecture.efficientnet().map(Architecture::config);
        let own = own.as_ref();
        let card = Self {
            schema: schema as u32,
            architecture,
            // A setting of the architecture's own is `None`, as in a new card.
            padding: optional(&card, "padding")?.filter(|padding| own.is_none_or(|own| *padding != own.padding)),
            unpadded_stem: optional(&card, "unpadded_stem")?.unwrap_or_default(),
            batch_norm_epsilon: optional(&card, "batch_norm_epsilon")?
                .filter(|epsilon| own.is_none_or(|own| *epsilon != own.batch_norm_epsilon)),
            activation: optional(&card, "activation")?
                .filter(|activation| own.is_none_or(|own| *activation != own.activation)),
            name: field(&card, "name")?,
            input_size: field(&card, "input_size")?,
            mean: field(&card, "mean")?,
            std: field(&card, "std")?,
            resize: field(&card, "resize")?,
            crop: field(&card, "crop")?,
            labels: field(&card, "labels")?,
            threshold: field(&card, "threshold")?,
            temperature: field(&card, "temperature")?,
            trained_on: field(&card, "trained_on")?,
            terms: field(&card, "terms")?,
            metrics: field(&card, "metrics")?,
            mirrored: optional(&card, "mirrored")?.unwrap_or_default(),
            reliability: if card.contains_key("reliability") { field(&card, "reliability")? } else { None },
            golden: if card.contains_key("golden") { field(&card, "golden")? } else { None },
            references: optional(&card, "references")?.unwrap_or_default(),
        };
        card.validate()?;
        Ok(card)
    }
}

fn require(holds: bool, field: &'static str, value: &impl Serialize, expected: &str) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    let value = serde_json::to_string(value).unwrap_or_default();
    Err(Error::ModelCardInvalid { field, value, expected: expected.into() })
}

/// Returns a field that may be left out.
fn optional<T: DeserializeOwned>(
    card: &serde_json::Map<String, Value>,
    name: &'static str,
) -> Result<Option<T>, Error> {
    card.contains_key(name).then(|| field(card, name)).transpose()
}

fn field<T: DeserializeOwned>(card: &serde_json::Map<String, Value>, name: &'static str) -> Result<T, Error> {
    let value = card.get(name).ok_or(Error::ModelCardMissing { field: name })?;
    T::deserialize(value).map_err(|error| Error::ModelCardInvalid {
        field: name,
        value: value.to_string(),
        expected: error.to_string(),
    })
}
