//! Conversion of weights of another program to a classifier.

use std::fmt;

use burn::tensor::backend::Backend;

use crate::{
    Classifier, Error, FaceCrop,
    model::{
        ForeignWeights, Head, MlpActivation, ModelCard, NetworkName, Origin, Padding, ResizeFilter, TransformerChoice,
        TransformerName, Variant,
    },
};

/// The settings with which weights of another program become a classifier. Each setting is optional: a missing one
/// comes from the [`Origin`], else from the weights, else from [`ModelCard::new`].
///
/// ```no_run
/// use burn::backend::Flex;
/// use deepsight_core::FaceCrop;
/// use deepsight_core::model::{Conversion, ForeignWeights, NetworkName, Variant, WeightFormat};
///
/// let weights = ForeignWeights::read("best.pth")?;
/// let conversion = Conversion::new("mine")
///     .with_network("efficientnet_b3".parse::<NetworkName>()?)
///     .with_variant(Variant::PyTorch)
///     .with_crop(FaceCrop::Margin { fraction: 0.3 });
/// for note in conversion.notes(&weights)? {
///     eprintln!("note: {note}");
/// }
/// let classifier = conversion.classifier::<Flex>(&weights, &Default::default())?;
/// classifier.save("b3.safetensors", WeightFormat::F32)?;
/// # Ok::<(), deepsight_core::Error>(())
/// ```
///
/// The names of settings in errors are those of the methods without `with_`, and `model_name` for the network.
#[derive(Debug, Clone)]
#[must_use]
pub struct Conversion {
    name: String,
    network: Option<NetworkName>,
    origin: Option<Origin>,
    variant: Option<Variant>,
    padding: Option<Padding>,
    batch_norm_epsilon: Option<f64>,
    activation: Option<MlpActivation>,
    clip_activation: Option<MlpActivation>,
    head: Option<Head>,
    input_size: Option<u32>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    resize: Option<ResizeFilter>,
    crop: Option<FaceCrop>,
    threshold: Option<f32>,
    temperature: Option<f32>,
    mirrored: Option<bool>,
    fake_first: bool,
    trained_on: String,
    terms: String,
}

impl Conversion {
    /// Creates a conversion to a model of this name, with no other setting.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            network: None,
            origin: None,
            variant: None,
            padding: None,
            batch_norm_epsilon: None,
            activation: None,
            clip_activation: None,
            head: None,
            input_size: None,
            mean: None,
            std: None,
            resize: None,
            crop: None,
            threshold: None,
            temperature: None,
            mirrored: None,
            fake_first: false,
            trained_on: String::new(),
            terms: String::new(),
        }
    }

    /// Sets the network. An EfficientNet needs it unless the origin or the weights name it. The shape of a vision
    /// transformer is that of its tensors.
    pub fn with_network(self, network: impl Into<Option<NetworkName>>) -> Self {
        Self { network: network.into(), ..self }
    }

    /// Sets the project that trained the network. It decides the network, crop, resize filter, input size, mean and
    /// standard deviation, unless they are set here.
    pub fn with_origin(self, origin: impl Into<Option<Origin>>) -> Self {
        Self { origin: origin.into(), ..self }
    }

    /// Sets the variant of an EfficientNet, if neither the name nor the weights state it.
    pub fn with_variant(self, variant: impl Into<Option<Variant>>) -> Self {
        Self { variant: variant.into(), ..self }
    }

    /// Sets the padding of an EfficientNet's convolutions, if it is not that of the variant.
    pub fn with_padding(self, padding: impl Into<Option<Padding>>) -> Self {
        Self { padding: padding.into(), ..self }
    }

    /// Sets the number that an EfficientNet's batch norms add to the variance, if it is not that of the variant.
    pub fn with_batch_norm_epsilon(self, epsilon: impl Into<Option<f64>>) -> Self {
        Self { batch_norm_epsilon: epsilon.into(), ..self }
    }

    /// Sets the activation of a vision transformer of CLIP, if neither the network nor the origin states it.
    pub fn with_activation(self, activation: impl Into<Option<MlpActivation>>) -> Self {
        Self { activation: activation.into(), ..self }
    }

    /// Sets the activation of a network of CLIP if nothing else decides it. Unlike
    /// [`with_activation`](Self::with_activation) it is not an error for other networks.
    pub fn with_clip_activation(self, activation: impl Into<Option<MlpActivation>>) -> Self {
        Self { clip_activation: activation.into(), ..self }
    }

    /// Sets the input of the last layer of a vision transformer; [`Head::Linear`] by default.
    pub fn with_head(self, head: impl Into<Option<Head>>) -> Self {
        Self { head: head.into(), ..self }
    }

    /// Sets the side of the network's input in pixels. That of a vision transformer is a multiple of the patch size,
    /// and its positions are interpolated for it.
    pub fn with_input_size(self, pixels: impl Into<Option<u32>>) -> Self {
        Self { input_size: pixels.into(), ..self }
    }

    /// Sets the mean of pixels in `0..=1`, RGB.
    pub fn with_mean(self, mean: impl Into<Option<[f32; 3]>>) -> Self {
        Self { mean: mean.into(), ..self }
    }

    /// Sets the standard deviation of pixels in `0..=1`, RGB.
    pub fn with_std(self, std: impl Into<Option<[f32; 3]>>) -> Self {
        Self { std: std.into(), ..self }
    }

    /// Sets the filter that resizes faces.
    pub fn with_resize(self, filter: impl Into<Option<ResizeFilter>>) -> Self {
        Self { resize: filter.into(), ..self }
    }

    /// Sets how a face is cut out of its frame.
    pub fn with_crop(self, crop: impl Into<Option<FaceCrop>>) -> Self {
        Self { crop: crop.into(), ..self }
    }

    /// Sets the probability from which a face counts as fake, `0..=1`.
    pub fn with_threshold(self, probability: impl Into<Option<f32>>) -> Self {
        Self { threshold: probability.into(), ..self }
    }

    /// Sets the temperature by which logits are divided before the softmax, above 0.
    pub fn with_temperature(self, temperature: impl Into<Option<f32>>) -> Self {
        Self { temperature: temperature.into(), ..self }
    }

    /// Sets whether each face is scored together with its mirror image, in twice the time.
    pub fn with_mirrored(self, mirrored: impl Into<Option<bool>>) -> Self {
        Self { mirrored: mirrored.into(), ..self }
    }

    /// Sets whether the first class is the fake one, as in folders sorted by name.
    pub fn with_fake_first(self, fake_first: bool) -> Self {
        Self { fake_first, ..self }
    }

    /// Sets the description of the training data.
    pub fn with_trained_on(self, text: impl Into<String>) -> Self {
        Self { trained_on: text.into(), ..self }
    }

    /// Sets the terms of use of the weights.
    pub fn with_terms(self, text: impl Into<String>) -> Self {
        Self { terms: text.into(), ..self }
    }

    /// Returns the remarks that a person should read before trusting the classifier of these weights.
    ///
    /// # Errors
    /// The errors of [`ForeignWeights::network`].
    pub fn notes(&self, weights: &ForeignWeights) -> Result<Vec<ConversionNote>, Error> {
        let used = weights.network()?;
        let others: Vec<String> =
            weights.networks().into_iter().filter(|name| *name != used).map(str::to_owned).collect();
        let mut notes = Vec::new();
        if !others.is_empty() {
            notes.push(ConversionNote::OtherNetworks { used: used.to_owned(), others });
        }
        let is_prepared = self.crop.is_some() && self.mean.is_some() && self.std.is_some();
        if let (None, false, Some(origin)) = (self.origin, is_prepared, weights.likely_origin()?) {
            notes.push(ConversionNote::LikelyOrigin { origin });
        }
        if let Some(difference) = self.origin.and_then(Origin::difference)
            && self.described(weights).is_ok()
        {
            notes.push(ConversionNote::Preparation { difference });
        }
        Ok(notes)
    }

    /// Returns the card of the classifier.
    ///
    /// # Errors
    /// [`Error::Setting`] with a setting that is missing, or is not one of the network's kind; [`Error::OtherNetwork`]
    /// if the network or the origin is of another kind than the weights; [`Error::ModelCardInvalid`] with a setting
    /// that is not usable; and the errors of [`ForeignWeights::card`], [`ForeignWeights::transformer_card`] and
    /// [`Origin::apply`].
    pub fn card(&self, weights: &ForeignWeights) -> Result<ModelCard, Error> {
        let mut card = self.described(weights)?;
        card.padding = self.padding.or(card.padding);
        card.batch_norm_epsilon = self.batch_norm_epsilon.or(card.batch_norm_epsilon);
        if card.architecture.efficientnet().is_some() {
            // That of a vision transformer is part of its shape.
            card.input_size = self.input_size.unwrap_or(card.input_size);
        }
        card.mean = self.mean.unwrap_or(card.mean);
        card.std = self.std.unwrap_or(card.std);
        (card.resize, card.crop) = (self.resize.unwrap_or(card.resize), self.crop.unwrap_or(card.crop));
        card.threshold = self.threshold.unwrap_or(card.threshold);
        card.temperature = self.temperature.unwrap_or(card.temperature);
        card.mirrored = self.mirrored.unwrap_or(card.mirrored);
        if self.fake_first {
            card.labels.swap(0, 1);
        }
        card.trained_on.clone_from(&self.trained_on);
        card.terms.clone_from(&self.terms);
        card.validate()?;
        Ok(card)
    }

    /// Loads the weights into a classifier.
    ///
    /// [`Classifier::round_weights`] rounds them for a format, and [`Classifier::record_reference`] compares the
    /// classifier with the original network.
    ///
    /// # Errors
    /// The errors of [`card`](Self::card), [`ForeignWeights::load_into`] and [`Classifier::new`].
    pub fn classifier<B: Backend>(&self, weights: &ForeignWeights, device: &B::Device) -> Result<Classifier<B>, Error> {
        let card = self.card(weights)?;
        let network = weights.load_into(card.config().init::<B>(device)?)?;
        Classifier::new(network, card, device)
    }

    /// Returns the card by the weights and the origin, without the settings that change a card of any network.
    fn described(&self, weights: &ForeignWeights) -> Result<ModelCard, Error> {
        let mut card = match weights.is_vision_transformer()? {
            true => self.transformer(weights)?,
            false => self.efficientnet(weights)?,
        };
        if let Some(origin) = self.origin {
            origin.apply(&mut card, weights)?;
        }
        Ok(card)
    }

    fn efficientnet(&self, weights: &ForeignWeights) -> Result<ModelCard, Error> {
        for (name, value) in [
            ("activation", self.activation.map(|activation| activation.to_string())),
            ("head", self.head.map(|head| head.to_string())),
            ("head_weights", weights.head_source().map(str::to_owned)),
        ] {
            if let Some(value) = value {
                return Err(Error::Setting { name, value, rule: "is for vision transformers only" });
            }
        }
        if self.origin.is_some_and(|origin| !origin.has_efficientnets()) {
            return Err(Error::OtherNetwork { found: "an EfficientNet" });
        }
        let published = self.origin.and_then(Origin::network);
        let network = match (&self.network, published, weights.architecture()) {
            (Some(NetworkName::EfficientNet(name)), ..) => name.clone(),
            (Some(_), ..) => return Err(Error::OtherNetwork { found: "an EfficientNet" }),
            (None, Some(name), _) => name,
            (None, None, Some(name)) => name.parse()?,
            (None, None, None) => {
                let rule = without_a_name(weights.likely_origin()?);
                return Err(Error::Setting { name: "model_name", value: "missing".into(), rule });
            }
        };
        weights.card(&self.name, &network, self.variant)
    }

    fn transformer(&self, weights: &ForeignWeights) -> Result<ModelCard, Error> {
        if let Some(variant) = self.variant {
            let rule = "is for EfficientNets only";
            return Err(Error::Setting { name: "variant", value: variant.to_string(), rule });
        }
        let network = match &self.network {
            Some(NetworkName::VisionTransformer(name)) => Some(name.clone()),
            Some(_) => return Err(Error::OtherNetwork { found: "a vision transformer" }),
            None => None,
        };
        let mut choice = TransformerChoice {
            network: network.as_ref().map(|name| name.config().clone()),
            activation: self.activation,
            clip_activation: self.clip_activation,
            head: self.head,
            input_size: self.input_size,
            ..TransformerChoice::default()
        };
        if let Some(origin) = self.origin {
            origin.complete(&mut choice, weights)?;
        }
        let mut card = weights.transformer_card(&self.name, &choice)?;
        if let Some(name) = network.filter(TransformerName::has_weights) {
            (card.mean, card.std) = name.normalization();
        }
        Ok(card)
    }
}

/// Returns the rule about the name of the network for a file that does not state it and seems to be of this project.
fn without_a_name(likely: Option<Origin>) -> &'static str {
    match likely {
        Some(Origin::SelfBlendedImages) => {
            "is needed, because the file does not say which network it is of; its tensors have the names of \
             efficientnet_pytorch in a module `net`, as in SelfBlendedImages (origin `sbi`?)"
        }
        Some(Origin::DeepfakeBench) => {
            "is needed, because the file does not say which network it is of; its tensors have the names of \
             efficientnet_pytorch beside a `last_layer`, as in DeepfakeBench (origin `deepfakebench`?)"
        }
        Some(Origin::Polimi) => {
            "is needed, because the file does not say which network it is of; its tensors have the names of \
             efficientnet_pytorch in a module `efficientnet`, as in icpr2020dfdc (origin `polimi`?)"
        }
        Some(Origin::Selimsef) => {
            "is needed, because the file does not say which network it is of; its tensors have timm's names in a \
             module `encoder`, as in the winner of the DFDC (origin `selimsef`?)"
        }
        _ => "is needed, because the file does not say which network it is of",
    }
}

/// A remark that a person should read before trusting a classifier of foreign weights.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConversionNote {
    /// The weights have further networks, which are left out. [`ForeignWeights::with_set`] chooses others.
    OtherNetworks {
        /// Name of the network that is read.
        used: String,
        /// Names of the others.
        others: Vec<String>,
    },
    /// No origin is set, and the tensors have the names of this one's. Without it, its crop, mean and standard
    /// deviation are not used, and scores differ from the original's.
    LikelyOrigin {
        /// The origin that the weights seem to be of.
        origin: Origin,
    },
    /// The origin prepares faces differently from what a model file can say. References
    /// ([`Classifier::record_reference`]) show how much that changes the scores.
    Preparation {
        /// The difference.
        difference: &'static str,
    },
}

impl fmt::Display for ConversionNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherNetworks { used, others } => {
                write!(f, "the weights are `{used}`; the file also has `{}`", others.join(" and "))
            }
            Self::LikelyOrigin { origin } => write!(
                f,
                "the names of the tensors are those of another project, and without its crop and pixels the scores \
                 differ from the original's (origin `{origin}`?)"
            ),
            Self::Preparation { difference } => f.write_str(difference),
        }
    }
}
