//! Weights that other programs saved: the networks in a file, and its statements about them.

mod checkpoint;
mod efficientnet;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod origin;
mod pickle;
mod shards;
mod source;
mod transformer_names;
mod vision_transformer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use burn::tensor::backend::Backend;

use self::efficientnet::{Choice, read_state_dict};
pub use self::origin::Origin;
use self::source::{Source, unsupported_network};
pub use self::vision_transformer::TransformerChoice;
use self::vision_transformer::{Contents, head_of};
use crate::efficientnet::{Architecture, EfficientNet, Padding, TimmName, Variant};
use crate::state_dict::Weight;
use crate::vision_transformer::{VisionTransformer, VisionTransformerConfig};
use crate::{
    Error,
    model::{ModelCard, ModelLimits, Network, TransformerName},
};

/// The kind of weights to read from a checkpoint that has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightSet {
    /// The moving average of the weights over the training, such as timm's `state_dict_ema`.
    Ema,
    /// The weights of the last training step, such as `state_dict`.
    Plain,
}

impl WeightSet {
    /// Returns its name: `ema` or `plain`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ema => "ema",
            Self::Plain => "plain",
        }
    }
}

impl fmt::Display for WeightSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WeightSet {
    type Err = Error;

    /// Reads [`name`](Self::name).
    fn from_str(name: &str) -> Result<Self, Error> {
        [Self::Ema, Self::Plain].into_iter().find(|set| set.name() == name).ok_or_else(|| Error::Setting {
            name: "weights",
            value: name.into(),
            rule: "must be ema or plain",
        })
    }
}

/// The library by whose names tensors are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Naming {
    /// timm: `conv_stem.weight`, `blocks.0.0.conv_dw.weight`, or `cls_token`, `blocks.0.attn.qkv.weight`. DINOv2's own
    /// code has the latter names, too.
    Timm,
    /// `efficientnet_pytorch`: `_conv_stem.weight`, `_blocks.0._depthwise_conv.weight`.
    EfficientNetPytorch,
    /// transformers: `embeddings.class_embedding`, `encoder.layers.0.self_attn.q_proj.weight`.
    Transformers,
    /// OpenAI's CLIP and open_clip: `class_embedding`, `transformer.resblocks.0.attn.in_proj_weight`.
    OpenClip,
}

/// A network in a file: where its tensors lie, and how they are called.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// Number of the dictionary in the file.
    pub(super) dictionary: usize,
    /// Text before every name of the network.
    pub(crate) prefix: String,
    pub(crate) naming: Naming,
    /// Whether it is a vision transformer, and not an EfficientNet.
    pub(super) is_transformer: bool,
    /// Whether the network is the part of a module of DeepfakeBench, by the names around it.
    pub(super) is_deepfakebench: bool,
    /// The keys of the dictionary and the prefix, for messages.
    name: String,
    set: WeightSet,
}

impl Candidate {
    pub(super) fn new(dictionary: usize, keys: &str, prefix: &str, naming: Naming) -> Self {
        let parts: Vec<&str> =
            [keys, prefix.trim_end_matches('.')].into_iter().filter(|part| !part.is_empty()).collect();
        let name = if parts.is_empty() { "the top of the file".to_owned() } else { parts.join(".") };
        let is_ema = name.split(['.', '_']).any(|word| word.eq_ignore_ascii_case("ema"));
        let set = if is_ema { WeightSet::Ema } else { WeightSet::Plain };
        let (is_transformer, is_deepfakebench) = (false, false);
        Self { dictionary, prefix: prefix.into(), naming, is_transformer, is_deepfakebench, name, set }
    }
}

/// A linear layer that was saved in a file of its own.
#[derive(Debug, Clone)]
pub(crate) struct HeadWeights {
    /// Path of the file, or what it is, for messages.
    pub(crate) source: String,
    /// `[outputs, inputs]`
    pub(crate) weight: Weight,
    /// `[outputs]`
    pub(crate) bias: Option<Weight>,
}

/// The weights of an EfficientNet or a vision transformer that another program saved, and what their file says about
/// the network.
///
/// A state dict does not say everything about its network: two variants of the same architecture have the same tensors
/// ([`Variant`]). So the file is read first, then [`card`](Self::card) decides the network, and
/// [`load_into`](Self::load_into) takes the weights:
///
/// ```no_run
/// use burn::backend::Flex;
/// use deepsight_core::{Classifier, model::ForeignWeights};
///
/// let weights = ForeignWeights::read("tf_efficientnet_b4_ns.pth")?;
/// let card = weights.card("mine", &"tf_efficientnet_b4_ns".parse()?, None)?;
/// let network = weights.load_into(card.config().init::<Flex>(&Default::default())?)?;
/// let classifier = Classifier::new(network, card, &Default::default())?;
/// # Ok::<(), deepsight_core::Error>(())
/// ```
///
/// Files are `.pth` (zip archive or legacy pickle) or safetensors. A `.pth` may have the state dict at the top or under
/// keys, and any prefix before the names. Several safetensors files are read by their index, such as
/// `model.safetensors.index.json`. No code in the file is run.
#[derive(Debug, Clone)]
pub struct ForeignWeights {
    content: Content,
    path: Option<PathBuf>,
    architecture: Option<String>,
    candidates: Vec<Candidate>,
    set: Option<WeightSet>,
    head: Option<HeadWeights>,
}

/// The source of the weights.
#[derive(Debug, Clone)]
enum Content {
    /// The content of a file.
    File(Vec<u8>),
    /// The dictionaries of a checkpoint in memory: the keys of each, joined by dots, and its tensors as the content of
    /// a safetensors file.
    Dictionaries(Vec<(String, Vec<u8>)>),
}

impl Content {
    fn open(&self) -> Result<Source<'_>, Error> {
        match self {
            Self::File(bytes) => Source::open(bytes),
            Self::Dictionaries(dictionaries) => {
                Source::of_dictionaries(dictionaries.iter().map(|(keys, bytes)| (keys.as_str(), bytes.as_slice())))
            }
        }
    }

    /// Returns the number of bytes.
    fn len(&self) -> u64 {
        match self {
            Self::File(bytes) => bytes.len() as u64,
            Self::Dictionaries(dictionaries) => dictionaries.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
        }
    }
}

impl ForeignWeights {
    /// Reads a file of up to 4 GiB, or an index with all files that it names, up to 4 GiB in all.
    ///
    /// # Errors
    /// [`Error::Model`] with the path. Its cause is [`Error::ModelIo`], [`Error::ModelTooLarge`] or an error of
    /// [`from_bytes`](Self::from_bytes); [`Error::OneOfSeveralFiles`] for a file that an index beside it names.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let limits = ModelLimits::default();
        let read = match shards::index_of(path).filter(|index| index.is_file()) {
            Some(index) => Err(Error::OneOfSeveralFiles { index }),
            None if shards::is_index(path) => shards::read(path, &limits).and_then(Self::from_bytes),
            None => limits.read(path).and_then(Self::from_bytes),
        };
        read.map(|weights| Self { path: Some(path.into()), ..weights }).map_err(|error| error.at(path))
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] or [`Error::NotSafetensors`] for bytes that cannot be read, and
    /// [`Error::UnsupportedNetwork`] for weights of another known network, such as Xception.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        Self::of(Content::File(bytes))
    }

    /// Reads the state dicts of a checkpoint in memory. Each comes with the keys under which it lies in the checkpoint,
    /// joined by dots (nothing for the checkpoint itself), and with its tensors as the content of a safetensors file.
    ///
    /// # Errors
    /// [`Error::NotSafetensors`] and [`Error::UnsupportedNetwork`], as for [`from_bytes`](Self::from_bytes), and
    /// [`Error::NotACheckpoint`] if there are no dictionaries.
    pub fn from_dictionaries(dictionaries: Vec<(String, Vec<u8>)>) -> Result<Self, Error> {
        if dictionaries.is_empty() {
            return Err(Error::NotACheckpoint { reason: "it has no dictionary of tensors".into() });
        }
        Self::of(Content::Dictionaries(dictionaries))
    }

    fn of(content: Content) -> Result<Self, Error> {
        let source = content.open()?;
        let candidates = source.candidates();
        if let Some(network) = unsupported_network(&source) {
            return Err(Error::UnsupportedNetwork { network });
        }
        let architecture = source.architecture().map(str::to_owned);
        drop(source);
        Ok(Self { content, path: None, architecture, candidates, set: None, head: None })
    }

    /// Chooses the kind of weights. Without a choice these are the moving average where the file has one.
    #[must_use]
    pub fn with_set(self, set: Option<WeightSet>) -> Self {
        Self { set, ..self }
    }

    /// Takes the head of a vision transformer from another file, a state dict with one linear layer: its `weight`,
    /// `[outputs, inputs]`, and its `bias`, if it has one. Its inputs are the features of the network, or CLIP's
    /// embedding, whose projection then becomes part of the head.
    ///
    /// # Errors
    /// [`Error::Model`] with the path. Its cause is an error of [`read`](Self::read), or [`Error::TensorNames`] or
    /// [`Error::TensorShape`] if the file has no linear layer.
    pub fn with_head(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let head = ModelLimits::default().read(path).and_then(|bytes| head_of(&bytes, path.display().to_string()));
        Ok(Self { head: Some(head.map_err(|error| error.at(path))?), ..self })
    }

    /// Takes the head as [`with_head`](Self::with_head) does, from the content of a file.
    ///
    /// # Errors
    /// The errors that `with_head` lists as causes.
    pub fn with_head_bytes(self, bytes: &[u8]) -> Result<Self, Error> {
        Ok(Self { head: Some(head_of(bytes, "given".into())?), ..self })
    }

    /// Returns where the head comes from, if it comes from another file.
    pub(crate) fn head_source(&self) -> Option<&str> {
        self.head.as_ref().map(|head| head.source.as_str())
    }

    /// Sets timm's name of the network for weights that are not in a file of timm's training script, such as those of a
    /// network in memory. It counts as if the script had written it: `efficientnet_b4` is the variant PyTorch then.
    /// `None` leaves what the file says.
    #[must_use]
    pub fn with_architecture(self, name: impl Into<Option<String>>) -> Self {
        Self { architecture: name.into().or(self.architecture), ..self }
    }

    /// Returns the name of every network in the file: its keys and its prefix, such as `state_dict_ema` or `model.net`.
    pub fn networks(&self) -> Vec<&str> {
        self.candidates.iter().map(|candidate| candidate.name.as_str()).collect()
    }

    /// Returns the name of the network that is read, as [`networks`](Self::networks) has it.
    ///
    /// # Errors
    /// [`Error::NoSuchWeights`] if the file does not have exactly one network of the chosen kind.
    pub fn network(&self) -> Result<&str, Error> {
        self.chosen().map(|candidate| candidate.name.as_str())
    }

    /// Returns the library by whose names the tensors are called.
    ///
    /// # Errors
    /// As for [`network`](Self::network).
    pub fn naming(&self) -> Result<Naming, Error> {
        self.chosen().map(|candidate| candidate.naming)
    }

    /// Returns whether the network is a vision transformer.
    ///
    /// # Errors
    /// As for [`network`](Self::network).
    pub fn is_vision_transformer(&self) -> Result<bool, Error> {
        self.chosen().map(|candidate| candidate.is_transformer)
    }

    /// Returns whether the network is the image encoder of GenD, by the name of the module that holds it.
    pub(super) fn is_gend(&self) -> Result<bool, Error> {
        self.chosen().map(|candidate| candidate.prefix.contains("feature_extractor."))
    }

    /// Returns whether linear layers of a vision transformer are divided as in Effort.
    pub(super) fn is_effort(&self) -> Result<bool, Error> {
        self.with_contents(|contents, _| Ok(contents.is_split()))
    }

    /// Calls a function with the contents of a vision transformer.
    fn with_contents<T>(
        &self,
        call: impl FnOnce(&Contents, &source::Tensors<'_, '_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let candidate = self.chosen()?;
        let source = self.content.open()?;
        let tensors = source.tensors(candidate.dictionary)?;
        call(&Contents::new(candidate, &tensors), &tensors)
    }

    /// Returns whether the network is one of DeepfakeBench, which replaces the first convolution by one without
    /// padding: its tensors lie under `efficientnet`, beside a `last_layer`.
    ///
    /// # Errors
    /// As for [`network`](Self::network).
    pub fn is_deepfakebench(&self) -> Result<bool, Error> {
        self.chosen().map(|candidate| candidate.is_deepfakebench)
    }

    /// Returns the project with EfficientNets whose modules have the names of this file's. It is a guess, because
    /// another program may use the same names.
    pub(crate) fn likely_origin(&self) -> Result<Option<Origin>, Error> {
        let candidate = self.chosen()?;
        let holder = candidate.prefix.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        Ok(match (candidate.naming, holder) {
            _ if candidate.is_transformer => None,
            _ if candidate.is_deepfakebench => Some(Origin::DeepfakeBench),
            (Naming::EfficientNetPytorch, "net") => Some(Origin::SelfBlendedImages),
            (Naming::EfficientNetPytorch, "efficientnet") => Some(Origin::Polimi),
            (Naming::Timm, "encoder") => Some(Origin::Selimsef),
            _ => None,
        })
    }

    /// Returns the name of the network that timm's training script wrote into the checkpoint under `arch`, or that
    /// [`with_architecture`](Self::with_architecture) set.
    pub fn architecture(&self) -> Option<&str> {
        self.architecture.as_deref()
    }

    fn chosen(&self) -> Result<&Candidate, Error> {
        let of = |set: WeightSet| self.candidates.iter().filter(|candidate| candidate.set == set).collect::<Vec<_>>();
        let set = self.set.unwrap_or_else(|| match of(WeightSet::Ema)[..] {
            [] => WeightSet::Plain,
            _ => WeightSet::Ema,
        });
        match of(set)[..] {
            [only] => Ok(only),
            _ => Err(Error::NoSuchWeights { set, found: self.networks().into_iter().map(str::to_owned).collect() }),
        }
    }

    /// Returns a card for the network that these weights are of: architecture, padding, batch-norm epsilon, and timm's
    /// input size, mean and standard deviation. Everything else is as in [`ModelCard::new`].
    ///
    /// The variant is the given one, else that of the name (`tf_efficientnet_b4`), of the checkpoint's `arch`, or of
    /// the library by whose names the tensors are called. Weights with the names of `efficientnet_pytorch` have the
    /// padding of its version 0.7, which is that of the network's own input size for images of any size. The first
    /// convolution of a network of DeepfakeBench ([`is_deepfakebench`](Self::is_deepfakebench)) is not padded.
    ///
    /// # Errors
    /// [`Error::VariantUnknown`] if none of these decides, [`Error::OtherVariant`] if two of them contradict each
    /// other, and the errors of [`network`](Self::network).
    pub fn card(
        &self,
        name: impl Into<String>,
        network: &TimmName,
        variant: Option<Variant>,
    ) -> Result<ModelCard, Error> {
        self.in_file(self.card_of(name.into(), network, variant))
    }

    /// Returns a card for the vision transformer that these weights are of: its shape, and the mean and standard
    /// deviation of CLIP or DINOv2, or of the pretrained weights that [`architecture`](Self::architecture) names.
    /// Everything else is as in [`ModelCard::new`].
    ///
    /// Tensors show the shape, but neither the activation of CLIP nor the kind of head, so `choice` decides these.
    ///
    /// # Errors
    /// [`Error::OtherNetwork`] if the weights are of an EfficientNet, [`Error::ActivationUnknown`] if nothing decides
    /// the activation, [`Error::OtherVariant`] if the choice contradicts the tensors,
    /// [`Error::UnsupportedNetwork`] for a vision transformer of neither CLIP nor DINOv2, [`Error::TensorNames`] or
    /// [`Error::TensorShape`] if a tensor is missing or wrong that shows the shape, and the errors of
    /// [`network`](Self::network).
    pub fn transformer_card(&self, name: impl Into<String>, choice: &TransformerChoice) -> Result<ModelCard, Error> {
        let config = self.is_vision_transformer().and_then(|is_transformer| match is_transformer {
            true => self.with_contents(|contents, _| contents.config(&self.completed(choice)?)),
            false => Err(Error::OtherNetwork { found: "an EfficientNet" }),
        });
        let config = config.and_then(|config| {
            // A few bytes can be the values of many tensors. No value takes less than two bytes otherwise.
            let (weights, bytes) = (config.weights(), self.content.len());
            if weights.saturating_mul(2) > bytes {
                let reason = format!("its {bytes} bytes cannot hold the {weights} weights of its network");
                return Err(Error::NotACheckpoint { reason });
            }
            Ok(config)
        });
        let config = self.in_file(config)?;
        // A name of no known shape was an error before, unless it was not needed.
        let named = self.architecture.as_deref().and_then(|text| text.parse::<TransformerName>().ok());
        let named = named.filter(|name| name.config().has_size_of(&config));
        let mut card = ModelCard::new(name, config);
        if let Some(named) = named {
            (card.mean, card.std) = named.normalization();
        }
        Ok(card)
    }

    /// Adds the network that the checkpoint names to a choice that names none.
    fn completed(&self, choice: &TransformerChoice) -> Result<TransformerChoice, Error> {
        if choice.head.is_none() && self.is_gend()? {
            let rule = "is needed for tensors with the names of GenD, whose head is cosine (origin `gend`)";
            return Err(Error::Setting { name: "head", value: "missing".into(), rule });
        }
        let named = self.architecture.as_deref().filter(|text| text.starts_with("vit_"));
        let named = named.map(str::parse::<VisionTransformerConfig>);
        let network = match (&choice.network, named) {
            (Some(asked), Some(Ok(found))) if *asked != found => {
                let evidence = "`arch` in the checkpoint".to_owned();
                let (found, wanted) = (found.to_string(), asked.to_string());
                return Err(Error::OtherVariant { evidence, found, wanted });
            }
            (None, Some(Err(unknown))) if choice.activation.or(choice.clip_activation).is_none() => {
                return Err(unknown);
            }
            (asked, named) => asked.clone().or(named.and_then(Result::ok)),
        };
        Ok(TransformerChoice { network, ..choice.clone() })
    }

    fn card_of(&self, name: String, network: &TimmName, variant: Option<Variant>) -> Result<ModelCard, Error> {
        if self.is_vision_transformer()? {
            return Err(Error::OtherNetwork { found: "a vision transformer" });
        }
        let plain = network.architecture().plain_name();
        let claims = self.claims()?;
        let asked = [variant, network.variant()].into_iter().flatten();
        let Some(decided) = asked.clone().chain(claims.iter().map(|claim| claim.variant)).next() else {
            return Err(Error::VariantUnknown {
                networks: Variant::ALL.map(|variant| described(network.architecture(), variant)),
                hint: self.hint().map(|hint| format!(" ({hint} suggests {})", Variant::TensorFlow)).unwrap_or_default(),
            });
        };
        let wanted = described(network.architecture(), decided);
        if let Some(other) = asked.clone().find(|variant| *variant != decided) {
            let found = described(network.architecture(), other);
            return Err(Error::OtherVariant { evidence: format!("the name `{network}`"), found, wanted });
        }
        for claim in claims {
            if claim.variant != decided || claim.architecture.is_some_and(|claimed| claimed.plain_name() != plain) {
                let found = described(claim.architecture.unwrap_or(network.architecture()), claim.variant);
                return Err(Error::OtherVariant { evidence: claim.evidence, found, wanted });
            }
        }
        let (architecture, config) = network.architecture().in_variant(decided);
        let mut card = ModelCard::new(name, architecture);
        (card.padding, card.batch_norm_epsilon) = (Some(config.padding), Some(config.batch_norm_epsilon));
        if self.naming()? == Naming::EfficientNetPytorch {
            let side = architecture.nominal_side();
            (card.padding, card.input_size) = (Some(Padding::SameFor(side)), side);
            card.unpadded_stem = self.is_deepfakebench()?;
        }
        (card.mean, card.std) = network.normalization(architecture, decided);
        Ok(card)
    }

    /// Loads the weights into a network of their architecture, such as `card.config().init(&device)?`.
    ///
    /// A classifier with one logit `z` becomes one with the two logits 0 and `z`, whose softmax is the sigmoid of `z`.
    ///
    /// # Errors
    /// [`Error::OtherArchitecture`] if the tensors are those of another known architecture, [`Error::TensorNames`],
    /// [`Error::TensorShape`], [`Error::TensorType`] or [`Error::TensorNotFinite`] with the first tensor that is wrong,
    /// [`Error::OtherNetwork`] for an EfficientNet's weights in a vision transformer or the other way round,
    /// [`Error::HeadMissing`] for a vision transformer without a head, and the errors of [`network`](Self::network).
    pub fn load_into<B: Backend>(&self, network: impl Into<Network<B>>) -> Result<Network<B>, Error> {
        let is_transformer = self.in_file(self.is_vision_transformer())?;
        match (network.into(), is_transformer) {
            (Network::EfficientNet(network), false) => self.load(network, true).map(Network::EfficientNet),
            (Network::VisionTransformer(network), true) => {
                self.in_file(self.load_transformer(network)).map(Network::VisionTransformer)
            }
            (_, true) => self.in_file(Err(Error::OtherNetwork { found: "a vision transformer" })),
            (_, false) => self.in_file(Err(Error::OtherNetwork { found: "an EfficientNet" })),
        }
    }

    fn load_transformer<B: Backend>(&self, network: VisionTransformer<B>) -> Result<VisionTransformer<B>, Error> {
        let read = |contents: &Contents, tensors: &source::Tensors<'_, '_>| {
            contents.read(tensors, self.head.as_ref(), &network)
        };
        let weights = self.with_contents(read)?;
        network.load_state_dict(weights)
    }

    /// Loads the weights into an EfficientNet.
    pub(super) fn load_into_efficientnet<B: Backend>(
        &self,
        network: EfficientNet<B>,
    ) -> Result<EfficientNet<B>, Error> {
        self.load(network, true)
    }

    /// Loads all weights except the classifier's, which keeps its own.
    pub(super) fn load_backbone_into<B: Backend>(&self, network: EfficientNet<B>) -> Result<EfficientNet<B>, Error> {
        self.load(network, false)
    }

    fn load<B: Backend>(&self, network: EfficientNet<B>, with_classifier: bool) -> Result<EfficientNet<B>, Error> {
        let read = self.chosen().and_then(|candidate| {
            if candidate.is_transformer {
                return Err(Error::OtherNetwork { found: "a vision transformer" });
            }
            let choice = Choice { candidate, candidates: &self.candidates };
            read_state_dict(&self.content.open()?, &choice, &network, with_classifier)
        });
        self.in_file(read.and_then(|weights| network.load_state_dict(weights)))
    }

    /// Checks that nothing in the file contradicts the variant of a network.
    pub(super) fn check_variant<B: Backend>(&self, network: &EfficientNet<B>) -> Result<(), Error> {
        let decided = Variant::of_epsilon(network.bn1.epsilon);
        let contradicts = |evidence: String, found: String| {
            let wanted = format!("the variant {decided}");
            self.in_file(Err(Error::OtherVariant { evidence, found, wanted }))
        };
        let claims = self.in_file(self.claims())?;
        if let Some(claim) = claims.iter().find(|claim| claim.variant != decided) {
            return contradicts(claim.evidence.clone(), format!("the variant {}", claim.variant));
        }
        match self.hint() {
            Some(hint) if claims.is_empty() && decided == Variant::PyTorch => {
                contradicts(hint, format!("the variant {}", Variant::TensorFlow))
            }
            _ => Ok(()),
        }
    }

    /// Returns the statements in the file's content about the network.
    fn claims(&self) -> Result<Vec<Claim>, Error> {
        let mut claims = Vec::new();
        // Where timm's script does not know the network's name, it writes the name of the Python class.
        let text = self.architecture.as_deref().filter(|text| !text.eq_ignore_ascii_case("efficientnet"));
        if let Some(text) = text {
            let name: TimmName = text.parse().map_err(|_| Error::UnknownArchitecture { name: text.into() })?;
            claims.push(Claim {
                evidence: format!("`arch` in the file is `{text}`, which"),
                architecture: Some(name.architecture()),
                // timm's own name, so the prefix is missing only in the PyTorch variant.
                variant: name.variant().unwrap_or(Variant::PyTorch),
            });
        }
        if self.naming()? == Naming::EfficientNetPytorch {
            claims.push(Claim {
                evidence: "the names of the tensors are those of efficientnet_pytorch, which".into(),
                architecture: None,
                variant: Variant::TensorFlow,
            });
        }
        Ok(claims)
    }

    /// Returns the network that the file's name suggests. It decides nothing, because anyone can rename a file.
    fn hint(&self) -> Option<String> {
        let name = self.path.as_ref()?.file_name()?.to_string_lossy().into_owned();
        name.contains("tf_efficientnet").then(|| format!("the file's name, {name},"))
    }

    fn in_file<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| match &self.path {
            Some(path) => error.at(path),
            None => error,
        })
    }
}

/// A statement of the file about its network.
struct Claim {
    /// The statement, as the beginning of a sentence.
    evidence: String,
    architecture: Option<Architecture>,
    variant: Variant,
}

fn described(architecture: Architecture, variant: Variant) -> String {
    let (architecture, config) = architecture.in_variant(variant);
    let (padding, epsilon, side) = (config.padding, config.batch_norm_epsilon, config.resolution);
    format!("{architecture} of the variant {variant} (padding {padding}, batch-norm epsilon {epsilon}, {side} pixels)")
}
