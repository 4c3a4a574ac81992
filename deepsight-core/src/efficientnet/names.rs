//! The names of networks in timm and `efficientnet_pytorch`, and the variants that they imply.

use std::fmt;
use std::str::FromStr;

use super::config::{PYTORCH_EPSILON, TENSORFLOW_EPSILON};
use super::{Architecture, EfficientNetConfig, Padding};
use crate::Error;
use crate::normalization::{HALF, IMAGENET};

/// The origin of a network's padding and batch-norm epsilon. A state dict does not say it, and fits both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Variant {
    /// Symmetric padding and an epsilon of 1e-5: timm's `efficientnet_b4`.
    PyTorch,
    /// TensorFlow's padding and an epsilon of 1e-3: timm's `tf_efficientnet_b4`, and `efficientnet_pytorch`.
    TensorFlow,
}

impl Variant {
    /// Every variant.
    pub const ALL: [Self; 2] = [Self::PyTorch, Self::TensorFlow];

    /// Returns its name: `pytorch` or `tensorflow`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PyTorch => "pytorch",
            Self::TensorFlow => "tensorflow",
        }
    }

    /// Returns the variant whose batch-norm epsilon is nearest.
    pub(crate) fn of_epsilon(epsilon: f64) -> Self {
        if epsilon > (PYTORCH_EPSILON * TENSORFLOW_EPSILON).sqrt() { Self::TensorFlow } else { Self::PyTorch }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Variant {
    type Err = Error;

    /// Reads [`name`](Self::name).
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|variant| variant.name() == name).ok_or_else(|| Error::Setting {
            name: "variant",
            value: name.into(),
            rule: "must be pytorch or tensorflow",
        })
    }
}

impl Architecture {
    /// Returns this architecture in a variant, and its shape. A Lite network of the PyTorch variant has no architecture
    /// of its own: only its shape differs.
    pub(crate) fn in_variant(self, variant: Variant) -> (Self, EfficientNetConfig) {
        let plain = self.plain_name();
        let is_lite = plain.starts_with(LITE);
        let name = match variant {
            Variant::TensorFlow if !is_lite => format!("{TENSORFLOW}{plain}"),
            _ => plain.to_owned(),
        };
        let architecture = Self::ALL.into_iter().find(|known| known.name() == name).unwrap_or(self);
        let mut config = architecture.config();
        if is_lite && variant == Variant::PyTorch {
            (config.padding, config.batch_norm_epsilon) = (Padding::Symmetric, PYTORCH_EPSILON);
        }
        (architecture, config)
    }

    /// Returns the name without the prefix of the TensorFlow variant.
    pub(crate) fn plain_name(self) -> &'static str {
        self.name().trim_start_matches(TENSORFLOW)
    }

    /// Returns the side in pixels for which `efficientnet_pytorch` pads.
    pub(crate) fn nominal_side(self) -> u32 {
        match self {
            Self::EfficientNetLite3 => 280,
            Self::EfficientNetLite4 => 300,
            other => other.in_variant(Variant::TensorFlow).1.resolution as u32,
        }
    }
}

const TENSORFLOW: &str = "tf_";
const LITE: &str = "efficientnet_lite";

/// A network by the name that timm gives it, with or without the name of pretrained weights: `efficientnet_b4`,
/// `tf_efficientnet_b4_ns`, `tf_efficientnet_b4.ap_in1k`. The names of `efficientnet_pytorch`, such as
/// `efficientnet-b4`, are read too.
///
/// ```
/// use deepsight_core::model::{Architecture, TimmName, Variant};
///
/// let name: TimmName = "tf_efficientnet_b4_ns".parse()?;
/// assert_eq!((name.architecture(), name.variant()), (Architecture::TfEfficientNetB4, Some(Variant::TensorFlow)));
/// # Ok::<(), deepsight_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimmName {
    text: String,
    architecture: Architecture,
    variant: Option<Variant>,
    /// Whether the weights were trained on adversarial examples, whose pixels have mean and deviation 0.5.
    adversarial: bool,
}

impl TimmName {
    /// Returns the architecture.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Returns the variant, if the name decides it: that of `tf_efficientnet_b4` is TensorFlow. In timm,
    /// `efficientnet_b4` is PyTorch's, but the name is also used for every EfficientNet-B4.
    pub fn variant(&self) -> Option<Variant> {
        self.variant
    }

    /// Returns the mean and standard deviation of pixels in `0..=1`, RGB, that timm gives for the weights of this name
    /// in a variant.
    pub(crate) fn normalization(&self, architecture: Architecture, variant: Variant) -> ([f32; 3], [f32; 3]) {
        let is_lite = architecture.plain_name().starts_with(LITE);
        match variant {
            _ if self.adversarial => HALF,
            Variant::PyTorch if is_lite => IMAGENET,
            _ => architecture.timm_normalization(),
        }
    }
}

impl From<Architecture> for TimmName {
    fn from(architecture: Architecture) -> Self {
        let variant = architecture.name().starts_with(TENSORFLOW).then_some(Variant::TensorFlow);
        Self { text: architecture.name().into(), architecture, variant, adversarial: false }
    }
}

impl fmt::Display for TimmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for TimmName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownArchitecture { name: text.into() };
        if let Some(number) = text.strip_prefix("efficientnet-b") {
            let architecture = format!("{TENSORFLOW}efficientnet_b{number}").parse().map_err(|_| unknown())?;
            return Ok(Self {
                text: text.into(),
                architecture,
                variant: Some(Variant::TensorFlow),
                adversarial: false,
            });
        }
        let (network, tag) = text.split_once('.').unwrap_or((text, ""));
        // The names of weights before timm 0.8 were part of the network's. Other suffixes, such as `_pruned`, name
        // another network.
        let suffix = ["_ns", "_ap", "_aa"].into_iter().find(|suffix| network.ends_with(suffix)).unwrap_or_default();
        let architecture = network[..network.len() - suffix.len()].parse().map_err(|_| unknown())?;
        Ok(Self {
            text: text.into(),
            architecture,
            variant: text.starts_with(TENSORFLOW).then_some(Variant::TensorFlow),
            adversarial: suffix == "_ap" || tag.starts_with("ap_"),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_says_the_architecture_and_the_variant_only_where_it_has_the_prefix() {
        use Architecture as A;
        for (text, architecture, variant) in [
            ("efficientnet_b4", A::EfficientNetB4, None),
            ("efficientnet_b4.ra2_in1k", A::EfficientNetB4, None),
            ("tf_efficientnet_b4", A::TfEfficientNetB4, Some(Variant::TensorFlow)),
            ("tf_efficientnet_b4_ns", A::TfEfficientNetB4, Some(Variant::TensorFlow)),
            ("tf_efficientnet_b7.ns_jft_in1k", A::TfEfficientNetB7, Some(Variant::TensorFlow)),
            ("efficientnet-b4", A::TfEfficientNetB4, Some(Variant::TensorFlow)),
            ("efficientnet_lite0", A::EfficientNetLite0, None),
            ("tf_efficientnet_lite0.in1k", A::EfficientNetLite0, Some(Variant::TensorFlow)),
        ] {
            let name: TimmName = text.parse().unwrap();
            assert_eq!((name.architecture(), name.variant()), (architecture, variant), "{text}");
        }
        for other in ["efficientnet_b3_pruned", "efficientnet_b8", "efficientnet-b9", "resnet50", "tf_", ""] {
            assert!(other.parse::<TimmName>().is_err(), "{other}");
        }
    }

    #[test]
    fn sizes_and_normalization_are_those_of_timms_default_cfg() {
        for (text, variant, side, mean) in [
            ("efficientnet_b4", Variant::PyTorch, 320, 0.485),
            ("efficientnet_b4", Variant::TensorFlow, 380, 0.485),
            ("tf_efficientnet_b4_ns", Variant::TensorFlow, 380, 0.485),
            ("tf_efficientnet_b4_ap", Variant::TensorFlow, 380, 0.5),
            ("tf_efficientnet_b7.ap_in1k", Variant::TensorFlow, 600, 0.5),
            ("efficientnet_b5", Variant::PyTorch, 448, 0.485),
            ("efficientnet_b1", Variant::PyTorch, 240, 0.5),
            ("efficientnet_b1", Variant::TensorFlow, 240, 0.485),
            ("efficientnet_lite0", Variant::TensorFlow, 224, 0.5),
            ("efficientnet_lite0", Variant::PyTorch, 224, 0.485),
        ] {
            let name: TimmName = text.parse().unwrap();
            let (architecture, config) = name.architecture().in_variant(variant);
            assert_eq!((config.resolution, Variant::of_epsilon(config.batch_norm_epsilon)), (side, variant), "{text}");
            assert_eq!(name.normalization(architecture, variant).0[0], mean, "{text}");
        }
    }
}
