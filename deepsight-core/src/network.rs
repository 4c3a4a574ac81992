//! The networks that a model file can hold, behind one type.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::Error;
use crate::model::{
    Architecture, EfficientNet, EfficientNetConfig, StateDict, TimmName, VisionTransformer, VisionTransformerConfig,
};
use crate::normalization::HALF;
use crate::state_dict::{self, Tensors};

/// The network that a model's weights are for, as the model card names it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ModelArchitecture {
    /// An EfficientNet, by its name.
    EfficientNet(Architecture),
    /// A vision transformer, by its shape.
    VisionTransformer(VisionTransformerConfig),
}

/// The name of vision transformers in model cards. The field of the same name has the shape.
pub(crate) const VISION_TRANSFORMER: &str = "vision_transformer";

impl ModelArchitecture {
    /// Returns the shape of the network.
    pub fn config(&self) -> NetworkConfig {
        match self {
            Self::EfficientNet(architecture) => NetworkConfig::EfficientNet(architecture.config()),
            Self::VisionTransformer(config) => NetworkConfig::VisionTransformer(config.clone()),
        }
    }

    /// Returns the EfficientNet's name, if it is one.
    pub fn efficientnet(&self) -> Option<Architecture> {
        match self {
            Self::EfficientNet(architecture) => Some(*architecture),
            Self::VisionTransformer(_) => None,
        }
    }

    /// Returns the vision transformer's shape, if it is one.
    pub fn vision_transformer(&self) -> Option<&VisionTransformerConfig> {
        match self {
            Self::EfficientNet(_) => None,
            Self::VisionTransformer(config) => Some(config),
        }
    }
}

impl From<Architecture> for ModelArchitecture {
    fn from(architecture: Architecture) -> Self {
        Self::EfficientNet(architecture)
    }
}

impl From<VisionTransformerConfig> for ModelArchitecture {
    fn from(config: VisionTransformerConfig) -> Self {
        Self::VisionTransformer(config)
    }
}

impl PartialEq<Architecture> for ModelArchitecture {
    fn eq(&self, other: &Architecture) -> bool {
        self.efficientnet() == Some(*other)
    }
}

impl fmt::Display for ModelArchitecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EfficientNet(architecture) => architecture.fmt(f),
            Self::VisionTransformer(config) => config.fmt(f),
        }
    }
}

/// Writes the fields of the model card.
impl Serialize for ModelArchitecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        match self {
            Self::EfficientNet(architecture) => fields.serialize_entry("architecture", architecture)?,
            Self::VisionTransformer(config) => {
                fields.serialize_entry("architecture", VISION_TRANSFORMER)?;
                fields.serialize_entry(VISION_TRANSFORMER, config)?;
            }
        }
        fields.end()
    }
}

/// A network by the name that timm gives it, with or without the name of pretrained weights.
#[derive(Debug, Clone, PartialEq)]
pub enum NetworkName {
    /// An EfficientNet.
    EfficientNet(TimmName),
    /// A vision transformer.
    VisionTransformer(TransformerName),
}

/// The name that timm gives a vision transformer, with or without the name of pretrained weights.
///
/// ```
/// use deepsight_core::model::TransformerName;
///
/// let name: TransformerName = "vit_large_patch14_clip_224.laion2b".parse()?;
/// assert_eq!(name.config().depth, 24);
/// // These weights were trained on pixels of another mean than the others of CLIP.
/// assert_eq!(name.normalization(), ([0.5; 3], [0.5; 3]));
/// # Ok::<(), deepsight_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerName {
    config: VisionTransformerConfig,
    /// Name of the pretrained weights.
    weights: Option<String>,
}

impl TransformerName {
    /// Returns the shape of the network.
    pub fn config(&self) -> &VisionTransformerConfig {
        &self.config
    }

    /// Returns whether the name has that of pretrained weights.
    pub(crate) fn has_weights(&self) -> bool {
        self.weights.is_some()
    }

    /// Returns the mean and the standard deviation of the pixels, RGB, on which timm's weights of this name were
    /// trained.
    pub fn normalization(&self) -> ([f32; 3], [f32; 3]) {
        let (width, patch) = (self.config.width, self.config.patch_size);
        let is_laion = self.weights.as_deref().is_some_and(|weights| weights.starts_with("laion2b"));
        if self.config.pre_norm && is_laion && (width, patch) == (1024, 14) {
            return HALF;
        }
        self.config.normalization()
    }
}

impl FromStr for TransformerName {
    type Err = Error;

    /// Reads what [`VisionTransformerConfig`] reads, and keeps what follows the dot.
    fn from_str(text: &str) -> Result<Self, Error> {
        let weights = text.split_once('.').map(|(_, weights)| weights.to_owned());
        Ok(Self { config: text.parse()?, weights })
    }
}

impl FromStr for NetworkName {
    type Err = Error;

    /// Reads what [`TimmName`] or [`TransformerName`] reads.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.starts_with("vit_") {
            true => text.parse().map(Self::VisionTransformer),
            false => text.parse().map(Self::EfficientNet),
        }
    }
}

/// The shape of a network.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum NetworkConfig {
    /// An EfficientNet.
    EfficientNet(EfficientNetConfig),
    /// A vision transformer.
    VisionTransformer(VisionTransformerConfig),
}

impl NetworkConfig {
    /// Creates a network of this shape with random weights.
    ///
    /// # Errors
    /// Returns an error if a field of a vision transformer is out of range ([`VisionTransformerConfig::validate`]).
    pub fn init<B: Backend>(&self, device: &B::Device) -> Result<Network<B>, Error> {
        Ok(match self {
            Self::EfficientNet(config) => Network::EfficientNet(config.init(device)),
            Self::VisionTransformer(config) => Network::VisionTransformer(config.init(device)?),
        })
    }

    /// Returns the EfficientNet's shape, if it is one.
    pub fn efficientnet(&self) -> Option<&EfficientNetConfig> {
        match self {
            Self::EfficientNet(config) => Some(config),
            Self::VisionTransformer(_) => None,
        }
    }
}

/// A network that computes class logits from images.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Network<B: Backend> {
    /// An EfficientNet.
    EfficientNet(EfficientNet<B>),
    /// A vision transformer.
    VisionTransformer(VisionTransformer<B>),
}

impl<B: Backend> Network<B> {
    /// Computes the class logits of a batch of normalized RGB images: `[batch, 3, height, width]` to
    /// `[batch, classes]`.
    ///
    /// # Panics
    /// Panics if a vision transformer gets images of another size than its own.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        match self {
            Self::EfficientNet(network) => network.forward(images),
            Self::VisionTransformer(network) => network.forward(images),
        }
    }

    /// Returns the same network with the operands of its matrix products in another floating-point type.
    #[must_use]
    pub fn with_products_in(&self, dtype: DType) -> Self {
        match self {
            Self::EfficientNet(network) => Self::EfficientNet(network.with_products_in(dtype)),
            Self::VisionTransformer(network) => Self::VisionTransformer(network.with_products_in(dtype)),
        }
    }

    /// Returns the shape of every tensor of this network, by name.
    pub fn state_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        match self {
            Self::EfficientNet(network) => network.state_shapes(),
            Self::VisionTransformer(network) => network.state_shapes(),
        }
    }

    /// Returns the network's parameters and statistics, by timm's names.
    pub fn state_dict(&self) -> StateDict {
        match self {
            Self::EfficientNet(network) => network.state_dict(),
            Self::VisionTransformer(network) => network.state_dict(),
        }
    }

    /// Checks that the tensors are exactly those of this network, in its shapes.
    pub(crate) fn check_shapes(&self, tensors: &impl Tensors) -> Result<(), Error> {
        let found = tensors.shapes().into_iter().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
        state_dict::check_shapes(&self.state_shapes(), &found)
    }

    /// Checks that the weights are exactly the tensors of this network, in its shapes, and finite.
    pub(crate) fn check_state_dict(&self, weights: &StateDict) -> Result<(), Error> {
        match self {
            Self::EfficientNet(network) => network.check_state_dict(weights),
            Self::VisionTransformer(network) => network.check_state_dict(weights),
        }
    }

    /// Replaces the network's parameters and statistics.
    ///
    /// # Errors
    /// [`Error::TensorNames`] with every missing and every unexpected name, [`Error::TensorShape`] and
    /// [`Error::TensorNotFinite`] with the first tensor that is wrong.
    pub fn load_state_dict(self, weights: StateDict) -> Result<Self, Error> {
        Ok(match self {
            Self::EfficientNet(network) => Self::EfficientNet(network.load_state_dict(weights)?),
            Self::VisionTransformer(network) => Self::VisionTransformer(network.load_state_dict(weights)?),
        })
    }

    /// Checks that this network is of the given shape, in every layer.
    ///
    /// # Errors
    /// [`Error::OtherNetwork`] if one is an EfficientNet and the other a vision transformer, and the errors of
    /// [`EfficientNet::check_config`] and [`VisionTransformer::check_config`].
    pub fn check_config(&self, config: &NetworkConfig) -> Result<(), Error> {
        match (self, config) {
            (Self::EfficientNet(network), NetworkConfig::EfficientNet(config)) => network.check_config(config),
            (Self::VisionTransformer(network), NetworkConfig::VisionTransformer(config)) => {
                network.check_config(config)
            }
            (Self::EfficientNet(_), _) => Err(Error::OtherNetwork { found: "an EfficientNet" }),
            (Self::VisionTransformer(_), _) => Err(Error::OtherNetwork { found: "a vision transformer" }),
        }
    }
}

impl<B: Backend> From<EfficientNet<B>> for Network<B> {
    fn from(network: EfficientNet<B>) -> Self {
        Self::EfficientNet(network)
    }
}

impl<B: Backend> From<VisionTransformer<B>> for Network<B> {
    fn from(network: VisionTransformer<B>) -> Self {
        Self::VisionTransformer(network)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_large_clip_of_laion_has_other_pixels() {
        for (name, red) in [
            ("vit_large_patch14_clip_224.laion2b", 0.5),
            ("vit_large_patch14_clip_336.laion2b_ft_in12k_in1k", 0.5),
            ("vit_large_patch14_clip_224", 0.481_454_66),
            ("vit_large_patch14_clip_224.openai", 0.481_454_66),
            ("vit_base_patch16_clip_224.laion2b", 0.481_454_66),
            ("vit_huge_patch14_clip_224.laion2b", 0.481_454_66),
            ("vit_large_patch14_dinov2.lvd142m", 0.485),
        ] {
            let read: TransformerName = name.parse().unwrap();
            assert_eq!(read.normalization().0[0], red, "{name}");
            assert_eq!(name.parse::<NetworkName>().unwrap(), NetworkName::VisionTransformer(read));
        }
    }
}
